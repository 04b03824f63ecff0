//! What an idle crew listens to: job servers, which tell when there is a job for the site.
//! It asks for none.

use std::time::Instant;

use rustix::event::PollFd;

use crate::worker::badge::Badge;
use crate::worker::generation::Generation;
use crate::worker::heartbeat::Heartbeat;
use crate::worker::log::SiteLog;
use crate::worker::memory::SiteMemory;
use crate::worker::options::WorkerArgs;
use crate::worker::servers::JobServers;

pub struct Bell<'a> {
    servers: JobServers<'a>,
    /// The crew stands for its workers.
    pub heartbeat: Heartbeat,
    /// What the site's workers have learned of it, while that is true.
    memory: Option<SiteMemory>,
    /// The site's workers take no jobs.
    rests: bool,
}

impl<'a> Bell<'a> {
    pub fn new(
        args: &WorkerArgs,
        badge: Badge,
        heartbeat: Heartbeat,
        log: &'a SiteLog,
    ) -> Bell<'a> {
        Bell {
            servers: JobServers::new(&args.servers, badge, log),
            heartbeat,
            memory: None,
            rests: false,
        }
    }

    /// Listens, for the function in this memory.
    pub fn listen(&mut self, memory: SiteMemory) {
        self.servers.wear(memory.mark.as_ref());
        self.memory = Some(memory);
        self.rests = false;
    }

    /// Listens again after a rest.
    pub fn go_on(&mut self) {
        self.rests = false;
    }

    /// Whether it does not listen for now.
    pub fn rests(&self) -> bool {
        self.rests
    }

    /// Listens no more for now.
    pub fn rest(&mut self) {
        self.rests = true;
        self.servers.close();
    }

    /// Whether what is known of the site is no longer true.
    pub fn is_outdated(&self, generation: &Generation) -> bool {
        self.memory.as_ref().is_none_or(|memory| {
            memory.generation != generation.name() || memory.stamps.changed().is_some()
        })
    }

    /// Does what can be done now. True if a server has a job.
    pub fn rings(&mut self, now: Instant) -> bool {
        let Some(memory) = self.memory.as_ref().filter(|_| !self.rests) else {
            return false;
        };
        self.servers.connect(now);
        let mut rings = false;
        for server in 0..self.servers.len() {
            self.servers.attend(server, &memory.function);
            let was_asleep = self.servers.is_asleep(server);
            while self.servers.next_event(server, true).is_some() {}
            if self.servers.is_awake(server) {
                match was_asleep {
                    true => rings = true,
                    false => self.servers.sleep(server),
                }
            }
        }
        rings
    }

    pub fn poll_fds(&self) -> impl Iterator<Item = PollFd<'_>> {
        self.servers.poll_fds()
    }

    pub fn deadlines(&self) -> impl Iterator<Item = Instant> {
        let deadlines = self.servers.deadlines();
        deadlines.filter(|_| !self.rests && self.memory.is_some())
    }
}
