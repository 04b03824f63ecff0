//! wp-gears: sets up Gearman background jobs for WordPress and proves it by
//! running one. This library exists for the binary and its tests; it has no
//! stable API.
//!
//! The modules are layers, from the bottom up; each uses only those before it
//! (`tests/architecture`, ARCHITECTURE.md).

pub mod base;
pub mod cli;
pub mod doctor;
pub mod gearman;
pub mod host;
pub mod intent;
pub mod plan;
pub mod queue;
pub mod report;
pub mod resource;
pub mod site;
pub mod supervisor;
pub mod worker;
