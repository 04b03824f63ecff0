//! Where jobs wait, and whether they would be there after a restart.

use std::net::{TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::doctor::context::Context;
use crate::doctor::{Check, Finding, or_ok};
use crate::host::files::Node;
use crate::spec::{Queue, Role};

pub const CHECK: Check = Check {
    name: "queue-store",
    looks_at: "the queue's kind; its file: owner, header, whether gearmand writes to that very file",
    vital: false,
    run,
};

fn run(context: &Context) -> Vec<Finding> {
    if !context.has_role(Role::Server) {
        return vec![Finding::skipped("the job server runs elsewhere")];
    }
    match context.decided.host.queue {
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
    let path = context.option_of_gearmand("libsqlite3-db").map_or_else(
        || Path::new(gearmand.queue_dir).join("queue.sqlite"),
        PathBuf::from,
    );
    let shown = path.display();
    let pid = context.gearmand().map(|unit| unit.main_pid).unwrap_or(0);
    let restart = format!("systemctl restart {}", gearmand.unit);
    let meta = match context.host.look(&path) {
        Ok(Node::File(meta)) => meta,
        Ok(Node::Absent) if pid == 0 => {
            return vec![Finding::ok(format!("{shown} will be made by gearmand"))];
        }
        Ok(Node::Absent) => {
            let seen = format!("{shown} is gone: jobs that wait now will not survive a restart");
            return vec![Finding::failed(
                seen,
                format!("wait until no job waits, then {restart}"),
            )];
        }
        Ok(_) => {
            return vec![Finding::failed(
                format!("{shown} is not a file"),
                format!("move it away, then {restart}"),
            )];
        }
        Err(error) => return vec![Finding::of_error(&error)],
    };
    let mut problems = Vec::new();
    let owner = context.host.name_of(meta.uid);
    if owner != gearmand.user {
        let seen = format!(
            "{shown} belongs to {owner}: gearmand runs as {} and can keep no job",
            gearmand.user
        );
        problems.push(Finding::failed(
            seen,
            format!("chown {} {shown}, then {restart}", gearmand.user),
        ));
    }
    let user = context.host.user(gearmand.user).ok().flatten();
    if let (Some(folder), Some(user)) = (path.parent(), user)
        && let Ok(Some(why)) = context.host.cannot_write_in(folder, &user)
    {
        let todo = format!("chown {} {}, then {restart}", user.name, folder.display());
        problems.push(Finding::failed(format!("{why}: no job is kept"), todo));
    }
    match context.host.head(&path, 100) {
        Ok((head, size)) => problems.extend(damage(&head, size).map(|why| {
            let todo = format!(
                "systemctl stop {}, move {shown} away (sqlite3's .recover may save jobs), then wp-gears doctor --fix",
                gearmand.unit
            );
            Finding::failed(format!("{shown} {why}"), todo)
        })),
        Err(error) => problems.push(Finding::of_error(&error)),
    }
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
        format!(
            "jobs wait in {shown} ({} KB), {owner}'s",
            meta.size.div_ceil(1024)
        )
    })
}

/// What the header says is wrong with an SQLite file.
fn damage(head: &[u8], size: u64) -> Option<String> {
    if size == 0 {
        return None; // made, and nothing was ever written
    }
    if head.len() < 100 || !head.starts_with(b"SQLite format 3\0") {
        return Some("is not an SQLite file: it is damaged".into());
    }
    let number = |at: usize| {
        head[at..at + 4]
            .iter()
            .fold(0u64, |n, b| n << 8 | u64::from(*b))
    };
    let page = match u64::from(head[16]) << 8 | u64::from(head[17]) {
        1 => 65536,
        page => page,
    };
    // The count holds where the two change counters agree.
    let whole = page * number(28);
    (number(24) == number(92) && size < whole)
        .then(|| format!("has {size} of {whole} bytes: its end is missing"))
}

fn mysql(context: &Context) -> Vec<Finding> {
    let option = |name| context.option_of_gearmand(name);
    let host = option("mysql-host").unwrap_or_else(|| "localhost".into());
    if host == "localhost" || host.starts_with('/') {
        return vec![Finding::ok(
            "jobs wait in a table of this host's MySQL server",
        )];
    }
    let port = option("mysql-port")
        .and_then(|port| port.parse().ok())
        .unwrap_or(3306u16);
    let reached = (host.as_str(), port)
        .to_socket_addrs()
        .ok()
        .and_then(|mut addresses| addresses.next())
        .is_some_and(|address| {
            TcpStream::connect_timeout(&address, Duration::from_secs(2)).is_ok()
        });
    vec![match reached {
        true => Finding::ok(format!("jobs wait in a table on {host}:{port}")),
        false => Finding::failed(
            format!("the queue's database server {host}:{port} is not reached: no job can be kept"),
            "start it, and let this host reach it",
        ),
    }]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_header_is_told() {
        let mut head = b"SQLite format 3\0".to_vec();
        head.resize(100, 0);
        head[16..18].copy_from_slice(&4096u16.to_be_bytes());
        head[28..32].copy_from_slice(&3u32.to_be_bytes());
        assert_eq!(damage(&head, 3 * 4096), None);
        assert!(damage(&head, 2 * 4096).unwrap().contains("end is missing"));
        assert!(damage(b"rubbish", 7).unwrap().contains("damaged"));
        assert_eq!(damage(b"", 0), None);
    }
}
