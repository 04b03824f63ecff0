//! The options of a host: what was given, the file that records it, and how it
//! is resolved against the state of the host.

pub mod adopt;
pub mod alert;
pub mod dashboard;
pub mod effective;
pub mod exported;
pub mod exposure;
pub mod file;
pub mod hooks;
pub mod hosts;
pub mod load;
pub mod options;
pub mod owners;
pub mod past;
pub mod queue;
pub mod record;
pub mod resolve;
pub mod resolve_site;
pub mod resolved;
pub mod salts;
pub mod usage;
