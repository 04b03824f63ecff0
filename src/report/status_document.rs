//! The queues as a JSON document. It is written one site after the other: as a tree, that of
//! many sites takes ten times the memory of its text.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde::ser::{Serialize, Serializer};
use serde_json::{Value, json};

use crate::base::clock;
use crate::queue::probe::{QueueStatus, ServerStatus, SiteStatus, Snapshot};
use crate::report::status::shown;
use crate::worker::events::Events;
use crate::worker::figures::{Figures, HookFigures, SiteFigures};

pub struct Document<'a> {
    snapshot: &'a Snapshot,
    /// How many hooks of each site it has figures of: the busiest.
    hooks: usize,
}

pub fn document(snapshot: &Snapshot) -> Document<'_> {
    Document {
        snapshot,
        hooks: usize::MAX,
    }
}

impl Document<'_> {
    pub fn with_hooks(self, hooks: usize) -> Self {
        Document { hooks, ..self }
    }
}

impl Serialize for Document<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let snapshot = self.snapshot;
        Parts {
            version: env!("CARGO_PKG_VERSION"),
            at: clock::utc(clock::millis(snapshot.at)),
            ok: snapshot.all_up(),
            servers: Each(&snapshot.servers, server),
            queues: Each(&snapshot.queues, queue),
            sites: Each(&snapshot.sites, |it| self.site(it)),
        }
        .serialize(to)
    }
}

#[derive(serde::Serialize)]
struct Parts<Servers, Queues, Sites> {
    version: &'static str,
    at: String,
    ok: bool,
    servers: Servers,
    queues: Queues,
    sites: Sites,
}

/// A list whose items are made when they are written.
struct Each<'a, T, F>(&'a [T], F);

impl<'a, T, F: Fn(&'a T) -> Value> Serialize for Each<'a, T, F> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.0.iter().map(&self.1))
    }
}

fn server(seen: &ServerStatus) -> Value {
    json!({
        "server": seen.server,
        "up": seen.answer.is_ok(),
        "version": seen.answer.as_ref().ok(),
        "error": seen.answer.as_ref().err(),
        "closed": seen.closed,
        "ms": seen.ms,
    })
}

fn queue(queue: &QueueStatus) -> Value {
    json!({
        "server": queue.server,
        "site": queue.site,
        "function": shown(queue),
        "waiting": queue.waiting,
        "running": queue.running,
        "workers": queue.workers,
    })
}

impl Document<'_> {
    fn site(&self, site: &SiteStatus) -> Value {
        let snapshot = self.snapshot;
        let counts = site.counts.as_ref().ok();
        let figures = counts.and_then(|counts| counts.figures.as_ref());
        json!({
            "site": site.name,
            "dir": site.dir,
            "paused": site.paused,
            "maintenance": site.maintenance,
            "oldest_waiting_ms": snapshot.oldest_waiting_ms(site),
            "workers": counts.map(|counts| counts.workers),
            "workers_min": site.crew.as_ref().map(|crew| crew.range.min),
            "workers_max": site.crew.as_ref().map(|crew| crew.range.max),
            "held_by": site.crew.as_ref().and_then(|crew| crew.held_by),
            "busy": counts.map(|counts| counts.busy),
            "oldest_ms": counts.map(|counts| counts.oldest_ms.unwrap_or(0)),
            "done": counts.map(|counts| counts.done),
            "done_ever": counts.map(|counts| counts.done_ever),
            "failed": counts.map(|counts| counts.failed),
            "waiting_for_retry": counts.map(|counts| counts.waiting_for_retry),
            "waiting_for_limit": counts.map(|counts| by_hook(&counts.waiting_for_limit)),
            "refused_ever": counts.map(|counts| counts.refused_ever),
            "latest_failed": counts.map(|counts| &counts.latest_failed),
            "unconfirmed_ever": counts.map(|counts| counts.unconfirmed_ever),
            "figures": figures.map(|figures| self.figures(figures)),
            "events": counts.and_then(|counts| counts.events.as_ref()).map(events),
            "why_null": site.counts.as_ref().err(),
        })
    }

    fn figures<'a>(&self, of: &'a SiteFigures) -> ShownFigures<'a> {
        let mut hooks: Vec<&HookFigures> = of.hooks.iter().collect();
        if hooks.len() > self.hooks {
            hooks.sort_by_key(|hook| Reverse(hook.figures.day.jobs));
            hooks.truncate(self.hooks);
        }
        ShownFigures {
            all: &of.all,
            hooks,
        }
    }
}

#[derive(serde::Serialize)]
struct ShownFigures<'a> {
    #[serde(flatten)]
    all: &'a Figures,
    hooks: Vec<&'a HookFigures>,
}

fn events(seen: &Events) -> Value {
    json!({
        "overdue_ms": seen.overdue_ms(),
        "hook": seen.hook,
        "seen_at": clock::utc(seen.at),
    })
}

fn by_hook(counts: &BTreeMap<String, usize>) -> Vec<Value> {
    let one = |(hook, jobs)| json!({ "hook": hook, "jobs": jobs });
    counts.iter().map(one).collect()
}
