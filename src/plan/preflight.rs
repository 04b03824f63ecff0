//! Checks before the first change that a plan can write its files: folders exist,
//! nothing is read-only or immutable, and there is enough space. Each step still
//! handles what goes wrong later.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::base::paths::{BASE, STATE};
use crate::base::problem::Problem;
use crate::host::Host;
use crate::host::files::Node;
use crate::plan::journal::Scope;
use crate::plan::{Plan, Step};
use crate::resource::Place;
use crate::resource::file::Edit;

/// Space for journals and growing folders.
const MARGIN: u64 = 64 << 10;
const BLOCK: u64 = 4096;
/// The opcode cache of WordPress with some plugins.
const OPCODES: u64 = 32 << 20;

/// The obstacles for what sites share and for each site.
pub fn check(host: &Host, plan: &Plan) -> Result<Vec<(Scope, anyhow::Error)>> {
    let mut made: BTreeSet<&Path> = BTreeSet::new();
    let mut bad = Vec::new();
    let mut needs = Needs::default();
    for (step, _, after) in plan.differing() {
        let resource = step.item.resource.as_ref();
        let Some(place) = resource.place() else {
            continue;
        };
        if let Err(error) = look(host, step, place, after.is_none(), &mut made, &mut needs) {
            bad.push((step.item.scope.clone(), error));
        }
    }
    if !needs.by_device.is_empty() {
        needs.add(host, Path::new(STATE), MARGIN)?;
        let originals = Path::new(STATE).join("originals");
        if !matches!(
            host.look(&originals),
            Err(_) | Ok(Node::Absent | Node::Directory(_))
        ) {
            let what = format!("store originals in {}", originals.display());
            let problem = Problem::new(what, "it is not a folder");
            bad.push((
                Scope::Host,
                problem.help("move it away, then run again").into(),
            ));
        }
        for own in ["host.jsonl", "originals/any"] {
            if let Some(problem) = host.unwritable(&Path::new(STATE).join(own), true)? {
                bad.push((Scope::Host, problem.into()));
            }
        }
        bad.extend(needs.shortages());
    }
    Ok(bad)
}

/// Whether one thing can be written, and what it needs. The error is that of its scope.
fn look<'p>(
    host: &Host,
    step: &'p Step,
    place: Place<'p>,
    exists: bool,
    made: &mut BTreeSet<&'p Path>,
    needs: &mut Needs,
) -> Result<()> {
    let resource = step.item.resource.as_ref();
    let path = place.path();
    let mut why = host.unwritable(path, matches!(place, Place::File(_)))?;
    if let Place::Folder(folder) = place {
        let parent = folder.parent().unwrap_or(folder);
        if why.is_none() && !made.contains(parent) && !host.is_dir(parent) {
            let what = format!("create the folder {}", folder.display());
            let absent = Problem::new(what, format!("there is no {}", parent.display()));
            why = Some(absent.help("create it, then run again"));
        }
        made.insert(folder);
    }
    if let Some(problem) = why {
        return Err(problem.into());
    }
    let mut bytes = BLOCK;
    // A file that comes with a package has only a preview.
    if let (Some(file), true) = (resource.as_file(), exists) {
        let (now, next) = file.texts(host)?;
        let old = now.map_or(0, |file| file.bytes.len() as u64);
        let new = next.bytes.map_or(0, |bytes| bytes.len() as u64);
        bytes = new;
        let kept = if file.edit == Edit::Whole {
            old
        } else {
            old + new
        };
        needs.add(host, Path::new(STATE), kept)?;
    }
    // A site's opcode cache fills as soon as its workers start.
    if host.live() && path.parent() == Some(&Path::new(BASE).join("cache")) {
        bytes += OPCODES;
    }
    needs.add(host, path, bytes)
}

/// What will be written to each file system.
#[derive(Default)]
struct Needs {
    by_device: BTreeMap<u64, Need>,
}

struct Need {
    folder: PathBuf,
    bytes: u64,
    files: u64,
    has_bytes: u64,
    has_files: Option<u64>,
}

impl Needs {
    fn add(&mut self, host: &Host, path: &Path, bytes: u64) -> Result<()> {
        let folder = host.existing_folder(path);
        let space = host.space(&folder)?;
        let need = self.by_device.entry(space.device).or_insert(Need {
            folder,
            bytes: 0,
            files: 0,
            has_bytes: space.usable_bytes(),
            has_files: space.files,
        });
        need.bytes += bytes.div_ceil(BLOCK) * BLOCK;
        need.files += 1;
        Ok(())
    }

    fn shortages(self) -> impl Iterator<Item = (Scope, anyhow::Error)> {
        self.by_device.into_values().filter_map(|need| {
            let why = if need.bytes > need.has_bytes {
                let (wanted, there) = (need.bytes >> 10, need.has_bytes >> 10);
                format!("{wanted} KB are needed, but only {there} KB are free")
            } else if need.has_files.is_some_and(|there| need.files > there) {
                let there = need.has_files.unwrap_or_default();
                format!(
                    "{} files would be created, but only {there} inodes are free",
                    need.files
                )
            } else {
                return None;
            };
            let what = format!("write to the file system of {}", need.folder.display());
            let problem = Problem::new(what, why).help("free up space, then run again");
            Some((Scope::Host, problem.into()))
        })
    }
}
