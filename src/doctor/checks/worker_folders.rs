//! The worker user's own folders. Anyone else who could write the opcode cache
//! could run code as that user.

use std::path::Path;

use crate::base::paths::LOGS;
use crate::doctor::context::Context;
use crate::doctor::{Check, Finding, or_ok};
use crate::host::files::Node;
use crate::intent::options::Role;
use crate::resource::ResourceId;

pub const CHECK: Check = Check {
    name: "worker-folders",
    describes: "owner and mode of the workers' run, cache and failed folders and of their log",
    vital: false,
    run,
};

fn run(context: &Context) -> Vec<Finding> {
    if !context.has_role(Role::Worker) {
        return vec![Finding::skipped("no workers run here")];
    }
    context.each_site(|site| {
        let Ok(Some(user)) = context.host.user(&site.user) else {
            return vec![Finding::failed(
                format!("there is no user {}", site.user),
                "choose another with 'wp-gears setup --worker-user NAME'",
            )];
        };
        let paths = context.paths(site);
        let mut problems = Vec::new();
        // The dashboard's group may read the first.
        let shown = match context.resolved.host.dashboard {
            Some(_) => 0o050,
            None => 0,
        };
        for (folder, what, shown) in [
            (&paths.run, "workers cannot report their status", shown),
            (&paths.cache, "PHP has to compile WordPress every time", 0),
            (&paths.failed, "failed jobs cannot be stored", 0),
        ] {
            let why = match context.host.look(folder) {
                Ok(Node::Directory(meta))
                    if meta.uid == user.uid && meta.mode & 0o077 & !shown == 0 =>
                {
                    continue;
                }
                Ok(Node::Directory(meta)) => format!(
                    "belongs to {} with mode {:04o}, not to {} with {:04o}",
                    context.host.user_name(meta.uid),
                    meta.mode,
                    user.name,
                    0o700 | shown
                ),
                Ok(_) => "is not a folder".into(),
                Err(error) => format!("cannot be inspected ({error:#})"),
            };
            let message = format!("{} {why}: {what}", folder.display());
            let help = format!(
                "run 'install -d -o {} -m 700 {}'",
                user.name,
                folder.display()
            );
            problems.push(
                Finding::failed(message, help).fixed_by(ResourceId::Directory(folder.clone())),
            );
        }
        let log = Path::new(LOGS).join(format!("{}.log", site.name));
        match context.host.look(&log) {
            Ok(Node::File(meta)) if meta.uid != user.uid => {
                let message = format!(
                    "{} belongs to {}: workers cannot log",
                    log.display(),
                    context.host.user_name(meta.uid)
                );
                let help = format!("run 'chown {} {}'", user.name, log.display());
                problems
                    .push(Finding::failed(message, help).fixed_by(ResourceId::Log(log.clone())));
            }
            Ok(Node::File(meta)) if meta.mode & 0o077 != 0 => {
                let message = format!(
                    "{} has mode {:04o}: other users can read what jobs print",
                    log.display(),
                    meta.mode
                );
                let help = format!("run 'chmod 600 {}'", log.display());
                problems
                    .push(Finding::failed(message, help).fixed_by(ResourceId::Log(log.clone())));
            }
            Ok(Node::Absent) => {
                let message = format!("{} is missing: workers cannot log", log.display());
                problems.push(
                    Finding::failed(message, "run 'wp-gears doctor --fix'")
                        .fixed_by(ResourceId::Log(log.clone())),
                );
            }
            _ => {}
        }
        or_ok(problems, || format!("they belong to {} only", user.name))
    })
}
