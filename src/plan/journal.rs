//! The journal: what a step is about to change, and what was there before. There
//! is one per site and one for what sites share. It is append-only and flushed
//! before each change. remove reads it; plans never do.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::base::paths::STATE;
use crate::base::problem::Problem;
use crate::host::Host;
use crate::host::files::Node;
use crate::resource::{Inverse, ResourceId, originals};

/// The version of the format. Older versions stay readable as long as hosts have them.
const VERSION: u32 = 1;

/// What a resource belongs to, which decides its journal.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    Host,
    /// A site, by its name.
    Site(String),
}

impl Scope {
    fn file(&self) -> PathBuf {
        match self {
            Scope::Host => Path::new(STATE).join("host.jsonl"),
            Scope::Site(name) => Path::new(STATE).join(format!("site-{name}.jsonl")),
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "kebab-case")]
enum Record {
    /// First line: the version of the format and, for a site, its folder.
    Opened {
        version: u32,
        #[serde(skip_serializing_if = "Option::is_none")]
        site: Option<PathBuf>,
        at: u64,
    },
    Begin {
        number: usize,
        at: u64,
        #[serde(rename = "undo")]
        act: Act,
    },
    Done {
        number: usize,
    },
}

/// What one step changes: usually one resource. Several are written as a kind of
/// their own, "all".
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", try_from = "Value")]
enum Act {
    All {
        parts: Vec<Inverse>,
    },
    #[serde(untagged)]
    One(Inverse),
}

/// Replaces serde's own error, which names neither the kind nor the field that is
/// wrong.
impl TryFrom<Value> for Act {
    type Error = serde_json::Error;

    fn try_from(mut value: Value) -> Result<Self, serde_json::Error> {
        if value["kind"] == "all" {
            let parts = serde_json::from_value(value["parts"].take())?;
            return Ok(Act::All { parts });
        }
        serde_json::from_value(value).map(Act::One)
    }
}

impl Act {
    fn of(mut inverses: Vec<Inverse>) -> Act {
        match inverses.pop() {
            Some(only) if inverses.is_empty() => Act::One(only),
            last => {
                inverses.extend(last);
                Act::All { parts: inverses }
            }
        }
    }

    fn inverses(self) -> Vec<Inverse> {
        match self {
            Act::All { parts } => parts,
            Act::One(inverse) => vec![inverse],
        }
    }
}

/// The history of one resource, folded: the first original and the last result.
#[derive(Debug, Clone)]
pub struct Entry {
    pub inverse: Inverse,
    /// Its last change began, but its end was not written.
    pub unfinished: bool,
}

/// A journal that was read.
#[derive(Debug, Clone, Default)]
pub struct History {
    pub site: Option<PathBuf>,
    /// In the order of the first change to each resource.
    pub entries: Vec<Entry>,
    count: usize,
    /// Whether its first line exists.
    opened: bool,
}

impl History {
    fn add(&mut self, inverse: Inverse, known: &mut BTreeMap<ResourceId, usize>) -> usize {
        let id = inverse.kind().id();
        if let Some(at) = known.get(&id) {
            let entry = &mut self.entries[*at];
            entry.inverse = entry.inverse.clone().fold(inverse);
            entry.unfinished = true;
            return *at;
        }
        self.entries.push(Entry {
            inverse,
            unfinished: true,
        });
        known.insert(id, self.entries.len() - 1);
        self.entries.len() - 1
    }
}

pub struct Journal<'a> {
    host: &'a Host,
    scope: Scope,
    site: Option<PathBuf>,
    next: usize,
    opened: bool,
}

impl<'a> Journal<'a> {
    pub fn open(host: &'a Host, scope: Scope, site: Option<PathBuf>) -> Result<Self> {
        let history = read(host, &scope)?;
        Ok(Journal {
            host,
            scope,
            site,
            next: history.as_ref().map_or(0, |h| h.count),
            opened: history.is_some_and(|history| history.opened),
        })
    }

    /// Records a change before it is made, with its inverses. Returns its number
    /// for `done`.
    pub fn begin(&mut self, inverses: Vec<Inverse>) -> Result<usize> {
        if !self.opened {
            originals::make_folders(self.host)?;
            self.write(&Record::Opened {
                version: VERSION,
                site: self.site.clone(),
                at: now(),
            })?;
            self.opened = true;
        }
        let number = self.next;
        self.next += 1;
        self.write(&Record::Begin {
            number,
            at: now(),
            act: Act::of(inverses),
        })?;
        Ok(number)
    }

    pub fn done(&self, number: usize) -> Result<()> {
        self.write(&Record::Done { number })
    }

    fn write(&self, record: &Record) -> Result<()> {
        let mut line = serde_json::to_vec(record)?;
        line.push(b'\n');
        self.host.append(&self.scope.file(), &line)
    }
}

/// Reads a journal; `None` where there is none. A last line that was cut off
/// does not count: nothing was done after it.
pub fn read(host: &Host, scope: &Scope) -> Result<Option<History>> {
    let path = scope.file();
    if let Node::Link { .. } = host.look(&path)? {
        let what = format!("read {}", path.display());
        return Err(Problem::new(what, "it is a symbolic link")
            .help("replace it with the file itself, then run again")
            .into());
    }
    let Some(file) = host.read(&path)? else {
        return Ok(None);
    };
    let mut history = History::default();
    let mut known = BTreeMap::new();
    let mut open: Vec<(usize, usize)> = Vec::new();
    let mut lines: Vec<&[u8]> = file.bytes.split(|byte| *byte == b'\n').collect();
    // After the last line break there is nothing, or a line that a crash cut off.
    lines.pop();
    for (index, line) in lines.into_iter().enumerate() {
        if line.is_empty() {
            continue;
        }
        let record: Record = serde_json::from_slice(line).map_err(|error| {
            let what = format!("read line {} of {}", index + 1, path.display());
            Problem::new(what, error)
                .help("fix or delete that line; if you move the file away, 'wp-gears remove --site DIR' still removes everything it recognizes")
        })?;
        match record {
            Record::Opened { version, .. } if version > VERSION => {
                let what = format!("read {}", path.display());
                return Err(
                    Problem::new(what, "it was written by a newer version of wp-gears")
                        .help("install that version or a newer one")
                        .into(),
                );
            }
            Record::Opened { site, .. } => {
                history.site = history.site.or(site);
                history.opened = true;
            }
            Record::Begin { number, act, .. } => {
                history.count = number + 1;
                for inverse in act.inverses() {
                    open.push((number, history.add(inverse, &mut known)));
                }
            }
            Record::Done { number } => {
                for (_, at) in open.iter().filter(|(begun, _)| *begun == number) {
                    history.entries[*at].unfinished = false;
                }
            }
        }
    }
    Ok(Some(history))
}

/// All scopes that have a journal; the host comes last.
pub fn scopes(host: &Host) -> Result<Vec<Scope>> {
    let mut scopes = Vec::new();
    for name in host.list(Path::new(STATE))? {
        let name = name.to_string_lossy().into_owned();
        if let Some(site) = name
            .strip_prefix("site-")
            .and_then(|rest| rest.strip_suffix(".jsonl"))
        {
            scopes.push(Scope::Site(site.to_owned()));
        }
    }
    if !matches!(host.look(&Scope::Host.file())?, Node::Absent) {
        scopes.push(Scope::Host);
    }
    Ok(scopes)
}

/// Deletes a journal after everything in it was restored.
pub fn close(host: &Host, scope: &Scope) -> Result<()> {
    host.remove_file(&scope.file())
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As written by the first release. A crash cut off the last line.
    const FIRST: &str = r#"{"record":"opened","version":1,"site":"/srv/a","at":1}
{"record":"begin","number":0,"at":1,"undo":{"kind":"link","path":"/srv/a/wp-gears-runner.php","was":null,"will":"/x"}}
{"record":"done","number":0}
{"record":"begin","number":1,"at":1,"undo":{"kind":"file","path":"/srv/a/wp-config.php","edit":"wp-config","was":{"sha":"aa","uid":0,"gid":0,"mode":416},"will":"bb"}}
{"record":"done","number":1}
{"record":"begin","number":2,"at":2,"undo":{"kind":"file","path":"/srv/a/wp-config.php","edit":"wp-config","was":{"sha":"bb","uid":0,"gid":0,"mode":416},"will":"cc"}}
{"record":"do"#;

    fn history(text: &str) -> Result<Option<History>> {
        let dir = tempfile::tempdir()?;
        let state = dir.path().join(STATE.trim_start_matches('/'));
        std::fs::create_dir_all(&state)?;
        std::fs::write(state.join("site-a.jsonl"), text)?;
        read(&Host::new(Some(dir.path()))?, &Scope::Site("a".into()))
    }

    #[test]
    fn the_first_releases_journal_is_read_and_folded() {
        let history = history(FIRST).unwrap().unwrap();
        assert_eq!(history.site.as_deref(), Some(Path::new("/srv/a")));
        assert_eq!(history.entries.len(), 2);
        assert!(!history.entries[0].unfinished && history.entries[1].unfinished);
        let Inverse::File(file) = &history.entries[1].inverse else {
            panic!("{:?}", history.entries[1]);
        };
        assert_eq!(file.before.as_ref().map(|it| it.sha.as_str()), Some("aa"));
        assert_eq!(file.after.as_deref(), Some("cc"));
    }

    #[test]
    fn a_journal_that_a_crash_cut_off_anywhere_is_continued() {
        let scope = Scope::Site("a".into());
        let site = PathBuf::from("/srv/a");
        for cut in 0..FIRST.len() {
            let dir = tempfile::tempdir().unwrap();
            let state = dir.path().join(STATE.trim_start_matches('/'));
            std::fs::create_dir_all(&state).unwrap();
            std::fs::write(state.join("site-a.jsonl"), &FIRST[..cut]).unwrap();
            let host = Host::new(Some(dir.path())).unwrap();
            let mut journal = Journal::open(&host, scope.clone(), Some(site.clone())).unwrap();
            let inverse = serde_json::from_str(KINDS[0]).unwrap();
            let number = journal.begin(vec![inverse]).unwrap();
            journal.done(number).unwrap();
            let history = read(&host, &scope).unwrap().unwrap();
            assert_eq!(history.site.as_ref(), Some(&site), "{cut}");
            let last = history.entries.last().unwrap();
            assert!(matches!(last.inverse, Inverse::Boolean(_)) && !last.unfinished);
        }
    }

    /// Each kind as written by the first release that had it.
    const KINDS: [&str; 14] = [
        r#"{"kind":"boolean","name":"httpd_can_network_connect","was":false}"#,
        r#"{"kind":"database","server":{"host":"h","port":3306,"admin":null},"database":"d","table":"t","had_database":false,"account":["u","c"]}"#,
        r#"{"kind":"directory","path":"/a","was":null}"#,
        r#"{"kind":"directory","path":"/b","was":[1,2,493]}"#,
        r#"{"kind":"file","path":"/c","edit":"options","was":{"sha":"aa","uid":1,"gid":2,"mode":420},"will":"bb"}"#,
        r#"{"kind":"file","path":"/d","edit":"log","was":null,"will":null}"#,
        r#"{"kind":"intent","path":"/etc/wp-gears.toml","created":true,"set":{"port":{"before":"1","after":"2"}}}"#,
        r#"{"kind":"link","path":"/e","was":null,"will":"/x"}"#,
        r#"{"kind":"link","path":"/f","was":"/y","owner":[1,2],"file":{"sha":"aa","uid":1,"gid":2,"mode":420},"will":"/x"}"#,
        r#"{"kind":"packages","brought":["a","b"]}"#,
        r#"{"kind":"program","group":"wp-gears-a"}"#,
        r#"{"kind":"repository","id":"crb"}"#,
        r#"{"kind":"service","unit":"gearmand","enabled":true,"active":false}"#,
        r#"{"kind":"all","parts":[{"kind":"file","path":"/g","edit":"whole","was":null,"will":"bb"},{"kind":"link","path":"/h","was":null,"will":"/g"}]}"#,
    ];

    #[test]
    fn every_kind_is_read_and_written_as_by_the_first_release() {
        for kind in KINDS {
            let line = format!(r#"{{"record":"begin","number":0,"at":1,"undo":{kind}}}"#);
            let record: Record = serde_json::from_str(&line).unwrap();
            assert_eq!(serde_json::to_string(&record).unwrap(), line);
            let Record::Begin { act, .. } = record else {
                panic!("{line}");
            };
            assert_eq!(
                serde_json::to_string(&Act::of(act.inverses())).unwrap(),
                kind
            );
        }
        for edit in [
            "whole",
            "options",
            "wp-config",
            "program",
            "block",
            "section",
            "log",
        ] {
            let kind = KINDS[5].replace("log", edit);
            let inverse: Inverse = serde_json::from_str(&kind).unwrap();
            assert_eq!(serde_json::to_string(&inverse).unwrap(), kind);
        }
    }

    #[test]
    fn every_kind_has_its_own_identity() {
        let lines = KINDS.iter().enumerate().map(|(number, kind)| {
            format!("{{\"record\":\"begin\",\"number\":{number},\"at\":1,\"undo\":{kind}}}\n")
        });
        let text: String = lines.collect();
        let ids = |text: &str| -> Vec<String> {
            let entries = history(text).unwrap().unwrap().entries;
            let ids = entries.iter().map(|it| it.inverse.kind().id().to_string());
            ids.collect()
        };
        let first = ids(&text);
        assert_eq!(first.len(), KINDS.len() + 1); // "all" has two parts
        assert_eq!(ids(&text.repeat(2)), first);
    }

    #[test]
    fn a_later_entry_adds_only_what_is_new_for_its_kind() {
        let folded = |first: &str, later: &str| {
            let [first, later] = [first, later]
                .map(|kind| serde_json::from_str::<Inverse>(&format!("{{{kind}}}")).unwrap());
            serde_json::to_string(&first.fold(later)).unwrap()
        };
        let is = |kind: &str| format!("{{{kind}}}");
        assert_eq!(
            folded(
                r#""kind":"packages","brought":["b","a"]"#,
                r#""kind":"packages","brought":["c","a"]"#
            ),
            is(r#""kind":"packages","brought":["a","b","c"]"#)
        );
        assert_eq!(
            folded(
                r#""kind":"link","path":"/e","was":null,"will":"/x""#,
                r#""kind":"link","path":"/e","was":"/x","owner":[0,0],"will":"/z""#
            ),
            is(r#""kind":"link","path":"/e","was":null,"will":"/z""#)
        );
        for (first, later) in [
            (
                r#""kind":"service","unit":"u","enabled":false,"active":false"#,
                r#""kind":"service","unit":"u","enabled":true,"active":true"#,
            ),
            (
                r#""kind":"directory","path":"/a","was":null"#,
                r#""kind":"directory","path":"/a","was":[0,0,493]"#,
            ),
            (
                r#""kind":"boolean","name":"b","was":false"#,
                r#""kind":"boolean","name":"b","was":true"#,
            ),
        ] {
            assert_eq!(folded(first, later), is(first));
        }
    }

    #[test]
    fn a_folded_database_keeps_the_first_answer_and_any_created_user() {
        let line = |number: u8, had: bool, account: &str| {
            format!(
                "{{\"record\":\"begin\",\"number\":{number},\"at\":1,\"undo\":{{\"kind\":\"database\",\"server\":{{\"host\":\"h\",\"port\":3306,\"admin\":null}},\"database\":\"d\",\"table\":\"t\",\"had_database\":{had},\"account\":{account}}}}}\n"
            )
        };
        let text = line(0, false, "null") + &line(1, true, "[\"u\",\"c\"]");
        let history = history(&text).unwrap().unwrap();
        let [entry] = &history.entries[..] else {
            panic!("{history:?}");
        };
        assert_eq!(
            serde_json::to_string(&entry.inverse).unwrap(),
            r#"{"kind":"database","server":{"host":"h","port":3306,"admin":null},"database":"d","table":"t","had_database":false,"account":["u","c"]}"#
        );
    }

    #[test]
    fn a_newer_and_a_damaged_journal_are_refused() {
        let newer = FIRST.replace("\"version\":1", "\"version\":2");
        assert!(history(&newer).unwrap_err().to_string().contains("newer"));
        let damaged = FIRST.replacen("{\"record\":\"done\"", "{", 1);
        assert!(format!("{:#}", history(&damaged).unwrap_err()).contains("line 3"));
        let unknown = FIRST.replacen("\"link\"", "\"lnk\"", 1);
        let said = format!("{:#}", history(&unknown).unwrap_err());
        assert!(said.contains("line 2") && said.contains("lnk"), "{said}");
    }
}
