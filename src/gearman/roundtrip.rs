//! A job that a job server accepts and hands out again: the proof that it works on the
//! address that other hosts use.

use std::io;
use std::time::{Duration, Instant};

use crate::base::random;
use crate::gearman::binary::Client;
use crate::gearman::server::Server;
use crate::gearman::text::Admin;

/// Sends a job that means nothing through the server, and returns how long it took.
///
/// # Errors
/// A server that does not answer, refuses the job, or hands out another.
pub fn run(server: &Server, limit: Duration) -> io::Result<Duration> {
    let name = random::letters(16).map_err(io::Error::other)?;
    let function = format!("wp-gears-test-{name}");
    let began = Instant::now();
    let handle = Client::connect(server, limit)?.submit(function.as_bytes(), b"", b"")?;
    // A second connection, as that of a worker is.
    let is_back = Client::connect(server, limit)?.withdraw(function.as_bytes(), &handle)?;
    let took = began.elapsed();
    forget(server, limit, &function);
    match is_back {
        true => Ok(took),
        false => Err(io::Error::other(
            "it accepted the job, and does not hand it out",
        )),
    }
}

/// Otherwise gearmand lists the function for ever. It keeps it while it has not noticed
/// that the worker is gone.
fn forget(server: &Server, limit: Duration, function: &str) {
    let Ok(mut admin) = Admin::connect(server, limit) else {
        return;
    };
    for _ in 0..50 {
        match admin.drop_function(function) {
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                std::thread::sleep(Duration::from_millis(5));
            }
            _ => return,
        }
    }
}
