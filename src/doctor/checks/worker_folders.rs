//! The worker user's own folders: who else could write the opcode cache could
//! run code as that user.

use std::path::Path;

use crate::base::paths::LOGS;
use crate::doctor::context::Context;
use crate::doctor::{Check, Finding, or_ok};
use crate::host::files::Node;
use crate::intent::options::Role;
use crate::resource::ResourceId;

pub const CHECK: Check = Check {
    name: "worker-folders",
    describes: "owner and mode of the workers' run, cache and failed folders, and of their log",
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
                "wp-gears setup --worker-user",
            )];
        };
        let paths = context.paths(site);
        let mut problems = Vec::new();
        for (folder, what) in [
            (&paths.run, "workers cannot say what they do"),
            (&paths.cache, "PHP compiles WordPress anew each time"),
            (&paths.failed, "failed jobs cannot be kept"),
        ] {
            let why = match context.host.look(folder) {
                Ok(Node::Directory(meta)) if meta.uid == user.uid && meta.mode & 0o077 == 0 => {
                    continue;
                }
                Ok(Node::Directory(meta)) => format!(
                    "belongs to {} with mode {:04o}, not to {} with 0700",
                    context.host.user_name(meta.uid),
                    meta.mode,
                    user.name
                ),
                Ok(_) => "is no folder".into(),
                Err(error) => format!("cannot be looked at ({error:#})"),
            };
            let seen = format!("{} {why}: {what}", folder.display());
            let todo = format!("install -d -o {} -m 700 {}", user.name, folder.display());
            problems
                .push(Finding::failed(seen, todo).fixed_by(ResourceId::Directory(folder.clone())));
        }
        let log = Path::new(LOGS).join(format!("{}.log", site.name));
        match context.host.look(&log) {
            Ok(Node::File(meta)) if meta.uid != user.uid => {
                let seen = format!(
                    "{} belongs to {}: workers cannot log",
                    log.display(),
                    context.host.user_name(meta.uid)
                );
                let todo = format!("chown {} {}", user.name, log.display());
                problems.push(Finding::failed(seen, todo).fixed_by(ResourceId::Log(log.clone())));
            }
            Ok(Node::Absent) => {
                let seen = format!("{} is not there: workers cannot log", log.display());
                problems.push(
                    Finding::failed(seen, "wp-gears doctor --fix")
                        .fixed_by(ResourceId::Log(log.clone())),
                );
            }
            _ => {}
        }
        or_ok(problems, || format!("{}'s alone", user.name))
    })
}
