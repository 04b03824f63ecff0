//! The user that jobs run as, compared with who serves and who owns the site.

use crate::doctor::checks::orphans::is_worker;
use crate::doctor::context::Context;
use crate::doctor::{Check, Finding, or_ok};
use crate::host::files::Node;
use crate::intent::exposure;

pub const CHECK: Check = Check {
    name: "worker-user",
    describes: "user of the workers compared with the web server's pool and the site's owner; their folder",
    vital: false,
    run,
};

fn run(context: &Context) -> Vec<Finding> {
    let mut findings = each_site(context);
    let shared = exposure::shared_pools(context.host, &context.resolved);
    findings.extend(shared.into_iter().map(|message| {
        let help = "give each owner a pool of php-fpm with a user of its own, then run 'wp-gears setup' again";
        Finding::warning(message, help)
    }));
    findings
}

fn each_site(context: &Context) -> Vec<Finding> {
    context.each_site(|site| {
        let mut problems = Vec::new();
        let words = ["--site".to_owned(), site.dir.display().to_string()];
        for process in context.processes().iter().filter(|process| is_worker(process)) {
            let of_site = process.args.windows(2).any(|pair| pair == words);
            if of_site && process.uid == Some(0) {
                let message = format!("process {} runs the site's code as root", process.pid);
                problems.push(Finding::failed(message, format!("set the program's user, then run '{}'", context.supervisorctl("update"))));
            }
        }
        let user = &site.user;
        let serving = context.served(site).user().map(str::to_owned);
        let owner = match context.host.look_through(&site.content.dir) {
            Ok(Node::Directory(meta)) => Some(context.host.user_name(meta.uid)),
            _ => None,
        };
        if let Some(serving) = &serving
            && serving != user
            && owner.as_ref() != Some(user)
            && !site.asked.user
        {
            problems.push(Finding::warning(
                format!("jobs run as {user}, but pages as {serving}: each may create files that the other cannot write"),
                format!("run 'wp-gears setup --site {} --worker-user {serving}'", site.dir.display()),
            ));
        }
        if let Ok(Some(account)) = context.host.user(user)
            && context.root
            && let Ok(Node::Absent) = context.host.look_through(&site.worker_dir)
        {
            problems.push(Finding::failed(
                format!("{} does not exist: workers of {} have no working directory", site.worker_dir.display(), account.name),
                "create it, or choose another with 'wp-gears setup --worker-dir DIR'",
            ));
        }
        or_ok(problems, || match serving {
            Some(serving) if serving == *user => format!("jobs and pages run as {user}"),
            _ => format!("jobs run as {user}"),
        })
    })
}
