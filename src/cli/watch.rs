//! `wp-gears status --watch`: refreshes the queues on the screen.

use std::cmp::Reverse;
use std::collections::{HashMap, VecDeque};
use std::sync::mpsc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Result;

use crate::base::clock;
use crate::cli::common::{DONE, FAILED};
use crate::queue::probe::{QueueProbe, QueueStatus, Snapshot};
use crate::report::Ui;
use crate::report::screen::{self, Event, Screen};
use crate::report::status::{Row, Trend, fit, is_idle_foreign, lines, notes, server, table};

/// The number of snapshots in the history column.
const LONGEST: usize = 16;

/// How often keys and the screen size are checked between snapshots.
const TICK: Duration = Duration::from_millis(100);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Name,
    Waiting,
    Running,
    Workers,
    Rate,
}

const KEYS: [(u8, Order, &str); 5] = [
    (b'n', Order::Name, "name"),
    (b'w', Order::Waiting, "waiting"),
    (b'r', Order::Running, "running"),
    (b'k', Order::Workers, "workers"),
    (b'j', Order::Rate, "jobs/s"),
];

/// What earlier snapshots showed: waiting jobs by server and function, completed
/// jobs and jobs per second by site.
#[derive(Default)]
struct Memory {
    waited: HashMap<(String, String), VecDeque<u64>>,
    done: HashMap<String, (SystemTime, u64)>,
    rates: HashMap<String, f64>,
}

impl Memory {
    fn add(&mut self, snapshot: &Snapshot) {
        for queue in &snapshot.queues {
            let waited = self.waited.entry(key(queue)).or_default();
            waited.push_back(queue.waiting);
            if waited.len() > LONGEST {
                waited.pop_front();
            }
        }
        self.waited
            .retain(|at, _| snapshot.queues.iter().any(|queue| key(queue) == *at));
        for site in &snapshot.sites {
            let Ok(counts) = &site.counts else {
                self.rates.remove(&site.name);
                continue;
            };
            let now = (snapshot.at, counts.done_ever);
            if let Some((at, before)) = self.done.insert(site.name.clone(), now)
                && let Ok(time) = snapshot.at.duration_since(at)
                && !time.is_zero()
            {
                let more = counts.done_ever.saturating_sub(before);
                let rate = more as f64 / time.as_secs_f64();
                self.rates.insert(site.name.clone(), rate);
            }
        }
    }

    fn row<'a>(&self, queue: &'a QueueStatus) -> Row<'a> {
        let history = self.waited.get(&key(queue)).cloned().unwrap_or_default();
        let rate = queue.site.as_ref().and_then(|site| self.rates.get(site));
        let trend = Some(Trend {
            history: history.into(),
            rate: rate.copied(),
        });
        Row { queue, trend }
    }
}

fn key(queue: &QueueStatus) -> (String, String) {
    (queue.server.clone(), queue.function.clone())
}

pub fn run(probe: QueueProbe, every: Duration, ui: Ui) -> Result<u8> {
    if screen::is_available() {
        on_screen(probe, every)
    } else {
        in_blocks(&probe, every, ui)
    }
}

/// Prints one block after another, for pipes and terminals without cursor control.
fn in_blocks(probe: &QueueProbe, every: Duration, ui: Ui) -> Result<u8> {
    loop {
        let start = Instant::now();
        let snapshot = probe.snapshot();
        let time = clock::utc(clock::millis(snapshot.at));
        let block = [time].into_iter().chain(lines(&snapshot));
        for line in block.chain([String::new()]) {
            if !ui.try_line(&line) {
                return Ok(DONE); // The reader has closed the pipe.
            }
        }
        std::thread::sleep(every.saturating_sub(start.elapsed()));
    }
}

fn on_screen(probe: QueueProbe, every: Duration) -> Result<u8> {
    let screen = Screen::take()?;
    // Another thread takes the snapshots, so that keys work while a job server is slow.
    let (send, snapshots) = mpsc::channel();
    std::thread::spawn(move || {
        loop {
            let start = Instant::now();
            if send.send(probe.snapshot()).is_err() {
                return;
            }
            std::thread::sleep(every.saturating_sub(start.elapsed()));
        }
    });
    let mut memory = Memory::default();
    let mut order = Order::Name;
    let mut last: Option<Snapshot> = None;
    let mut drawn = None;
    loop {
        while let Ok(snapshot) = snapshots.try_recv() {
            memory.add(&snapshot);
            last = Some(snapshot);
            drawn = None;
        }
        let size = screen.size();
        if drawn != Some((size, order)) {
            let lines = match &last {
                Some(snapshot) => draw(snapshot, &memory, order, every, size),
                None => vec![fit("querying the job servers …", size.0)],
            };
            screen.draw(&lines)?;
            drawn = Some((size, order));
        }
        match screen.wait(Instant::now() + TICK)? {
            Event::Key(b'q') | Event::Quit => break,
            Event::Key(typed) => {
                if let Some((_, by, _)) = KEYS.iter().find(|(key, _, _)| *key == typed) {
                    order = *by;
                }
            }
            Event::Redraw => {}
        }
    }
    Ok(match last {
        Some(last) if !last.all_up() => FAILED,
        _ => DONE,
    })
}

/// Returns all lines of the screen; the last one explains the keys.
fn draw(
    snapshot: &Snapshot,
    memory: &Memory,
    order: Order,
    every: Duration,
    (width, height): (usize, usize),
) -> Vec<String> {
    let mut lines = Vec::new();
    for (at, seen) in snapshot.servers.iter().enumerate() {
        lines.push(server(snapshot, at, width));
        if seen.answer.is_err() {
            continue;
        }
        let mut rows: Vec<Row> = snapshot
            .queues
            .iter()
            .filter(|queue| queue.server == seen.server && !is_idle_foreign(queue))
            .map(|queue| memory.row(queue))
            .collect();
        sort(&mut rows, order);
        lines.extend(table(snapshot, &rows, width));
    }
    let notes = notes(snapshot).into_iter();
    lines.extend(notes.map(|note| fit(&format!("note: {note}"), width)));
    let room = height.saturating_sub(2);
    if lines.len() > room {
        let more = lines.len() - room.saturating_sub(1);
        lines.truncate(room.saturating_sub(1));
        lines.push(fit(&format!("… {more} more lines"), width));
    }
    lines.resize(room, String::new());
    let time = clock::utc(clock::millis(snapshot.at));
    let time = time.get(11..19).unwrap_or_default();
    let name = KEYS.iter().find(|(_, by, _)| *by == order);
    let by = name.map_or("", |(_, _, name)| name);
    lines.push(fit(
        &format!(
            "{time} UTC, every {} s, sorted by {by}",
            every.as_secs_f64()
        ),
        width,
    ));
    let keys: Vec<String> = KEYS
        .iter()
        .map(|(key, _, name)| format!("{} {name}", char::from(*key)))
        .collect();
    let long = format!("q quit   sort: {}", keys.join("  "));
    let short = "q quit   sort: n w r k j";
    let help = if long.chars().count() <= width {
        &long
    } else {
        short
    };
    lines.push(fit(help, width));
    lines.truncate(height);
    lines
}

fn sort(rows: &mut [Row], order: Order) {
    rows.sort_by_key(|row| {
        (
            row.queue.site.is_none(),
            row.queue.site.clone(),
            row.queue.function.clone(),
        )
    });
    let rate = |row: &Row| {
        let rate = row.trend.as_ref().and_then(|trend| trend.rate);
        // Thousandths as integers, which have a total order.
        rate.map_or(0, |rate| (rate * 1000.0) as u64)
    };
    match order {
        Order::Name => {}
        Order::Waiting => rows.sort_by_key(|row| Reverse(row.queue.waiting)),
        Order::Running => rows.sort_by_key(|row| Reverse(row.queue.running)),
        Order::Workers => rows.sort_by_key(|row| Reverse(row.queue.workers)),
        Order::Rate => rows.sort_by_key(|row| Reverse(rate(row))),
    }
}
