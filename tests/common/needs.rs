//! Tools that a test needs: one line says which is missing, and what installs it.

/// What came back from starting a program.
#[track_caller]
pub fn installed<T>(program: &str, started: std::io::Result<T>) -> T {
    started.unwrap_or_else(|error| match error.kind() {
        std::io::ErrorKind::NotFound => missing(program),
        _ => panic!("cannot start {program}: {error}"),
    })
}

#[track_caller]
pub fn missing(what: &str) -> ! {
    panic!("this test needs {what}; `tests/run` installs everything that the tests need");
}
