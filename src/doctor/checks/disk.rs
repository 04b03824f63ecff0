//! Free space for the queue, logs and failed jobs.

use std::path::{Path, PathBuf};

use crate::base::paths::{BASE, LOGS};
use crate::doctor::context::Context;
use crate::doctor::{Check, Finding, or_ok};
use crate::intent::options::Role;

pub const CHECK: Check = Check {
    name: "disk",
    describes: "free space and inodes for the queue, logs and failed jobs",
    vital: false,
    run,
};

const MEGABYTE: u64 = 1 << 20;
/// Less than this stops jobs soon, or deserves a warning: bytes and inodes.
const FAILS: (u64, u64) = (16 * MEGABYTE, 100);
const WARNS: (u64, u64) = (200 * MEGABYTE, 2000);

fn run(context: &Context) -> Vec<Finding> {
    let mut folders: Vec<(PathBuf, &str)> = Vec::new();
    if context.has_role(Role::Server) {
        folders.push((
            context.platform.family.gearmand.queue_dir.into(),
            "the queue",
        ));
        let log = context.option_of_gearmand("log-file").map(PathBuf::from);
        let log = log.as_deref().and_then(Path::parent).map(Path::to_owned);
        folders.extend(log.map(|folder| (folder, "gearmand's log")));
    }
    folders.push((LOGS.into(), "the workers' logs"));
    folders.push((Path::new(BASE).join("failed"), "failed jobs"));
    folders.push((Path::new(BASE).join("cache"), "the opcode cache"));
    let mut problems = Vec::new();
    let mut least = u64::MAX;
    for (folder, what) in folders
        .iter()
        .filter(|(folder, _)| context.host.is_dir(folder))
    {
        let Ok(space) = context.host.space(folder) else {
            continue;
        };
        least = least.min(space.bytes);
        let left = format!(
            "{} MB and {} inodes",
            space.bytes / MEGABYTE,
            space.files.map_or("any".into(), |n| n.to_string())
        );
        let below = |(bytes, files): (u64, u64)| {
            space.bytes < bytes || space.files.is_some_and(|n| n < files)
        };
        let message = format!("{left} are free in {} for {what}", folder.display());
        let help = format!("free up space; 'df {}' shows the usage", folder.display());
        if space.read_only {
            let message = format!(
                "{} is read-only: {what} cannot be written",
                folder.display()
            );
            problems.push(Finding::failed(
                message,
                "find the reason with 'dmesg', then remount it",
            ));
        } else if below(FAILS) {
            problems.push(Finding::failed(message, help));
        } else if below(WARNS) {
            problems.push(Finding::warning(message, help));
        }
    }
    or_ok(problems, || match least {
        u64::MAX => "our folders do not exist yet".into(),
        least => format!("at least {} MB are free", least / MEGABYTE),
    })
}
