//! What PHP and its jobs print to standard error.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The maximum output that is logged per job, in bytes.
const MAX_LOGGED: usize = 256 << 10;

/// The number of last bytes kept for the record of a failed job.
const TAIL: usize = 4 << 10;

pub struct PhpOutput {
    /// `None` at end of file.
    from: Option<OwnedFd>,
    line: Vec<u8>,
    tail: VecDeque<u8>,
    logged: usize,
}

impl PhpOutput {
    pub fn new(from: OwnedFd) -> PhpOutput {
        PhpOutput {
            from: Some(from),
            line: Vec::new(),
            tail: VecDeque::new(),
            logged: 0,
        }
    }

    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.from.as_ref().map(AsFd::as_fd)
    }

    /// Reads without blocking, and passes complete lines to `log`.
    pub fn read(&mut self, mut log: impl FnMut(&str)) {
        let mut chunk = [0; 16384];
        // Endless output must not keep the worker from its other work.
        for _ in 0..16 {
            let Some(from) = &self.from else { return };
            let n = match rustix::io::read(from, &mut chunk) {
                Ok(0) => {
                    self.from = None;
                    return self.end_line(&mut log);
                }
                Ok(n) => n,
                Err(_) => return,
            };
            self.tail.extend(&chunk[..n]);
            let over = self.tail.len().saturating_sub(TAIL);
            self.tail.drain(..over);
            for byte in &chunk[..n] {
                if *byte == b'\n' || self.line.len() > 4096 {
                    self.end_line(&mut log);
                }
                if *byte != b'\n' {
                    self.line.push(*byte);
                }
            }
        }
    }

    fn end_line(&mut self, log: &mut impl FnMut(&str)) {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            return;
        }
        let before = self.logged;
        self.logged += line.len();
        if self.logged <= MAX_LOGGED {
            log(&String::from_utf8_lossy(&line));
        } else if before <= MAX_LOGGED {
            log("(further output of this job is not logged)");
        }
    }

    pub fn begin_job(&mut self) {
        self.tail.clear();
        self.logged = 0;
    }

    /// The last output of the job.
    pub fn tail(&mut self) -> String {
        String::from_utf8_lossy(self.tail.make_contiguous()).into_owned()
    }
}
