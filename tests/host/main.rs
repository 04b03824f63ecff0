//! Tests on real, booted hosts. `tests/run host NAME` runs some of them.

mod harness;
mod images;
mod shell;

use std::path::Path;

/// The program under test.
pub fn wp_gears() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_wp-gears"))
}
