//! The environment of the tests: a folder, a database, the program itself, and a
//! cleanup at the end.

mod gearmand;
mod process;
mod site;
mod worker;

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use super::common::needs::missing;

pub use gearmand::Gearmand;
pub use process::{children, is_alive, processor_ms, run, signal, sleep, wait_for};
pub use site::{Plan, Site};
pub use worker::Worker;

/// Where Debian's package installs WordPress.
const WORDPRESS: &str = "/usr/share/wordpress";

/// The owner of the sites if the tests run as root, as workers refuse to run as root.
const USER: &str = "www-data";

pub struct Lab {
    pub dir: PathBuf,
    root: bool,
    database: Option<Child>,
    /// Open while the tests run; when it is closed, a shell cleans up.
    _guard: Child,
}

pub fn lab() -> &'static Lab {
    static LAB: OnceLock<Lab> = OnceLock::new();
    LAB.get_or_init(Lab::new)
}

impl Lab {
    fn new() -> Lab {
        need_programs();
        let dir = std::env::temp_dir().join(format!("wp-gears-test-{}", std::process::id()));
        for sub in ["", "lib", "db", "state", "sites"] {
            fs::create_dir_all(dir.join(sub)).unwrap();
            fs::set_permissions(dir.join(sub), fs::Permissions::from_mode(0o755)).unwrap();
        }
        let guard = Command::new("sh")
            .arg("-c")
            .arg("cat >/dev/null; cat \"$0\"/pids | xargs -r kill 2>/dev/null; sleep 1; rm -rf \"$0\"")
            .arg(&dir)
            .stdin(Stdio::piped())
            // It survives a kill of the tests' process group.
            .process_group(0)
            .spawn()
            .unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR"));
        for entry in fs::read_dir(source.join("templates")).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|ending| ending == "php") {
                fs::copy(&path, dir.join("lib").join(path.file_name().unwrap())).unwrap();
            }
        }
        fs::copy(env!("CARGO_BIN_EXE_wp-gears"), dir.join("lib/wp-gears")).unwrap();
        let mut lab = Lab {
            database: None,
            root: fs::metadata("/proc/self").unwrap().uid() == 0,
            dir,
            _guard: guard,
        };
        lab.give_away(&lab.dir.join("db"));
        lab.give_away(&lab.dir.join("state"));
        lab.start_database();
        lab
    }

    /// A command that runs as the owner of the sites.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        if !self.root {
            return Command::new(program);
        }
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid", USER, "--regid", USER, "--clear-groups", "--"])
            .arg(program);
        command
    }

    /// The owner of the sites.
    pub fn user(&self) -> String {
        match self.root {
            true => USER.into(),
            false => std::env::var("USER").unwrap(),
        }
    }

    pub fn is_root(&self) -> bool {
        self.root
    }

    pub fn give_away(&self, path: &Path) {
        if self.root {
            run(Command::new("chown").arg("-Rh").arg(USER).arg(path));
        }
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.join("db/socket")
    }

    fn start_database(&mut self) {
        let data = self.dir.join("db/data");
        run(self.command("mariadb-install-db").args([
            "--no-defaults",
            "--skip-test-db",
            "--auth-root-authentication-method=normal",
            &format!("--datadir={}", data.display()),
        ]));
        let child = self
            .command("/usr/sbin/mariadbd")
            .args([
                "--no-defaults",
                "--skip-networking",
                "--innodb-flush-log-at-trx-commit=0",
            ])
            .arg("--innodb-buffer-pool-size=32M")
            .arg(format!("--datadir={}", data.display()))
            .arg(format!("--socket={}", self.socket().display()))
            .stdout(Stdio::null())
            .stderr(fs::File::create(self.dir.join("db.log")).unwrap())
            .spawn()
            .unwrap();
        self.remember(child.id());
        self.database = Some(child);
        wait_for(30, "the database", || self.sql_now("SELECT 1").is_some());
        self.sql("CREATE DATABASE wp; CREATE USER wp IDENTIFIED BY 'wp'; GRANT ALL ON *.* TO wp");
    }

    fn sql_now(&self, text: &str) -> Option<String> {
        let output = Command::new("mariadb")
            .args(["--no-defaults", "-uroot", "-N", "-e", text])
            .arg(format!("--socket={}", self.socket().display()))
            .output()
            .unwrap();
        output
            .status
            .success()
            .then(|| String::from_utf8_lossy(&output.stdout).trim().to_string())
    }

    pub fn sql(&self, text: &str) -> String {
        self.sql_now(text)
            .unwrap_or_else(|| panic!("the database refuses: {text}"))
    }

    /// Registers a process to be killed when the tests end in any way.
    pub fn remember(&self, pid: u32) {
        let mut pids = fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(self.dir.join("pids"))
            .unwrap();
        writeln!(pids, "{pid}").unwrap();
    }
}

fn need_programs() {
    let packages: Vec<_> = [
        ("gearmand", "gearman-job-server"),
        ("php", "php-cli"),
        ("mariadbd", "mariadb-server"),
        ("setpriv", "util-linux"),
    ]
    .iter()
    .filter(|(program, _)| {
        which::which_in(program, Some("/usr/sbin:/usr/bin:/sbin:/bin"), "/").is_err()
    })
    .map(|(_, package)| *package)
    .chain((!Path::new(WORDPRESS).exists()).then_some("wordpress"))
    .collect();
    if !packages.is_empty() {
        missing(&packages.join(", "));
    }
    let extensions = Command::new("php").arg("-m").output().unwrap().stdout;
    let extensions = String::from_utf8_lossy(&extensions).to_lowercase();
    for name in ["gearman", "mysqli", "pcntl", "posix"] {
        if !extensions.contains(name) {
            missing(&format!("PHP's extension {name}"));
        }
    }
}
