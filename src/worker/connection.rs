//! One job server as a worker sees it: a connection that never blocks.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use crate::gearman::binary::{Inbox, Packet, kind, request};
use crate::gearman::server::{Server, tune};

/// How long a server may take to accept, and to answer whether it has a job.
const ANSWER: Duration = Duration::from_secs(10);

/// The longest pause before a server that is away is tried again.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// No connection; to be tried again when the pause is over.
    Down,
    Connecting,
    /// The server says when there is a job.
    Asleep,
    /// There may be a job.
    Awake,
    /// A job was asked for.
    Asked,
}

pub struct Connection {
    pub server: Server,
    pub state: State,
    stream: Option<TcpStream>,
    inbox: Inbox,
    out: Vec<u8>,
    /// The end of the pause, or of the server's time to answer.
    until: Instant,
    failures: u32,
    /// Counts connections: a job belongs to the one that it came by.
    pub generation: u64,
    last_words: String,
}

impl Connection {
    pub fn new(server: Server) -> Connection {
        Connection {
            server,
            state: State::Down,
            stream: None,
            inbox: Inbox::default(),
            out: Vec::new(),
            until: Instant::now(),
            failures: 0,
            generation: 0,
            last_words: String::new(),
        }
    }

    pub fn up(&self) -> bool {
        !matches!(self.state, State::Down | State::Connecting)
    }

    pub fn deadline(&self) -> Option<Instant> {
        matches!(self.state, State::Down | State::Connecting | State::Asked).then_some(self.until)
    }

    pub fn poll_fd(&self) -> Option<PollFd<'_>> {
        let stream = self.stream.as_ref()?;
        let mut events = PollFlags::IN;
        if self.state == State::Connecting || !self.out.is_empty() {
            events |= PollFlags::OUT;
        }
        Some(PollFd::new(stream, events))
    }

    /// Begins to connect, if it is time. What fails is what `lost` is for.
    pub fn connect_if_due(&mut self, now: Instant) -> io::Result<()> {
        if self.state != State::Down || now < self.until {
            return Ok(());
        }
        // A server with several addresses is tried at each in turn.
        let addresses = self.server.addresses()?;
        let address = addresses[self.failures as usize % addresses.len()];
        let family = if address.is_ipv4() {
            AddressFamily::INET
        } else {
            AddressFamily::INET6
        };
        let socket = rustix::net::socket_with(
            family,
            SocketType::STREAM,
            SocketFlags::NONBLOCK | SocketFlags::CLOEXEC,
            None,
        )?;
        match rustix::net::connect(&socket, &address) {
            Ok(()) | Err(rustix::io::Errno::INPROGRESS) => {}
            Err(e) => return Err(e.into()),
        }
        self.stream = Some(TcpStream::from(socket));
        self.state = State::Connecting;
        self.until = now + ANSWER;
        Ok(())
    }

    /// Reads and writes what can be without waiting. True where the
    /// connection was made just now.
    pub fn attend(&mut self) -> io::Result<bool> {
        let Some(stream) = &mut self.stream else {
            return Ok(false);
        };
        let mut made = false;
        if self.state == State::Connecting {
            if let Err(e) = sockopt::socket_error(stream.as_fd())? {
                return Err(e.into());
            }
            if stream.peer_addr().is_err() {
                return Ok(false); // Not yet.
            }
            tune(stream)?;
            self.generation += 1;
            self.state = State::Awake;
            made = true;
        }
        let mut chunk = [0; 16384];
        loop {
            match stream.read(&mut chunk) {
                Ok(0) => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it hung up")),
                Ok(n) => {
                    self.inbox.feed(&chunk[..n]);
                    if n < chunk.len() {
                        break;
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        self.flush()?;
        Ok(made)
    }

    /// The time for an answer is over.
    pub fn check(&self, now: Instant) -> io::Result<()> {
        if matches!(self.state, State::Connecting | State::Asked) && now >= self.until {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "no answer"));
        }
        Ok(())
    }

    pub fn take(&mut self) -> io::Result<Option<Packet>> {
        self.inbox.take()
    }

    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.extend_from_slice(bytes);
        self.flush()
    }

    fn flush(&mut self) -> io::Result<()> {
        let Some(stream) = &mut self.stream else {
            self.out.clear();
            return Ok(());
        };
        while !self.out.is_empty() {
            match stream.write(&self.out) {
                Ok(n) => {
                    self.out.drain(..n);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Says who we are and what we serve.
    pub fn register(&mut self, id: &str, function: &str) -> io::Result<()> {
        let mut bytes = request(kind::SET_CLIENT_ID, &[id.as_bytes()]);
        bytes.extend(request(kind::RESET_ABILITIES, &[]));
        bytes.extend(request(kind::CAN_DO, &[function.as_bytes()]));
        self.send(&bytes)
    }

    /// Asks for a job; what is still to be said goes out in the same write.
    pub fn ask(&mut self, before: Option<Vec<u8>>, now: Instant) -> io::Result<()> {
        let mut bytes = before.unwrap_or_default();
        bytes.extend(request(kind::GRAB_JOB_UNIQ, &[]));
        self.state = State::Asked;
        self.until = now + ANSWER;
        self.send(&bytes)
    }

    pub fn has_job(&mut self) {
        self.state = State::Awake;
        self.failures = 0;
        self.last_words.clear();
    }

    pub fn sleep(&mut self) -> io::Result<()> {
        self.state = State::Asleep;
        self.failures = 0;
        self.last_words.clear();
        self.send(&request(kind::PRE_SLEEP, &[]))
    }

    pub fn close(&mut self) {
        self.stream = None;
        self.state = State::Down;
        self.inbox = Inbox::default();
        self.out = Vec::new();
        self.until = Instant::now();
    }

    /// Gives up the connection and sets the pause. Answers what to log:
    /// nothing where the same was said before.
    pub fn lost(&mut self, error: &io::Error) -> Option<String> {
        self.close();
        let pause = pause(self.failures, Duration::from_millis(250), LONGEST_PAUSE);
        self.until = Instant::now() + pause;
        self.failures += 1;
        let words = error.to_string();
        if words == self.last_words {
            return None;
        }
        self.last_words.clone_from(&words);
        Some(format!("job server {}: {words}; trying again", self.server))
    }
}

/// Twice as long after each failure up to a limit, less a random part, so
/// that workers do not come back all at once.
pub fn pause(failures: u32, first: Duration, longest: Duration) -> Duration {
    let full = first.saturating_mul(1 << failures.min(16)).min(longest);
    let mut byte = [0];
    // Without random bytes there is no jitter, which is no harm.
    let _ = getrandom::fill(&mut byte);
    full.mul_f64(0.6 + 0.4 * f64::from(byte[0]) / 255.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_limit() {
        let (first, longest) = (Duration::from_millis(100), Duration::from_secs(2));
        for failures in 0..100 {
            let full = first.saturating_mul(1 << failures.min(16)).min(longest);
            let got = pause(failures, first, longest);
            assert!(
                got <= full && got >= full.mul_f64(0.59),
                "{failures}: {got:?}"
            );
        }
    }
}
