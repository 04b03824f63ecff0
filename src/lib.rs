//! wp-gears: sets up Gearman background jobs for WordPress and proves it by
//! running one. The binary is a thin shell around this library; tests,
//! benches and the demo use the same modules.

pub mod gearman;
pub mod problem;
pub mod worker;
pub mod wordpress;
