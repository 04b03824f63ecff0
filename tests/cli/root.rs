//! A folder that serves as a Debian host with one WordPress, and the binary to run on
//! it.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::common::needs::installed;

pub const SITE: &str = "/var/www/site";

pub struct Root {
    dir: tempfile::TempDir,
}

/// What the crew of that site runs with.
pub const SETTINGS: &str = "/var/lib/wp-gears/run/site.settings.toml";

pub const CONFIG: &str = "<?php\ndefine( 'DB_NAME', 'wordpress' );\ndefine( 'DB_PASSWORD', 'geheim' );\n\n$table_prefix = 'wp_';\n\nif ( ! defined( 'ABSPATH' ) ) {\n\tdefine( 'ABSPATH', __DIR__ . '/' );\n}\n\nrequire_once ABSPATH . 'wp-settings.php';\n";

pub const PARAMS: &str = "# Parameters to pass to gearmand.\nPARAMS=\"--listen=localhost \\\n --daemon \\\n --log-file=/var/log/gearman-job-server/gearmand.log\"\n";

impl Root {
    pub fn new() -> Root {
        // In memory if possible, as every write is flushed.
        Root::within(&if Path::new("/dev/shm").is_dir() {
            "/dev/shm".into()
        } else {
            std::env::temp_dir()
        })
    }

    pub fn within(folder: &Path) -> Root {
        let root = Root {
            dir: tempfile::tempdir_in(folder).unwrap(),
        };
        for dir in [
            "/etc/supervisor/conf.d",
            "/usr/bin",
            "/usr/local/lib",
            "/lib/systemd",
            "/etc/systemd/system",
            "/var/lib",
            "/var/log",
        ] {
            std::fs::create_dir_all(root.at(dir)).unwrap();
        }
        root.put(
            "/etc/os-release",
            "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\nVERSION_ID=\"12\"\n",
        );
        root.put("/etc/group", "root:x:0:\nwww-data:x:33:\n");
        root.put("/etc/default/gearman-job-server", PARAMS);
        root.put("/usr/bin/php8.2", "");
        root.put("/lib/systemd/systemd", "");
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(root.at("/usr/bin/php8.2"), mode).unwrap();
        symlink("php8.2", root.at("/usr/bin/php")).unwrap();
        root.site(SITE);
        // The user that runs the tests owns the site, unless that is root.
        let mut passwd = String::from(
            "root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33:www-data:/var/www:/bin/sh\n",
        );
        let uid = std::fs::metadata(root.at(SITE)).unwrap().uid();
        if uid != 0 {
            passwd.push_str(&format!("me:x:{uid}:{uid}:me:/home/me:/bin/sh\n"));
        }
        root.put("/etc/passwd", &passwd);
        root
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn at(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.dir.path().join(path.strip_prefix("/").unwrap_or(path))
    }

    pub fn put(&self, path: &str, text: &str) {
        std::fs::create_dir_all(self.at(path).parent().unwrap()).unwrap();
        std::fs::write(self.at(path), text).unwrap();
    }

    pub fn get(&self, path: &str) -> String {
        std::fs::read_to_string(self.at(path)).unwrap()
    }

    pub fn site(&self, dir: &str) {
        self.put(&format!("{dir}/wp-load.php"), "<?php\n");
        self.put(&format!("{dir}/wp-settings.php"), "<?php\n");
        self.put(&format!("{dir}/wp-content/index.php"), "<?php\n");
        self.put(
            &format!("{dir}/wp-includes/version.php"),
            "<?php\n$wp_version = '6.1.9';\n",
        );
        self.put(&format!("{dir}/wp-config.php"), CONFIG);
    }

    /// Runs wp-gears on this root, with a clean environment.
    pub fn run(&self, args: &[&str]) -> Output {
        let mut words = args.to_vec();
        let root = self.path().to_str().unwrap();
        words.extend(["--root", root]);
        wp_gears(&words)
    }

    /// Every file, link and folder, with its relevant attributes.
    pub fn tree(&self) -> BTreeMap<PathBuf, String> {
        let mut tree = BTreeMap::new();
        collect(self.path(), self.path(), &mut tree);
        tree
    }
}

fn collect(top: &Path, dir: &Path, tree: &mut BTreeMap<PathBuf, String>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let meta = std::fs::symlink_metadata(&path).unwrap();
        let name = path.strip_prefix(top).unwrap().to_owned();
        let content = if meta.is_symlink() {
            format!("-> {}", std::fs::read_link(&path).unwrap().display())
        } else if meta.is_dir() {
            collect(top, &path, tree);
            "folder".into()
        } else if !meta.is_file() {
            "pipe, socket or device".into()
        } else {
            String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned()
        };
        tree.insert(
            name,
            format!("{}:{} {:o} {content}", meta.uid(), meta.gid(), meta.mode()),
        );
    }
}

pub fn wp_gears(args: &[&str]) -> Output {
    wp_gears_command(args).output().unwrap()
}

pub fn wp_gears_command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wp-gears"));
    command.args(args).env_clear().env("PATH", "/usr/bin:/bin");
    command
}

/// wp-gears, run by an unprivileged user even if root runs the tests.
pub struct AsNobody {
    dir: tempfile::TempDir,
}

impl AsNobody {
    pub fn new() -> AsNobody {
        let dir = tempfile::tempdir().unwrap();
        let everyone = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(dir.path(), everyone).unwrap();
        // Others may not be able to read the build folder.
        std::fs::copy(env!("CARGO_BIN_EXE_wp-gears"), dir.path().join("wp-gears")).unwrap();
        AsNobody { dir }
    }

    /// A folder that this user can read.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn run(&self, args: &[&str]) -> Output {
        let program = self.dir.path().join("wp-gears");
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]);
        command.arg(&program);
        if !rustix::process::geteuid().is_root() {
            command = Command::new(&program);
        }
        let output = command
            .args(args)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .output();
        installed("setpriv", output)
    }
}

pub fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or(-1)
}

pub fn text(output: &Output) -> String {
    let out = String::from_utf8_lossy(&output.stdout);
    let err = String::from_utf8_lossy(&output.stderr);
    format!("{out}{err}")
}
