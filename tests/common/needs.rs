//! Tools that tests need: one line says which is missing, and how to install it.

use std::io::{ErrorKind, Result};

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
