//! What the tests of several binaries share. Each binary uses all of it, so
//! that dead code shows.

pub mod judge;
pub mod needs;
pub mod python;
pub mod terminal;
