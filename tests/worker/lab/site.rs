//! A WordPress with a job server: creating it, adding jobs, and checking their results.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};
use wp_gears::gearman::server::Server;
use wp_gears::site::ask::Target;
use wp_gears::site::plugins::BUNDLED;

use super::gearmand::Gearmand;
use super::worker::Worker;
use super::{WORDPRESS, lab, run, signal, sleep};
use crate::common::judge::is_valid;
use wp_gears::worker::settings::CrewSettings;

/// A real WordPress with its own salt, log and folders.
pub struct Site {
    pub name: String,
    pub dir: PathBuf,
    pub gearmand: Gearmand,
    pub function: String,
}

#[derive(Default)]
pub struct Plan {
    /// The source of a plugin that replaces the bundled one.
    pub plugin: Option<String>,
    /// Additional lines of wp-config.php.
    pub config: String,
    /// A must-use plugin with the jobs of the test.
    pub jobs: String,
    pub network: bool,
    /// Without the plugin that seals jobs.
    pub plain: bool,
    /// The job server keeps its jobs in memory, not in a file.
    pub forgetful: bool,
    /// Another site's job server, instead of one of its own.
    pub server: Option<Server>,
}

/// The jobs of most tests: each writes a line.
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
        let queue = (!plan.forgetful).then(|| lab.dir.join(format!("{name}.sqlite")));
        let gearmand = match plan.server {
            Some(server) => Gearmand::of_another(server),
            None => Gearmand::new(queue),
        };
        let dir = lab.dir.join("sites").join(name);
        let content = dir.join("wp-content");
        for sub in ["plugins", "mu-plugins", "uploads", "languages"] {
            fs::create_dir_all(content.join(sub)).unwrap();
        }
        for entry in fs::read_dir(WORDPRESS).unwrap() {
            let path = entry.unwrap().path();
            let file = path.file_name().unwrap().to_str().unwrap();
            // WordPress resolves the path of wp-load.php, so it must not be a link.
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
             define( 'AUTH_KEY', 'Secret of {name}, 0123456789 abcdefghijk' ); define( 'AUTH_SALT', 'Other secret of {name}, 9876543210' );\n\
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
            .unwrap_or_else(|| wp_gears::site::seal::bundled().to_owned());
        site.write("wp-content/mu-plugins/0-plugin.php", &plugin);
        site.write("wp-content/mu-plugins/jobs.php", JOBS);
        if !plan.plain {
            let seal = wp_gears::site::seal::plugin(true);
            site.write("wp-content/mu-plugins/wp-gears-seal.php", seal);
            // A new one seals nothing yet.
            let old = SystemTime::now() - Duration::from_secs(60);
            let path = site.dir.join("wp-content/mu-plugins/wp-gears-seal.php");
            let file = fs::OpenOptions::new().write(true).open(path).unwrap();
            file.set_modified(old).unwrap();
        }
        if !plan.jobs.is_empty() {
            site.write(
                "wp-content/mu-plugins/more.php",
                &format!("<?php\n{}", plan.jobs),
            );
        }
        // A file as new as the PHP that loads it counts as changed.
        sleep(50);
        site
    }

    /// Installs WordPress once, and copies its tables after that.
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
            // The first page writes some options.
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
        // Replace the file, like editors and deployments do.
        let path = self.dir.join(file);
        let new = path.with_extension("new");
        fs::write(&new, text).unwrap();
        lab().give_away(&new);
        fs::rename(new, path).unwrap();
    }

    /// Runs PHP with the site loaded, unless the code calls `load()` itself.
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

    /// Adds jobs that sleep for `millis` and then write their numbers.
    pub fn add_sleeping(&self, numbers: Range<usize>, millis: u64) {
        let job = |n: usize| ("t_sleep", json!([n.to_string(), millis]));
        self.add_many(&numbers.map(job).collect::<Vec<_>>());
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

    /// The lines that the jobs wrote.
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

    /// How often each line was written.
    pub fn counts(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for line in self.out() {
            *counts.entry(line).or_default() += 1;
        }
        counts
    }

    /// Asserts that exactly these lines were written, once each, in any order.
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

    /// As setup and doctor ask it, as this user.
    pub fn target<'a>(&'a self, user: &'a str) -> Target<'a> {
        Target {
            dir: &self.dir,
            php: Path::new("/usr/bin/php"),
            user,
            plugin: &BUNDLED,
            cache: None,
            host: None,
        }
    }

    pub fn worker(&self, options: &[&str]) -> Worker {
        Worker::start(self, options)
    }

    /// Where its crew finds its settings.
    pub fn settings_path(&self) -> PathBuf {
        let file = format!("{}.settings.toml", self.name);
        lab().dir.join("state/run").join(file)
    }

    /// Writes them, as setup does, and tells the crew.
    pub fn settings(&self, settings: &CrewSettings) {
        let servers = vec![self.gearmand.server.clone()];
        let settings = CrewSettings {
            servers,
            ..settings.clone()
        };
        let path = self.settings_path();
        let new = path.with_extension("new");
        fs::write(&new, settings.to_text().unwrap()).unwrap();
        fs::rename(new, path).unwrap();
        self.wake_crew();
    }

    pub fn wake_crew(&self) {
        if let Some(crew) = self.crew() {
            signal(crew["pid"].as_i64().unwrap() as i32, "USR1");
        }
    }

    /// What the running crew tells about itself.
    pub fn crew(&self) -> Option<Value> {
        let entries = fs::read_dir(self.state("run")).ok()?;
        let mut files = entries.flatten().map(|entry| entry.path());
        let file = files.find(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let pid = name.strip_prefix("crew-");
            pid.is_some_and(|pid| PathBuf::from(format!("/proc/{pid}")).exists())
        })?;
        serde_json::from_str(&fs::read_to_string(file).ok()?).ok()
    }

    /// Runs the command line as the tests' user, for `wp-gears pause` and similar
    /// commands.
    pub fn wp_gears(&self, words: &[&str]) -> Output {
        run(Command::new(lab().dir.join("lib/wp-gears"))
            .args(words)
            .args(["--site", &self.name, "--state"])
            .arg(lab().dir.join("state")))
    }

    pub fn failed(&self) -> Vec<Value> {
        let output = self.wp_gears(&["failed", "--json"]);
        let document: Value = serde_json::from_slice(&output.stdout).unwrap();
        is_valid("failed", &document);
        document["failed"].as_array().unwrap().clone()
    }

    /// The failed jobs, without those that wait for a retry.
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
