//! The worker from outside: the compiled program with a real gearmand, PHP,
//! WordPress and database.

#[path = "../common/mod.rs"]
mod common;

mod check;
mod jobs;
mod lab;
mod losses;
mod php_settings;
mod plugins;
mod prometheus;
mod request;
mod sites;
mod status;
mod switch;
