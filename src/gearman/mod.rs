//! gearmand: its options and where they come from, its text protocol and its
//! binary protocol.

pub mod binary;
pub(crate) mod daemon;
pub mod instance;
pub mod many;
pub mod option_names;
pub mod options;
pub(crate) mod password;
pub mod peer;
pub mod port_rules;
pub(crate) mod roundtrip;
pub(crate) mod sandbox;
pub mod server;
pub mod text;
pub mod undo;
pub(crate) mod unit;
