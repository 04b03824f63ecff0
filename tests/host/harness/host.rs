//! A disposable host: boots, runs commands, loses power, and leaves nothing behind.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::command::{Out, command, run, shown};
use super::process::{self, Process};
use super::{Image, Tree, cache, machine};

#[derive(Clone, Copy, PartialEq)]
pub enum Shape {
    /// Systemd is process 1, and the network is a private loopback.
    Booted,
    /// A container: process 1 only waits, and nothing starts services.
    Plain,
    /// Like a container, but on the machine's network, to build images.
    Networked,
}

impl Shape {
    pub fn name(self) -> &'static str {
        match self {
            Shape::Booted => "booted",
            Shape::Plain => "plain",
            Shape::Networked => "networked",
        }
    }
}

const LIMIT: Duration = Duration::from_secs(300);

pub struct Host {
    pub name: String,
    pub shape: Shape,
    pub folder: PathBuf,
    image: Image,
    binds: Vec<String>,
    running: Option<Running>,
    _lock: File, // held as long as we live: tells a leftover from a host in use
}

struct Running {
    starter: Child,
    end: ChildStdin, // the host ends when this is dropped
    init: u32,
}

impl Host {
    pub fn boot(image: &Image, name: &str) -> Result<Host> {
        Host::start(image, name, Shape::Booted, &[])
    }

    /// `binds` are `SOURCE:TARGET:ro` or `…:rw`.
    pub fn start(image: &Image, name: &str, shape: Shape, binds: &[String]) -> Result<Host> {
        machine::prepare()?;
        fs::create_dir_all(hosts_folder())?;
        let starting = File::create(hosts_folder().with_extension("starting"))?;
        starting.lock()?; // or another run takes the half-made folder for a leftover
        remove_leftovers();
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{name}-{}-{count}", std::process::id());
        let folder = hosts_folder().join(&name);
        for part in ["root", "upper", "work"] {
            fs::create_dir_all(folder.join(part))?;
        }
        let lock = File::create(folder.join("lock"))?;
        lock.lock()?;
        drop(starting);
        let binds = image
            .binds()
            .into_iter()
            .chain(binds.iter().cloned())
            .collect();
        let image = image.clone();
        let mut host = Host {
            name,
            shape,
            image,
            folder,
            binds,
            running: None,
            _lock: lock,
        };
        host.power_on()?;
        Ok(host)
    }

    /// Starts it, possibly again after it went down. Its files are kept.
    pub fn power_on(&mut self) -> Result<()> {
        let mut start = Command::new("setsid");
        start
            .args(["unshare", "--mount", "--propagation", "private", "sh", "-c"])
            .args([include_str!("start.sh"), "start.sh"])
            .arg(self.shape.name())
            .args([
                self.folder.display().to_string(),
                self.image.lower(),
                self.name.clone(),
            ])
            .args(&self.binds)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(File::create(self.folder.join("starter"))?);
        let mut starter = start.spawn().context("starting a test host")?;
        let end = starter.stdin.take().context("no pipe to the test host")?;
        let began = Instant::now();
        let init = loop {
            if let Some(init) = process::init_below(starter.id()) {
                break init;
            }
            if starter.try_wait()?.is_some() || began.elapsed() > Duration::from_secs(20) {
                bail!(
                    "the test host {} did not start: {}",
                    self.name,
                    self.console()
                );
            }
            sleep(Duration::from_millis(10));
        };
        self.running = Some(Running { starter, end, init });
        self.wait_until_up()
    }

    fn wait_until_up(&mut self) -> Result<()> {
        let (question, answer): (&[&str], &[&str]) = match self.shape {
            Shape::Booted => (
                &["systemctl", "is-system-running"],
                &["running", "degraded"],
            ),
            _ => (
                &["sh", "-c", "grep -q sleep /proc/1/cmdline && echo up"],
                &["up"],
            ),
        };
        let began = Instant::now();
        loop {
            let state = self.run(question);
            if answer.contains(&state.stdout.trim()) {
                return Ok(());
            }
            if began.elapsed() > Duration::from_secs(90) || !self.is_up() {
                bail!(
                    "the test host {} did not come up: {state}\n{}",
                    self.name,
                    self.console()
                );
            }
            sleep(Duration::from_millis(100));
        }
    }

    /// Its process 1, as this machine numbers it.
    pub fn init(&self) -> u32 {
        self.running.as_ref().map_or(0, |running| running.init)
    }

    fn console(&self) -> String {
        let file = |name: &str| fs::read(self.folder.join(name)).unwrap_or_default();
        let text = [file("starter"), file("console")].concat();
        String::from_utf8_lossy(&text).into_owned()
    }

    pub fn is_up(&self) -> bool {
        self.running
            .as_ref()
            .is_some_and(|running| Path::new(&format!("/proc/{}/root/etc", running.init)).exists())
    }

    /// Copies the program under test to its usual path.
    pub fn install(&self, wp_gears: &Path) -> Result<()> {
        let bytes = fs::read(wp_gears).with_context(|| format!("no {}", wp_gears.display()))?;
        self.put("/usr/local/bin/wp-gears", bytes, 0o755)
    }

    /// The command that enters the host from the machine.
    pub fn enter_command(&self, shell: &str) -> String {
        shown(&self.command(&[shell]))
    }

    /// A command inside the host, as root, with a clean environment.
    pub fn command(&self, words: &[&str]) -> Command {
        let init = self
            .running
            .as_ref()
            .map_or(0, |running| running.init)
            .to_string();
        let enter = [
            "nsenter", "-t", &init, "-m", "-u", "-i", "-n", "-p", "-C", "-r", "-w",
        ];
        // Entering namespaces that a container shares with the machine has no effect.
        let mut inside = command(&[&enter[..], &["--"], words].concat());
        inside
            .env_clear()
            .env(
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            )
            .env("HOME", "/root")
            .env("LANG", "C.UTF-8");
        inside
    }

    pub fn run(&self, words: &[&str]) -> Out {
        self.run_with(words, b"", LIMIT)
    }

    pub fn run_with(&self, words: &[&str], input: &[u8], limit: Duration) -> Out {
        let mut out = run(self.command(words), input, limit);
        out.command = words.join(" ");
        out
    }

    pub fn shell(&self, script: &str) -> Out {
        self.run(&["sh", "-ec", script])
    }

    pub fn as_user(&self, user: &str, words: &[&str]) -> Out {
        self.run(&[&["runuser", "-u", user, "--"], words].concat())
    }

    /// Writes a file as root, and creates its folder.
    pub fn put(&self, path: &str, bytes: impl AsRef<[u8]>, mode: u32) -> Result<()> {
        let script = r#"mkdir -p "$(dirname "$1")" && cat >"$1" && chmod "$2" "$1""#;
        let words = ["sh", "-c", script, "put", path, &format!("{mode:o}")];
        self.run_with(&words, bytes.as_ref(), LIMIT)
            .check()
            .map(drop)
    }

    /// The text of a file; an error if there is none.
    pub fn read(&self, path: &str) -> Result<String> {
        self.run(&["cat", path]).check()
    }

    pub fn exists(&self, path: &str) -> bool {
        self.run(&["test", "-e", path]).code == 0
    }

    pub fn tree(&self, folders: &[&str]) -> Tree {
        assert!(self.is_up(), "nothing is seen of a host that is down");
        let init = self.running.as_ref().map_or(0, |running| running.init);
        Tree::read(Path::new(&format!("/proc/{init}/root")), folders)
    }

    pub fn processes(&self) -> Vec<Process> {
        self.running
            .as_ref()
            .map_or_else(Vec::new, |running| process::list(running.init))
    }

    /// The processes with `word` in their command lines.
    pub fn processes_of(&self, word: &str) -> Vec<Process> {
        let holds = |process: &Process| process.command.contains(word);
        self.processes().into_iter().filter(holds).collect()
    }

    /// The processor time of all processes that run or ran under its init.
    pub fn cpu(&self) -> Duration {
        let usage = cgroups(&self.name).iter().find_map(|group| {
            let stat = fs::read_to_string(group.join("cpu.stat")).ok()?;
            stat.lines()
                .find_map(|line| line.strip_prefix("usage_usec ")?.parse().ok())
        });
        Duration::from_micros(usage.unwrap_or(0))
    }

    pub fn kill9(&self, pid: u32) {
        self.shell(&format!("kill -KILL {pid}"));
    }

    /// Reboots properly.
    pub fn reboot(&mut self) -> Result<()> {
        self.shut_down()?;
        self.power_on()
    }

    pub fn shut_down(&mut self) -> Result<()> {
        if self.shape == Shape::Booted {
            self.run(&["systemctl", "poweroff"]);
            let began = Instant::now();
            while self.is_up() {
                if began.elapsed() > Duration::from_secs(120) {
                    bail!("the test host {} does not shut down", self.name);
                }
                sleep(Duration::from_millis(50));
            }
        }
        self.power_cut();
        Ok(())
    }

    /// Kills everything in it at once. Everything written is kept, whether fsynced or not.
    pub fn power_cut(&mut self) {
        if let Some(mut running) = self.running.take() {
            drop(running.end);
            let _ = running.starter.wait();
            remove_cgroups(&self.name);
        }
    }

    /// Shuts it down and returns what it wrote, as a layer of an image.
    pub fn into_layer(mut self, layer: &Path) -> Result<()> {
        self.shut_down()?;
        fs::rename(self.folder.join("upper"), layer).context("keeping a layer")
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.power_cut();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn hosts_folder() -> PathBuf {
    cache::folder().join("hosts")
}

/// Removes hosts of a killed run, whose lock is not held any more.
fn remove_leftovers() {
    for entry in fs::read_dir(hosts_folder()).into_iter().flatten().flatten() {
        let lock = File::open(entry.path().join("lock"));
        if lock.is_ok_and(|lock| lock.try_lock().is_err()) {
            continue;
        }
        remove_cgroups(&entry.file_name().to_string_lossy());
        let _ = fs::remove_dir_all(entry.path());
    }
}

fn cgroups(name: &str) -> Vec<PathBuf> {
    let trees =
        ["unified/", "systemd/", ""].map(|tree| format!("/sys/fs/cgroup/{tree}wp-gears-tests"));
    trees
        .iter()
        .map(|tree| Path::new(tree).join(name))
        .filter(|path| path.exists())
        .collect()
}

/// Kills what may be left in its control groups, which belong only to this host.
fn remove_cgroups(name: &str) {
    for group in cgroups(name) {
        let began = Instant::now();
        while !remove_cgroup(&group) && began.elapsed() < Duration::from_secs(5) {
            sleep(Duration::from_millis(20));
        }
    }
}

fn remove_cgroup(group: &Path) -> bool {
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_cgroup(&entry.path());
        }
    }
    let left = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    for pid in left
        .lines()
        .filter_map(|pid| pid.parse::<i32>().ok())
        .filter(|pid| *pid > 1)
    {
        let _ = command(&["kill", "-KILL", &pid.to_string()]).status();
    }
    fs::remove_dir(group).is_ok()
}
