//! remove: from what the journals tell, and what is marked as ours, to
//! resources that give back what was there. The switch goes first, then the
//! workers (their jobs finished), then the rest backwards.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;

use crate::base::paths::{BASE, LOGS, STATE, VENV, VENV_LOGS, runner};
use crate::base::secrets::Secrets;
use crate::gearman::options;
use crate::host::Host;
use crate::host::files::{Attributes, Node};
use crate::host::platform::Family;
use crate::host::supervisor::PIP;
use crate::intent::queue::WaitingJobs;
use crate::plan::Item;
use crate::plan::waiting;
use crate::resource::boolean::Boolean;
use crate::resource::database::RemoveDatabase;
use crate::resource::directory::RemoveDirectory;
use crate::resource::drained::Drained;
use crate::resource::file::{File, Next, Owner};
use crate::resource::journal::{self, Edit, History, Kept, Scope, Undo};
use crate::resource::link::Link;
use crate::resource::log::RemoveLog;
use crate::resource::package::{RemovePackages, is_extension};
use crate::resource::program::{Ensure, Program};
use crate::resource::reload_php::UnloadExtension;
use crate::resource::repository::Enabled;
use crate::resource::service::{self, Service};
use crate::resource::{Resource, ResourceId};
use crate::site::config;
use crate::site::find::name as site_name;
use crate::site::plugins::{self, PLUGINS};
use crate::site::settings;
use crate::supervisor::{block, programs};

/// What shall be given back, and what a person must know about what is left.
#[derive(Default)]
pub struct Removal {
    pub items: Vec<Item>,
    pub left: Vec<String>,
    /// Folders in which an earlier run was cut off.
    pub torn: Vec<PathBuf>,
}

/// How long workers may take over the jobs at hand.
const PATIENCE: Duration = Duration::from_secs(900);

/// How far it goes.
#[derive(Debug, Clone, Copy)]
pub struct Wish {
    pub purge: bool,
    pub waiting: WaitingJobs,
}

/// Adds what one journal tells.
pub fn of_history(
    host: &Host,
    scope: &Scope,
    history: &History,
    wish: Wish,
    removal: &mut Removal,
) -> Result<()> {
    if let Some(site) = history.site.as_ref().filter(|site| !host.is_dir(site)) {
        removal.left.push(format!(
            "{} is gone; if the site moved, 'wp-gears remove --site' with its new folder takes out what is marked there",
            site.display()
        ));
    }
    let mut ranked: Vec<(u8, Item)> = Vec::new();
    for entry in history.entries.iter().rev() {
        if let (
            true,
            Undo::File { path, .. } | Undo::Link { path, .. } | Undo::Directory { path, .. },
        ) = (entry.unfinished, &entry.undo)
        {
            removal.torn.extend(path.parent().map(Path::to_owned));
        }
        let Some((rank, resource)) = undo(host, history, &entry.undo, wish, &mut removal.left)?
        else {
            continue;
        };
        ranked.push((
            rank,
            Item {
                scope: scope.clone(),
                resource,
            },
        ));
    }
    if unloads(history, wish.purge) {
        let (scope, resource) = (scope.clone(), Box::new(UnloadExtension));
        ranked.push((8, Item { scope, resource }));
    }
    if let Some(drained) = drained(host, scope, history, wish.waiting)? {
        let resource = Box::new(drained);
        let scope = scope.clone();
        ranked.push((0, Item { scope, resource }));
    }
    ranked.sort_by_key(|(rank, _)| *rank);
    removal
        .items
        .extend(ranked.into_iter().map(|(_, item)| item));
    Ok(())
}

/// That what ends or restarts leaves no job behind.
fn drained(
    host: &Host,
    scope: &Scope,
    history: &History,
    wish: WaitingJobs,
) -> Result<Option<Drained>> {
    let family = host.platform()?.family;
    match (scope, &history.site) {
        (Scope::Site(name), Some(dir)) => waiting::of_site(host, name, dir, wish),
        (Scope::Site(_), None) => Ok(None),
        (Scope::Host, _) => {
            let mut ends = None;
            let mut options = None;
            for entry in &history.entries {
                match &entry.undo {
                    Undo::Service { unit, active, .. } if unit == family.gearmand.unit => {
                        ends = Some(!active);
                    }
                    Undo::File {
                        path,
                        edit: Edit::Options,
                        was,
                        will,
                    } => {
                        let (was, will) = (was.as_ref(), will.as_deref());
                        // What it leaves is told where it is given back.
                        let left = &mut Vec::new();
                        options = Some(restored(
                            host,
                            family,
                            path,
                            Edit::Options,
                            was,
                            will,
                            left,
                        )?);
                    }
                    _ => {}
                }
            }
            let Some(ends) = ends.filter(|_| host.live()) else {
                return Ok(None);
            };
            let options = options.filter(|_| !ends);
            waiting::of_job_server(host, family, options.as_ref(), wish).map(Some)
        }
    }
}

/// The resource that takes one act back, and how early it comes.
fn undo(
    host: &Host,
    history: &History,
    undo: &Undo,
    wish: Wish,
    left: &mut Vec<String>,
) -> Result<Option<(u8, Box<dyn Resource>)>> {
    let purge = wish.purge;
    let family = host.platform()?.family;
    Ok(Some(match undo {
        Undo::File {
            edit: Edit::Log,
            path,
            ..
        } => {
            if !purge {
                left.push(format!("the log {} (--purge takes it out)", path.display()));
                return Ok(None);
            }
            (3, Box::new(RemoveLog { path: path.clone() }))
        }
        Undo::File {
            path,
            edit,
            was,
            will,
        } => {
            let rank = match edit {
                Edit::WpConfig => 0,
                Edit::Program | Edit::Block | Edit::Section => 1,
                _ => 3,
            };
            let file = restored(
                host,
                family,
                path,
                *edit,
                was.as_ref(),
                will.as_deref(),
                left,
            )?;
            (rank, Box::new(file))
        }
        Undo::Link {
            path,
            was,
            owner,
            file,
            will,
        } => {
            let back = match file {
                Some(kept) => journal::kept(host, &kept.sha)?.map(|bytes| {
                    let (uid, gid, mode) = (kept.uid, kept.gid, kept.mode);
                    (bytes, Attributes { uid, gid, mode })
                }),
                None => None,
            };
            (
                3,
                Box::new(Link {
                    to: was.clone(),
                    owner: owner.unwrap_or((0, 0)),
                    back,
                    ..Link::to(path.clone(), will.clone())
                }),
            )
        }
        // The journal tells of its parts.
        Undo::All { .. } => return Ok(None),
        Undo::Program { group } => {
            let shall = match was_by_hand(host, history, group)? {
                true => Ensure::Restored,
                false => Ensure::Absent,
            };
            (2, Box::new(workers(host, group, shall)?))
        }
        Undo::Service {
            unit,
            enabled,
            active,
        } => {
            let stale = match unit == family.gearmand.unit {
                true => service::of_gearmand(family, Vec::new(), None),
                false => service::never(),
            };
            // Our own goes before its files do.
            let rank = if unit == PIP.unit { 2 } else { 4 };
            (
                rank,
                Box::new(Service {
                    unit: unit.clone(),
                    enabled: Some(*enabled),
                    active: Some(*active),
                    stale,
                    also: vec![family.gearmand.unit, host.supervisor()?.unit],
                    needs: ResourceId::Packages,
                }),
            )
        }
        Undo::Directory { path, was } => {
            let is_queue = path == Path::new(family.gearmand.queue_dir) && was.is_none();
            if is_queue && !purge && host.has_files(path)? {
                left.push(format!(
                    "the job server's queue in {} (--purge takes it out)",
                    path.display()
                ));
                return Ok(None);
            }
            let own = path.starts_with(BASE)
                || is_queue
                || [VENV, VENV_LOGS]
                    .iter()
                    .any(|folder| path == Path::new(folder));
            let failed = Path::new(BASE).join("failed");
            if path.starts_with(&failed) && !purge && was.is_none() {
                if *path != failed && host.has_files(path)? {
                    left.push(format!(
                        "failed jobs in {} (--purge takes them out)",
                        path.display()
                    ));
                }
                if host.has_files(path)? {
                    return Ok(None);
                }
            }
            (
                5,
                Box::new(RemoveDirectory {
                    path: path.clone(),
                    was: *was,
                    contents: own && was.is_none(),
                }),
            )
        }
        // The file goes last, and with the sites' tables.
        Undo::Intent(_) => return Ok(None),
        Undo::Boolean { name, was } => {
            let (name, on) = (name.clone(), *was);
            (5, Box::new(Boolean { name, on }))
        }
        Undo::Database(made) => {
            let without = RemoveDatabase {
                made: made.clone(),
                lose: wish.waiting.lose_queued_jobs,
            };
            if let Some(why) = without.stays(host)? {
                left.push(format!("the queue's {made} and its user: {why}"));
                return Ok(None);
            }
            (5, Box::new(without))
        }
        Undo::Repository { id } => {
            if !purge {
                left.push(format!(
                    "the repository {id}, on since setup (--purge switches it off)"
                ));
                return Ok(None);
            }
            let off = Enabled {
                begins: id.clone(),
                needs: Vec::new(),
                on: false,
            };
            (7, Box::new(off))
        }
        Undo::Packages { brought } => {
            if !purge {
                left.push(format!(
                    "the packages that setup brought: {} (--purge takes them out)",
                    brought.join(" ")
                ));
                return Ok(None);
            }
            (
                6,
                Box::new(RemovePackages {
                    brought: brought.clone(),
                }),
            )
        }
    }))
}

/// Whether the extension goes, from a package or as it was built.
fn unloads(history: &History, purge: bool) -> bool {
    history.entries.iter().any(|entry| match &entry.undo {
        Undo::Packages { brought } => purge && brought.iter().any(|name| is_extension(name)),
        Undo::File { path, .. } => path.ends_with("gearman.so"),
        _ => false,
    })
}

/// Whether a person's section of this name stood in supervisor's files.
fn was_by_hand(host: &Host, history: &History, group: &str) -> Result<bool> {
    for entry in &history.entries {
        if let Undo::File {
            path,
            edit: Edit::Section,
            was: Some(kept),
            ..
        } = &entry.undo
            && let Some(bytes) = journal::kept(host, &kept.sha)?
            && programs::parse(&String::from_utf8_lossy(&bytes), path)
                .iter()
                .any(|program| program.name == group)
        {
            return Ok(true);
        }
    }
    Ok(false)
}

fn workers(host: &Host, group: &str, shall: Ensure) -> Result<Program> {
    Ok(Program::new(group, shall, host.supervisor()?, PATIENCE))
}

/// The file as it was: the old bytes where it is as we left it, else what
/// is still ours taken out of it.
fn restored(
    host: &Host,
    family: &'static Family,
    path: &Path,
    edit: Edit,
    was: Option<&Kept>,
    will: Option<&str>,
    left: &mut Vec<String>,
) -> Result<File> {
    let original = match was {
        Some(kept) => journal::kept(host, &kept.sha)?,
        None => None,
    };
    let known = match will {
        Some(sha) if edit != Edit::Whole => journal::kept(host, sha)?,
        _ => None,
    };
    let now = host.read(path).ok().flatten();
    let variable = family.gearmand.options_variable;
    let given_back = give_back(
        now.as_ref().map(|file| file.bytes.as_slice()),
        edit,
        original.as_deref(),
        known.as_deref(),
        will,
        variable,
    );
    for note in given_back.notes {
        let note = settings::without_salt(&note);
        left.push(format!("{}: {note}", path.display()));
    }
    let will = will.map(str::to_owned);
    let folder = path.parent().map(Path::to_owned);
    Ok(File {
        path: path.to_owned(),
        edit,
        make: Box::new(move |host, now| {
            // A folder that is gone gets nothing back.
            if now.is_none() && !folder.as_deref().is_some_and(|folder| host.is_dir(folder)) {
                return Ok(Next::default());
            }
            Ok(give_back(
                now,
                edit,
                original.as_deref(),
                known.as_deref(),
                will.as_deref(),
                variable,
            ))
        }),
        owner: was.map_or(Owner::Root, |kept| Owner::Ids(kept.uid, kept.gid)),
        mode: was.map_or(0o644, |kept| kept.mode),
        package: None,
        secrets: match edit {
            Edit::WpConfig => Secrets::Php(plugins::shown_words()),
            Edit::Options => Secrets::Options,
            Edit::Whole => Secrets::Hidden,
            Edit::Program | Edit::Block | Edit::Section | Edit::Log => Secrets::None,
        },
    })
}

fn give_back(
    now: Option<&[u8]>,
    edit: Edit,
    original: Option<&[u8]>,
    known: Option<&[u8]>,
    will: Option<&str>,
    variable: &str,
) -> Next {
    let original = || original.map(<[u8]>::to_vec);
    let Some(current) = now else {
        // Somebody removed it: only what was there before us comes back.
        return original().into();
    };
    let sha = journal::hash(current);
    if will == Some(sha.as_str()) {
        return original().into();
    }
    if original().as_deref() == Some(current) {
        return original().into();
    }
    let next = |bytes, notes| Next { bytes, notes };
    match (edit, original(), known) {
        (Edit::WpConfig, Some(original), Some(known)) => {
            let undone = config::undo(current, &original, known);
            next(Some(undone.text), undone.left_alone)
        }
        (Edit::WpConfig, ..) => {
            let undone = config::take_out(current);
            next(Some(undone.text), undone.left_alone)
        }
        (Edit::Options, Some(original), Some(known)) => {
            match options::undo(current, &original, known, variable) {
                Ok(text) => Some(text).into(),
                Err(problem) => next(Some(current.to_vec()), vec![problem.to_string()]),
            }
        }
        (Edit::Block, Some(original), Some(known)) => {
            Some(without_new_blocks(current, &original, known)).into()
        }
        (Edit::Section, Some(original), Some(known)) => {
            Some(with_old_sections(current, &original, known)).into()
        }
        (Edit::Program, ..) => next(
            original(),
            vec!["it was edited since; the edits go with the program".into()],
        ),
        _ => next(
            Some(current.to_vec()),
            vec!["somebody changed it since: left as it is".into()],
        ),
    }
}

/// The file without the blocks that setup added to it.
fn without_new_blocks(current: &[u8], original: &[u8], left: &[u8]) -> Vec<u8> {
    let parse = |text: &[u8]| programs::parse(&String::from_utf8_lossy(text), Path::new(""));
    let before = parse(original);
    let mut text = String::from_utf8_lossy(current).into_owned();
    for program in parse(left) {
        if !before.iter().any(|old| old.name == program.name)
            && let Some(without) = block::take_out(&text, &program.name)
        {
            text = without;
        }
    }
    text.into_bytes()
}

/// The file with each section that setup replaced as it was.
fn with_old_sections(current: &[u8], original: &[u8], left: &[u8]) -> Vec<u8> {
    let [current, original, left] =
        [current, original, left].map(|text| String::from_utf8_lossy(text).into_owned());
    let mut text = current;
    for program in programs::parse(&left, Path::new("")) {
        let (old, new) = (
            block::section(&original, &program.name),
            block::section(&left, &program.name),
        );
        if let Some(old) = old
            && Some(old) != new
            && let Some(restored) = block::replace_section(&text, &program.name, old)
        {
            text = restored;
        }
    }
    text.into_bytes()
}

/// A site without a journal: what is marked as ours is taken out. `None`
/// where nothing is.
pub fn without_journal(
    host: &Host,
    dir: &Path,
    wish: Wish,
    removal: &mut Removal,
) -> Result<Option<Scope>> {
    let supervisor = host.supervisor()?;
    let scope = Scope::Site(site_name(dir));
    let mut items: Vec<Box<dyn Resource>> = Vec::new();
    let take_out = |path: PathBuf, edit: Edit| File {
        path,
        edit,
        make: Box::new(move |_, now| {
            let bytes = match (now, edit) {
                (Some(text), Edit::WpConfig) => Some(config::take_out(text).text),
                _ => None,
            };
            Ok(bytes.into())
        }),
        owner: Owner::Root,
        mode: 0o644,
        package: None,
        secrets: match edit {
            Edit::WpConfig => Secrets::Php(plugins::shown_words()),
            _ => Secrets::None,
        },
    };
    if let Ok(path) = settings::locate(host, dir)
        && let Some(file) = host.read(&path)?
        && config::take_out(&file.bytes).text != file.bytes
    {
        items.push(Box::new(take_out(file.meta.path, Edit::WpConfig)));
        let drained = waiting::of_site(host, &site_name(dir), dir, wish.waiting)?;
        items.extend(drained.map(|it| Box::new(it) as Box<dyn Resource>));
    }
    for program in programs::all(host, supervisor)? {
        if program.site().as_deref() != Some(dir) {
            continue;
        }
        if program.file == Path::new(supervisor.config) {
            let name = program.name.clone();
            items.push(Box::new(File {
                make: Box::new(move |_, now| {
                    let now = String::from_utf8_lossy(now.unwrap_or_default()).into_owned();
                    let text = block::take_out(&now, &name).unwrap_or(now);
                    Ok(Some(text.into_bytes()).into())
                }),
                ..take_out(program.file.clone(), Edit::Block)
            }));
        } else {
            items.push(Box::new(take_out(program.file.clone(), Edit::Program)));
        }
        if host.live() {
            items.push(Box::new(workers(host, &program.name, Ensure::Absent)?));
        }
    }
    for runner_name in plugins::runners() {
        let path = dir.join(runner_name);
        if let Ok(Node::Link { to, .. }) = host.look(&path)
            && to == runner()
        {
            items.push(Box::new(Link {
                to: None,
                ..Link::to(path, runner())
            }));
        }
    }
    for place in PLUGINS.iter().filter_map(|plugin| plugin.bundled) {
        let path = dir.join(place);
        if host.read(&path)?.is_some() {
            items.push(Box::new(take_out(path, Edit::Whole)));
        }
    }
    if items.is_empty() {
        return Ok(None);
    }
    removal.left.push(format!(
        "{}: there is no journal of it, so what stood in its files before is not known",
        dir.display()
    ));
    removal.items.extend(items.into_iter().map(|resource| Item {
        scope: scope.clone(),
        resource,
    }));
    Ok(Some(scope))
}

/// Once nothing is left to give back: our own folders go too, with what is in
/// them if `purge`, else as far as they are empty.
pub fn forget(host: &Host, purge: bool) -> Result<()> {
    host.remove_tree(Path::new(STATE))?;
    // The very first act of all comes before any journal.
    if let Some(above) = Path::new(BASE).parent() {
        host.tidy(above)?;
    }
    let own = ["run", "cache", "failed"].map(|name| Path::new(BASE).join(name));
    let folders = own.into_iter().chain([BASE.into(), LOGS.into()]);
    for dir in folders.filter(|dir| host.is_dir(dir)) {
        if purge {
            host.remove_tree(&dir)?;
        } else {
            host.remove_dir(&dir)?;
        }
    }
    Ok(())
}
