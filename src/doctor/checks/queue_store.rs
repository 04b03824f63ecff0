//! Where jobs wait, and whether they would be there after a restart.

use std::path::PathBuf;

use crate::doctor::context::Context;
use crate::doctor::{Check, Finding, or_ok};
use crate::gearman::daemon;
use crate::host::files::Node;
use crate::host::services::Action;
use crate::intent::options::{Queue, Role};
use crate::queue::mysql::{self, Login};
use crate::queue::sqlite;

pub const CHECK: Check = Check {
    name: "queue-store",
    describes: "the queue's kind; its file: owner, header, whether gearmand writes to that very file",
    vital: false,
    run,
};

fn run(context: &Context) -> Vec<Finding> {
    if !context.has_role(Role::Server) {
        return vec![Finding::skipped("the job server runs elsewhere")];
    }
    match context.resolved.host.queue {
        Queue::Memory => vec![Finding::ok(
            "jobs wait in gearmand's memory, as was asked for: they are lost when it ends",
        )],
        Queue::Sqlite => sqlite(context),
        Queue::Mysql => mysql(context),
    }
}

fn sqlite(context: &Context) -> Vec<Finding> {
    if let Some(skipped) = context.needs_root() {
        return vec![skipped];
    }
    let gearmand = &context.platform.family.gearmand;
    let path = context
        .option_of_gearmand("libsqlite3-db")
        .map_or_else(|| daemon::queue_file(gearmand).into(), PathBuf::from);
    let shown = path.display();
    let pid = context.gearmand().map(|unit| unit.main_pid).unwrap_or(0);
    let restart = context.services().command(Action::Restart, gearmand.unit);
    let mut problems: Vec<Finding> = match sqlite::faults(context.host, gearmand, &path) {
        Ok(faults) => faults
            .into_iter()
            .map(|fault| Finding::failed(fault.message, format!("{}, then {restart}", fault.help)))
            .collect(),
        Err(error) => vec![Finding::of_error(&error)],
    };
    let size = match context.host.look(&path) {
        Ok(Node::File(meta)) => meta.size,
        Ok(Node::Absent) if pid == 0 => {
            return or_ok(problems, || format!("{shown} will be made by gearmand"));
        }
        Ok(Node::Absent) => {
            let seen = format!("{shown} is gone: jobs that wait now will not survive a restart");
            let todo = format!("wait until no job waits, then {restart}");
            problems.push(Finding::failed(seen, todo));
            return problems;
        }
        _ => 0,
    };
    let files = context.host.files_of(pid);
    let deleted = PathBuf::from(format!("{shown} (deleted)"));
    if files.contains(&deleted) && !files.contains(&path) {
        let seen = format!("gearmand writes to a file that was at {shown} and is deleted");
        problems.push(Finding::failed(
            seen,
            format!("wait until no job waits, then {restart}"),
        ));
    }
    or_ok(problems, || {
        format!("jobs wait in {shown} ({} KB)", size.div_ceil(1024))
    })
}

fn mysql(context: &Context) -> Vec<Finding> {
    let Some(mysql) = &context.resolved.host.mysql else {
        return vec![Finding::skipped("the job server runs elsewhere")];
    };
    if let Some(skipped) = context.needs_root() {
        return vec![skipped];
    }
    if mysql::client(context.host).is_none() {
        let why = "there is no database client (mariadb or mysql) to ask the queue's database with";
        return vec![Finding::skipped(why)];
    }
    let place = format!("{} on {}:{}", mysql.database, mysql.host, mysql.port);
    vec![match mysql::log_in(context.host, mysql) {
        Ok(Login::Works(packet)) => match mysql::packet_note(packet) {
            Some(note) => Finding::warning(note, "raise it there: 64M is common"),
            None => Finding::ok(format!("jobs wait in the database {place}")),
        },
        Ok(Login::Refused(refusal)) => {
            let why = refusal.why;
            let seen = format!("the queue's database {place} refuses gearmand's user: {why}");
            Finding::failed(
                seen,
                "wp-gears setup with --mysql-admin-defaults-file makes the user",
            )
        }
        Err(error) => Finding::of_error(&error),
    }]
}
