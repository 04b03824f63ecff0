//! supervisor: its program files, and the XML-RPC interface of a running
//! supervisord.

pub mod block;
pub mod programs;
pub(crate) mod rpc;
pub mod undo;
