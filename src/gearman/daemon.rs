//! The options that gearmand needs, its unit, and whether it answers.

use std::time::Duration;

use anyhow::Result;

use crate::base::template;
use crate::gearman::options::Wanted;
use crate::gearman::server::Server;
use crate::gearman::text::Admin;
use crate::host::platform::Gearmand;

/// Every worker, and every page that submits a job, holds a connection.
pub const FILES_LIMIT: u64 = 65536;
/// gearmand deletes a job after this many workers died while running it, so it
/// gets the maximum: our workers keep their own count.
const RETRIES: &str = "255";

/// The options that gearmand needs, besides any that the administrator set.
/// `queue_options` select the queue store.
pub fn wanted(listen: &str, port: u16, queue_options: Vec<Wanted>) -> Vec<Wanted> {
    let mut wanted = vec![
        Wanted::new("listen", Some('L'), listen),
        Wanted::new("port", Some('p'), &port.to_string()),
        Wanted::new("job-retries", Some('j'), RETRIES),
    ];
    let local = Server {
        host: listen.to_owned(),
        port,
    };
    if !local.is_local() {
        wanted.extend(notice_dead_peers());
    }
    wanted.extend(queue_options);
    wanted
}

/// A host that loses power or its network says no good-bye: without these, the kernel
/// holds its workers' connections, and gearmand their jobs, for two hours.
fn notice_dead_peers() -> [Wanted; 4] {
    let (idle, interval, count) = ("15", "5", "4"); // 35 seconds in all
    [
        Wanted {
            name: "keepalive",
            short: None,
            value: None,
        },
        Wanted::new("keepalive-idle", None, idle),
        Wanted::new("keepalive-interval", None, interval),
        Wanted::new("keepalive-count", None, count),
    ]
}

/// The drop-in for gearmand's systemd unit; `exec_start` replaces the unit's
/// command line where that does not work.
pub fn drop_in(
    gearmand: &Gearmand,
    exec_start: Option<&str>,
    database_here: bool,
) -> Result<String> {
    let mut context = tera::Context::new();
    context.insert("database_here", &database_here);
    context.insert("files_limit", &FILES_LIMIT);
    context.insert("exec_start", &exec_start);
    context.insert("options_file", gearmand.options_file);
    template::render(
        include_str!("../../templates/gearmand.dropin.tera"),
        &context,
    )
}

/// Asks a job server for its version, to see whether it answers.
pub fn ask_version(server: &str) -> Result<String> {
    let server: Server = server.parse().map_err(anyhow::Error::msg)?;
    Ok(Admin::connect(&server, Duration::from_secs(2))?.version()?)
}
