//! The command line from outside, on folders that stand for hosts, and the
//! library's pure parts with other programs as the judge.

#[path = "../common/mod.rs"]
mod common;
mod dice;
mod held;
mod parallel;
mod root;

mod documents;
mod errors;
mod faults;
mod fuzz;
mod intent;
mod odd;
mod order;
mod pages;
mod plans;
mod setup;
mod usage;
mod wizard;
mod wp_config;
