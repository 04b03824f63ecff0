//! supervisor: its program files, and asking the running one.

pub mod block;
pub mod definition;
pub mod own;
pub mod programs;
pub mod rpc;
