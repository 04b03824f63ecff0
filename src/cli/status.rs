//! `wp-gears status`: shows the queues.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;

use crate::base::paths::BASE;
use crate::cli::common::{DONE, FAILED};
use crate::cli::serve::{self, Door};
use crate::cli::sites::{self, WorkerSite};
use crate::cli::watch;
use crate::gearman::server::Server;
use crate::host::Host;
use crate::intent::adopt;
use crate::intent::dashboard::{self, Address};
use crate::intent::file::{self, FileOptions};
use crate::intent::options::OwnerPort;
use crate::queue::probe::{QueueProbe, Reader};
use crate::report::status::lines;
use crate::report::status_document::document;
use crate::report::{Ui, prometheus};

#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
OLDEST is how long the oldest waiting job has waited, at most: since the
submission of the job that started last, or since the site's crew last saw the
queue empty. Jobs of a lower priority may have waited longer. RUNS FOR is the age of the
longest-running job, and DONE counts the jobs that the running workers have
completed since they started. Only root and the site's worker user can see
these and FAILED; everyone can see the rest.

Exit codes: 0 all job servers answer; 1 a job server does not; 2 bad usage

Examples:
  wp-gears status
  wp-gears status --watch 1
  wp-gears status --serve
  wp-gears status --servers 10.0.0.5:4730,10.0.0.6:4730 --json
  wp-gears status --prometheus >/var/lib/node-exporter/wp-gears.prom")]
pub struct StatusArgs {
    /// Refresh every SECONDS until q or Ctrl-C is pressed [default: 2]
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "2",
          value_parser = seconds, conflicts_with_all = ["json", "prometheus"])]
    pub watch: Option<Duration>,
    /// Serve a web page that shows the queues live, with /metrics, /healthz and /api/status
    /// [default: 127.0.0.1:8730]
    #[arg(long, value_name = "ADDR:PORT", num_args = 0..=1, default_missing_value = "8730",
          conflicts_with_all = ["watch", "json", "prometheus"])]
    pub serve: Option<Address>,
    /// File with the token that --serve asks for; required if other machines can reach it
    #[arg(long, value_name = "FILE", requires = "serve")]
    pub token_file: Option<PathBuf>,
    /// Job servers to query [default: those that this host's sites use]
    #[arg(
        long,
        value_name = "HOST:PORT",
        value_delimiter = ',',
        env = "WP_GEARS_SERVERS"
    )]
    pub servers: Vec<Server>,
    /// Show only this site, given by folder or name; repeat for several
    #[arg(long = "site", value_name = "DIR")]
    pub sites: Vec<PathBuf>,
    /// Print one JSON document to standard output
    #[arg(long, conflicts_with = "prometheus")]
    pub json: bool,
    /// Print metrics in Prometheus text format
    #[arg(long)]
    pub prometheus: bool,
    #[arg(long, value_name = "DIR", default_value = crate::base::paths::BASE, hide = true)]
    pub state: PathBuf,
}

fn seconds(text: &str) -> Result<Duration, String> {
    text.parse()
        .ok()
        .filter(|seconds| (0.1..=3600.0).contains(seconds))
        .map(Duration::from_secs_f64)
        .ok_or_else(|| "expected 0.1 to 3600 seconds".into())
}

pub fn run(args: &StatusArgs) -> Result<u8> {
    let ui = Ui::new(args.json, false, false);
    if let Some(address) = args.serve {
        let door = Door {
            address: address.0,
            token_file: args.token_file.clone(),
        };
        let args = args.clone();
        // Sites may come and go while it runs.
        let probe = move || probe(&args, Ui::new(false, true, false));
        serve::run(&door, Box::new(probe), |line| ui.line(line))?;
        return Ok(DONE);
    }
    let probe = probe(args, ui)?;
    if let Some(every) = args.watch {
        return watch::run(probe, every, ui);
    }
    let snapshot = probe.snapshot();
    if args.json {
        ui.document(&document(&snapshot));
    } else if args.prometheus {
        ui.line(prometheus::text(&snapshot).trim_end());
    } else {
        lines(&snapshot).iter().for_each(|line| ui.line(line));
    }
    Ok(if snapshot.all_up() { DONE } else { FAILED })
}

fn probe(args: &StatusArgs, ui: Ui) -> Result<QueueProbe> {
    let host = Host::new(None)?;
    // The queues matter most when something is wrong, so show them anyway.
    let intent = file::read(&host, None).unwrap_or_else(|error| {
        ui.error("", &error);
        FileOptions::default()
    });
    let all = known_sites(&host, &args.state);
    let chosen = sites::pick(all, &args.sites)?;
    let servers = match &args.servers[..] {
        [] => servers(&host, &intent, &chosen),
        named => named.to_vec(),
    };
    Ok(QueueProbe {
        servers,
        isolated: isolated(&intent),
        sites: chosen
            .into_iter()
            .map(|site| (site.name, site.dir))
            .collect(),
        only: !args.sites.is_empty(),
        state: args.state.clone(),
        reader: reader(&host),
    })
}

fn reader(host: &Host) -> Reader {
    let user = host.user(dashboard::USER).ok().flatten();
    let me = rustix::process::geteuid().as_raw();
    match user.is_some_and(|user| user.uid == me) {
        true => Reader::Dashboard,
        false => Reader::Anyone,
    }
}

/// All queues and sites of this host, for root.
pub(super) fn whole(host: &Host, intent: &FileOptions) -> QueueProbe {
    let all = known_sites(host, Path::new(BASE));
    QueueProbe {
        servers: servers(host, intent, &all),
        isolated: isolated(intent),
        sites: all.into_iter().map(|site| (site.name, site.dir)).collect(),
        only: false,
        state: BASE.into(),
        reader: Reader::default(),
    }
}

/// Without permission, or on a host that was not set up, there are no sites.
fn known_sites(host: &Host, state: &Path) -> Vec<WorkerSite> {
    let programs = sites::programs(host);
    let mut all = sites::all(&programs, state).unwrap_or_default();
    if state == Path::new(BASE) {
        for site in programs.iter().filter_map(WorkerSite::of) {
            if !all.iter().any(|known| known.name == site.name) {
                all.push(site);
            }
        }
    }
    all
}

/// The owners' own job servers.
fn isolated(intent: &FileOptions) -> Vec<(Server, String)> {
    let ports = intent.host.owner_ports.iter().flatten();
    let of_port = |it: &OwnerPort| {
        let server = Server {
            port: it.port,
            ..Server::default()
        };
        (server, it.owner.clone())
    };
    ports.map(of_port).collect()
}

/// The job servers of the sites' workers; failing that, those in the config
/// file; failing that, this host's own.
fn servers(host: &Host, intent: &FileOptions, sites: &[WorkerSite]) -> Vec<Server> {
    let named = sites.iter().flat_map(|site| site.servers.iter().cloned());
    let mut found: Vec<Server> = named.collect();
    if found.is_empty() {
        let named = &intent.host.servers;
        found.extend(named.iter().flatten().filter_map(|one| one.parse().ok()));
    }
    if found.is_empty() {
        let own = adopt::own_server(host).and_then(|own| own.parse().ok());
        found.push(own.unwrap_or_default());
    }
    let mut once: Vec<Server> = Vec::new();
    for server in found {
        if !once.contains(&server) {
            once.push(server);
        }
    }
    once
}
