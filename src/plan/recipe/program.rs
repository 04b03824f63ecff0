//! The definition of a site's program: what supervisor runs, and how.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::base::paths::binary;
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

/// The worker's command: the options that differ from the defaults, and those that
/// all versions have written.
pub fn worker_command(site: &SiteResolved) -> Vec<String> {
    let path = |path: &Path| path.to_string_lossy().into_owned();
    let mut words = vec![
        path(&binary()),
        "worker".into(),
        "--site".into(),
        path(&site.dir),
        "--name".into(),
        site.name.clone(),
        "--servers".into(),
        site.effective_servers().join(","),
    ];
    let always = WorkerOptions {
        php: Some(site.php.path.clone()),
        worker_mode: Some(site.worker.worker_mode),
        job_retries: Some(site.worker.job_retries),
        stop_timeout: Some(site.worker.stop_timeout),
        ..WorkerOptions::default()
    };
    let given = site.worker_options.clone();
    let written = always.over(given.changed_from(&WorkerOptions::defaults()));
    for (name, value) in effective::set_words(&written) {
        words.extend([format!("--{name}"), value]);
    }
    if site.is_shared && site.worker.seal.is_none() {
        words.push("--shared".into());
    }
    words
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
    let command = programs::join_words(&worker_command(site));
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
    context.insert("workers", &site.workers.max);
    context.insert(
        "worker_dir",
        &written("the worker's folder", &site.worker_dir.to_string_lossy())?,
    );
    context.insert("user", &site.user);
    context.insert("home", &written("the user's home", &home)?);
    // supervisor kills the worker a little after the worker itself gives up.
    context.insert("stop_wait", &(site.worker.stop_timeout.0 + 10));
    template::render(
        include_str!("../../../templates/program.conf.tera"),
        &context,
    )
}
