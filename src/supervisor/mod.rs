//! supervisor: its program files, and asking the running one.

pub mod programs;
pub mod rpc;
