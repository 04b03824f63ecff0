//! gearmand: its options and where they come from, its text protocol and its
//! binary protocol.

pub mod binary;
pub mod daemon;
pub mod options;
pub mod password;
pub mod server;
pub mod text;
pub mod unit;
