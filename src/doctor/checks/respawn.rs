//! Workers that keep ending: crews that supervisor restarts, and members that a crew does.

use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::base::paths::{BASE, LOGS};
use crate::doctor::context::Context;
use crate::doctor::{Check, Finding};
use crate::intent::options::Role;
use crate::worker::{Paths, crew_status};

pub const CHECK: Check = Check {
    name: "respawn",
    describes: "workers that keep exiting soon after they start",
    vital: false,
    run,
};

const LOG: i32 = 16 << 10;
/// This many exits of a group at the end of the log, and a worker this young.
const MANY: usize = 5;
const YOUNG: Duration = Duration::from_secs(30);

fn run(context: &Context) -> Vec<Finding> {
    if !context.has_role(Role::Worker) {
        return vec![Finding::skipped("no workers run here")];
    }
    let Ok(all) = context.programs() else {
        return vec![Finding::skipped("supervisord cannot be queried")];
    };
    let Ok(log) = context.supervisor().log_tail(LOG) else {
        return vec![Finding::skipped("supervisord has no log")];
    };
    context.each_site(|site| {
        let mine = || all.iter().filter(|process| process.group == site.program);
        // "exited: NAME (exit status 1; not expected)", for an exit that was not requested.
        let exits = log.lines().filter(|line| {
            line.split_once("exited: ").is_some_and(|(_, rest)| {
                let name = rest.split(' ').next().unwrap_or_default();
                mine().any(|process| process.name == name)
            })
        });
        let exits = exits.count();
        let young = mine().any(|process| {
            let started = context
                .host
                .process(process.pid)
                .map(|running| running.started);
            started
                .is_some_and(|at| SystemTime::now().duration_since(at).unwrap_or_default() < YOUNG)
        });
        let run = Paths::new(Path::new(BASE), &site.name).run;
        let crews = crew_status::read(&run).unwrap_or_default();
        let help = || {
            format!(
                "see {LOGS}/{}.log and '{}'",
                site.name,
                context.supervisorctl(&format!("tail {}:* stderr", site.program))
            )
        };
        vec![if exits >= MANY && young {
            let what =
                format!("its program exited {exits} times recently, and has just started again");
            Finding::failed(what, help())
        } else if let Some(failures) = crew_status::keeps_ending(&crews) {
            let what =
                format!("a worker exited {failures} times in a row within seconds of its start");
            Finding::failed(what, help())
        } else {
            Finding::ok("no worker keeps restarting")
        }]
    })
}
