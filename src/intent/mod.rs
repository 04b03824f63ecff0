//! What was asked of this host: its options, the file that remembers them,
//! and their resolution against what the host has.

pub mod effective;
pub mod file;
pub mod options;
pub mod queue;
pub mod resolve;
pub mod usage;
