//! The definition of a site's program: what supervisor runs, and how.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::base::options::Seconds;
use crate::base::paths::{BASE, binary};
use crate::base::problem::Problem;
use crate::base::template;
use crate::host::Host;
use crate::host::supervisor::Supervisord;
use crate::intent::effective;
use crate::intent::resolve::SiteResolved;
use crate::resource::file::Edit;
use crate::resource::file::File;
use crate::supervisor::{block, programs};
use crate::worker::options::WorkerOptions;
use crate::worker::settings::{CrewSettings, hash};
use crate::worker::{Paths, crew_status};

/// The program's definition: in place of the one that already serves the site, in
/// its own file, or, if supervisor's main file includes no folder, in a marked
/// block in that file. A definition that differs only in comments is kept: they
/// come from an earlier version or from the user.
pub fn file(host: &Host, supervisor: &Supervisord, site: &SiteResolved) -> Result<File> {
    let text = program_text(host, site)?;
    let (path, edit) = match &site.existing {
        Some(existing) => (existing.file.clone(), Edit::Section),
        None if programs::folder_is_included(host, supervisor)? => {
            (own_file(supervisor, site), Edit::Program)
        }
        None => (supervisor.config.into(), Edit::Block),
    };
    let program = site.program.clone();
    let old = site.existing.as_ref().map(|existing| existing.name.clone());
    let make = move |_: &Host, bytes: Option<&[u8]>| {
        let now = String::from_utf8_lossy(bytes.unwrap_or_default());
        if programs::same(&program, &now, &text) {
            return Ok(bytes.map(<[u8]>::to_vec).into());
        }
        let next = match (&old, edit) {
            (Some(old), _) => block::replace_section(&now, old, &text)
                .with_context(|| format!("the program {old} no longer exists"))?,
            (None, Edit::Block) => block::set(&now, &program, &text),
            (None, _) => text.clone(),
        };
        Ok(Some(next.into_bytes()).into())
    };
    let mut file = File {
        make: Box::new(make),
        ..File::whole(path, Vec::new(), 0o644).edit(edit)
    };
    if site.existing.is_none() {
        // Our own supervisor already has its folder.
        file.package = supervisor.package;
    }
    Ok(file)
}

/// The file that holds only this program.
pub fn own_file(supervisor: &Supervisord, site: &SiteResolved) -> PathBuf {
    let name = format!("{}.{}", site.program, supervisor.ending);
    Path::new(supervisor.programs).join(name)
}

/// The command of a site's crew. What may change while it runs is in its settings file.
fn crew_command(site: &SiteResolved) -> Vec<String> {
    let mut words = command(site);
    let settings = Paths::new(Path::new(BASE), &site.name).settings;
    words.extend(["--settings".into(), settings.to_string_lossy().into_owned()]);
    words
}

/// The same for one worker before there is a settings file.
pub fn worker_command(site: &SiteResolved) -> Vec<String> {
    let settings = settings(site);
    let servers: Vec<String> = settings.servers.iter().map(ToString::to_string).collect();
    let mut words = command(site);
    // In one word: what a site names is no option.
    words.push(format!("--servers={}", servers.join(",")));
    for (name, value) in effective::set_words(&settings.options) {
        words.push(format!("--{name}={value}"));
    }
    if settings.shared {
        words.push("--shared".into());
    }
    words
}

fn command(site: &SiteResolved) -> Vec<String> {
    let path = |path: &Path| path.to_string_lossy().into_owned();
    vec![
        path(&binary()),
        "worker".into(),
        "--site".into(),
        path(&site.dir),
        "--name".into(),
        site.name.clone(),
    ]
}

/// What the site's crew runs with: of the options, those that differ from the defaults,
/// and some that a reader expects.
pub fn settings(site: &SiteResolved) -> CrewSettings {
    let always = WorkerOptions {
        php: Some(site.php.path.clone()),
        worker_mode: Some(site.worker.worker_mode),
        job_retries: Some(site.worker.job_retries),
        stop_timeout: Some(site.worker.stop_timeout),
        ..WorkerOptions::default()
    };
    let given = site.worker_options.clone();
    let servers = site.effective_servers();
    CrewSettings {
        workers: site.workers,
        worker_budget: site.worker_budget,
        servers: servers.iter().filter_map(|it| it.parse().ok()).collect(),
        shared: site.is_shared && site.worker.seal.is_none(),
        options: always.over(given.changed_from(&WorkerOptions::defaults())),
        hook: site.hooks.clone(),
    }
}

/// The settings file, which a running crew adopts, and what identifies its text.
pub fn settings_file(site: &SiteResolved) -> Result<(File, String)> {
    let paths = Paths::new(Path::new(BASE), &site.name);
    let text = settings(site)
        .to_text()
        .context("write the workers' settings")?;
    let run = paths.run;
    let hash = hash(text.as_bytes());
    let file = File {
        then: Some(Box::new(move |host| {
            if host.live() {
                crew_status::wake(&run);
            }
        })),
        ..File::whole(paths.settings, text.into_bytes(), 0o644)
    };
    Ok((file, hash))
}

/// When supervisor kills what it stops: never before the crew itself gives up on its
/// members. Few values, because a change would restart the crew.
fn stop_wait(stop_timeout: Seconds) -> u64 {
    let longest = [3600, 86_400].into_iter().find(|it| stop_timeout.0 <= *it);
    longest.unwrap_or(stop_timeout.0) + 60
}

fn program_text(host: &Host, site: &SiteResolved) -> Result<String> {
    let written = |what: &str, text: &str| {
        programs::value(text).ok_or_else(|| {
            let why = format!(
                "{what} ({text:?}) contains what supervisor's files cannot hold: a line break, a space at either end, or a space before ';' or '#'"
            );
            Problem::new("write supervisor's program", why).help("rename it, then run again")
        })
    };
    let command = programs::join_words(&crew_command(site));
    let home = host
        .user(&site.user)?
        .map(|user| user.home)
        .unwrap_or_else(|| "/".into());
    if home.contains(['"', '\'']) {
        let why = format!("the home of {} ({home}) contains a quote", site.user);
        return Err(Problem::new("write supervisor's program", why).into());
    }
    let mut context = tera::Context::new();
    context.insert(
        "dir",
        &written("the site's folder", &site.dir.to_string_lossy())?,
    );
    context.insert("program", &site.program);
    context.insert("command", &written("the command", &command)?);
    context.insert(
        "worker_dir",
        &written("the worker's folder", &site.worker_dir.to_string_lossy())?,
    );
    context.insert("user", &site.user);
    context.insert("home", &written("the user's home", &home)?);
    context.insert("stop_wait", &stop_wait(site.worker.stop_timeout));
    template::render(
        include_str!("../../../templates/program.conf.tera"),
        &context,
    )
}
