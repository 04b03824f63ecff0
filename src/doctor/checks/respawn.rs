//! Workers that supervisor starts again and again.

use std::time::{Duration, SystemTime};

use crate::doctor::context::Context;
use crate::doctor::{Check, Finding};
use crate::intent::options::Role;

pub const CHECK: Check = Check {
    name: "respawn",
    describes: "supervisord's log: workers that end soon after each start",
    vital: false,
    run,
};

const LOG: i32 = 16 << 10;
/// So many ends of one group in the log's tail, and a worker that is this young.
const MANY: usize = 5;
const YOUNG: Duration = Duration::from_secs(30);

fn run(context: &Context) -> Vec<Finding> {
    if !context.has_role(Role::Worker) {
        return vec![Finding::skipped("no workers run here")];
    }
    let Ok(all) = context.programs() else {
        return vec![Finding::skipped("supervisord cannot be asked")];
    };
    let Ok(log) = context.supervisor().log_tail(LOG) else {
        return vec![Finding::skipped("supervisord keeps no log")];
    };
    context.each_site(|site| {
        let mine = || all.iter().filter(|process| process.group == site.program);
        // "exited: NAME (exit status 1; not expected)", once an end that nobody asked for.
        let ends = log.lines().filter(|line| {
            line.split_once("exited: ").is_some_and(|(_, rest)| {
                let name = rest.split(' ').next().unwrap_or_default();
                mine().any(|process| process.name == name)
            })
        });
        let ends = ends.count();
        let young = mine().any(|process| {
            let started = context
                .host
                .process(process.pid)
                .map(|running| running.started);
            started
                .is_some_and(|at| SystemTime::now().duration_since(at).unwrap_or_default() < YOUNG)
        });
        vec![match ends >= MANY && young {
            true => Finding::failed(
                format!("its workers ended {ends} times of late, and one started just now"),
                format!(
                    "see {}/{}.log and '{}'",
                    crate::base::paths::LOGS,
                    site.name,
                    context.supervisorctl(&format!("tail {}:* stderr", site.program))
                ),
            ),
            false => Finding::ok("no worker is started again and again"),
        }]
    })
}
