//! The queues in Prometheus text format. Metric names and labels are stable.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::queue::probe::{QueueStatus, SiteCounts, Snapshot};
use crate::report::status::shown;
use crate::worker::figures::{Figures, LADDER, Ladder};

type Labels = Vec<(&'static str, String)>;
/// Returns the value of a metric.
type Number<T> = fn(&T) -> u64;

const OF_QUEUES: [(&str, &str, Number<QueueStatus>); 3] = [
    (
        "wp_gears_jobs_waiting",
        "Jobs waiting for a worker.",
        |queue| queue.waiting,
    ),
    (
        "wp_gears_jobs_running",
        "Jobs being run by workers.",
        |queue| queue.running,
    ),
    (
        "wp_gears_workers",
        "Workers connected for this function.",
        |queue| queue.workers,
    ),
];

const OF_SITES: [(&str, &str, &str, Number<SiteCounts>); 7] = [
    (
        "wp_gears_jobs_done_total",
        "counter",
        "Jobs completed by the site's workers on this host.",
        |counts| counts.done_ever,
    ),
    (
        "wp_gears_jobs_failed",
        "gauge",
        "Failed jobs stored on this host.",
        |counts| counts.failed as u64,
    ),
    (
        "wp_gears_jobs_waiting_for_retry",
        "gauge",
        "Jobs waiting for a retry.",
        |counts| counts.waiting_for_retry as u64,
    ),
    (
        "wp_gears_jobs_waiting_for_limit",
        "gauge",
        "Jobs waiting until the rules of their hooks let them run.",
        |counts| counts.waiting_for_limit.values().sum::<usize>() as u64,
    ),
    (
        "wp_gears_jobs_refused_total",
        "counter",
        "Jobs that the site's workers on this host refused: others submitted or changed them.",
        |counts| counts.refused_ever,
    ),
    (
        "wp_gears_jobs_unconfirmed_total",
        "counter",
        "Jobs that ended on this host after their job server had lost its worker: they may have run twice.",
        |counts| counts.unconfirmed_ever,
    ),
    (
        "wp_gears_oldest_job_seconds",
        "gauge",
        "Age of the longest-running job.",
        |counts| counts.oldest_ms.unwrap_or(0) / 1000,
    ),
];

const OF_HOOKS: [(&str, &str, Number<Figures>); 2] = [
    (
        "wp_gears_jobs_submitted_total",
        "Jobs that the site's workers on this host got from job servers and ran.",
        |figures| figures.submitted,
    ),
    (
        "wp_gears_jobs_unstamped_total",
        "Jobs whose submission time is unknown, so that they count in no wait.",
        |figures| figures.unstamped,
    ),
];

/// Returns the distribution of a metric.
type Distribution = fn(&Figures) -> &Ladder;

const TIMES: [(&str, &str, Distribution); 2] = [
    (
        "wp_gears_job_wait_seconds",
        "Time from the submission of a job to its start.",
        |figures| &figures.wait_ever,
    ),
    (
        "wp_gears_job_run_seconds",
        "Time from the start of a job to its end.",
        |figures| &figures.run_ever,
    ),
];

const RESULTS: [(&str, Number<Figures>); 3] = [
    ("done", |figures| figures.done),
    ("failed", |figures| figures.failed),
    ("retried", |figures| figures.retried),
];

pub fn text(snapshot: &Snapshot) -> String {
    let mut text = String::new();
    let servers = snapshot.servers.iter().map(|seen| {
        let labels = vec![("server", seen.server.clone())];
        (labels, u64::from(seen.answer.is_ok()))
    });
    let help = "Whether the job server answers.";
    metric(&mut text, "wp_gears_up", "gauge", help, servers.collect());
    for (name, help, number) in OF_QUEUES {
        // Two functions may look the same once their salts are masked.
        let mut sums: BTreeMap<Labels, u64> = BTreeMap::new();
        for queue in &snapshot.queues {
            let labels = vec![
                ("server", queue.server.clone()),
                ("site", queue.site.clone().unwrap_or_default()),
                ("function", shown(queue)),
            ];
            let sum = sums.entry(labels).or_default();
            *sum = sum.saturating_add(number(queue));
        }
        metric(&mut text, name, "gauge", help, sums.into_iter().collect());
    }
    let sites = || {
        snapshot
            .sites
            .iter()
            .map(|site| (vec![("site", site.name.clone())], site))
    };
    for (name, kind, help, number) in OF_SITES {
        let known = sites().filter_map(|(labels, site)| {
            let counts = site.counts.as_ref().ok()?;
            Some((labels, number(counts)))
        });
        metric(&mut text, name, kind, help, known.collect());
    }
    let paused = sites().map(|(labels, site)| (labels, u64::from(site.paused)));
    let help = "Whether the site's workers are paused.";
    metric(
        &mut text,
        "wp_gears_paused",
        "gauge",
        help,
        paused.collect(),
    );
    let oldest = snapshot.sites.iter().filter_map(|site| {
        let ms = snapshot.oldest_waiting_ms(site)?;
        Some((vec![("site", site.name.clone())], ms / 1000))
    });
    let help = "How long the oldest waiting job has waited, at most.";
    let name = "wp_gears_oldest_waiting_seconds";
    metric(&mut text, name, "gauge", help, oldest.collect());
    let overdue = sites().filter_map(|(labels, site)| {
        let seen = site.counts.as_ref().ok()?.events.as_ref()?;
        Some((labels, seen.overdue_ms() / 1000))
    });
    let help = "How long WordPress's first scheduled event was overdue when a worker looked.";
    let name = "wp_gears_events_overdue_seconds";
    metric(&mut text, name, "gauge", help, overdue.collect());
    of_hooks(&mut text, snapshot);
    text
}

/// What the workers recorded for each hook.
fn of_hooks(text: &mut String, snapshot: &Snapshot) {
    let hooks = || {
        let known = snapshot.sites.iter().filter_map(|site| {
            let figures = site.counts.as_ref().ok()?.figures.as_ref()?;
            Some((&site.name, &figures.hooks))
        });
        known.flat_map(|(site, hooks)| {
            hooks.iter().map(|hook| {
                let labels = vec![("site", site.clone()), ("hook", hook.hook.clone())];
                (labels, &hook.figures)
            })
        })
    };
    for (name, help, number) in OF_HOOKS {
        let samples = hooks().map(|(labels, figures)| (labels, number(figures)));
        metric(text, name, "counter", help, samples.collect());
    }
    let results = hooks().flat_map(|(labels, figures)| {
        RESULTS.map(|(result, number)| {
            let mut labels = labels.clone();
            labels.push(("result", result.to_owned()));
            (labels, number(figures))
        })
    });
    let help = "Attempts to run jobs, by what became of the job.";
    let name = "wp_gears_job_attempts_total";
    metric(text, name, "counter", help, results.collect());
    for (name, help, distribution) in TIMES {
        head(text, name, "histogram", help);
        for (labels, figures) in hooks() {
            histogram(text, name, &labels, distribution(figures));
        }
    }
}

fn histogram(text: &mut String, name: &str, labels: &Labels, times: &Ladder) {
    let mut sum: u64 = 0;
    let ends = LADDER.iter().map(|end| seconds(*end));
    let ends = ends.chain(["+Inf".to_owned()]);
    for (end, count) in ends.zip(times.steps) {
        sum = sum.saturating_add(count);
        let mut labels = labels.clone();
        labels.push(("le", end));
        sample(text, &format!("{name}_bucket"), &labels, &sum.to_string());
    }
    sample(text, &format!("{name}_sum"), labels, &seconds(times.sum_ms));
    sample(text, &format!("{name}_count"), labels, &sum.to_string());
}

/// Exactly, without a rounded last digit.
fn seconds(ms: u64) -> String {
    let text = format!("{}.{:03}", ms / 1000, ms % 1000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn metric(text: &mut String, name: &str, kind: &str, help: &str, samples: Vec<(Labels, u64)>) {
    head(text, name, kind, help);
    for (labels, number) in samples {
        sample(text, name, &labels, &number.to_string());
    }
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn sample(text: &mut String, name: &str, labels: &Labels, value: &str) {
    let labels: Vec<String> = labels
        .iter()
        .map(|(label, value)| format!("{label}=\"{}\"", escaped(value)))
        .collect();
    let _ = writeln!(text, "{name}{{{}}} {value}", labels.join(","));
}

fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn series_are_unique_and_labels_escaped() {
        let queue = |function: &str| QueueStatus {
            server: "[::1]:4730".into(),
            function: function.into(),
            site: None,
            waiting: 2,
            running: 0,
            workers: 1,
        };
        let snapshot = Snapshot {
            at: SystemTime::UNIX_EPOCH,
            servers: Vec::new(),
            queues: vec![
                queue("one:WP_Async_Task"),
                queue("two:WP_Async_Task"),
                queue("a\"b\\c"),
            ],
            sites: Vec::new(),
        };
        let text = text(&snapshot);
        assert!(
            text.contains(r#"function="••••:WP_Async_Task"} 4"#),
            "{text}"
        );
        assert!(text.contains(r#"function="a\"b\\c"} 2"#), "{text}");
        let series: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let mut names: Vec<&str> = series
            .iter()
            .filter_map(|line| line.rsplit_once(' '))
            .map(|(name, _)| name)
            .collect();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
