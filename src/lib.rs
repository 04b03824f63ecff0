//! wp-gears: sets up Gearman background jobs for WordPress and proves it by
//! running one. The binary is a thin shell around this library; tests,
//! benches and the demo use the same modules.

pub mod catalog;
pub mod cli;
pub mod command;
pub mod doctor;
pub mod gearman;
pub mod host;
pub mod journal;
pub mod mysql;
pub mod paths;
pub mod plan;
pub mod preflight;
pub mod problem;
pub mod proof;
pub mod queues;
pub mod random;
pub mod recovery;
pub mod removal;
pub mod resource;
pub mod spec;
pub mod supervisor;
pub mod template;
pub mod ui;
pub mod wordpress;
pub mod worker;
