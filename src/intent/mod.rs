//! What was asked of this host: its options, the file that remembers them,
//! and their resolution against what the host has.

pub mod adopt;
pub mod effective;
pub mod file;
pub mod load;
pub mod options;
pub mod past;
pub mod queue;
pub mod record;
pub mod resolve;
pub mod usage;
