//! Tools that tests need: one line says which is missing, and how to install it.

use std::io::{ErrorKind, Result};
use std::path::PathBuf;

/// The folder with what tests download and build once; as in tests/host/harness/cache.rs.
pub fn cache_folder() -> PathBuf {
    std::env::var_os("WP_GEARS_TEST_CACHE")
        .map_or_else(|| PathBuf::from("/var/cache/wp-gears-tests"), PathBuf::from)
}

/// The result of starting a program.
#[track_caller]
pub fn installed<T>(program: &str, started: Result<T>) -> T {
    match started {
        Ok(started) => started,
        Err(error) if error.kind() == ErrorKind::NotFound => missing(program),
        Err(error) => panic!("cannot start {program}: {error}"),
    }
}

#[track_caller]
pub fn missing(what: &str) -> ! {
    panic!("this test needs {what}: run `tests/run`, which installs all that the tests need");
}
