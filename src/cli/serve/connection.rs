//! A connection of a browser or a tool, which never blocks: it reads one request, answers
//! it, and ends; or it gets events until one side closes it. Everything has a time limit.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::rc::Rc;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;

use crate::cli::serve::request::{MAX_BODY, MAX_HEAD, Method, Parsed, Request, parse};
use crate::cli::serve::response::Response;

/// How long a request may take to come, an answer to go, and a viewer to take an event.
const TO_ASK: Duration = Duration::from_secs(5);
const TO_TAKE: Duration = Duration::from_secs(15);
/// How long a request waits for the state of the queues.
const TO_WAIT: Duration = Duration::from_secs(12);
/// How long it stays open after the answer, so that what the client still sends does not
/// destroy what it has not read yet; and how much of that is read.
const TO_LEAVE: Duration = Duration::from_secs(1);
const MOST_LEFT: usize = 64 << 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    Asking,
    /// The request has come and waits for the state of the queues.
    Waiting,
    Answering,
    /// Gets an event whenever there is one.
    Viewing,
    /// Has its answer, and may still be sending.
    Leaving,
    Closed,
}

pub struct Connection {
    stream: TcpStream,
    pub stage: Stage,
    input: Vec<u8>,
    output: Rc<[u8]>,
    written: usize,
    until: Instant,
    /// The request that waits.
    pub request: Option<Request>,
}

impl Connection {
    pub fn new(stream: TcpStream, now: Instant) -> std::io::Result<Connection> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        Ok(Connection {
            stream,
            stage: Stage::Asking,
            input: Vec::new(),
            output: Rc::default(),
            written: 0,
            until: now + TO_ASK,
            request: None,
        })
    }

    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// What to wake up for.
    pub fn flags(&self) -> PollFlags {
        match self.stage {
            Stage::Asking | Stage::Leaving => PollFlags::IN,
            Stage::Answering => PollFlags::OUT,
            Stage::Viewing if self.has_output() => PollFlags::OUT | PollFlags::RDHUP,
            Stage::Viewing => PollFlags::RDHUP,
            Stage::Waiting | Stage::Closed => PollFlags::empty(),
        }
    }

    /// When its time is over; a viewer without an event to take has all the time.
    pub fn until(&self) -> Option<Instant> {
        (self.stage != Stage::Viewing || self.has_output()).then_some(self.until)
    }

    fn has_output(&self) -> bool {
        self.written < self.output.len()
    }

    /// Does what it can now. Returns a request that is complete.
    pub fn attend(&mut self, seen: PollFlags, now: Instant) -> Option<Request> {
        if seen.intersects(PollFlags::ERR | PollFlags::NVAL)
            || self.stage == Stage::Viewing && seen.intersects(PollFlags::RDHUP | PollFlags::HUP)
            || self.stage == Stage::Waiting && seen.contains(PollFlags::HUP)
        {
            self.stage = Stage::Closed;
            return None;
        }
        match self.stage {
            Stage::Asking => return self.read(now),
            Stage::Answering | Stage::Viewing => self.write(now),
            Stage::Leaving => self.drain(),
            Stage::Waiting | Stage::Closed => {}
        }
        None
    }

    /// Ends what takes too long.
    pub fn expire(&mut self, now: Instant) {
        if self.until().is_none_or(|until| now < until) {
            return;
        }
        match self.stage {
            // One that has sent nothing gets nothing.
            Stage::Asking if !self.input.is_empty() => {
                self.answer(&Response::of_status(408), now);
            }
            Stage::Waiting => self.answer(&Response::of_status(503), now),
            _ => self.stage = Stage::Closed,
        }
    }

    fn read(&mut self, now: Instant) -> Option<Request> {
        let mut buffer = [0; 4096];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => self.stage = Stage::Closed,
                Ok(length) => {
                    self.input.extend(&buffer[..length]);
                    match parse(&self.input) {
                        Parsed::Complete(request) => {
                            self.input = Vec::new();
                            return Some(request);
                        }
                        Parsed::Refused(status) => {
                            self.answer(&Response::of_status(status), now);
                        }
                        // `parse` refuses more than that.
                        Parsed::Partial if self.input.len() > MAX_HEAD + MAX_BODY => {
                            self.stage = Stage::Closed;
                        }
                        Parsed::Partial => continue,
                    }
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                Err(_) => self.stage = Stage::Closed,
            }
            return None;
        }
    }

    /// Keeps the request until there is an answer.
    pub fn wait(&mut self, request: Request, now: Instant) {
        self.request = Some(request);
        self.stage = Stage::Waiting;
        self.until = now + TO_WAIT;
    }

    pub fn answer(&mut self, response: &Response, now: Instant) {
        let request = self.request.take();
        self.answer_to(request.as_ref(), response, now);
    }

    pub fn answer_to(&mut self, request: Option<&Request>, response: &Response, now: Instant) {
        let head_only = request.is_some_and(|request| request.method == Method::Head);
        self.output = response.bytes(head_only).into();
        self.written = 0;
        self.stage = Stage::Answering;
        self.until = now + TO_TAKE;
        self.write(now);
    }

    /// Begins to send events.
    pub fn view(&mut self, first: &[u8], now: Instant) {
        self.request = None;
        self.output = [&Response::stream(), first].concat().into();
        self.written = 0;
        self.stage = Stage::Viewing;
        self.until = now + TO_TAKE;
        self.write(now);
    }

    /// Sends an event, which every viewer gets from the same memory. One who has not taken
    /// the last one yet misses this one.
    pub fn send(&mut self, event: &Rc<[u8]>, now: Instant) {
        if self.stage == Stage::Viewing && !self.has_output() {
            self.output = Rc::clone(event);
            self.written = 0;
            self.until = now + TO_TAKE;
            self.write(now);
        }
    }

    fn write(&mut self, now: Instant) {
        while self.has_output() {
            match self.stream.write(&self.output[self.written..]) {
                Ok(length @ 1..) => self.written += length,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => return,
                Ok(0) | Err(_) => {
                    self.stage = Stage::Closed;
                    break;
                }
            }
        }
        self.output = Rc::default();
        self.written = 0;
        if self.stage == Stage::Answering {
            let _ = self.stream.shutdown(Shutdown::Write);
            self.stage = Stage::Leaving;
            self.input = Vec::new();
            self.until = now + TO_LEAVE;
        }
    }

    fn drain(&mut self) {
        let mut buffer = [0; 4096];
        for _ in 0..MOST_LEFT / buffer.len() {
            match self.stream.read(&mut buffer) {
                Ok(0) => break,
                Ok(_) => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => return,
                Err(_) => break,
            }
        }
        self.stage = Stage::Closed;
    }
}
