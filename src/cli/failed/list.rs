//! The list of failed jobs, and how many there are of each kind.

use std::collections::HashMap;

use anyhow::Result;
use serde::ser::{Error, SerializeSeq};
use serde::{Serialize, Serializer};

use crate::base::clock::utc;
use crate::base::text::printable;
use crate::cli::common::{DONE, FAILED};
use crate::cli::failed::{Filter, Opened};
use crate::report::Ui;
use crate::worker::store::{JobRecord, MAX_KEPT, what_is_kept};

/// Longer errors are cut off, in characters.
const LONGEST_ERROR: usize = 400;

/// The list in JSON.
#[derive(Serialize)]
struct Document<'a> {
    failed: Jobs<'a>,
    dropped: u64,
}

#[derive(Serialize)]
struct Listed<'a> {
    site: &'a str,
    due: Option<u64>,
    job: &'a JobRecord,
}

/// Read while they are written, as there may be many.
struct Jobs<'a> {
    ui: Ui,
    stores: &'a [Opened],
    filter: &'a Filter,
    code: std::cell::Cell<u8>,
}

impl Serialize for Jobs<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut jobs = serializer.serialize_seq(None)?;
        let mut error = None;
        let mut see = |site: &str, job: &JobRecord, due| {
            line(self.ui, site, job, due);
            // A closed pipe.
            if error.is_none() {
                error = jobs.serialize_element(&Listed { site, due, job }).err();
            }
        };
        self.code
            .set(each(self.ui, self.stores, self.filter, &mut see));
        match error {
            None => jobs.end(),
            Some(error) => Err(S::Error::custom(error)),
        }
    }
}

pub(super) fn list(ui: Ui, stores: &[Opened], filter: &Filter) -> Result<u8> {
    let code = match ui.json {
        false => each(ui, stores, filter, &mut |site, job, due| {
            line(ui, site, job, due);
        }),
        true => {
            let code = std::cell::Cell::new(DONE);
            let failed = Jobs {
                ui,
                stores,
                filter,
                code,
            };
            let document = Document {
                failed,
                dropped: dropped(stores),
            };
            ui.long_document(&document);
            document.failed.code.get()
        }
    };
    tell_dropped(ui, stores);
    Ok(code)
}

/// Shows the jobs that the filter takes. One site's trouble keeps nobody from the others.
fn each(
    ui: Ui,
    stores: &[Opened],
    filter: &Filter,
    see: &mut dyn FnMut(&str, &JobRecord, Option<u64>),
) -> u8 {
    let (mut found, mut hidden, mut code) = (0, 0, DONE);
    for opened in stores {
        let site = opened.site.name.as_str();
        let listed = opened.list(&mut |record, due| {
            if filter.takes(&record) {
                found += 1;
                see(site, &record, due);
            }
        });
        match listed {
            Ok(0) => {}
            Ok(unread) => {
                hidden += unread;
                ui.line(&format!(
                    "{site}: {unread} files are not listed, as they are no jobs, or too many"
                ));
            }
            Err(problem) => {
                ui.error("", &problem.into());
                code = FAILED;
            }
        }
    }
    if found + hidden == 0 && code == DONE {
        ui.line("No failed jobs.");
    }
    code
}

fn dropped(stores: &[Opened]) -> u64 {
    let dropped = stores.iter().map(|opened| opened.store.dropped());
    dropped.fold(0, u64::saturating_add)
}

fn tell_dropped(ui: Ui, stores: &[Opened]) {
    for opened in stores {
        let (name, dropped) = (&opened.site.name, opened.store.dropped());
        let is_full = opened.store.kept().is_ok_and(|kept| kept >= MAX_KEPT);
        let what = match dropped {
            0 if is_full => "the next failed job displaces the oldest".to_owned(),
            0 => continue,
            1 => "1 older failed job was dropped".to_owned(),
            _ => format!("{dropped} older failed jobs were dropped"),
        };
        ui.line(&format!("{name}: {what}: {}", what_is_kept()));
    }
}

fn short(error: &str) -> String {
    error.chars().take(LONGEST_ERROR).collect()
}

fn line(ui: Ui, site: &str, record: &JobRecord, due: Option<u64>) {
    let error = short(record.last_error());
    let at = utc(record.last_at());
    let hook = record.hook.as_deref().unwrap_or("-");
    let waits = due.map_or(String::new(), |due| format!(" (retry at {})", utc(due)));
    let tries = record.tries.len();
    ui.line(&printable(&format!(
        "{}  {at}  {site}  {hook}  {tries} attempt{}  {error}{waits}",
        record.id,
        if tries == 1 { "" } else { "s" },
    )));
}

/// Jobs of one site that failed in the same way.
#[derive(Serialize)]
struct Group {
    site: String,
    hook: Option<String>,
    error: String,
    count: usize,
    /// How many of them wait for a retry.
    waiting: usize,
    /// When the latest failed, in milliseconds since 1970.
    latest: u64,
}

pub(super) fn group(ui: Ui, stores: &[Opened], filter: &Filter) -> Result<u8> {
    let mut known: HashMap<(String, Option<String>, String), usize> = HashMap::new();
    let mut groups: Vec<Group> = Vec::new();
    let code = each(ui, stores, filter, &mut |site, record, due| {
        let error = short(record.last_error());
        let key = (site.to_owned(), record.hook.clone(), error);
        let at = *known.entry(key).or_insert_with_key(|(site, hook, error)| {
            groups.push(Group {
                site: site.clone(),
                hook: hook.clone(),
                error: error.clone(),
                count: 0,
                waiting: 0,
                latest: 0,
            });
            groups.len() - 1
        });
        let group = &mut groups[at];
        group.count += 1;
        group.waiting += usize::from(due.is_some());
        group.latest = group.latest.max(record.last_at());
    });
    groups.sort_by_key(|group| std::cmp::Reverse((group.count, group.latest)));
    for group in &groups {
        let hook = group.hook.as_deref().unwrap_or("-");
        let waits = match group.waiting {
            0 => String::new(),
            n => format!(" ({n} wait for a retry)"),
        };
        ui.line(&printable(&format!(
            "{:>6}  latest {}  {}  {hook}  {}{waits}",
            group.count,
            utc(group.latest),
            group.site,
            group.error
        )));
    }
    tell_dropped(ui, stores);
    if ui.json {
        let dropped = dropped(stores);
        ui.document(&serde_json::json!({ "groups": groups, "dropped": dropped }));
    }
    Ok(code)
}
