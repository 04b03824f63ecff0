//! Shared by all layers: user-facing errors, secret masking, options, time,
//! random text, paths, templates and merging. Nothing here touches the host.

pub mod budget;
pub mod checksum;
pub mod clock;
pub mod merge;
#[cfg(test)]
pub mod old_kernel;
pub mod options;
pub mod parallel;
pub mod paths;
pub mod problem;
pub mod random;
pub mod secrets;
pub mod signal;
pub mod sockets;
pub mod template;
pub mod text;
