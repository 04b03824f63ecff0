//! How long jobs waited and ran, in one line for each site.

use crate::queue::probe::Snapshot;
use crate::worker::figures::Spread;

/// One line for each site that has run jobs in the last hour.
pub fn lines(snapshot: &Snapshot) -> Vec<String> {
    let of_site = |site: &crate::queue::probe::SiteStatus| {
        let hour = &site.counts.as_ref().ok()?.figures.as_ref()?.all.hour;
        let ran = hour.run_ms.map(|it| format!("; ran {}", spread(it)));
        let waited = match hour.wait_ms {
            Some(it) => format!("waited {}", spread(it)),
            None => "waited for an unknown time".into(),
        };
        (hour.jobs > 0).then(|| {
            let jobs = if hour.jobs == 1 { "job" } else { "jobs" };
            format!(
                "{}, last hour: {} {jobs}; {waited}{}",
                site.name,
                hour.jobs,
                ran.unwrap_or_default()
            )
        })
    };
    snapshot.sites.iter().filter_map(of_site).collect()
}

fn spread(times: Spread) -> String {
    let [p50, p95, p99, max] = [times.p50, times.p95, times.p99, times.max].map(short);
    format!("p50 {p50}, p95 {p95}, p99 {p99}, max {max}")
}

/// Like "12 ms", "1.2 s", "12 s" or "3 min 20 s".
fn short(ms: u64) -> String {
    match ms {
        0..1000 => format!("{ms} ms"),
        1000..10_000 => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
        10_000..60_000 => format!("{} s", ms / 1000),
        60_000..3_600_000 => format!("{} min {} s", ms / 60_000, ms / 1000 % 60),
        _ => format!("{} h {} min", ms / 3_600_000, ms / 60_000 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_short() {
        let shown = [0, 999, 1250, 59_999, 200_000, 5_000_000].map(short);
        assert_eq!(
            shown,
            [
                "0 ms",
                "999 ms",
                "1.2 s",
                "59 s",
                "3 min 20 s",
                "1 h 23 min"
            ]
        );
    }
}
