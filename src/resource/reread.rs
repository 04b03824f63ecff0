//! After wp-config.php changed: no page runs the old file any more. Opcode caches hold
//! it for a while, or for ever, and a request that began before runs it to its end.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::host::Host;
use crate::host::commands::Command;
use crate::host::process::ProcessId;
use crate::resource::{Change, Resource, ResourceId, State, Verb};
use crate::site::php::Php;
use crate::site::web_php::{self, Kind, WebPhp};

/// How long requests may take that began before.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often processes are looked at.
const PAUSE: Duration = Duration::from_millis(50);

/// Has a page drop the file from the opcode cache that it shares with all processes of
/// its server: whether it did.
pub type Forget = dyn Fn(&Host) -> Result<bool> + Send + Sync;

pub struct Reread {
    /// The wp-config.php.
    pub config: PathBuf,
    pub php: Option<Php>,
    /// Whether the file changes.
    pub changes: bool,
    pub to: To,
}

/// What has to be reached.
pub enum To {
    /// No request may run the old file any more.
    End(Box<Forget>),
    /// Requests that begin from now on run the new file. Caches that all processes of a
    /// server share are left to the proof, whose page drops the file from them.
    Begin,
}

impl Reread {
    /// The processes that serve the site's pages, as far as something is to do.
    fn serving(&self, host: &Host) -> Result<Vec<WebPhp>> {
        let mut serving = self.all(host)?;
        if let To::Begin = self.to {
            serving.retain(|it| matches!(it.kind(), Kind::Cgi | Kind::Fcgid | Kind::Lsphp));
        }
        Ok(serving)
    }

    fn all(&self, host: &Host) -> Result<Vec<WebPhp>> {
        let processes = host.processes();
        if let Some(php) = &self.php {
            let serving = web_php::serving(host, &processes, php)?;
            if !serving.is_empty() {
                return Ok(serving);
            }
        }
        web_php::all(host, &processes)
    }
}

impl Resource for Reread {
    fn id(&self) -> ResourceId {
        ResourceId::WebConfig(self.config.clone())
    }

    fn inspect(&self, host: &Host) -> Result<State> {
        let serving = match self.changes {
            true => self.serving(host)?,
            false => Vec::new(),
        };
        if serving.is_empty() {
            return Ok(State::Same);
        }
        // Several processes may be of one service.
        let details: BTreeSet<String> = serving.iter().map(detail).collect();
        let change = details
            .into_iter()
            .fold(Change::new(Verb::Reload), Change::detail);
        Ok(State::Differs(change))
    }

    fn apply(&self, host: &Host, watch: &dyn Fn(&str)) -> Result<()> {
        let serving = self.serving(host)?;
        let mut left = Vec::new();
        let fpm: Vec<&WebPhp> = serving.iter().filter(|it| it.kind() == Kind::Fpm).collect();
        if !fpm.is_empty() {
            watch("asking a page");
            // A page that cannot be asked is no failure: there are other ways.
            let forgot = match &self.to {
                To::End(forget) => forget(host).unwrap_or(false),
                To::Begin => true,
            };
            if !forgot {
                let caches: Vec<Cache> = fpm.iter().map(|it| Cache::of(host, it)).collect();
                let blind = fpm.iter().zip(&caches).filter(|(_, it)| it.is_blind());
                web_php::reload(host, blind.map(|(web, _)| *web), watch)?;
                let longest = caches.iter().filter_map(|it| it.revalidates).max();
                let wait = longest.unwrap_or_default();
                watch(&format!(
                    "waiting {} s for its cache to expire",
                    wait.as_secs()
                ));
                std::thread::sleep(wait);
            }
            for web in fpm {
                left.extend(requests(host, web));
            }
        }
        let others: Vec<&WebPhp> = serving.iter().filter(|it| it.kind() != Kind::Fpm).collect();
        for web in &others {
            left.extend(host.children(web.pid()).into_iter().map(Old::Process));
            if web.kind() != Kind::Apache {
                left.push(Old::Process(web.process()));
            }
        }
        web_php::reload(host, others, watch)?;
        if let To::Begin = self.to {
            return Ok(());
        }
        let start = Instant::now();
        loop {
            left.retain(|old| old.is_there(host));
            if left.is_empty() || start.elapsed() > PATIENCE {
                return Ok(());
            }
            watch(&format!(
                "waiting for requests that began before ({})",
                left.len()
            ));
            std::thread::sleep(PAUSE);
        }
    }
}

fn detail(web: &WebPhp) -> String {
    match (web.kind(), web.caution()) {
        (Kind::Fpm, _) => {
            format!("{web}: a page drops it from the cache; no request is interrupted")
        }
        (_, Some(caution)) => format!("{web}: reloaded; {caution}"),
        (_, None) => format!("{web}: reloaded gracefully, after the requests that it is serving"),
    }
}

/// What may run the old file.
enum Old {
    /// A process that ends after its request.
    Process(ProcessId),
    /// A process that was serving a request, with the sockets that it had open.
    Request(ProcessId, BTreeSet<PathBuf>),
}

impl Old {
    fn is_there(&self, host: &Host) -> bool {
        match self {
            Old::Process(process) => host.is_there(*process),
            Old::Request(process, had) => !had.is_disjoint(&sockets(host, process.pid)),
        }
    }
}

/// The requests that php-fpm is serving: its idle processes have no socket open that
/// their parent has not.
fn requests(host: &Host, web: &WebPhp) -> Vec<Old> {
    let shared = sockets(host, web.pid());
    let of = |process: ProcessId| {
        let own: BTreeSet<PathBuf> = &sockets(host, process.pid) - &shared;
        (!own.is_empty()).then_some(Old::Request(process, own))
    };
    host.children(web.pid())
        .into_iter()
        .filter_map(of)
        .collect()
}

fn sockets(host: &Host, pid: u32) -> BTreeSet<PathBuf> {
    let files = host.files_of(pid).into_iter();
    let is_socket = |path: &PathBuf| path.to_string_lossy().starts_with("socket:");
    files.filter(is_socket).collect()
}

/// php-fpm's opcode cache.
struct Cache {
    /// After how long it looks at a file again; `None` if never, or not soon.
    revalidates: Option<Duration>,
}

impl Cache {
    /// As the program says; without pools' own settings.
    fn of(host: &Host, web: &WebPhp) -> Cache {
        let exe = host.process(web.pid()).and_then(|it| it.exe);
        let info = exe.and_then(|exe| {
            let command = Command::new(exe)
                .args(["-i"])
                .user(&host.stranger().ok()?)
                .limit(Duration::from_secs(10));
            let output = host.run(&command).ok()?;
            Some(String::from_utf8_lossy(&output.stdout).into_owned())
        });
        Cache::read(&info.unwrap_or_default())
    }

    fn read(info: &str) -> Cache {
        let value = |name: &str| {
            let mut lines = info.lines();
            let line = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(" => "))?;
            line.split(" => ").next().map(str::trim)
        };
        let is_off = |name| matches!(value(name), Some("Off" | "0"));
        let seconds = value("opcache.revalidate_freq").and_then(|it| it.parse().ok());
        let seconds: u64 = seconds.unwrap_or(2);
        Cache {
            revalidates: match is_off("opcache.enable") {
                true => Some(Duration::ZERO),
                false if is_off("opcache.validate_timestamps") => None,
                // Nobody waits that long.
                false if seconds >= PATIENCE.as_secs() => None,
                // Whole seconds of its clock.
                false => Some(Duration::from_secs(seconds + 1)),
            },
        }
    }

    fn is_blind(&self) -> bool {
        self.revalidates.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_is_read_from_what_php_says() {
        let read = |text: &str| Cache::read(text).revalidates.map(|it| it.as_secs());
        assert_eq!(read(""), Some(3));
        assert_eq!(read("opcache.enable => Off => Off\n"), Some(0));
        let on = "opcache.enable => On => On\nopcache.enable_cli => Off => Off\n";
        let slow = "opcache.revalidate_freq => 10 => 10\nopcache.validate_timestamps => On => On\n";
        assert_eq!(read(&format!("{on}{slow}")), Some(11));
        let hour = "opcache.revalidate_freq => 3600 => 3600\n";
        assert_eq!(read(&format!("{on}{hour}")), None);
        let never = "opcache.validate_timestamps => Off => Off\n";
        assert_eq!(read(&format!("{on}{never}")), None);
    }
}
