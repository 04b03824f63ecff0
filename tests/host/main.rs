//! Tests on real, booted hosts. `tests/run host NAME` runs some of them.

mod bench;
mod container;
mod faults;
mod handmade;
mod harness;
mod hostile;
mod images;
mod life;
mod plain;
mod refusals;
mod releases;
mod remove;
mod shell;
mod sites;
mod support;
mod users;
mod waiting;
mod web;
mod workers;
