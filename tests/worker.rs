//! The worker from outside: the compiled program, a real gearmand, a real
//! PHP, real WordPress on a real database.

#[path = "common/judge.rs"]
mod judge;
#[path = "common/terminal.rs"]
mod terminal;

#[path = "worker/lab.rs"]
mod lab;

#[path = "worker/jobs.rs"]
mod jobs;
#[path = "worker/losses.rs"]
mod losses;
#[path = "worker/plugins.rs"]
mod plugins;
#[path = "worker/sites.rs"]
mod sites;
#[path = "worker/status.rs"]
mod status;
