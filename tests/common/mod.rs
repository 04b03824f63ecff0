//! Shared by several test binaries. Each of them uses all of it, so that dead code is
//! detected.

pub mod judge;
pub mod needs;
pub mod python;
pub mod terminal;
