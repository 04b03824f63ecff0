//! supervisor: its program files, and asking the running one.

pub mod block;
pub mod programs;
pub mod rpc;
