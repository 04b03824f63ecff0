//! The command line from outside, on folders that serve as hosts, and pure parts of
//! the library, judged by other programs.

#[path = "../common/mod.rs"]
mod common;
mod content;
#[path = "../common/ansible.rs"]
mod controller;
mod dice;
mod held;
#[path = "../common/measured.rs"]
mod measured;
mod parallel;
mod root;

mod ansible;
mod by_hand;
mod claims;
mod compatibility;
mod documents;
mod errors;
mod exposure;
mod failed;
mod faults;
mod fuzz;
mod hostile;
mod hosts;
mod intent;
mod isolation;
mod lives;
mod memory;
mod odd;
mod order;
mod pages;
mod php_needs;
mod php_versions;
mod plans;
mod settings_files;
mod setup;
mod shown;
mod switch;
mod translations;
mod upgrade;
mod usage;
mod wizard;
mod wp_config;
