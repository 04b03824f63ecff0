//! What was about to be done and what was there: append-only, flushed before
//! each act, one journal a site and one for what sites share. remove reads
//! it; plans never do.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::base::paths::{BASE, STATE};
use crate::base::problem::Problem;
use crate::host::Host;
use crate::host::files::{Attributes, FileData, Node};
use crate::intent::record::Recorded;
use crate::queue::mysql::Made;

/// Of the journal's format. Older ones are read as long as there are hosts that have them.
const VERSION: u32 = 1;

/// To what a resource belongs, and so in which journal it is written.
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

/// What is needed to give back what was there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Undo {
    File {
        path: PathBuf,
        edit: Edit,
        /// `None`: there was no file.
        was: Option<Kept>,
        /// SHA-256 of what we write; `None` where we remove it.
        will: Option<String>,
    },
    Link {
        path: PathBuf,
        /// Where a link led before; `None`: there was nothing.
        was: Option<PathBuf>,
        /// That link's owner and group.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        owner: Option<(u32, u32)>,
        /// A file stood there: a copy of the runner.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        file: Option<Kept>,
        will: PathBuf,
    },
    Directory {
        path: PathBuf,
        /// Owner and mode of a folder that was there.
        was: Option<(u32, u32, u32)>,
    },
    Service {
        unit: String,
        enabled: bool,
        active: bool,
    },
    Packages {
        /// What the package manager said it would bring.
        brought: Vec<String>,
    },
    Program {
        group: String,
    },
    /// One act on several things.
    All {
        parts: Vec<Undo>,
    },
    /// A repository that was off.
    Repository {
        id: String,
    },
    /// Of SELinux.
    Boolean {
        name: String,
        was: bool,
    },
    /// A queue's database, and the job server's user in it.
    Database(Made),
    /// The intent file.
    Intent(Recorded),
}

impl Undo {
    /// The things that it is about, one by one.
    fn parts(self) -> Vec<Undo> {
        match self {
            Undo::All { parts } => parts,
            one => vec![one],
        }
    }

    /// What it is about: entries of one identity are one thing's history.
    pub fn identity(&self) -> String {
        match self {
            Undo::File { path, .. } => format!("file {}", path.display()),
            Undo::Link { path, .. } => format!("link {}", path.display()),
            Undo::Directory { path, .. } => format!("folder {}", path.display()),
            Undo::Service { unit, .. } => format!("service {unit}"),
            Undo::Packages { .. } => "packages".into(),
            Undo::Program { group } => format!("program {group}"),
            Undo::All { .. } => "several things".into(),
            Undo::Repository { id } => format!("repository {id}"),
            Undo::Boolean { name, .. } => format!("boolean {name}"),
            Undo::Database(made) => made.to_string(),
            Undo::Intent(_) => "intent".into(),
        }
    }
}

/// How a file was made or edited, and so how it is given back if somebody
/// else edited it since.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Edit {
    /// The whole file is ours.
    Whole,
    /// gearmand's options in its package's defaults file.
    Options,
    WpConfig,
    /// A file of supervisor's that holds our program alone.
    Program,
    /// A marked block in a file of supervisor's.
    Block,
    /// A program's section in a file of supervisor's that a person wrote.
    Section,
    /// Only made for others to fill.
    Log,
}

/// An original: its bytes are in the state folder under their SHA-256.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    pub sha: String,
    pub uid: u32,
    pub gid: u32,
    pub mode: u32,
}

impl Kept {
    pub fn of(host: &Host, file: &FileData) -> Result<Kept> {
        Ok(Kept {
            sha: keep(host, &file.bytes)?,
            uid: file.meta.uid,
            gid: file.meta.gid,
            mode: file.meta.mode,
        })
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "kebab-case")]
enum Record {
    /// First line: the format's version and, of a site, its folder.
    Opened {
        version: u32,
        #[serde(skip_serializing_if = "Option::is_none")]
        site: Option<PathBuf>,
        at: u64,
    },
    Begin {
        number: usize,
        at: u64,
        undo: Undo,
    },
    Done {
        number: usize,
    },
}

/// The history of one thing, folded: the first original and the last result.
#[derive(Debug, Clone)]
pub struct Entry {
    pub undo: Undo,
    /// The last act on it was begun and not seen to end.
    pub unfinished: bool,
}

/// A journal that was read.
#[derive(Debug, Clone, Default)]
pub struct History {
    pub site: Option<PathBuf>,
    /// In the order in which things were first touched.
    pub entries: Vec<Entry>,
    count: usize,
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
            opened: history.is_some(),
        })
    }

    /// To be called before the act. Returns the act's number, for `done`.
    pub fn begin(&mut self, undo: &Undo) -> Result<usize> {
        if !self.opened {
            prepare(self.host)?;
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
            undo: undo.clone(),
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

/// Reads a journal; `None` where there is none. A last line that a crash cut
/// off was never acted upon and does not count.
pub fn read(host: &Host, scope: &Scope) -> Result<Option<History>> {
    let path = scope.file();
    if let Node::Link { .. } = host.look(&path)? {
        let what = format!("read {}", path.display());
        return Err(Problem::new(what, "a link stands there")
            .help("put the file itself there, then run again")
            .into());
    }
    let Some(file) = host.read(&path)? else {
        return Ok(None);
    };
    let mut history = History::default();
    let mut identities: Vec<(String, usize)> = Vec::new();
    let mut open: Vec<(usize, usize)> = Vec::new();
    let lines: Vec<&[u8]> = file.bytes.split(|b| *b == b'\n').collect();
    for (index, line) in lines.iter().enumerate() {
        if line.is_empty() {
            continue;
        }
        let record: Record = match serde_json::from_slice(line) {
            Ok(record) => record,
            Err(_) if index + 1 == lines.len() => break,
            Err(error) => {
                let what = format!("read line {} of {}", index + 1, path.display());
                return Err(Problem::new(what, error)
                    .help("mend or take out that line; with the whole file moved away, 'wp-gears remove --site DIR' takes out what it finds")
                    .into());
            }
        };
        match record {
            Record::Opened { version, .. } if version > VERSION => {
                let what = format!("read {}", path.display());
                return Err(Problem::new(what, "a newer wp-gears wrote it")
                    .help("run that one, or a newer one")
                    .into());
            }
            Record::Opened { site, .. } => history.site = history.site.or(site),
            Record::Begin { number, undo, .. } => {
                history.count = number + 1;
                for undo in undo.parts() {
                    let identity = undo.identity();
                    let at = match identities.iter().find(|(known, _)| *known == identity) {
                        Some((_, at)) => {
                            history.entries[*at].undo = fold(&history.entries[*at].undo, undo);
                            *at
                        }
                        None => {
                            history.entries.push(Entry {
                                undo,
                                unfinished: false,
                            });
                            identities.push((identity, history.entries.len() - 1));
                            history.entries.len() - 1
                        }
                    };
                    history.entries[at].unfinished = true;
                    open.push((number, at));
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

/// The first original wins; the last result is what is there.
fn fold(first: &Undo, later: Undo) -> Undo {
    match (first.clone(), later) {
        (
            Undo::File {
                path, was, edit, ..
            },
            Undo::File { will, .. },
        ) => Undo::File {
            path,
            edit,
            was,
            will,
        },
        (
            Undo::Link {
                path,
                was,
                owner,
                file,
                ..
            },
            Undo::Link { will, .. },
        ) => Undo::Link {
            path,
            was,
            owner,
            file,
            will,
        },
        (Undo::Packages { mut brought }, Undo::Packages { brought: more }) => {
            brought.extend(more);
            brought.sort();
            brought.dedup();
            Undo::Packages { brought }
        }
        (Undo::Database(made), Undo::Database(later)) => Undo::Database(Made {
            account: made.account.or(later.account),
            ..made
        }),
        (Undo::Intent(first), Undo::Intent(later)) => Undo::Intent(first.fold(later)),
        (first, _) => first,
    }
}

/// Every scope that has a journal, the host's last.
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

/// Ends a journal: what it told of was given back.
pub fn close(host: &Host, scope: &Scope) -> Result<()> {
    host.remove_file(&scope.file())
}

/// Keeps an original's bytes, root's alone, outside every web root.
pub fn keep(host: &Host, bytes: &[u8]) -> Result<String> {
    prepare(host)?;
    let sha = hash(bytes);
    let path = original(&sha);
    if matches!(host.look(&path)?, Node::Absent) {
        host.write(&path, bytes, Some(Attributes::root(0o600)), None)?;
    }
    Ok(sha)
}

/// The bytes of an original.
pub fn kept(host: &Host, sha: &str) -> Result<Option<Vec<u8>>> {
    let Some(file) = host.read(&original(sha))? else {
        return Ok(None);
    };
    anyhow::ensure!(
        hash(&file.bytes) == sha,
        "the original in {} is damaged",
        original(sha).display()
    );
    Ok(Some(file.bytes))
}

pub fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn original(sha: &str) -> PathBuf {
    Path::new(STATE).join("originals").join(sha)
}

/// Makes the state folder, root's alone.
pub fn prepare(host: &Host) -> Result<()> {
    for dir in ["/var", "/var/lib", BASE] {
        if !host.exists(Path::new(dir)) {
            host.make_dir(Path::new(dir), Attributes::root(0o755))?;
        }
    }
    for dir in [PathBuf::from(STATE), Path::new(STATE).join("originals")] {
        if !host.exists(&dir) {
            host.make_dir(&dir, Attributes::root(0o700))?;
        }
    }
    Ok(())
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the first release wrote it; the last line was cut off by a crash.
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
        let Undo::File { was, will, .. } = &history.entries[1].undo else {
            panic!("{:?}", history.entries[1]);
        };
        assert_eq!(was.as_ref().map(|kept| kept.sha.as_str()), Some("aa"));
        assert_eq!(will.as_deref(), Some("cc"));
    }

    #[test]
    fn of_a_database_the_first_answer_and_any_user_that_was_made_stay() {
        let line = |number: u8, had: bool, account: &str| {
            format!(
                "{{\"record\":\"begin\",\"number\":{number},\"at\":1,\"undo\":{{\"kind\":\"database\",\"server\":{{\"host\":\"h\",\"port\":3306,\"admin\":null}},\"database\":\"d\",\"table\":\"t\",\"had_database\":{had},\"account\":{account}}}}}\n"
            )
        };
        let text = line(0, false, "null") + &line(1, true, "[\"u\",\"c\"]");
        let history = history(&text).unwrap().unwrap();
        let [
            Entry {
                undo: Undo::Database(made),
                ..
            },
        ] = &history.entries[..]
        else {
            panic!("{history:?}");
        };
        assert_eq!(made.account, Some(("u".into(), "c".into())));
        assert!(!made.had_database);
        assert_eq!(made.to_string(), "database d on h:3306");
    }

    #[test]
    fn a_newer_journal_and_a_damaged_one_are_told() {
        let newer = FIRST.replace("\"version\":1", "\"version\":2");
        assert!(history(&newer).unwrap_err().to_string().contains("newer"));
        let damaged = FIRST.replacen("{\"record\":\"done\"", "{", 1);
        assert!(format!("{:#}", history(&damaged).unwrap_err()).contains("line 3"));
    }
}
