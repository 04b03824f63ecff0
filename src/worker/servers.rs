//! All job servers of a worker: asks them for jobs in turn, and gives answers
//! to the connection that a job came through.

use std::io;
use std::time::Instant;

use rustix::event::PollFd;

use crate::gearman::binary::{Packet, kind};
use crate::gearman::server::Server;
use crate::worker::connection::{ConnectionState, ServerConnection};
use crate::worker::log::SiteLog;

/// The connection that a job came through. A server that was lost and came
/// back has another one, and knows nothing of the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionId {
    pub server: usize,
    generation: u64,
}

/// A job as a server hands it out.
pub struct Assignment {
    pub from: ConnectionId,
    pub server: String,
    pub handle: String,
    pub function: String,
    pub unique: String,
    pub payload: Vec<u8>,
}

pub enum ServerEvent {
    NoJob,
    Job(Assignment),
}

pub struct JobServers<'a> {
    connections: Vec<ServerConnection>,
    /// How `gearadmin --workers` shows this worker.
    client_id: String,
    log: &'a SiteLog,
    /// The server to ask next.
    turn: usize,
}

impl<'a> JobServers<'a> {
    pub fn new(servers: &[Server], client_id: String, log: &'a SiteLog) -> JobServers<'a> {
        JobServers {
            connections: servers.iter().cloned().map(ServerConnection::new).collect(),
            client_id,
            log,
            turn: 0,
        }
    }

    pub fn len(&self) -> usize {
        self.connections.len()
    }

    /// A server was asked, and may be about to give us a job.
    pub fn is_asking(&self) -> bool {
        self.connections
            .iter()
            .any(|c| c.state == ConnectionState::Asked)
    }

    /// The next server that may have a job, each in its turn.
    pub fn next_awake(&self) -> Option<usize> {
        let n = self.connections.len();
        (0..n)
            .map(|i| (self.turn + i) % n)
            .find(|i| self.connections[*i].state == ConnectionState::Awake)
    }

    /// Whether another server than this may have a job.
    pub fn others_awake(&self, server: usize) -> bool {
        self.connections
            .iter()
            .enumerate()
            .any(|(i, c)| i != server && c.state == ConnectionState::Awake)
    }

    /// Asks a server out of turn. "Done" (`before`) and the question for the
    /// next job go out in one write: in two, each would wait for the other's
    /// acknowledgement.
    pub fn ask_again(&mut self, server: usize, before: Vec<u8>, now: Instant) {
        let asked = self.connections[server].ask(Some(before), now);
        self.check(server, asked);
    }

    /// Asks a server for a job; the one after it is next.
    pub fn ask(&mut self, server: usize, now: Instant) {
        self.turn = server + 1;
        let asked = self.connections[server].ask(None, now);
        self.check(server, asked);
    }

    /// Connects where it is time to, and drops servers that do not answer.
    pub fn connect(&mut self, now: Instant) {
        for server in 0..self.connections.len() {
            let connection = &mut self.connections[server];
            let connected = connection
                .connect_if_due(now)
                .and_then(|()| connection.check(now));
            self.check(server, connected);
        }
    }

    pub fn close(&mut self) {
        self.connections
            .iter_mut()
            .for_each(ServerConnection::close);
    }

    /// Serves this function from now on.
    pub fn register(&mut self, function: &str) {
        for server in 0..self.connections.len() {
            let connection = &mut self.connections[server];
            if connection.up() {
                let registered = connection.register(&self.client_id, function);
                self.check(server, registered);
            }
        }
    }

    /// Reads and writes what is possible without waiting.
    pub fn attend(&mut self, server: usize, function: &str) {
        let connection = &mut self.connections[server];
        let attended = connection.attend().and_then(|new| match new {
            true => connection.register(&self.client_id, function),
            false => Ok(()),
        });
        self.check(server, attended);
    }

    /// What a server has sent, one event at a time. `busy`: there is a job
    /// already, so that another must not come.
    pub fn next_event(&mut self, server: usize, busy: bool) -> Option<ServerEvent> {
        let event = next_event(&mut self.connections[server], server, busy);
        self.check(server, event).flatten()
    }

    /// Whether the job's server still waits for its answer.
    pub fn is_current(&self, id: ConnectionId) -> bool {
        let connection = &self.connections[id.server];
        connection.up() && connection.generation == id.generation
    }

    /// Sends something about a job. True if it was sent, as far as one can know.
    pub fn send(&mut self, id: ConnectionId, packet: &[u8]) -> bool {
        if !self.is_current(id) {
            return false;
        }
        let sent = self.connections[id.server].send(packet);
        self.check(id.server, sent).is_some()
    }

    /// Sends the last word about a job. False if its server is gone.
    pub fn finish(&mut self, id: ConnectionId, packet: &[u8]) -> bool {
        let sent = self.send(id, packet);
        if sent {
            self.connections[id.server].state = ConnectionState::Awake;
        }
        sent
    }

    pub fn poll_fds(&self) -> impl Iterator<Item = PollFd<'_>> {
        self.connections
            .iter()
            .filter_map(ServerConnection::poll_fd)
    }

    /// When a pause is over, or the time for an answer.
    pub fn deadlines(&self) -> impl Iterator<Item = Instant> {
        self.connections
            .iter()
            .filter_map(ServerConnection::deadline)
    }

    /// Drops the connection after an error, and logs it.
    fn check<T>(&mut self, server: usize, result: io::Result<T>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                if let Some(text) = self.connections[server].lost(&error) {
                    self.log.line(&text);
                }
                None
            }
        }
    }
}

fn next_event(
    connection: &mut ServerConnection,
    server: usize,
    busy: bool,
) -> io::Result<Option<ServerEvent>> {
    while let Some(packet) = connection.take()? {
        match packet.kind {
            kind::NOOP if connection.state == ConnectionState::Asleep => {
                connection.state = ConnectionState::Awake;
            }
            kind::NO_JOB if connection.state == ConnectionState::Asked => {
                connection.sleep()?;
                return Ok(Some(ServerEvent::NoJob));
            }
            // A job that cannot be taken goes back when the connection ends.
            kind::JOB_ASSIGN_UNIQ if busy => {
                return Err(io::Error::other("it sent a job that was not asked for"));
            }
            kind::JOB_ASSIGN_UNIQ => {
                connection.has_job();
                return assignment(connection, server, &packet)
                    .map(|job| Some(ServerEvent::Job(job)));
            }
            kind::ERROR => {
                let text = String::from_utf8_lossy(&packet.data).replace('\0', ": ");
                return Err(io::Error::other(text));
            }
            _ => {}
        }
    }
    Ok(None)
}

fn assignment(
    connection: &ServerConnection,
    server: usize,
    packet: &Packet,
) -> io::Result<Assignment> {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let fields = packet.fields(4)?;
    Ok(Assignment {
        from: ConnectionId {
            server,
            generation: connection.generation,
        },
        server: connection.server.to_string(),
        handle: text(fields[0]),
        function: text(fields[1]),
        unique: text(fields[2]),
        payload: fields[3].to_vec(),
    })
}
