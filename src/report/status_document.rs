//! The queues as a JSON document.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::base::clock;
use crate::queue::probe::Snapshot;
use crate::report::status::shown;
use crate::worker::events::Events;

pub fn document(snapshot: &Snapshot) -> Value {
    let servers: Vec<Value> = snapshot
        .servers
        .iter()
        .map(|seen| {
            json!({
                "server": seen.server,
                "up": seen.answer.is_ok(),
                "version": seen.answer.as_ref().ok(),
                "error": seen.answer.as_ref().err(),
                "closed": seen.closed,
                "ms": seen.ms,
            })
        })
        .collect();
    let queues: Vec<Value> = snapshot
        .queues
        .iter()
        .map(|queue| {
            json!({
                "server": queue.server,
                "site": queue.site,
                "function": shown(queue),
                "waiting": queue.waiting,
                "running": queue.running,
                "workers": queue.workers,
            })
        })
        .collect();
    let sites: Vec<Value> = snapshot
        .sites
        .iter()
        .map(|site| {
            let counts = site.counts.as_ref().ok();
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
                "figures": counts.and_then(|counts| counts.figures.as_ref()),
                "events": counts.and_then(|counts| counts.events.as_ref()).map(events),
                "why_null": site.counts.as_ref().err(),
            })
        })
        .collect();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "at": clock::utc(clock::millis(snapshot.at)),
        "ok": snapshot.all_up(),
        "servers": servers,
        "queues": queues,
        "sites": sites,
    })
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
