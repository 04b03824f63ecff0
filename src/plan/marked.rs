//! remove for a site without a journal: removes what is marked as ours.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::base::paths::runner;
use crate::base::secrets::Secrets;
use crate::host::Host;
use crate::host::files::Node;
use crate::plan::journal::Scope;
use crate::plan::remove::{Removal, Wish};
use crate::plan::{Item, waiting};
use crate::resource::Resource;
use crate::resource::file::{Edit, File, Next};
use crate::resource::link::Link;
use crate::resource::program::Program;
use crate::site::find::name as site_name;
use crate::site::page::PROOF_PLUGIN;
use crate::site::plugins::{self, PLUGINS};
use crate::site::{config, content, settings};
use crate::supervisor::{block, programs};

/// Adds what is marked in the site; `None` if nothing is.
pub fn of_site(
    host: &Host,
    dir: &Path,
    wish: Wish,
    removal: &mut Removal,
) -> Result<Option<Scope>> {
    let supervisor = host.supervisor()?;
    let content = content::by_files(host, dir);
    let mut resources: Vec<Box<dyn Resource>> = Vec::new();
    if let Ok(path) = settings::locate(host, dir)
        && let Some(file) = host.read(&path)?
        && config::remove(&file.bytes).text != file.bytes
    {
        resources.push(Box::new(wp_config(file.meta.path)));
        let drained = waiting::of_site(host, &site_name(dir), dir, wish.waiting)?;
        resources.extend(drained.map(|it| Box::new(it) as Box<dyn Resource>));
    }
    for program in programs::all(host, supervisor)? {
        if program.site().as_deref() != Some(dir) {
            continue;
        }
        resources.push(Box::new(
            match program.file == Path::new(supervisor.config) {
                true => without_block(program.file, program.name.clone()),
                false => removed(program.file, Edit::Program),
            },
        ));
        if host.live() {
            resources.push(Box::new(Program::removed(&program.name, supervisor)));
        }
    }
    for runner_name in plugins::runners() {
        let path = dir.join(runner_name);
        if let Ok(Node::Link { to, .. }) = host.look(&path)
            && to == runner()
        {
            resources.push(Box::new(Link {
                to: None,
                ..Link::to(path, runner())
            }));
        }
    }
    let bundled = PLUGINS.iter().filter(|plugin| plugin.bundled);
    let names = bundled.map(|plugin| plugin.main_file).chain([PROOF_PLUGIN]);
    for path in names.map(|name| content.must_use.join(name)) {
        if host.read(&path)?.is_some() {
            resources.push(Box::new(removed(path, Edit::Whole)));
        }
    }
    if resources.is_empty() {
        return Ok(None);
    }
    removal.left.push(format!(
        "{} has no journal, so its original files cannot be restored",
        dir.display()
    ));
    let scope = Scope::Site(site_name(dir));
    removal
        .items
        .extend(resources.into_iter().map(|resource| Item {
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

fn without_block(path: PathBuf, program: String) -> File {
    File {
        make: Box::new(move |_, now| {
            let now = String::from_utf8_lossy(now.unwrap_or_default()).into_owned();
            let text = block::remove(&now, &program).unwrap_or(now);
            Ok(Some(text.into_bytes()).into())
        }),
        ..removed(path, Edit::Block)
    }
}
