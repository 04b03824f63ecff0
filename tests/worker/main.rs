//! The worker from outside: the compiled program, a real gearmand, a real
//! PHP, real WordPress on a real database.

#[path = "../common/mod.rs"]
mod common;

mod jobs;
mod lab;
mod losses;
mod plugins;
mod prometheus;
mod sites;
mod status;
