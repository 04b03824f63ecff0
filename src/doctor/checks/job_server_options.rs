//! The options that gearmand was started with, and whether its options file is sound.

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
    describes: "gearmand's command line compared with its options file; the folder of its log",
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
            None => "its options file is valid; it is not running".into(),
        }
    })
}

/// Problems in the file that would affect its next start.
fn file(context: &Context, unit: &Unit) -> Vec<Finding> {
    let gearmand = &context.platform.family.gearmand;
    let path = gearmand.options_file;
    let Ok(Some(file)) = context.host.read(Path::new(path)) else {
        return Vec::new();
    };
    let by = ResourceId::File(path.into());
    let words = options::all_words(&file.bytes, gearmand.options_variable);
    let given = options::given(&words.join(" "));
    // A drop-in of setup's may replace what the unit gives.
    let wanted = context.resolved.host.options_of_gearmand();
    let Ok(planned) = definition(context.host, &wanted) else {
        return Vec::new();
    };
    let mut problems = Vec::new();
    let needs_daemon = unit.forking && planned.for_file.iter().any(|o| o.name == "daemon");
    if needs_daemon && !given.iter().any(|(name, _)| name == "daemon") {
        let message = format!(
            "{} in {path} lacks --daemon: the next start will hang until systemd gives up",
            gearmand.options_variable
        );
        problems
            .push(Finding::failed(message, format!("add --daemon to {path}")).fixed_by(by.clone()));
    }
    let fixed = planned.unwanted;
    let mut seen_names = HashSet::new();
    for name in given.iter().map(|(name, _)| name.as_str()) {
        if passwords().any(|it| it.gearmand_option == name) {
            let message = format!("--{name} is in {path}: every local user can see it with ps");
            let help = format!("move it to {} (mode 0640)", password::CONFIG);
            problems.push(Finding::failed(message, help).fixed_by(by.clone()));
        } else if !seen_names.insert(name) || fixed.iter().any(|other| other == name) {
            let message = format!("--{name} is set twice: gearmand will not start again");
            problems.push(
                Finding::failed(message, format!("remove one from {path}")).fixed_by(by.clone()),
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
    // The limit of open files has its own check.
    if matches!(why, Stale::FilesLimit(_)) {
        return None;
    }
    let restart = context
        .services()
        .command(Action::Restart, family.gearmand.unit);
    let help = format!("run '{restart}'");
    let service = ResourceId::Service(family.gearmand.unit.to_owned());
    let message = format!("gearmand does not run as configured: {why}");
    let finding = match why {
        Stale::Sandbox => Finding::warning(message, help),
        _ => Finding::failed(message, help),
    };
    Some(finding.fixed_by(service))
}

/// gearmand's user has to be able to write its log. The queue has its own check.
fn log_folder(context: &Context) -> Option<Finding> {
    const OPTION: &str = "log-file";
    let user = context.platform.family.gearmand.user;
    let user = context.host.user(user).ok()??;
    let path = PathBuf::from(context.option_of_gearmand(OPTION)?);
    let folder = path.parent().filter(|folder| folder.is_absolute())?;
    let why = context.host.cannot_write_in(folder, &user).ok()??;
    let help = format!("run 'chown {} {}'", user.name, folder.display());
    Some(Finding::failed(format!("--{OPTION}: {why}"), help))
}

fn shown(args: &[String]) -> String {
    let line = args.join(" ");
    crate::base::secrets::diff(&line, crate::base::secrets::Secrets::Options)
        .trim_end()
        .to_owned()
}
