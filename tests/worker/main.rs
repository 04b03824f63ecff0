//! The worker from outside: the compiled program with a real gearmand, PHP,
//! WordPress and database.

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/compatibility.rs"]
mod compatibility;
#[path = "../common/software.rs"]
mod software;

mod accessible;
mod admin;
mod browser;
mod calm;
mod check;
mod crew;
mod dashboard;
mod events;
mod figures;
mod health;
mod hosts;
mod idle;
mod inherited;
mod jobs;
mod lab;
mod losses;
mod no_server;
mod other_software;
mod page;
mod php_settings;
mod plugins;
mod prometheus;
mod real_plugins;
mod request;
mod retried;
mod reuse;
mod rules;
mod scale;
mod seal;
mod site_server;
mod sites;
mod soak;
mod status;
mod switch;
