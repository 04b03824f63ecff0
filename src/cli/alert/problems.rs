//! What is wrong on this host now.

use anyhow::Result;

use crate::base::clock;
use crate::cli::alert::found::{Found, Kind};
use crate::cli::alert::memory::Memory;
use crate::cli::{doctor, status};
use crate::host::Host;
use crate::intent::alert::Alert;
use crate::intent::file::FileOptions;
use crate::queue::probe::{SiteStatus, Snapshot};
use crate::report::Ui;

/// How long it is told that jobs fail, after the last one did, in milliseconds.
const CALM: u64 = 10 * 60_000;

pub fn find(
    host: &Host,
    intent: &FileOptions,
    alert: &Alert,
    memory: &mut Memory,
    ui: Ui,
) -> Result<Vec<Found>> {
    let snapshot = status::whole(host, intent).snapshot();
    let mut found = of_servers(&snapshot, alert);
    for site in &snapshot.sites {
        found.extend(of_site(&snapshot, site, alert, memory));
    }
    if alert.doctor > 0 {
        let now = clock::now_ms();
        let since = now.saturating_sub(alert.doctor.saturating_mul(60_000));
        found.extend(match memory.doctor(since) {
            Some(known) => known,
            None => {
                let seen = of_doctor(host, ui)?;
                memory.set_doctor(now, seen.clone());
                seen
            }
        });
    }
    Ok(found)
}

fn of_servers(snapshot: &Snapshot, alert: &Alert) -> Vec<Found> {
    let servers = snapshot.servers.iter().filter(|_| alert.servers);
    let away = servers.filter_map(|seen| {
        let why = seen.away()?;
        let text = format!("the job server {} does not answer: {why}", seen.server);
        Some(Found::new(Kind::Server, &seen.server, text))
    });
    away.collect()
}

fn of_site(
    snapshot: &Snapshot,
    site: &SiteStatus,
    alert: &Alert,
    memory: &mut Memory,
) -> Vec<Found> {
    let name = &site.name;
    let now = clock::millis(snapshot.at);
    let mut found = Vec::new();
    let mut add = |kind, text: String| found.push(Found::new(kind, name, text));
    let oldest = snapshot.oldest_waiting_ms(site).unwrap_or(0) / 1000;
    if alert.waiting > 0 && oldest > alert.waiting {
        let why = match (site.paused, site.maintenance) {
            (true, _) => "; the site is paused",
            (_, true) => "; the site is in maintenance mode",
            _ => "",
        };
        let limit = alert.waiting;
        add(
            Kind::Waiting,
            format!("jobs of {name} wait longer than {limit} s: the oldest for {oldest} s{why}"),
        );
    }
    let Ok(counts) = &site.counts else {
        return found;
    };
    if alert.failed
        && let Some(figures) = &counts.figures
        && let Some(at) = memory.failed(name, figures.all.failed, now)
        && now.saturating_sub(at) < CALM
    {
        let kept = counts.failed;
        add(
            Kind::Failed,
            format!(
                "jobs of {name} fail: {kept} are kept; 'wp-gears failed --site {name}' lists them"
            ),
        );
    }
    let events = counts.events.as_ref();
    if let Some(seen) = events
        && let late = seen.lasting_ms() / 1000
        && alert.events > 0
        && late > alert.events
    {
        let (hook, limit) = (&seen.hook, alert.events);
        add(
            Kind::Events,
            format!(
                "WP-Cron of {name} is late: the event {hook} is overdue by {late} s, which is \
                 longer than {limit} s"
            ),
        );
    }
    if alert.workers && site.lacks_workers() {
        add(Kind::Workers, format!("{name} has no worker on this host"));
    }
    found
}

fn of_doctor(host: &Host, ui: Ui) -> Result<Vec<Found>> {
    let failures = doctor::failures(host, ui)?.into_iter().map(|report| {
        let subject = match &report.finding.site {
            Some(site) => format!("{} of {site}", report.check),
            None => report.check.to_owned(),
        };
        let text = format!("doctor: {subject}: {}", report.finding.message);
        Found::new(Kind::Doctor, &subject, text)
    });
    Ok(failures.collect())
}
