//! Tests on real, booted hosts. `tests/run host NAME` runs some of them.

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/compatibility.rs"]
mod compatibility;
#[path = "../common/ansible.rs"]
mod controller;
#[path = "../common/software.rs"]
mod software;

mod alert;
mod ansible;
mod bench;
mod busy;
mod container;
mod dashboard;
mod dnf;
mod doctor;
mod epel;
mod faults;
mod firewall;
mod fleet;
mod handmade;
mod harness;
mod hostile;
mod images;
mod impostors;
mod intent;
mod isolation;
mod layouts;
mod life;
mod one_hostile;
mod packages;
mod pecl;
mod phase;
mod php_settings;
mod pip;
mod plain;
mod queue;
mod real_plugins;
mod record;
mod refusals;
mod releases;
mod remi;
mod remove;
mod request;
mod rhel;
mod rights;
mod room;
mod rules;
mod sandbox;
mod sealed;
mod secrets;
mod servers;
mod shell;
mod sites;
mod stacks;
mod status;
mod support;
mod switch;
mod users;
mod waiting;
mod web;
mod wizard;
mod workers;
mod wp_admin;
mod yum;
