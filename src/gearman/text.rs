//! gearmand's text protocol: a blocking client with a time limit per answer.

use std::io::{self, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::gearman::server::{self, Server};

/// Larger than any real answer of a job server, in bytes and in lines.
const LARGEST: usize = 4 << 20;
const MOST_LINES: usize = 20_000;

/// One function, which is one queue, in the answer to `status`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FunctionStatus {
    pub function: String,
    /// Waiting and running jobs.
    pub jobs: u64,
    pub running: u64,
    pub workers: u64,
}

impl FunctionStatus {
    /// Jobs that no worker is running.
    pub fn waiting(&self) -> u64 {
        self.jobs.saturating_sub(self.running)
    }
}

/// One connection in the answer to `workers`. Clients are listed too, without
/// functions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    pub address: String,
    pub id: String,
    pub functions: Vec<String>,
}

pub struct Admin {
    stream: TcpStream,
    limit: Duration,
}

impl Admin {
    pub fn connect(server: &Server, limit: Duration) -> io::Result<Admin> {
        Ok(Admin {
            stream: server.connect(limit)?,
            limit,
        })
    }

    pub fn status(&mut self) -> io::Result<Vec<FunctionStatus>> {
        self.lines("status")?
            .iter()
            .map(|line| {
                let mut words = line.rsplit('\t');
                let queue = (|| {
                    let workers = words.next()?.parse().ok()?;
                    let running = words.next()?.parse().ok()?;
                    let jobs = words.next()?.parse().ok()?;
                    // A function's name may itself contain tabs.
                    let name: Vec<_> = words.collect();
                    if name.is_empty() {
                        return None;
                    }
                    let function = name.into_iter().rev().collect::<Vec<_>>().join("\t");
                    Some(FunctionStatus {
                        function,
                        jobs,
                        running,
                        workers,
                    })
                })();
                queue.ok_or_else(|| invalid("status", line))
            })
            .collect()
    }

    pub fn workers(&mut self) -> io::Result<Vec<Connection>> {
        self.lines("workers")?
            .iter()
            .map(|line| {
                // FD ADDRESS ID : FUNCTION ...; function names may contain " :".
                let (left, right) = line
                    .split_once(" :")
                    .ok_or_else(|| invalid("workers", line))?;
                let mut words = left.split(' ').skip(1);
                Ok(Connection {
                    address: words.next().unwrap_or_default().to_string(),
                    id: words.collect::<Vec<_>>().join(" "),
                    functions: right.split_whitespace().map(String::from).collect(),
                })
            })
            .collect()
    }

    /// Forgets a function that has neither jobs nor workers.
    pub fn drop_function(&mut self, name: &str) -> io::Result<()> {
        let answer = self.line(&format!("drop function {name}"))?;
        match answer.as_str() {
            "OK" => Ok(()),
            _ => Err(invalid("drop function", &answer)),
        }
    }

    pub fn version(&mut self) -> io::Result<String> {
        let answer = self.line("version")?;
        match answer.strip_prefix("OK ") {
            Some(version) => Ok(version.trim().to_string()),
            None => Err(invalid("version", &answer)),
        }
    }

    fn lines(&mut self, command: &str) -> io::Result<Vec<String>> {
        let text = self.ask(command, |bytes| {
            bytes == b".\n" || bytes.ends_with(b"\n.\n")
        })?;
        let lines = text.lines().take_while(|line| *line != ".");
        if lines.clone().count() > MOST_LINES {
            let why = format!("the answer to {command:?} has more than {MOST_LINES} lines");
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        Ok(lines.map(String::from).collect())
    }

    fn line(&mut self, command: &str) -> io::Result<String> {
        let text = self.ask(command, |bytes| bytes.ends_with(b"\n"))?;
        Ok(text.trim_end().to_string())
    }

    fn ask(&mut self, command: &str, complete: impl Fn(&[u8]) -> bool) -> io::Result<String> {
        let end = Instant::now() + self.limit;
        self.stream.write_all(format!("{command}\n").as_bytes())?;
        let mut answer = Vec::new();
        let mut chunk = [0; 16384];
        while !complete(&answer) {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || answer.len() > LARGEST {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!("the answer to {command:?} did not end"),
                ));
            }
            self.stream.set_read_timeout(Some(left))?;
            match server::read(&mut self.stream, &mut chunk)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                n => answer.extend_from_slice(&chunk[..n]),
            }
        }
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }
}

fn invalid(command: &str, line: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("unexpected answer to {command:?}: {line:?}"),
    )
}
