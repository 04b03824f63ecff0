//! What the tests need around them: a database of their own, job servers, sites.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use super::common::judge::is_valid;
use super::common::needs::missing;
use serde_json::{Value, json};
use wp_gears::gearman::binary::Client;
use wp_gears::gearman::server::Server;
use wp_gears::gearman::text::{Admin, FunctionStatus};

/// Where Debian's package keeps WordPress.
const WORDPRESS: &str = "/usr/share/wordpress";

/// The user that sites belong to where the tests run as root: workers refuse root.
const USER: &str = "www-data";

pub struct Lab {
    pub dir: PathBuf,
    root: bool,
    database: Option<Child>,
    /// Open as long as the tests run; at its end a shell cleans up.
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
            // It outlives a kill of the tests' own group.
            .process_group(0)
            .spawn()
            .unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR"));
        for name in ["runner.php", "fork.php", "plugin.php", "bundled.php"] {
            fs::copy(
                source.join("templates").join(name),
                dir.join("lib").join(name),
            )
            .unwrap();
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

    /// A program as the user that sites belong to.
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

    /// The user that sites belong to.
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

    /// To be ended with the tests, however they end.
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

pub fn run(command: &mut Command) -> Output {
    let output = command
        .output()
        .unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

pub fn wait_for(seconds: u64, what: &str, mut done: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !done() {
        assert!(
            start.elapsed().as_secs() < seconds,
            "waited {seconds} s for {what}"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    start.elapsed()
}

pub fn sleep(millis: u64) {
    std::thread::sleep(Duration::from_millis(millis));
}

/// A gearmand with a durable queue, on a port of its own.
pub struct Gearmand {
    pub server: Server,
    queue: PathBuf,
    child: Option<Child>,
}

impl Gearmand {
    pub fn new(name: &str) -> Gearmand {
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let mut gearmand = Gearmand {
            server: format!("127.0.0.1:{port}").parse().unwrap(),
            queue: lab().dir.join(format!("{name}.sqlite")),
            child: None,
        };
        gearmand.start();
        gearmand
    }

    pub fn start(&mut self) {
        let child = Command::new("gearmand")
            .args([
                "--listen=127.0.0.1",
                "--job-retries=255",
                "--queue-type=libsqlite3",
            ])
            .arg(format!("--port={}", self.server.port))
            .arg(format!("--libsqlite3-db={}", self.queue.display()))
            .arg(format!("--log-file={}.log", self.queue.display()))
            .arg(format!("--pid-file={}.pid", self.queue.display()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        lab().remember(child.id());
        self.child = Some(child);
        wait_for(10, "gearmand", || self.admin().is_some());
    }

    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    fn admin(&self) -> Option<Admin> {
        Admin::connect(&self.server, Duration::from_secs(5)).ok()
    }

    pub fn queue(&self, function: &str) -> Option<FunctionStatus> {
        let queues = self.admin()?.status().ok()?;
        queues.into_iter().find(|queue| queue.function == function)
    }

    pub fn submit(&self, function: &str, payload: &[u8]) {
        Client::connect(&self.server, Duration::from_secs(5))
            .unwrap()
            .submit(function.as_bytes(), b"", payload)
            .unwrap();
    }
}

impl Drop for Gearmand {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Real WordPress, with a salt, a log and folders of its own.
pub struct Site {
    pub name: String,
    pub dir: PathBuf,
    pub gearmand: Gearmand,
    pub function: String,
}

#[derive(Default)]
pub struct Plan {
    /// A plugin's source in place of the bundled one.
    pub plugin: Option<String>,
    /// Lines of wp-config.php.
    pub config: String,
    /// A must-use plugin with the test's own jobs.
    pub jobs: String,
    pub network: bool,
}

/// Jobs that most tests use: each writes a line.
const JOBS: &str = r#"<?php
function out( $line, $file = 'out' ) {
	file_put_contents( WP_CONTENT_DIR . "/uploads/$file", $line . "\n", FILE_APPEND | LOCK_EX );
}
add_action( 't_line', function ( $args ) { out( $args[0] ); } );
add_action( 't_sleep', function ( $args ) { out( $args[0], 'begun' ); usleep( $args[1] * 1000 ); out( $args[0] ); } );
add_action( 't_chain', function ( $args ) { out( "chain $args[0]" ); if ( $args[0] > 0 ) wp_async_task_add( 't_chain', [ $args[0] - 1 ] ); } );
add_action( 't_throw', function () { throw new RuntimeException( 'a bad job' ); } );
"#;

impl Site {
    pub fn new(name: &str) -> Site {
        Site::with(name, Plan::default())
    }

    pub fn with(name: &str, plan: Plan) -> Site {
        let lab = lab();
        let gearmand = Gearmand::new(name);
        let dir = lab.dir.join("sites").join(name);
        let content = dir.join("wp-content");
        for sub in ["plugins", "mu-plugins", "uploads", "languages"] {
            fs::create_dir_all(content.join(sub)).unwrap();
        }
        for entry in fs::read_dir(WORDPRESS).unwrap() {
            let path = entry.unwrap().path();
            let file = path.file_name().unwrap().to_str().unwrap();
            // Where wp-load.php really is, is where WordPress is.
            if file.ends_with(".php") && file != "wp-config.php" {
                fs::copy(&path, dir.join(file)).unwrap();
            } else if ["wp-includes", "wp-admin"].contains(&file) {
                symlink(&path, dir.join(file)).unwrap();
            }
        }
        symlink(
            format!("{WORDPRESS}/wp-content/themes"),
            content.join("themes"),
        )
        .unwrap();
        symlink(
            lab.dir.join("lib/runner.php"),
            dir.join("wp-gears-runner.php"),
        )
        .unwrap();
        let salt = format!("salt-of-{name}");
        let config = format!(
            "<?php\ndefine( 'DB_NAME', 'wp' ); define( 'DB_USER', 'wp' ); define( 'DB_PASSWORD', 'wp' );\n\
             define( 'DB_HOST', 'localhost:{}' ); define( 'DB_CHARSET', 'utf8mb4' ); define( 'DB_COLLATE', '' );\n\
             $table_prefix = '{}_';\n\
             define( 'WP_GEARS', true ); define( 'WP_MINIONS_BACKEND', 'gearman' );\n\
             $gearman_servers = array( '{}' );\n\
             define( 'WP_ASYNC_TASK_SALT', '{salt}' );\n\
             define( 'DISABLE_WP_CRON', true ); define( 'WP_GEARS_TIMEOUT', 5000 );\n{}\n\
             if ( ! isset( $_SERVER['HTTP_HOST'] ) ) $_SERVER['HTTP_HOST'] = 'site.test';\n\
             if ( ! defined( 'ABSPATH' ) ) define( 'ABSPATH', __DIR__ . '/' );\n\
             require_once ABSPATH . 'wp-settings.php';\n",
            lab.socket().display(),
            name.replace('-', "_"),
            gearmand.server,
            plan.config,
        );
        fs::write(dir.join("wp-config.php"), &config).unwrap();
        lab.give_away(&dir);
        let site = Site {
            name: name.into(),
            function: format!("{salt}:WP_Async_Task"),
            dir,
            gearmand,
        };
        site.install();
        if plan.network {
            site.php(
                "define( 'WP_INSTALLING', true ); load(); require ABSPATH . 'wp-admin/includes/upgrade.php';
                 foreach ( $wpdb->tables( 'ms_global' ) as $name => $table ) { $wpdb->$name = $table; }
                 install_network(); populate_network( 1, 'site.test', 'a@site.test', 'test', '/', true );",
            );
            let network = "define( 'MULTISITE', true ); define( 'SUBDOMAIN_INSTALL', true ); \
                 define( 'DOMAIN_CURRENT_SITE', 'site.test' ); define( 'PATH_CURRENT_SITE', '/' ); \
                 define( 'SITE_ID_CURRENT_SITE', 1 ); define( 'BLOG_ID_CURRENT_SITE', 1 );\nif ( ! isset";
            site.write(
                "wp-config.php",
                &config.replacen("if ( ! isset", network, 1),
            );
        }
        let plugin = plan
            .plugin
            .unwrap_or_else(|| fs::read_to_string(lab.dir.join("lib/bundled.php")).unwrap());
        site.write("wp-content/mu-plugins/0-plugin.php", &plugin);
        site.write("wp-content/mu-plugins/jobs.php", JOBS);
        if !plan.jobs.is_empty() {
            site.write(
                "wp-content/mu-plugins/more.php",
                &format!("<?php\n{}", plan.jobs),
            );
        }
        // What is as young as the PHP that loads it counts as changed.
        sleep(50);
        site
    }

    /// Installs WordPress the first time, and copies those tables after that.
    fn install(&self) {
        static FIRST: Mutex<Option<String>> = Mutex::new(None);
        let prefix = self.name.replace('-', "_");
        let mut first = FIRST.lock().unwrap();
        let Some(from) = &*first else {
            self.php(
                "define( 'WP_INSTALLING', true ); load(); require ABSPATH . 'wp-admin/includes/upgrade.php';
                 add_filter( 'pre_wp_mail', '__return_true' );
                 wp_install( 'test', 'admin', 'a@site.test', true, '', 'pw' );
                 update_option( 'siteurl', 'http://site.test' ); update_option( 'home', 'http://site.test' );",
            );
            // Some options come with the first page.
            self.php("");
            for table in lab()
                .sql(&format!("USE wp; SHOW TABLES LIKE '{prefix}\\_%'"))
                .lines()
            {
                let rest = &table[prefix.len()..];
                lab().sql(&format!("USE wp; CREATE TABLE first{rest} LIKE {table}; INSERT INTO first{rest} SELECT * FROM {table}"));
            }
            *first = Some(prefix);
            return;
        };
        let tables = lab().sql("USE wp; SHOW TABLES LIKE 'first\\_%'");
        let mut copy = String::from("USE wp;");
        for table in tables.lines() {
            let rest = &table["first".len()..];
            copy += &format!(
                "CREATE TABLE {prefix}{rest} LIKE {table}; INSERT INTO {prefix}{rest} SELECT * FROM {table};"
            );
        }
        copy += &format!(
            "UPDATE {prefix}_options SET option_name = '{prefix}_user_roles' WHERE option_name = '{from}_user_roles';"
        );
        copy += &format!(
            "UPDATE {prefix}_usermeta SET meta_key = REPLACE( meta_key, '{from}_', '{prefix}_' )"
        );
        lab().sql(&copy);
    }

    pub fn write(&self, file: &str, text: &str) {
        // As an editor or a deployment does: in place of the old one.
        let path = self.dir.join(file);
        let new = path.with_extension("new");
        fs::write(&new, text).unwrap();
        lab().give_away(&new);
        fs::rename(new, path).unwrap();
    }

    /// Runs PHP with the site loaded (`load()` where the code does that itself).
    pub fn php(&self, code: &str) -> String {
        let load = if code.contains("load();") {
            ""
        } else {
            "load();"
        };
        let code = code.replace("load();", "require $argv[1] . '/wp-load.php';");
        let load = load.replace("load();", "require $argv[1] . '/wp-load.php';");
        let output = run(lab()
            .command("php")
            .args([
                "-d",
                "display_errors=stderr",
                "-r",
                &format!("{load} {code}"),
                "--",
            ])
            .arg(&self.dir));
        String::from_utf8(output.stdout).unwrap()
    }

    pub fn add(&self, hook: &str, args: Value) {
        self.add_many(&[(hook, args)]);
    }

    pub fn add_many(&self, jobs: &[(&str, Value)]) {
        let file = lab().dir.join(format!("{}.jobs", self.name));
        fs::write(&file, json!(jobs).to_string()).unwrap();
        let said = self.php(&format!(
            "foreach ( json_decode( file_get_contents( '{}' ), true ) as $j ) {{
                if ( ! is_string( wp_async_task_add( $j[0], $j[1] ) ) ) {{ echo 'not added'; }} }}",
            file.display()
        ));
        assert_eq!(said, "");
    }

    /// What the jobs wrote.
    pub fn lines(&self, file: &str) -> Vec<String> {
        fs::read_to_string(self.dir.join("wp-content/uploads").join(file))
            .unwrap_or_default()
            .lines()
            .map(String::from)
            .collect()
    }

    pub fn out(&self) -> Vec<String> {
        self.lines("out")
    }

    pub fn wait_for_out(&self, seconds: u64, count: usize) -> Vec<String> {
        let what = format!("{count} lines of {}", self.name);
        let start = Instant::now();
        while self.out().len() < count {
            let waited = start.elapsed().as_secs();
            assert!(
                waited < seconds,
                "waited {waited} s for {what}, have {}; log:\n{}",
                self.out().len(),
                self.log()
            );
            sleep(10);
        }
        self.out()
    }

    /// These lines and no others, none twice, in any order.
    pub fn assert_once(&self, mut expected: Vec<String>) {
        let mut got = self.out();
        got.sort();
        expected.sort();
        assert_eq!(got, expected, "log:\n{}", self.log());
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    pub fn log_path(&self) -> PathBuf {
        lab().dir.join("state").join(format!("{}.log", self.name))
    }

    pub fn wait_for_log(&self, seconds: u64, text: &str) {
        let start = Instant::now();
        while !self.log().contains(text) {
            assert!(
                start.elapsed().as_secs() < seconds,
                "no {text:?} in the log:\n{}",
                self.log()
            );
            sleep(10);
        }
    }

    pub fn state(&self, kind: &str) -> PathBuf {
        lab().dir.join("state").join(kind).join(&self.name)
    }

    pub fn worker(&self, options: &[&str]) -> Worker {
        Worker::start(self, options)
    }

    /// The command line, as root where the tests are: `wp-gears pause` and the like.
    pub fn wp_gears(&self, words: &[&str]) -> Output {
        run(Command::new(lab().dir.join("lib/wp-gears"))
            .args(words)
            .arg("--site")
            .arg(&self.dir)
            .arg("--state")
            .arg(lab().dir.join("state")))
    }

    pub fn failed(&self) -> Vec<Value> {
        let output = self.wp_gears(&["failed", "--json"]);
        let document: Value = serde_json::from_slice(&output.stdout).unwrap();
        is_valid("failed", &document);
        document["failed"].as_array().unwrap().clone()
    }

    /// Those that are kept, not those that wait.
    pub fn kept(&self) -> Vec<(String, String)> {
        let mut kept: Vec<_> = self
            .failed()
            .iter()
            .filter(|entry| entry["due"].is_null())
            .map(|entry| {
                let job = &entry["job"];
                let tries = job["tries"].as_array().unwrap();
                let error = tries.last().unwrap()["error"].as_str().unwrap();
                (
                    job["hook"].as_str().unwrap_or("-").to_string(),
                    error.to_string(),
                )
            })
            .collect();
        kept.sort();
        kept
    }

    pub fn waits(&self) -> u64 {
        self.gearmand
            .queue(&self.function)
            .map_or(0, |queue| queue.jobs)
    }
}

pub struct Worker {
    child: Child,
}

impl Worker {
    fn start(site: &Site, options: &[&str]) -> Worker {
        let lab = lab();
        let child = lab
            .command(lab.dir.join("lib/wp-gears"))
            .arg("worker")
            .arg("--site")
            .arg(&site.dir)
            .args(["--name", &site.name])
            .arg("--servers")
            .arg(site.gearmand.server.to_string())
            .arg("--runner")
            .arg(lab.dir.join("lib/runner.php"))
            .arg("--state")
            .arg(lab.dir.join("state"))
            .arg("--log")
            .arg(site.log_path())
            .args(["--retry-pause", "1"])
            .args(options)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        lab.remember(child.id());
        Worker { child }
    }

    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    pub fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }

    /// TERM, and how long it took to end.
    pub fn stop(mut self) -> Duration {
        let start = Instant::now();
        self.signal("TERM");
        let status = self.child.wait().unwrap();
        // The signal's default, where it came before the worker was set up.
        assert!(status.success() || status.signal() == Some(15), "{status}");
        start.elapsed()
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// The PHP process below it.
    pub fn php(&self) -> Option<i32> {
        children(self.pid()).first().copied()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn signal(pid: i32, name: &str) {
    // 0 and less are whole groups, the tests' own too.
    if pid <= 1 {
        return;
    }
    let _ = Command::new("kill")
        .args(["-s", name, &pid.to_string()])
        .status();
}

pub fn children(pid: i32) -> Vec<i32> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    fs::read_to_string(path)
        .unwrap_or_default()
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect()
}

/// Processor time of a process so far, in milliseconds.
pub fn processor_ms(pid: i32) -> u64 {
    let mut text = String::new();
    fs::File::open(format!("/proc/{pid}/stat"))
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    let fields: Vec<u64> = text[text.rfind(')').unwrap() + 2..]
        .split(' ')
        .map(|word| word.parse().unwrap_or(0))
        .collect();
    (fields[11] + fields[12]) * 10
}
