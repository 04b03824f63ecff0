//! A worker's non-blocking connection to one job server.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use crate::gearman::binary::{Inbox, Packet, kind, request};
use crate::gearman::peer;
use crate::gearman::server::{Server, tune};
use crate::worker::backoff::pause;

/// How long a server may take to accept the connection, and to answer whether it
/// has a job.
const ANSWER: Duration = Duration::from_secs(10);

/// The same, the first time, while another server may have jobs: one that is cut off must
/// not keep the worker from them.
const ANSWER_BESIDE_OTHERS: Duration = Duration::from_secs(3);

/// The longest pause before trying to reconnect.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionState {
    /// Not connected; tries again after a pause.
    Down,
    Connecting,
    /// The server has no job, and will tell when there is one.
    Asleep,
    /// The server may have a job.
    Awake,
    /// The server was asked for a job.
    Asked,
}

pub struct ServerConnection {
    pub server: Server,
    pub state: ConnectionState,
    stream: Option<TcpStream>,
    inbox: Inbox,
    out: Vec<u8>,
    /// When the pause, or the server's time to answer, ends.
    until: Instant,
    failures: u32,
    /// Counts connections, as a job belongs to the one that delivered it.
    pub generation: u64,
    /// The outcome of a job was sent, and nothing came since that shows its arrival.
    is_unconfirmed: bool,
    last_error: String,
}

impl ServerConnection {
    pub fn new(server: Server) -> ServerConnection {
        ServerConnection {
            server,
            state: ConnectionState::Down,
            stream: None,
            inbox: Inbox::default(),
            out: Vec::new(),
            until: Instant::now(),
            failures: 0,
            generation: 0,
            is_unconfirmed: false,
            last_error: String::new(),
        }
    }

    pub fn up(&self) -> bool {
        !matches!(
            self.state,
            ConnectionState::Down | ConnectionState::Connecting
        )
    }

    pub fn deadline(&self) -> Option<Instant> {
        matches!(
            self.state,
            ConnectionState::Down | ConnectionState::Connecting | ConnectionState::Asked
        )
        .then_some(self.until)
    }

    pub fn poll_fd(&self) -> Option<PollFd<'_>> {
        let stream = self.stream.as_ref()?;
        let mut events = PollFlags::IN;
        if self.state == ConnectionState::Connecting || !self.out.is_empty() {
            events |= PollFlags::OUT;
        }
        Some(PollFd::new(stream, events))
    }

    /// Starts connecting if it is time to. Call `lost` after an error.
    pub fn connect_if_due(&mut self, now: Instant) -> io::Result<()> {
        if self.state != ConnectionState::Down || now < self.until {
            return Ok(());
        }
        // Each attempt uses the next address of the server.
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
        self.state = ConnectionState::Connecting;
        self.until = now + ANSWER;
        Ok(())
    }

    /// Reads and writes as much as possible without blocking. True if the connection
    /// has just been established.
    pub fn attend(&mut self) -> io::Result<bool> {
        let Some(stream) = &mut self.stream else {
            return Ok(false);
        };
        let mut established = false;
        if self.state == ConnectionState::Connecting {
            if let Err(e) = sockopt::socket_error(stream.as_fd())? {
                return Err(e.into());
            }
            if stream.peer_addr().is_err() {
                return Ok(false); // not connected yet
            }
            tune(stream)?;
            peer::check(stream)?;
            self.generation += 1;
            self.state = ConnectionState::Awake;
            established = true;
        }
        let mut chunk = [0; 16384];
        loop {
            match stream.read(&mut chunk) {
                Ok(0) => {
                    return Err(io::Error::new(
                        io::ErrorKind::UnexpectedEof,
                        "it closed the connection",
                    ));
                }
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
        Ok(established)
    }

    /// Fails if the server has not answered in time.
    pub fn check(&self, now: Instant) -> io::Result<()> {
        if matches!(
            self.state,
            ConnectionState::Connecting | ConnectionState::Asked
        ) && now >= self.until
        {
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

    /// Tells the server our ID and the function that we serve.
    pub fn register(&mut self, id: &str, function: &str) -> io::Result<()> {
        let mut bytes = request(kind::SET_CLIENT_ID, &[id.as_bytes()]);
        bytes.extend(request(kind::RESET_ABILITIES, &[]));
        bytes.extend(request(kind::CAN_DO, &[function.as_bytes()]));
        self.send(&bytes)
    }

    /// Tells the server another ID.
    pub fn name(&mut self, id: &str) -> io::Result<()> {
        self.send(&request(kind::SET_CLIENT_ID, &[id.as_bytes()]))
    }

    /// Asks for a job, and sends `before` in the same write. `alone`: no other server can
    /// have one.
    pub fn ask(&mut self, before: Option<Vec<u8>>, alone: bool, now: Instant) -> io::Result<()> {
        let mut bytes = before.unwrap_or_default();
        bytes.extend(request(kind::GRAB_JOB_UNIQ, &[]));
        self.state = ConnectionState::Asked;
        // One that is slow, and not away, has more time then.
        self.until = match alone || self.failures > 0 {
            true => now + ANSWER,
            false => now + ANSWER_BESIDE_OTHERS,
        };
        self.send(&bytes)
    }

    /// The outcome of a job goes out.
    pub fn expects_confirmation(&mut self) {
        self.is_unconfirmed = true;
    }

    /// Whether the outcome of a job may not have arrived. Asks once.
    pub fn was_unconfirmed(&mut self) -> bool {
        std::mem::take(&mut self.is_unconfirmed)
    }

    pub fn has_job(&mut self) {
        self.is_unconfirmed = false;
        self.state = ConnectionState::Awake;
        self.failures = 0;
        self.last_error.clear();
    }

    pub fn sleep(&mut self) -> io::Result<()> {
        self.is_unconfirmed = false;
        self.state = ConnectionState::Asleep;
        self.failures = 0;
        self.last_error.clear();
        self.send(&request(kind::PRE_SLEEP, &[]))
    }

    pub fn close(&mut self) {
        self.stream = None;
        self.is_unconfirmed = false;
        self.state = ConnectionState::Down;
        self.inbox = Inbox::default();
        self.out = Vec::new();
        self.until = Instant::now();
    }

    /// Drops the connection and starts a pause. Returns the message to log, unless the
    /// same error was logged last.
    pub fn lost(&mut self, error: &io::Error) -> Option<String> {
        self.close();
        let pause = pause(self.failures, Duration::from_millis(250), LONGEST_PAUSE);
        self.until = Instant::now() + pause;
        self.failures += 1;
        let error = error.to_string();
        if error == self.last_error {
            return None;
        }
        self.last_error.clone_from(&error);
        Some(format!("job server {}: {error}; trying again", self.server))
    }
}
