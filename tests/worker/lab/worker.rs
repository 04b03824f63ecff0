//! The compiled program as a worker of a site.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use wp_gears::worker::settings::CrewSettings;

use super::{Site, children, lab, signal};

pub struct Worker {
    child: Child,
}

impl Worker {
    pub fn start(site: &Site, options: &[&str]) -> Worker {
        Worker::of_program(&lab().dir.join("lib/wp-gears"), site, options)
    }

    /// The same of another copy of the program.
    pub fn of_program(program: &Path, site: &Site, options: &[&str]) -> Worker {
        Worker::spawn(lab().command(program), site, options)
    }

    /// A worker whose PHP reads these lines after all its ini files.
    pub fn with_ini(site: &Site, options: &[&str], ini: &str) -> Worker {
        let folder = lab().dir.join(format!("{}.ini.d", site.name));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("odd.ini"), ini).unwrap();
        let mut command = lab().command(lab().dir.join("lib/wp-gears"));
        command.env("PHP_INI_SCAN_DIR", format!(":{}", folder.display()));
        Worker::spawn(command, site, options)
    }

    /// A crew with these settings in its file, as setup has supervisor start it.
    pub fn crew(site: &Site, settings: &CrewSettings) -> Worker {
        Worker::crew_of_program(&lab().dir.join("lib/wp-gears"), site, settings)
    }

    /// The same of another copy of the program.
    pub fn crew_of_program(program: &Path, site: &Site, settings: &CrewSettings) -> Worker {
        let path = site.settings_path();
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        lab().give_away(path.parent().unwrap());
        site.settings(settings);
        let command = lab().command(program);
        let options = ["--settings", path.to_str().unwrap()];
        Worker::spawn(command, site, &options)
    }

    /// One that forks jobs without what makes that faster.
    pub fn plainly(site: &Site, options: &[&str]) -> Worker {
        let mut command = lab().command(lab().dir.join("lib/wp-gears"));
        command.env("WP_GEARS_FORK_PLAINLY", "1");
        Worker::spawn(command, site, options)
    }

    fn spawn(mut command: Command, site: &Site, options: &[&str]) -> Worker {
        let lab = lab();
        command
            .arg("worker")
            .arg("--site")
            .arg(&site.dir)
            .args(["--name", &site.name])
            .arg("--servers")
            .arg(site.gearmand.server.to_string())
            .arg("--runner")
            .arg(lab.dir.join("lib/runner.php"))
            .arg("--log")
            .arg(site.log_path());
        // A test may have its own.
        if !options.contains(&"--state") {
            command.arg("--state").arg(lab.dir.join("state"));
        }
        if !options.contains(&"--retry-pause") {
            command.args(["--retry-pause", "1"]);
        }
        let child = command.args(options).stdin(Stdio::null()).spawn().unwrap();
        lab.remember(child.id());
        Worker { child }
    }

    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    pub fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }

    /// Sends TERM, and returns how long the worker took to exit.
    pub fn stop(mut self) -> Duration {
        let start = Instant::now();
        self.signal("TERM");
        let status = self.child.wait().unwrap();
        // The signal killed it, because it came before the worker had handlers.
        assert!(status.success() || status.signal() == Some(15), "{status}");
        start.elapsed()
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Its PHP process.
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
