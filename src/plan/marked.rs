//! remove for a site without a journal: removes what is marked as ours.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::base::paths::runner;
use crate::base::secrets::Secrets;
use crate::host::Host;
use crate::host::files::Node;
use crate::host::supervisor::Supervisord;
use crate::plan::journal::Scope;
use crate::plan::remove::{Removal, Wish};
use crate::plan::{Item, leave};
use crate::resource::file::{Edit, File, Next};
use crate::resource::link::Link;
use crate::resource::program::Program;
use crate::resource::{Phase, Resource};
use crate::site::find::name as site_name;
use crate::site::page::PROOF_PLUGIN;
use crate::site::plugins::{self, PLUGINS};
use crate::site::{config, content, settings};
use crate::supervisor::{programs, undo};

/// Adds the switches that are on although no journal has an edit of them, because a
/// wp-config.php with our lines was restored from a backup.
pub fn switches(host: &Host, dirs: &[&Path], removal: &mut Removal) -> Result<()> {
    let mut known = BTreeSet::new();
    let files = removal.items.iter().filter_map(|it| it.resource.as_file());
    for file in files.filter(|file| file.edit == Edit::WpConfig) {
        if let Node::File(meta) = host.look_through(&file.path)? {
            known.insert(meta.path);
        }
    }
    for dir in dirs {
        if let Some(path) = marked_config(host, dir)?
            && known.insert(path.clone())
        {
            let item = Item {
                scope: Scope::Site(site_name(dir)),
                resource: Box::new(wp_config(path)),
            };
            removal.items.insert(0, item);
        }
    }
    Ok(())
}

/// The site's wp-config.php, if it has lines that are marked as ours.
fn marked_config(host: &Host, dir: &Path) -> Result<Option<PathBuf>> {
    let Ok(path) = settings::locate(host, dir, None) else {
        return Ok(None);
    };
    let file = host.read(&path)?;
    let marked = file.filter(|file| config::remove(&file.bytes).text != file.bytes);
    Ok(marked.map(|file| file.meta.path))
}

/// Adds what is marked in the site; `None` if nothing is.
pub fn of_site(
    host: &Host,
    dir: &Path,
    wish: Wish,
    removal: &mut Removal,
) -> Result<Option<Scope>> {
    let supervisor = host.supervisor()?;
    let content = content::by_files(host, dir);
    let mut steps: Vec<(Phase, Box<dyn Resource>)> = Vec::new();
    if let Some(path) = marked_config(host, dir)? {
        let switch = wp_config(path);
        let name = site_name(dir);
        steps.extend(leave::steps(host, &name, dir, &switch, wish.waiting)?);
        steps.push((Phase::Switch, Box::new(switch)));
    }
    for program in programs::all(host, supervisor)? {
        if program.site().as_deref() != Some(dir) {
            continue;
        }
        let definition = without_program(program.file.clone(), program.name.clone(), supervisor);
        steps.push((Phase::Definitions, Box::new(definition)));
        if let Some(settings) = program.option("--settings") {
            let file = removed(settings.into(), Edit::Whole);
            steps.push((Phase::Files, Box::new(file)));
        }
        if host.live() {
            let workers = Program::removed(&program.name, supervisor);
            steps.push((Phase::Workers, Box::new(workers)));
        }
    }
    for runner_name in plugins::runners() {
        let path = dir.join(runner_name);
        if let Ok(Node::Link { to, .. }) = host.look(&path)
            && to == runner()
        {
            let link = Link {
                to: None,
                ..Link::to(path, runner())
            };
            steps.push((Phase::Files, Box::new(link)));
        }
    }
    let bundled = PLUGINS.iter().filter(|plugin| plugin.bundled);
    let names = bundled.map(|plugin| plugin.main_file).chain([PROOF_PLUGIN]);
    for path in names.map(|name| content.must_use.join(name)) {
        if host.read(&path)?.is_some() {
            steps.push((Phase::Files, Box::new(removed(path, Edit::Whole))));
        }
    }
    if steps.is_empty() {
        return Ok(None);
    }
    removal.left.push(format!(
        "{} has no journal, so its original files cannot be restored",
        dir.display()
    ));
    let scope = Scope::Site(site_name(dir));
    steps.sort_by_key(|(phase, _)| *phase);
    removal
        .items
        .extend(steps.into_iter().map(|(_, resource)| Item {
            scope: scope.clone(),
            resource,
        }));
    Ok(Some(scope))
}

fn removed(path: PathBuf, edit: Edit) -> File {
    File {
        make: Box::new(|_, _| Ok(Next::default())),
        ..File::whole(path, Vec::new(), 0o644).edit(edit)
    }
}

fn wp_config(path: PathBuf) -> File {
    File {
        make: Box::new(|_, now| Ok(now.map(|text| config::remove(text).text).into())),
        ..removed(path, Edit::WpConfig).secrets(Secrets::Php(plugins::shown_words()))
    }
}

fn without_program(path: PathBuf, program: String, supervisor: &Supervisord) -> File {
    let edit = match path == Path::new(supervisor.config) {
        true => Edit::Block,
        false => Edit::Program,
    };
    File {
        make: Box::new(move |_, now| {
            let now = now.unwrap_or_default();
            let rest = undo::without(now, &program);
            let goes = edit == Edit::Program && !undo::has_sections(&rest);
            Ok((!goes).then_some(rest).into())
        }),
        ..removed(path, edit)
    }
}
