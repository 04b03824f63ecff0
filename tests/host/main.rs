//! Tests on real, booted hosts. `tests/run host NAME` runs some of them.

mod bench;
mod faults;
mod harness;
mod images;
mod life;
mod plain;
mod refusals;
mod remove;
mod shell;
mod sites;
mod support;
mod web;
mod workers;
