//! supervisor: its program files, and asking the running one.

pub mod block;
pub mod definition;
pub mod programs;
pub mod rpc;
