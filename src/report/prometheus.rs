//! The queues in Prometheus text format. Metric names and labels are stable.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::queue::probe::{QueueStatus, SiteCounts, Snapshot};
use crate::report::status::shown;

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
    text
}

fn metric(text: &mut String, name: &str, kind: &str, help: &str, samples: Vec<(Labels, u64)>) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    for (labels, number) in samples {
        let labels: Vec<String> = labels
            .iter()
            .map(|(label, value)| format!("{label}=\"{}\"", escaped(value)))
            .collect();
        let _ = writeln!(text, "{name}{{{}}} {number}", labels.join(","));
    }
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
