//! gearmand: its option lines, its text protocol, its binary protocol.

pub mod binary;
pub mod daemon;
pub mod options;
pub mod password;
pub mod server;
pub mod text;
pub mod unit;
