//! `wp-gears worker --check`, by which setup learns whether a worker could load the
//! site, before the site is switched on: with the worker's PHP, options and runner, and
//! with the settings that wp-config.php does not have yet, from standard input.

use std::io::{Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use serde::{Deserialize, Serialize};

use crate::base::problem::Problem;
use crate::worker::Paths;
use crate::worker::heartbeat::Heartbeat;
use crate::worker::log::SiteLog;
use crate::worker::maintenance;
use crate::worker::message::{Predefined, RunnerMessage};
use crate::worker::options::WorkerArgs;
use crate::worker::runtime::PhpRuntime;
use crate::worker::signals::{self, Signals};

/// How long the site may take to load: less than for a worker, because other sites wait
/// for the run's end, and as long as for other questions to a site.
const LOADS: Duration = Duration::from_secs(30);
/// With some time to say that WordPress took too long.
pub const LIMIT: Duration = Duration::from_secs(LOADS.as_secs() + 10);

/// The answer: one line of JSON on standard output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The site can run jobs.
    Ready {
        plugin: String,
        php: String,
        fork: bool,
        why_not: String,
    },
    /// It cannot, and why.
    Broken(String),
}

pub(super) fn run(args: &WorkerArgs) -> anyhow::Result<()> {
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    let predefine = serde_json::from_str(&text)
        .map_err(|e| Problem::new("read the settings from standard input", e))?;
    let mut line = serde_json::to_vec(&verdict(args, predefine)?)?;
    line.push(b'\n');
    std::io::stdout().write_all(&line)?;
    Ok(())
}

fn verdict(args: &WorkerArgs, predefine: Predefined) -> anyhow::Result<Verdict> {
    let signals = Signals::take()?;
    let log = SiteLog::open(Path::new("-"), "check".into());
    let settings = args.options.clone().settings();
    let paths = Paths::new(&args.state, &args.name);
    let mut heartbeat = Heartbeat::unseen()?;
    let mut runtime = PhpRuntime::new(args, &settings, &paths, &log)?.with(predefine);
    let until = Instant::now() + LOADS;
    let verdict = loop {
        if Instant::now() >= until {
            let why = format!("it did not load within {} s", LOADS.as_secs());
            break Verdict::Broken(runtime.with_output(&why));
        }
        while signals.next().is_some() {}
        if let Err(why) = runtime.load(Instant::now(), &mut heartbeat) {
            break Verdict::Broken(why);
        }
        while runtime.reap().is_some() {}
        runtime.receive();
        if let Some(message) = runtime.next_message(&mut heartbeat) {
            match message {
                RunnerMessage::Ready(ready) => {
                    break Verdict::Ready {
                        plugin: ready.plugin,
                        php: ready.php,
                        fork: ready.fork,
                        why_not: ready.why_not,
                    };
                }
                RunnerMessage::Broken(why) => break Verdict::Broken(why),
                // The others are about jobs.
                _ => continue,
            }
        }
        if runtime.is_in_maintenance() {
            break Verdict::Broken(format!(
                "the site is in maintenance mode ({}), which ends ten minutes after it began, or when that file is removed",
                args.site.join(maintenance::FILE).display()
            ));
        }
        if runtime.pid().is_none() {
            continue; // It has to start in another way.
        }
        if runtime.died_at_boot() {
            break Verdict::Broken(runtime.with_output("PHP exited while loading the site"));
        }
        let mut fds = vec![PollFd::new(&signals, PollFlags::IN)];
        fds.extend(runtime.poll_fds());
        signals::wait_for(&mut fds, Some(Duration::from_secs(1)));
    };
    runtime.kill();
    Ok(verdict)
}
