//! What gearmand was really started with, and whether its file will start it again.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use crate::doctor::context::Context;
use crate::doctor::{Check, Finding, or_ok};
use crate::gearman::{options, password};
use crate::host::services::{Action, Unit};
use crate::intent::options::Role;
use crate::queue::passwords;
use crate::queue::running::{self, Stale, definition};
use crate::resource::ResourceId;

pub const CHECK: Check = Check {
    name: "job-server-options",
    describes: "gearmand's command line as it runs against its file; the folder of its log",
    vital: false,
    run,
};

fn run(context: &Context) -> Vec<Finding> {
    if !context.has_role(Role::Server) {
        return vec![Finding::skipped("the job server runs elsewhere")];
    }
    let unit = match context.gearmand() {
        Ok(unit) if unit.present => unit,
        Ok(_) => return vec![Finding::skipped("gearmand is not installed")],
        Err(error) => return vec![Finding::skipped(format!("{error:#}"))],
    };
    let mut problems = file(context, &unit);
    problems.extend(running(context, &unit));
    problems.extend(log_folder(context));
    or_ok(problems, || {
        let process = context.host.process(unit.main_pid);
        match process {
            Some(process) => format!("runs as {}", shown(&process.args)),
            None => "its file is in order; it does not run".into(),
        }
    })
}

/// What its next start will meet.
fn file(context: &Context, unit: &Unit) -> Vec<Finding> {
    let gearmand = &context.platform.family.gearmand;
    let path = gearmand.options_file;
    let Ok(Some(file)) = context.host.read(Path::new(path)) else {
        return Vec::new();
    };
    let by = ResourceId::File(path.into());
    let words = options::all_words(&file.bytes, gearmand.options_variable);
    let given = options::given(&words.join(" "));
    let Ok(to_be) = definition(context.host, &[]) else {
        return Vec::new();
    };
    let mut problems = Vec::new();
    let needs_daemon = unit.forking && to_be.for_file.iter().any(|o| o.name == "daemon");
    if needs_daemon && !given.iter().any(|(name, _)| name == "daemon") {
        let seen = format!(
            "{} in {path} lacks --daemon: the next start hangs until systemd gives up",
            gearmand.options_variable
        );
        problems
            .push(Finding::failed(seen, format!("add --daemon to {path}")).fixed_by(by.clone()));
    }
    let fixed = to_be.unwanted;
    let mut seen_names = HashSet::new();
    for name in given.iter().map(|(name, _)| name.as_str()) {
        if passwords().any(|it| it.gearmand_option == name) {
            let seen = format!("--{name} stands in {path}: every local user reads it in ps");
            let todo = format!("move it to {} (mode 0640)", password::CONFIG);
            problems.push(Finding::failed(seen, todo).fixed_by(by.clone()));
        } else if !seen_names.insert(name) || fixed.iter().any(|other| other == name) {
            let seen = format!("--{name} is given twice: gearmand will not start again");
            problems.push(
                Finding::failed(seen, format!("take one out of {path}")).fixed_by(by.clone()),
            );
        }
    }
    problems
}

fn running(context: &Context, unit: &Unit) -> Option<Finding> {
    let family = context.platform.family;
    let wanted = context.resolved.host.options_of_gearmand();
    let why = running::staleness(family, wanted, None)(context.host, unit)
        .ok()
        .flatten()?;
    // The limit of open files has a check of its own.
    if matches!(why, Stale::FilesLimit(_)) {
        return None;
    }
    let todo = context
        .services()
        .command(Action::Restart, family.gearmand.unit);
    let service = ResourceId::Service(family.gearmand.unit.to_owned());
    Some(
        Finding::failed(format!("gearmand is not what setup makes it: {why}"), todo)
            .fixed_by(service),
    )
}

/// gearmand's own user writes its log. The queue's file has a check of its own.
fn log_folder(context: &Context) -> Option<Finding> {
    const OPTION: &str = "log-file";
    let user = context.platform.family.gearmand.user;
    let user = context.host.user(user).ok()??;
    let path = PathBuf::from(context.option_of_gearmand(OPTION)?);
    let folder = path.parent().filter(|folder| folder.is_absolute())?;
    let why = context.host.cannot_write_in(folder, &user).ok()??;
    let help = format!("chown {} {}", user.name, folder.display());
    Some(Finding::failed(format!("--{OPTION}: {why}"), help))
}

fn shown(args: &[String]) -> String {
    let line = args.join(" ");
    crate::base::secrets::diff(&line, crate::base::secrets::Secrets::Options)
        .trim_end()
        .to_owned()
}
