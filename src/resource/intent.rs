//! The intent file, which records what was asked of this host.

use std::path::{Path, PathBuf};

use anyhow::Result;
use toml::Table;

use crate::base::secrets::MASK;
use crate::host::Host;
use crate::intent::file::{DEFAULT, utf8};
use crate::intent::record::{Intent, Recorded, record, restore, without_sites};
use crate::resource::file::{File, Next};
use crate::resource::{
    Change, Inverse, Place, Resource, ResourceId, Revert, RevertContext, Reverted, State, Verb,
};

pub struct IntentFile {
    file: File,
    writes: Writes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Writes {
    /// The intent, for the first time on this host.
    First,
    Again,
    /// Removes what earlier runs wrote.
    Removal,
}

impl IntentFile {
    /// The file with this intent. `recorded` says that an earlier run has already
    /// recorded its intent, so that only the file counts.
    pub fn with(intent: Intent, recorded: bool) -> Self {
        let make = move |name: &str, text: Option<&str>| match (text, intent == Intent::default()) {
            (None, true) => Ok(None),
            _ => record(text, Path::new(DEFAULT), name, &intent).map(Some),
        };
        IntentFile {
            file: file(make),
            writes: match recorded {
                true => Writes::Again,
                false => Writes::First,
            },
        }
    }

    /// The file without the tables of these sites and, with the last of them, without
    /// the host options in `recorded`.
    pub fn without(dirs: Vec<PathBuf>, recorded: Option<Recorded>) -> Self {
        let make = move |name: &str, text: Option<&str>| {
            let Some(text) = text else {
                return Ok(None);
            };
            let text = without_sites(text, Path::new(DEFAULT), name, &dirs)?;
            let Some(recorded) = &recorded else {
                return Ok(Some(text));
            };
            let sites: Vec<PathBuf> = recorded.sites.iter().cloned().collect();
            let text = without_sites(&text, Path::new(DEFAULT), name, &sites)?;
            restore(&text, Path::new(DEFAULT), name, recorded)
        };
        IntentFile {
            file: file(make),
            writes: Writes::Removal,
        }
    }
}

/// `make` gets the name of the host.
fn file(
    make: impl Fn(&str, Option<&str>) -> Result<Option<String>> + Send + Sync + 'static,
) -> File {
    File {
        make: Box::new(move |host, now| {
            let text = now
                .map(|bytes| utf8(bytes, Path::new(DEFAULT)))
                .transpose()?;
            let next = make(&host.name()?, text)?;
            Ok(Next::from(next.map(String::into_bytes)))
        }),
        ..File::whole(DEFAULT, Vec::new(), 0o644)
    }
}

impl Resource for IntentFile {
    fn id(&self) -> ResourceId {
        self.file.id()
    }

    fn inspect(&self, host: &Host) -> Result<State> {
        let mut state = self.file.inspect(host)?;
        if let State::Differs(change) = &mut state
            && let Some(diff) = &mut change.diff
            && let Some(now) = host.read(Path::new(DEFAULT))?
        {
            for salt in salts(&String::from_utf8_lossy(&now.bytes)) {
                *diff = diff.replace(&salt, MASK);
            }
        }
        let is_there = host.exists(Path::new(DEFAULT));
        if state == State::Same && self.writes == Writes::First && is_there {
            let change =
                Change::new(Verb::Adopt).detail("from now on, it defines what this host does");
            return Ok(State::Differs(change));
        }
        Ok(state)
    }

    fn inverses(&self, host: &Host) -> Result<Vec<Inverse>> {
        if self.writes == Writes::Removal {
            return Ok(Vec::new());
        }
        let (now, next) = self.file.texts(host)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let before = now.map(|file| text(&file.bytes));
        let after = text(next.bytes.as_deref().unwrap_or_default());
        let path = Path::new(DEFAULT);
        let recorded = Recorded::between(before.as_deref(), &after, path, &host.name()?)?;
        Ok(vec![Inverse::Intent(recorded)])
    }

    fn apply(&self, host: &Host, watch: &dyn Fn(&str)) -> Result<()> {
        match self.file.inspect(host)? {
            State::Same => Ok(()),
            _ => self.file.apply(host, watch),
        }
    }

    fn place(&self) -> Option<Place<'_>> {
        self.file.place()
    }
}

/// The salts in the file. We never write one, but the user may.
fn salts(text: &str) -> Vec<String> {
    let file: Table = text.parse().unwrap_or_default();
    let below = |table: &'_ Table, key| -> Vec<Table> {
        let tables = table.get(key).and_then(|it| it.as_array());
        let tables = tables.into_iter().flatten();
        tables.filter_map(|it| it.as_table().cloned()).collect()
    };
    let mut parts = below(&file, "host");
    parts.push(file);
    let sites: Vec<Table> = parts.iter().flat_map(|part| below(part, "site")).collect();
    let tables = parts.iter().chain(&sites);
    let salts = tables.filter_map(|table| table.get("salt")?.as_str());
    let salts = salts.filter(|salt| !salt.is_empty());
    salts.map(str::to_owned).collect()
}

impl Revert for Recorded {
    fn id(&self) -> ResourceId {
        ResourceId::File(DEFAULT.into())
    }

    fn path(&self) -> Option<&Path> {
        Some(&self.path)
    }

    fn fold(self, later: Self) -> Self {
        Recorded::fold(self, later)
    }

    /// Does nothing: `IntentFile::without` removes the tables of all sites in one
    /// edit.
    fn revert(&self, _context: &RevertContext) -> Result<Reverted> {
        Ok(Reverted::default())
    }
}
