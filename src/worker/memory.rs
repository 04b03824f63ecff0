//! What the workers of a site remember for their next start, so that idle workers
//! do not need PHP.

use std::io::Read;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::worker::badge::Mark;
use crate::worker::generation::Generation;
use crate::worker::plain;
use crate::worker::staleness::Stamps;

/// A file in the site's run folder.
const FILE: &str = "function";

/// The maximum size of the file, in bytes.
const MAX_SIZE: u64 = 8 << 20;

#[derive(Serialize, Deserialize, PartialEq)]
pub struct SiteMemory {
    /// The Gearman function that the site's plugin submits jobs to.
    pub function: String,
    /// The URL of the site's home; empty if it is unknown.
    #[serde(default)]
    pub home: String,
    /// `None` if an earlier version wrote it.
    #[serde(default)]
    pub mark: Option<Mark>,
    /// The files that determine the function.
    pub stamps: Stamps,
    /// When it was written; what was there before a reload is not believed.
    #[serde(default)]
    pub generation: String,
}

/// What others than workers read of it.
#[derive(Deserialize)]
pub struct Told {
    pub function: String,
    #[serde(default)]
    pub home: String,
    pub stamps: ToldSite,
}

#[derive(Deserialize)]
pub struct ToldSite {
    pub site: PathBuf,
}

pub fn told(run: &Path) -> Option<Told> {
    serde_json::from_slice(&read(run)?).ok()
}

fn read(run: &Path) -> Option<Vec<u8>> {
    let file = plain::open(&run.join(FILE)).ok()?;
    let mut text = Vec::new();
    file.take(MAX_SIZE).read_to_end(&mut text).ok()?;
    Some(text)
}

impl SiteMemory {
    /// Reads what was written last, even if it is outdated.
    pub fn read(run: &Path) -> Option<SiteMemory> {
        serde_json::from_slice(&read(run)?).ok()
    }

    /// Reads it, if it belongs to this site and is still valid.
    pub fn recall(run: &Path, site: &Path, generation: &Generation) -> Option<SiteMemory> {
        SiteMemory::read(run).filter(|memory| memory.is_valid(site, generation))
    }

    pub fn is_valid(&self, site: &Path, generation: &Generation) -> bool {
        self.stamps.site == site
            && self.generation == generation.name()
            && self.stamps.changed().is_none()
    }

    pub fn write(&self, run: &Path) -> std::io::Result<()> {
        // It has the salt, and a group may look into the folder.
        plain::put(run, FILE, 0o600, &serde_json::to_vec(self)?)
    }
}
