//! All job servers of a worker: asks them for jobs in turn, and answers over the
//! connection that delivered the job.

use std::io;
use std::time::Instant;

use rustix::event::PollFd;

use crate::gearman::binary::{Packet, kind};
use crate::gearman::server::Server;
use crate::worker::badge::{Badge, Mark};
use crate::worker::connection::{ConnectionState, ServerConnection};
use crate::worker::log::SiteLog;

/// The connection that delivered a job. After a reconnect, the server does not know
/// that this worker has the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionId {
    pub server: usize,
    generation: u64,
}

/// A job from a server.
pub struct AssignedJob {
    pub from: ConnectionId,
    pub server: String,
    pub handle: String,
    pub function: String,
    pub unique: String,
    pub payload: Vec<u8>,
}

pub enum ServerEvent {
    NoJob,
    Job(AssignedJob),
}

pub struct JobServers<'a> {
    connections: Vec<ServerConnection>,
    /// This worker's ID, shown by `gearadmin --workers`.
    badge: Badge,
    log: &'a SiteLog,
    /// The server to ask next.
    turn: usize,
    /// Outcomes of jobs that may not have arrived, since somebody asked.
    unconfirmed: u64,
}

impl<'a> JobServers<'a> {
    pub fn new(servers: &[Server], badge: Badge, log: &'a SiteLog) -> JobServers<'a> {
        JobServers {
            connections: servers.iter().cloned().map(ServerConnection::new).collect(),
            badge,
            log,
            turn: 0,
            unconfirmed: 0,
        }
    }

    pub fn len(&self) -> usize {
        self.connections.len()
    }

    /// Whether a server was asked, and may be about to send a job.
    pub fn is_asking(&self) -> bool {
        self.connections
            .iter()
            .any(|c| c.state == ConnectionState::Asked)
    }

    /// Whether this server has no job, and will tell when there is one.
    pub fn is_asleep(&self, server: usize) -> bool {
        self.connections[server].state == ConnectionState::Asleep
    }

    /// Whether this server may have a job.
    pub fn is_awake(&self, server: usize) -> bool {
        self.connections[server].state == ConnectionState::Awake
    }

    /// Asks a server to tell when it has a job, without asking for one.
    pub fn sleep(&mut self, server: usize) {
        let asked = self.connections[server].sleep();
        self.check(server, asked);
    }

    /// Whether all servers are connected and have no job.
    pub fn are_empty(&self) -> bool {
        self.connections
            .iter()
            .all(|c| c.state == ConnectionState::Asleep)
    }

    /// The next server in turn that may have a job.
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

    /// Whether no other server is connected.
    fn is_alone(&self, server: usize) -> bool {
        let mut all = self.connections.iter().enumerate();
        !all.any(|(i, c)| i != server && c.up())
    }

    /// Asks a server out of turn. The outcome of the last job (`before`) and the request
    /// for the next go out in one write: with two, the second would wait for an
    /// acknowledgement of the first.
    pub fn ask_again(&mut self, server: usize, before: Vec<u8>, now: Instant) {
        let alone = self.is_alone(server);
        self.connections[server].expects_confirmation();
        let asked = self.connections[server].ask(Some(before), alone, now);
        self.check(server, asked);
    }

    /// Asks a server for a job; the one after it is next.
    pub fn ask(&mut self, server: usize, now: Instant) {
        self.turn = server + 1;
        let alone = self.is_alone(server);
        let asked = self.connections[server].ask(None, alone, now);
        self.check(server, asked);
    }

    /// Reconnects where that is due, and drops servers that do not answer.
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

    /// Registers the function to serve from now on.
    pub fn register(&mut self, function: &str) {
        for server in 0..self.connections.len() {
            let connection = &mut self.connections[server];
            if connection.up() {
                let registered = connection.register(&self.badge.to_string(), function);
                self.check(server, registered);
            }
        }
    }

    /// Says what is known of the site now, if that is something else than before.
    pub fn wear(&mut self, mark: Option<&Mark>) {
        if self.badge.mark.as_ref() == mark {
            return;
        }
        self.badge.mark = mark.cloned();
        for server in 0..self.connections.len() {
            let connection = &mut self.connections[server];
            if connection.up() {
                let named = connection.name(&self.badge.to_string());
                self.check(server, named);
            }
        }
    }

    /// Reads and writes as much as possible without blocking.
    pub fn attend(&mut self, server: usize, function: &str) {
        let connection = &mut self.connections[server];
        let attended = connection.attend().and_then(|new| match new {
            true => connection.register(&self.badge.to_string(), function),
            false => Ok(()),
        });
        self.check(server, attended);
    }

    /// The next event that a server has sent. `busy`: there already is a job, so another
    /// one is an error.
    pub fn next_event(&mut self, server: usize, busy: bool) -> Option<ServerEvent> {
        let event = next_event(&mut self.connections[server], server, busy);
        self.check(server, event).flatten()
    }

    /// Whether the job's server is still waiting for its outcome.
    pub fn is_current(&self, id: ConnectionId) -> bool {
        let connection = &self.connections[id.server];
        connection.up() && connection.generation == id.generation
    }

    /// Sends a packet about a job. False if that is certain to have failed.
    pub fn send(&mut self, id: ConnectionId, packet: &[u8]) -> bool {
        if !self.is_current(id) {
            return false;
        }
        let sent = self.connections[id.server].send(packet);
        self.check(id.server, sent).is_some()
    }

    /// Sends the last packet about a job. False if its server is gone.
    pub fn finish(&mut self, id: ConnectionId, packet: &[u8]) -> bool {
        if !self.is_current(id) {
            return false;
        }
        self.connections[id.server].expects_confirmation();
        let sent = self.send(id, packet);
        if sent {
            self.connections[id.server].state = ConnectionState::Awake;
        }
        true
    }

    /// How many outcomes were sent and not confirmed before the connection broke, since
    /// the last call. The server may have given those jobs to other workers.
    pub fn take_unconfirmed(&mut self) -> u64 {
        std::mem::take(&mut self.unconfirmed)
    }

    pub fn poll_fds(&self) -> impl Iterator<Item = PollFd<'_>> {
        self.connections
            .iter()
            .filter_map(ServerConnection::poll_fd)
    }

    /// When pauses end, and the time for answers.
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
                self.unconfirmed += u64::from(self.connections[server].was_unconfirmed());
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
            // Closing the connection returns the job to the server.
            kind::JOB_ASSIGN_UNIQ if busy => {
                return Err(io::Error::other("it sent a job without being asked"));
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
) -> io::Result<AssignedJob> {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let fields = packet.fields(4)?;
    Ok(AssignedJob {
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
