//! Prints the queues as a table.

use crate::base::text::printable;
use crate::queue::probe::{QueueStatus, SiteStatus, Snapshot};
use crate::report::waits;
use crate::site::plugins;
use crate::worker::store::{MAX_KEPT, what_is_kept};
use console::{Alignment, Style, measure_text_width, pad_str, truncate_str};

/// What `--watch` adds to a queue: the recent numbers of waiting jobs, and the
/// jobs per second of its site's workers.
#[derive(Debug, Clone, Default)]
pub struct Trend {
    pub history: Vec<u64>,
    pub rate: Option<f64>,
}

/// A row of the table.
pub struct Row<'a> {
    pub queue: &'a QueueStatus,
    pub trend: Option<Trend>,
}

struct Column {
    head: &'static str,
    align: Alignment,
    /// Columns with the highest number are dropped first if space is short; 0 is
    /// never dropped.
    drop_order: u8,
    cells: Vec<String>,
}

/// How long WordPress's events may be overdue without being mentioned, in milliseconds. Some
/// cron jobs call it every quarter of an hour.
const LATE_EVENTS: u64 = 1_800_000;

const NO_VALUE: &str = "–";
const FUNCTION_DROP_ORDER: u8 = 2;

/// The queues of one job server, no line longer than `width`.
pub fn table(snapshot: &Snapshot, rows: &[Row], width: usize) -> Vec<String> {
    if rows.is_empty() {
        return vec![fit("  no queues", width)];
    }
    let mut columns = columns(snapshot, rows, width);
    let size = |column: &Column| {
        let cells = column.cells.iter().map(|cell| measure_text_width(cell));
        cells.chain([measure_text_width(column.head)]).max()
    };
    let total = |columns: &[Column]| -> usize {
        let sizes = columns.iter().filter_map(size);
        sizes.map(|size| size + 2).sum()
    };
    while total(&columns) > width && columns.len() > 1 {
        let Some(first) = (0..columns.len()).max_by_key(|at| columns[*at].drop_order) else {
            break;
        };
        // Only columns that stay are left.
        if columns[first].drop_order == 0 {
            break;
        }
        let dropped = columns.remove(first);
        if dropped.drop_order == FUNCTION_DROP_ORDER {
            // Show the function where there is no site, to tell the rows apart.
            for (site, function) in columns[0].cells.iter_mut().zip(dropped.cells) {
                if site == NO_VALUE {
                    *site = function;
                }
            }
        }
    }
    // A long site name is truncated in favor of the numbers.
    let over = total(&columns).saturating_sub(width);
    let widths: Vec<usize> = columns
        .iter()
        .enumerate()
        .map(|(at, column)| {
            let size = size(column).unwrap_or(0);
            if at == 0 {
                size.saturating_sub(over).max(4)
            } else {
                size
            }
        })
        .collect();
    (0..=rows.len())
        .map(|line| {
            let mut text = String::new();
            for (column, width) in columns.iter().zip(&widths) {
                let cell = match line {
                    0 => column.head,
                    line => &column.cells[line - 1],
                };
                text.push_str("  ");
                text.push_str(&pad_str(cell, *width, column.align, Some("…")));
            }
            fit(text.trim_end(), width)
        })
        .collect()
}

fn columns(snapshot: &Snapshot, rows: &[Row], width: usize) -> Vec<Column> {
    let mut columns = Vec::new();
    let mut add = |head, align, drop_order, cell: &dyn Fn(&Row) -> String| {
        let cells = rows.iter().map(cell).collect();
        columns.push(Column {
            head,
            align,
            drop_order,
            cells,
        });
    };
    let counts = |row: &Row| {
        let site = snapshot.site(row.queue.site.as_deref()?)?;
        site.counts.as_ref().ok()
    };
    let (left, right) = (Alignment::Left, Alignment::Right);
    let head = |long: &'static str, short: &'static str| if width < 60 { short } else { long };
    let samples = if width < 100 { 8 } else { 16 };
    add("SITE", left, 0, &|row| {
        row.queue.site.clone().unwrap_or_else(|| NO_VALUE.into())
    });
    add("FUNCTION", left, FUNCTION_DROP_ORDER, &|row| {
        shown(row.queue)
    });
    add("OLDEST", right, 1, &|row| {
        let site = row.queue.site.as_deref().and_then(|it| snapshot.site(it));
        let ms = site.and_then(|site| snapshot.oldest_waiting_ms(site));
        ms.map_or_else(|| NO_VALUE.into(), age)
    });
    add(head("WAITING", "WAIT"), right, 0, &|row| {
        row.queue.waiting.to_string()
    });
    add(head("RUNNING", "RUN"), right, 0, &|row| {
        row.queue.running.to_string()
    });
    let crew = |row: &Row| snapshot.site(row.queue.site.as_deref()?)?.crew.as_ref();
    let crew = |row: &Row| crew(row).filter(|crew| !crew.range.is_fixed());
    add(head("WORKERS", "WRK"), right, 1, &|row| {
        let number = row.queue.workers.to_string();
        crew(row).map_or(number.clone(), |crew| format!("{number}/{}", crew.range))
    });
    if rows.iter().any(|row| row.trend.is_some()) {
        let trend = |row: &Row| row.trend.clone().unwrap_or_default();
        add("JOBS/S", right, 3, &|row| {
            trend(row)
                .rate
                .map_or_else(|| NO_VALUE.into(), |rate| format!("{rate:.1}"))
        });
        add("HISTORY", left, 4, &|row| {
            let history = trend(row).history;
            spark(&history[history.len().saturating_sub(samples)..])
        });
    }
    let or_no_value = |text: Option<String>| text.unwrap_or_else(|| NO_VALUE.into());
    add("RUNS FOR", right, 7, &|row| {
        or_no_value(counts(row).map(|counts| counts.oldest_ms.map_or("0 s".into(), age)))
    });
    add("DONE", right, 8, &|row| {
        or_no_value(counts(row).map(|counts| counts.done.to_string()))
    });
    add("FAILED", right, 5, &|row| {
        or_no_value(counts(row).map(|counts| counts.failed.to_string()))
    });
    columns
}

/// One line for each job server.
pub fn server(snapshot: &Snapshot, at: usize, width: usize) -> String {
    let seen = &snapshot.servers[at];
    let text = match &seen.answer {
        Ok(version) => {
            let version = printable(version);
            format!(
                "{}  gearmand {version}, answers in {} ms",
                seen.server, seen.ms
            )
        }
        Err(why) => format!("{}  not available: {}", seen.server, printable(why)),
    };
    let style = match seen.answer {
        Ok(_) => Style::new().bold(),
        Err(_) => Style::new().red().bold(),
    };
    style.apply_to(fit(&text, width)).to_string()
}

/// What the table does not show.
pub fn notes(snapshot: &Snapshot) -> Vec<String> {
    let mut notes = Vec::new();
    for site in &snapshot.sites {
        let name = &site.name;
        if site.paused {
            notes.push(format!(
                "{name} is paused; run 'wp-gears resume' to continue"
            ));
        }
        if site.maintenance {
            notes.push(format!(
                "{name} is in maintenance mode; its jobs wait until that ends"
            ));
        }
        if let Some(crew) = &site.crew
            && let Some(what) = crew.held_by
        {
            notes.push(format!(
                "{name} has {} of {} workers, although jobs wait: {what}",
                crew.wanted, crew.range.max
            ));
        }
        if site.counts.as_ref().is_ok_and(|it| it.failed >= MAX_KEPT) {
            let limit = what_is_kept();
            notes.push(format!(
                "{name}: the next failed job displaces the oldest: {limit}"
            ));
        }
        if let Ok(counts) = &site.counts
            && counts.waiting_for_retry > 0
        {
            let count = counts.waiting_for_retry;
            let jobs = if count == 1 { "job" } else { "jobs" };
            notes.push(format!("{name}: {count} {jobs} waiting for a retry"));
        }
        let limited = site.counts.as_ref().map(|counts| &counts.waiting_for_limit);
        for (hook, count) in limited.into_iter().flatten() {
            let (jobs, hook) = (if *count == 1 { "job" } else { "jobs" }, printable(hook));
            notes.push(format!(
                "{name}: {count} {jobs} of {hook} waiting for the limit of a hook rule"
            ));
        }
        let events = site.counts.as_ref().ok().and_then(|it| it.events.as_ref());
        if let Some(seen) = events
            && seen.lasting_ms() > LATE_EVENTS
        {
            let (hook, late) = (printable(&seen.hook), age(seen.lasting_ms()));
            notes.push(format!(
                "{name}: WP-Cron is late: the event {hook} is overdue by {late}"
            ));
        }
        let connected = snapshot
            .queues
            .iter()
            .any(|queue| queue.site.as_ref() == Some(name) && queue.workers > 0);
        let known = snapshot.all_up() && !snapshot.has_closed();
        if !connected && !site.rests() && known {
            notes.push(format!(
                "{name}: none of its workers is connected to these job servers"
            ));
        }
    }
    let mut unknown: Vec<(&str, Vec<&str>)> = Vec::new();
    for site in &snapshot.sites {
        let Err(why) = &site.counts else { continue };
        match unknown.iter_mut().find(|(known, _)| known == why) {
            Some((_, sites)) => sites.push(&site.name),
            None => unknown.push((why, vec![&site.name])),
        }
    }
    for (why, sites) in unknown {
        let sites = sites.join(", ");
        notes.push(format!(
            "OLDEST, RUNS FOR, DONE and FAILED of {sites} are unknown: {why}"
        ));
    }
    notes
}

/// What keeps jobs from running now. Probes and the dashboard take any of it for a
/// failure.
pub fn problems(snapshot: &Snapshot) -> Vec<String> {
    let mut problems = Vec::new();
    for seen in &snapshot.servers {
        if let Some(why) = seen.away() {
            let why = printable(why);
            problems.push(format!("job server {}: {why}", seen.server));
        }
    }
    for site in &snapshot.sites {
        if site.lacks_workers() {
            problems.push(format!("{}: no worker runs on this host", site.name));
        }
    }
    for queue in &snapshot.queues {
        let site = queue.site.as_deref().and_then(|name| snapshot.site(name));
        let rests = site.is_some_and(SiteStatus::rests);
        if queue.waiting > 0 && queue.workers == 0 && !rests {
            let waiting = queue.waiting;
            let jobs = if waiting == 1 {
                "job waits"
            } else {
                "jobs wait"
            };
            problems.push(format!(
                "{waiting} {jobs} for {} at {}, and no worker is connected",
                printable(&shown(queue)),
                queue.server
            ));
        }
    }
    problems
}

/// An empty queue without workers that belongs to no site: job servers remember those.
pub fn is_idle_foreign(queue: &QueueStatus) -> bool {
    queue.site.is_none() && queue.waiting + queue.running + queue.workers == 0
}

pub fn shown(queue: &QueueStatus) -> String {
    plugins::shown_function(&queue.function, queue.site.is_some())
}

/// Formats an age like "0 s", "59 s", "12 min", "5 h" or "3 d".
fn age(ms: u64) -> String {
    match ms / 1000 {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds @ 60..3600 => format!("{} min", seconds / 60),
        seconds @ 3600..86_400 => format!("{} h", seconds / 3600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

/// A sparkline of blocks, scaled to the largest number.
fn spark(history: &[u64]) -> String {
    const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let most = history.iter().copied().max().unwrap_or(0).max(1);
    history
        .iter()
        .map(|number| BLOCKS[(number.saturating_mul(7).div_ceil(most)).min(7) as usize])
        .collect()
}

pub fn fit(text: &str, width: usize) -> String {
    truncate_str(text, width, "…").into_owned()
}

/// The text of a snapshot, as wide as the terminal.
pub fn lines(snapshot: &Snapshot) -> Vec<String> {
    let terminal = console::Term::stdout().size_checked();
    let width = terminal.map_or(100, |(_, columns)| usize::from(columns).max(20));
    let mut lines = Vec::new();
    for (at, seen) in snapshot.servers.iter().enumerate() {
        // Not truncated, so that errors are complete.
        lines.push(server(snapshot, at, usize::MAX));
        let rows: Vec<Row> = snapshot
            .queues
            .iter()
            .filter(|queue| queue.server == seen.server && !is_idle_foreign(queue))
            .map(|queue| Row { queue, trend: None })
            .collect();
        if seen.answer.is_ok() {
            lines.extend(table(snapshot, &rows, width));
        }
    }
    lines.extend(waits::lines(snapshot));
    lines.extend(notes(snapshot).iter().map(|note| format!("note: {note}")));
    lines
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::queue::probe::{SiteCounts, SiteStatus};
    use crate::report::status_document::document;

    fn snapshot() -> Snapshot {
        let site = |name: &str, counts| SiteStatus {
            name: name.into(),
            dir: None,
            paused: false,
            maintenance: false,
            crew: None,
            counts,
        };
        let queue = |function: &str, site: Option<&str>, waiting| QueueStatus {
            server: "127.0.0.1:4730".into(),
            function: function.into(),
            site: site.map(str::to_owned),
            waiting,
            running: 1,
            workers: 2,
        };
        Snapshot {
            at: SystemTime::UNIX_EPOCH,
            servers: Vec::new(),
            queues: vec![
                queue(
                    "geheim:WP_Async_Task",
                    Some("a-site-with-a-long-name-indeed"),
                    1234,
                ),
                queue("anders:WP_Async_Task", None, 7),
                queue("resize\x1b[2J", None, 0),
            ],
            sites: vec![
                site(
                    "a-site-with-a-long-name-indeed",
                    Ok(SiteCounts {
                        oldest_ms: Some(90_000),
                        done: 12,
                        ..SiteCounts::default()
                    }),
                ),
                site("b", Err("no".into())),
            ],
        }
    }

    #[test]
    fn no_salt_and_no_control_character_is_shown_and_no_line_is_too_long() {
        let snapshot = snapshot();
        for width in [10, 20, 40, 60, 80, 200] {
            let rows: Vec<Row> = snapshot
                .queues
                .iter()
                .map(|queue| Row {
                    queue,
                    trend: (width != 60).then(|| Trend {
                        history: vec![0, 1, 9],
                        rate: Some(1.0),
                    }),
                })
                .collect();
            let lines = table(&snapshot, &rows, width);
            assert_eq!(lines.len(), 4);
            for line in &lines {
                assert!(measure_text_width(line) <= width, "{width}: {line:?}");
                assert!(!line.contains(char::is_control), "{line:?}");
                assert!(
                    !line.contains("geheim") && !line.contains("anders"),
                    "{line}"
                );
            }
            if width >= 40 {
                assert!(lines[1].contains("1234"), "{width}: {lines:?}");
            }
        }
        let document = serde_json::to_string(&document(&snapshot)).unwrap();
        assert!(!document.contains("geheim") && !document.contains("anders"));
        assert!(document.contains("••••:WP_Async_Task"));
    }

    #[test]
    fn ages_and_history_are_short() {
        let ages: Vec<String> = [0, 59_999, 60_000, 7_200_000, 200_000_000].map(age).into();
        assert_eq!(ages, ["0 s", "59 s", "1 min", "2 h", "2 d"]);
        assert_eq!(spark(&[0, 1, 4, 8]), "▁▂▅█");
        assert_eq!(spark(&[0, 0]), "▁▁");
        assert_eq!(spark(&[u64::MAX]).chars().count(), 1);
    }
}
