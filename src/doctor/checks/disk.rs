//! Free space where the queue, the logs and the failed jobs are written.

use std::path::{Path, PathBuf};

use crate::base::paths::{BASE, LOGS};
use crate::doctor::context::Context;
use crate::doctor::{Check, Finding, or_ok};
use crate::intent::options::Role;

pub const CHECK: Check = Check {
    name: "disk",
    describes: "free space and inodes where the queue, logs and failed jobs are written",
    vital: false,
    run,
};

const MEGABYTE: u64 = 1 << 20;
/// Less stops jobs soon, or is a reason to look.
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
        let seen = format!("{left} are left in {} for {what}", folder.display());
        let todo = format!("free some space: df {}", folder.display());
        if space.read_only {
            let seen = format!(
                "{} is read-only: {what} cannot be written",
                folder.display()
            );
            problems.push(Finding::failed(
                seen,
                "see 'dmesg' for the reason, then remount it",
            ));
        } else if below(FAILS) {
            problems.push(Finding::failed(seen, todo));
        } else if below(WARNS) {
            problems.push(Finding::warning(seen, todo));
        }
    }
    or_ok(problems, || match least {
        u64::MAX => "no folder of ours is there yet".into(),
        least => format!("{} MB are left at least", least / MEGABYTE),
    })
}
