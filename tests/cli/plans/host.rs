//! A host: its root, the stand-ins in it, and the program that runs there, with its
//! own processes and network.

use std::fmt::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

const SITE: &str = "/var/www/site";
/// A stand-in for every program that a plan runs.
pub const COMMAND: &str = include_str!("command.sh");
const PACKAGES: &str = include_str!("packages.awk");

const SH: &str = "/usr/bin/sh";
const APT: &[&str] = &["dpkg-query", "apt-cache", "apt-get", "systemctl"];
const DNF: &[&str] = &["rpm", "dnf", "systemctl", "getenforce", "getsebool"];
const YUM: &[&str] = &["rpm", "yum", "systemctl", "getenforce", "getsebool"];

/// A host to plan for.
pub struct Host {
    pub name: String,
    pub release: String,
    /// The host whose plan is the base of this one's, which only shows differences.
    pub like: String,
    tools: &'static [&'static str],
    php: &'static str,
    /// Tables of fixtures/packages, with the values of their `{…}`.
    pub tables: Vec<&'static str>,
    words: Vec<(&'static str, String)>,
    systemd: bool,
    files: Vec<(String, String)>,
    args: Vec<&'static str>,
}

impl Host {
    pub fn new(release: &str, tools: &'static [&'static str], php: &'static str) -> Host {
        Host {
            name: release.into(),
            release: release.into(),
            like: String::new(),
            tools,
            php,
            tables: Vec::new(),
            words: vec![("{php}", php.into())],
            systemd: true,
            files: Vec::new(),
            args: Vec::new(),
        }
    }

    /// Like Debian: PHP in folders with its version.
    pub fn debian(release: &str, php: &'static str) -> Host {
        let mut host = Host::new(release, APT, php).tables(&["debian"]);
        for way in ["cli", "fpm"] {
            host = host.file(&format!("/etc/php/{php}/{way}/conf.d/10-opcache.ini"), "");
        }
        host.file(&format!("/etc/php/{php}/mods-available/opcache.ini"), "")
            .file(
                &format!("/etc/php/{php}/fpm/pool.d/www.conf"),
                "[www]\nuser = www-data\nlisten = /run/php/php-fpm.sock\n",
            )
            .file("/var/lib/apt/lists/main_Packages", "")
            .file("/var/lib/apt/lists/partial/.keep", "")
    }

    /// Like RHEL; `el` is the release number in EPEL.
    pub fn el(release: &str, el: &str, php: &'static str) -> Host {
        let tools = if el == "7" { YUM } else { DNF };
        let mut host = Host::new(release, tools, php).tables(&["el"]);
        host.words.push(("{el}", el.into()));
        host.file("/etc/php.d/20-tokenizer.ini", "").file(
            "/etc/php-fpm.d/www.conf",
            "[www]\nuser = apache\nlisten = /run/php-fpm/www.sock\n",
        )
    }

    /// With EPEL from this package.
    pub fn epel(mut self, table: &'static str, package: &str) -> Host {
        self.words.push(("{source}", package.into()));
        if package == "epel-release" {
            self.tables.push("extras");
        }
        self.tables(&[table])
    }

    pub fn tables(mut self, tables: &[&'static str]) -> Host {
        self.tables.extend(tables);
        self
    }

    pub fn file(mut self, path: &str, text: &str) -> Host {
        self.files.push((path.into(), text.into()));
        self
    }

    pub fn args(mut self, args: &[&'static str]) -> Host {
        self.args.extend(args);
        self
    }

    /// Replaces the tables of its kind.
    pub fn only(mut self, table: &'static str) -> Host {
        self.tables = vec![table];
        self
    }

    pub fn like(mut self, other: &str) -> Host {
        self.like = other.into();
        self
    }

    /// An unusual host, shown as differences from the usual one of its release.
    pub fn but(mut self, what: &str) -> Host {
        self.name = format!("{}-{what}", self.release);
        self.like = self.release.clone();
        self
    }

    pub fn without_systemd(mut self) -> Host {
        self.systemd = false;
        self
    }

    fn packages(&self) -> String {
        let folder = fixtures().join("packages");
        let mut text = String::new();
        for table in &self.tables {
            text += &std::fs::read_to_string(folder.join(table)).unwrap();
        }
        for (word, value) in &self.words {
            text = text.replace(word, value);
        }
        text
    }

    /// What the user reads.
    pub fn plan(&self) -> String {
        let root = Root::new(self);
        let mut args = vec!["plan", "--site", SITE];
        args.extend(&self.args);
        let output = root.run(&args);
        let mut text = format!("$ wp-gears {}\n", args.join(" "));
        text += &String::from_utf8_lossy(&output.stdout);
        text += &String::from_utf8_lossy(&output.stderr);
        writeln!(text, "exit {}", output.status.code().unwrap_or(-1)).unwrap();
        // The user that runs the tests owns the site.
        let owner = std::fs::metadata(root.at(SITE)).unwrap();
        text.replace(
            &format!("{}:{} 0755", owner.uid(), owner.gid()),
            "OWNER 0755",
        )
    }
}

/// A folder that is the whole file system of the program.
struct Root(tempfile::TempDir);

impl Root {
    pub fn new(host: &Host) -> Root {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let root = Root(dir);
        // The worker user needs to enter it.
        set_mode(root.0.path(), 0o755);
        let release = fixtures().join("os-release").join(&host.release);
        root.put(
            "/etc/os-release",
            &std::fs::read_to_string(release).unwrap(),
        );
        root.put("/packages", &host.packages());
        root.put("/packages.awk", PACKAGES);
        let version = format!("{}.20\n", host.php);
        root.put("/version-of-php", &version);
        for path in ["/proc", "/tmp", "/usr/local/lib", "/var/lib", "/var/log"] {
            std::fs::create_dir_all(root.at(path)).unwrap();
        }
        if host.systemd {
            std::fs::create_dir_all(root.at("/run/systemd/system")).unwrap();
            std::fs::create_dir_all(root.at("/etc/systemd/system")).unwrap();
            std::fs::create_dir_all(root.at("/etc/systemd/system")).unwrap();
        }
        for program in [SH, "/usr/bin/awk", env!("CARGO_BIN_EXE_wp-gears")] {
            root.bring(Path::new(program));
        }
        symlink("usr/bin", root.at("/bin")).unwrap();
        let debian = host.tools == APT;
        for name in host.tools {
            root.stand_in(&format!("/usr/bin/{name}"));
        }
        match debian {
            true => {
                let versioned = format!("/usr/bin/php{}", host.php);
                root.stand_in(&versioned);
                symlink(versioned, root.at("/usr/bin/php")).unwrap();
            }
            false => root.stand_in("/usr/bin/php"),
        }
        for (path, text) in &host.files {
            root.put(path, text);
            if text.starts_with("#!") {
                root.stand_in(path);
            }
        }
        root.site();
        let uid = std::fs::metadata(root.at(SITE)).unwrap().uid();
        let web = if debian { "www-data" } else { "apache" };
        let id = if uid == 0 { 33 } else { uid };
        let users = format!("root:x:0:0::/root:/bin/sh\n{web}:x:{id}:{id}::/var/www:/bin/sh\n");
        root.put("/etc/passwd", &users);
        root
    }

    fn site(&self) {
        for file in ["wp-load.php", "wp-settings.php", "wp-content/index.php"] {
            self.put(&format!("{SITE}/{file}"), "<?php\n");
        }
        let version = "<?php\n$wp_version = '6.8.3';\n";
        self.put(&format!("{SITE}/wp-includes/version.php"), version);
        let config = "<?php\ndefine( 'DB_NAME', 'wordpress' );\n\nrequire_once ABSPATH . 'wp-settings.php';\n";
        self.put(&format!("{SITE}/wp-config.php"), config);
    }

    fn at(&self, path: &str) -> PathBuf {
        self.0.path().join(path.trim_start_matches('/'))
    }

    fn put(&self, path: &str, text: &str) {
        let path = self.at(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn stand_in(&self, path: &str) {
        self.put(path, COMMAND);
        set_mode(&self.at(path), 0o755);
    }

    /// A program of this machine, with the libraries that it loads.
    fn bring(&self, program: &Path) {
        let target = self.at("/usr/bin").join(program.file_name().unwrap());
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        link_or_copy(program, &target);
        let ldd = Command::new("ldd").arg(program).output().unwrap();
        for word in String::from_utf8_lossy(&ldd.stdout).split_whitespace() {
            let target = self.at(word);
            if word.starts_with('/') && !target.exists() {
                std::fs::create_dir_all(target.parent().unwrap()).unwrap();
                link_or_copy(Path::new(word), &target);
            }
        }
    }

    fn run(&self, args: &[&str]) -> std::process::Output {
        let mut unshare = Command::new("unshare");
        if std::fs::metadata("/proc/self").unwrap().uid() != 0 {
            unshare.args(["--user", "--map-current-user"]);
        }
        unshare
            .args(["--mount", "--net", "--pid", "--fork", "--mount-proc"])
            .arg(format!("--root={}", self.0.path().display()))
            .arg("/usr/bin/wp-gears")
            .args(args)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .output()
            .unwrap()
    }
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

fn link_or_copy(from: &Path, to: &Path) {
    let from = from.canonicalize().unwrap();
    if std::fs::hard_link(&from, to).is_err() {
        std::fs::copy(&from, to).unwrap();
    }
}

pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}
