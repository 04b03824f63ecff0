//! Whether supervisord can read its program files, including those of others: a
//! single broken one keeps it from reading any of them again.

use std::path::{Path, PathBuf};

use crate::doctor::context::Context;
use crate::doctor::{Check, Finding, or_ok};
use crate::intent::options::Role;
use crate::plan::recipe::program::own_file;
use crate::resource::ResourceId;
use crate::supervisor::programs;

pub const CHECK: Check = Check {
    name: "program-files",
    describes: "supervisor's program files, including those of others: included, readable, loaded",
    vital: false,
    run,
};

fn run(context: &Context) -> Vec<Finding> {
    if !context.has_role(Role::Worker) {
        return vec![Finding::skipped("no workers run here")];
    }
    let supervisor = context.resolved.host.supervisor;
    let mut problems = Vec::new();
    if let Ok(false) = programs::folder_is_included(context.host, supervisor) {
        let inside = |file: &Path| file.starts_with(supervisor.programs);
        let ours = context
            .resolved
            .sites
            .iter()
            .filter_map(|site| site.existing.as_ref());
        if ours.into_iter().any(|program| inside(&program.file)) {
            problems.push(Finding::failed(
                format!(
                    "{} does not include {}",
                    supervisor.config, supervisor.programs
                ),
                format!(
                    "add an [include] section with files = {}/*.{}",
                    supervisor.programs, supervisor.ending
                ),
            ));
        }
    }
    for site in context
        .resolved
        .sites
        .iter()
        .filter(|site| site.existing.is_none())
    {
        let file = own_file(supervisor, site);
        let message = format!("its workers have no program: {} is missing", file.display());
        problems.push(
            Finding::failed(message, "run 'wp-gears doctor --fix'")
                .fixed_by(ResourceId::File(file))
                .of_site(&site.name),
        );
    }
    if context.programs().is_err() {
        problems.extend(
            broken(context)
                .into_iter()
                .map(|(file, why)| broken_file(context, &file, &why)),
        );
        return or_ok_or_skipped(problems);
    }
    match context.supervisor().reread() {
        Err(error) => {
            let reread = context.supervisorctl("reread");
            let found = broken(context);
            let from_supervisord = error.root_cause().to_string();
            if found.is_empty() {
                problems.push(Finding::failed(
                    format!("supervisord cannot read its files: {from_supervisord}"),
                    format!("fix the file that the message names, then run '{reread}'"),
                ));
            }
            problems.extend(
                found
                    .into_iter()
                    .map(|(file, why)| broken_file(context, &file, &why)),
            );
        }
        Ok(reread) => {
            for site in &context.resolved.sites {
                if reread.changed.contains(&site.program) || reread.added.contains(&site.program) {
                    let message = format!(
                        "supervisord has not loaded the present definition of {}",
                        site.program
                    );
                    let by = ResourceId::Program(site.program.clone());
                    problems.push(
                        Finding::failed(
                            message,
                            format!("run '{}'", context.supervisorctl("update")),
                        )
                        .fixed_by(by)
                        .of_site(&site.name),
                    );
                }
            }
        }
    }
    or_ok(problems, || {
        format!("supervisord reads all files in {}", supervisor.programs)
    })
}

fn or_ok_or_skipped(problems: Vec<Finding>) -> Vec<Finding> {
    match problems.is_empty() {
        true => vec![Finding::skipped("supervisord cannot be queried")],
        false => problems,
    }
}

fn broken_file(context: &Context, file: &Path, why: &str) -> Finding {
    Finding::failed(
        format!(
            "{} is broken ({why}): until it is fixed, supervisord cannot reload any program file",
            file.display()
        ),
        format!(
            "fix it or move it away, then run '{}'",
            context.supervisorctl("reread")
        ),
    )
}

/// Files that supervisor's parser rejects, with the line.
fn broken(context: &Context) -> Vec<(PathBuf, String)> {
    let supervisor = context.resolved.host.supervisor;
    let folder = Path::new(supervisor.programs);
    let ending = format!(".{}", supervisor.ending);
    let mut found = Vec::new();
    for name in context.host.list(folder).unwrap_or_default() {
        let path = folder.join(&name);
        if !name.to_string_lossy().ends_with(&ending) {
            continue;
        }
        match context.host.read(&path) {
            Ok(Some(file)) => {
                let text = String::from_utf8_lossy(&file.bytes).into_owned();
                found.extend(fault(&text).map(|why| (path, why)));
            }
            Ok(None) => {}
            Err(error) => found.push((path, format!("{error:#}"))),
        }
    }
    found
}

/// The first line that an ini parser rejects.
fn fault(text: &str) -> Option<String> {
    let mut inside = false;
    for (at, line) in text.lines().enumerate() {
        let bare = line.trim();
        let at = at + 1;
        if bare.is_empty() || bare.starts_with([';', '#']) {
            continue;
        }
        if bare.starts_with('[') {
            if !bare.contains(']') {
                return Some(format!("line {at}: the section name is not closed"));
            }
            inside = true;
        } else if !inside {
            return Some(format!("line {at} is outside of any section"));
        } else if !line.starts_with([' ', '\t']) && !bare.contains(['=', ':']) {
            return Some(format!("line {at} is not KEY=VALUE"));
        }
    }
    // supervisor requires a command in every program.
    let programs = programs::parse(text, Path::new(""));
    let without = programs
        .into_iter()
        .find(|program| program.get("command").is_none());
    without.map(|program| format!("the program {} has no command", program.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_that_supervisor_rejects_is_named() {
        assert_eq!(
            fault("; fine\n[program:x]\ncommand=/bin/true\n  and more\n"),
            None
        );
        assert!(fault("command=x\n").unwrap().contains("line 1"));
        assert!(
            fault("[program:x]\ncommand=/bin/x\nrubbish\n")
                .unwrap()
                .contains("line 3")
        );
        assert!(
            fault("[program:x]\nuser=x\n")
                .unwrap()
                .contains("no command")
        );
        assert!(fault("[program:x\n").unwrap().contains("not closed"));
    }
}
