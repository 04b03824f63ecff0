//! Gearman's binary protocol: packets, and a small blocking client.

use std::io::{self, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::gearman::server::{self, Server};

/// Packet types, named as in gearmand's PROTOCOL.
pub mod kind {
    pub const CAN_DO: u32 = 1;
    pub const RESET_ABILITIES: u32 = 3;
    pub const PRE_SLEEP: u32 = 4;
    pub const NOOP: u32 = 6;
    pub const JOB_CREATED: u32 = 8;
    pub const NO_JOB: u32 = 10;
    pub const WORK_STATUS: u32 = 12;
    pub const WORK_COMPLETE: u32 = 13;
    pub const WORK_FAIL: u32 = 14;
    pub const ECHO_REQ: u32 = 16;
    pub const ECHO_RES: u32 = 17;
    pub const SUBMIT_JOB_BG: u32 = 18;
    pub const ERROR: u32 = 19;
    pub const SET_CLIENT_ID: u32 = 22;
    pub const WORK_DATA: u32 = 28;
    pub const WORK_WARNING: u32 = 29;
    pub const GRAB_JOB_UNIQ: u32 = 30;
    pub const JOB_ASSIGN_UNIQ: u32 = 31;
}

/// Larger than any job that gearmand accepts; a longer length is garbage.
const LARGEST: usize = 1 << 30;

const HEADER: usize = 12;

/// A packet from the server.
#[derive(Debug)]
pub struct Packet {
    pub kind: u32,
    pub data: Vec<u8>,
}

impl Packet {
    /// Splits the data into `n` fields. NUL ends each but the last, which may
    /// contain NUL itself.
    pub fn fields(&self, n: usize) -> io::Result<Vec<&[u8]>> {
        let fields: Vec<_> = self.data.splitn(n, |b| *b == 0).collect();
        if fields.len() == n {
            Ok(fields)
        } else {
            Err(invalid(format!(
                "the server sent packet {} with {} of {n} fields",
                self.kind,
                fields.len()
            )))
        }
    }
}

/// Encodes a request, to be sent in one write.
pub fn request(kind: u32, fields: &[&[u8]]) -> Vec<u8> {
    let length: usize = fields.iter().map(|f| f.len() + 1).sum::<usize>().max(1) - 1;
    let mut bytes = Vec::with_capacity(HEADER + length);
    bytes.extend_from_slice(b"\0REQ");
    bytes.extend_from_slice(&kind.to_be_bytes());
    bytes.extend_from_slice(&(length as u32).to_be_bytes());
    for (i, field) in fields.iter().enumerate() {
        if i > 0 {
            bytes.push(0);
        }
        bytes.extend_from_slice(field);
    }
    bytes
}

/// Collects received bytes and returns them as packets.
#[derive(Debug, Default)]
pub struct Inbox {
    bytes: Vec<u8>,
}

impl Inbox {
    pub fn feed(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next packet, once all of it has arrived.
    pub fn take(&mut self) -> io::Result<Option<Packet>> {
        let Some(header) = self.bytes.get(..HEADER) else {
            return Ok(None);
        };
        if &header[..4] != b"\0RES" {
            return Err(invalid("the server does not speak the Gearman protocol"));
        }
        let number = |at: usize| {
            u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
        };
        let (kind, length) = (number(4), number(8) as usize);
        if length > LARGEST {
            return Err(invalid(format!(
                "the server sent a packet of {length} bytes"
            )));
        }
        if self.bytes.len() < HEADER + length {
            return Ok(None);
        }
        let rest = self.bytes.split_off(HEADER + length);
        let mut data = std::mem::replace(&mut self.bytes, rest);
        data.drain(..HEADER);
        Ok(Some(Packet { kind, data }))
    }
}

/// A client connection, which submits jobs and takes them back.
pub struct Client {
    stream: TcpStream,
    inbox: Inbox,
}

impl Client {
    pub fn connect(server: &Server, limit: Duration) -> io::Result<Client> {
        Ok(Client {
            stream: server.connect(limit)?,
            inbox: Inbox::default(),
        })
    }

    /// Submits a background job and returns its handle. While a job with the same
    /// `unique` key is queued, that is the job returned.
    pub fn submit(&mut self, function: &[u8], unique: &[u8], payload: &[u8]) -> io::Result<String> {
        let answer = self.ask(
            &request(kind::SUBMIT_JOB_BG, &[function, unique, payload]),
            &[kind::JOB_CREATED],
        )?;
        Ok(String::from_utf8_lossy(&answer.data).into_owned())
    }

    /// Takes the next job of the function out of its queue, if it is the one with this
    /// handle. Another is given back when the connection is closed.
    pub fn withdraw(&mut self, function: &[u8], handle: &str) -> io::Result<bool> {
        self.stream.write_all(&request(kind::CAN_DO, &[function]))?;
        let grab = request(kind::GRAB_JOB_UNIQ, &[]);
        let next = self.ask(&grab, &[kind::JOB_ASSIGN_UNIQ, kind::NO_JOB])?;
        if next.kind == kind::NO_JOB || next.fields(4)?.first() != Some(&handle.as_bytes()) {
            return Ok(false);
        }
        let mut done = request(kind::WORK_COMPLETE, &[handle.as_bytes(), b""]);
        // Its answer comes once the job is gone.
        done.extend(request(kind::ECHO_REQ, &[b"done"]));
        self.ask(&done, &[kind::ECHO_RES])?;
        Ok(true)
    }

    fn ask(&mut self, bytes: &[u8], expected: &[u32]) -> io::Result<Packet> {
        self.stream.write_all(bytes)?;
        let mut chunk = [0; 4096];
        loop {
            if let Some(packet) = self.inbox.take()? {
                return match packet.kind {
                    k if expected.contains(&k) => Ok(packet),
                    kind::ERROR => Err(io::Error::other(
                        String::from_utf8_lossy(&packet.data).replace('\0', ": "),
                    )),
                    other => Err(invalid(format!(
                        "the server sent packet {other} instead of {expected:?}"
                    ))),
                };
            }
            match server::read(&mut self.stream, &mut chunk)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                n => self.inbox.feed(&chunk[..n]),
            }
        }
    }
}

fn invalid(text: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(kind: u32, fields: &[&[u8]]) -> Vec<u8> {
        let mut bytes = request(kind, fields);
        bytes[..4].copy_from_slice(b"\0RES");
        bytes
    }

    #[test]
    fn packets_come_in_pieces() {
        let mut bytes = answer(kind::JOB_ASSIGN_UNIQ, &[b"H:1", b"f", b"", b"a\0b"]);
        bytes.extend(answer(kind::NOOP, &[]));
        let mut inbox = Inbox::default();
        let mut seen = Vec::new();
        for byte in bytes {
            inbox.feed(&[byte]);
            while let Some(packet) = inbox.take().unwrap() {
                seen.push(packet);
            }
        }
        assert_eq!(seen.len(), 2);
        assert_eq!(
            seen[0].fields(4).unwrap(),
            [b"H:1".as_slice(), b"f", b"", b"a\0b"]
        );
        assert!(seen[0].fields(6).is_err());
        assert_eq!((seen[1].kind, seen[1].data.len()), (kind::NOOP, 0));
    }

    #[test]
    fn other_protocols_are_rejected() {
        let mut inbox = Inbox::default();
        inbox.feed(b"HTTP/1.1 400 Bad Request");
        assert!(inbox.take().is_err());
    }
}
