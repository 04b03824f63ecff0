//! The address of a job server, and connections to it.

use std::fmt;
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::str::FromStr;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::net::sockopt;
use serde::{Deserialize, Serialize};

use crate::gearman::peer;

pub const PORT: u16 = 4730;

/// `HOST:PORT` of a job server; the port is optional.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Server {
    pub host: String,
    pub port: u16,
}

impl Default for Server {
    fn default() -> Self {
        Server {
            host: "127.0.0.1".into(),
            port: PORT,
        }
    }
}

impl FromStr for Server {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let bad = || "expected HOST:PORT, such as 127.0.0.1:4730".to_string();
        let (host, port) = match text.rsplit_once(':') {
            // A bare IPv6 address has colons of its own.
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
                (host, port.parse().map_err(|_| bad())?)
            }
            _ => (text, PORT),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() || host.contains(|c: char| c.is_whitespace() || c == '/' || c == ',') {
            return Err(bad());
        }
        Ok(Server {
            host: host.into(),
            port,
        })
    }
}

impl TryFrom<String> for Server {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Server> for String {
    fn from(server: Server) -> String {
        server.to_string()
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl Server {
    /// Whether only processes of this host reach it.
    pub fn is_local(&self) -> bool {
        let address = self.host.parse::<std::net::IpAddr>();
        address.map_or(self.host == "localhost", |ip| ip.is_loopback())
    }

    pub fn addresses(&self) -> io::Result<Vec<SocketAddr>> {
        let found: Vec<_> = (self.host.as_str(), self.port).to_socket_addrs()?.collect();
        if found.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                "the host name has no address",
            ));
        }
        Ok(found)
    }

    /// The addresses; a resolver that takes longer is not waited for.
    fn addresses_within(&self, limit: Duration) -> io::Result<Vec<SocketAddr>> {
        if self.host.parse::<IpAddr>().is_ok() {
            return self.addresses();
        }
        let (send, receive) = mpsc::channel();
        let server = self.clone();
        std::thread::spawn(move || send.send(server.addresses()));
        receive.recv_timeout(limit).unwrap_or_else(|_| {
            let why = format!("the name {} could not be resolved in time", self.host);
            Err(io::Error::new(io::ErrorKind::TimedOut, why))
        })
    }

    /// Opens a blocking connection. The limit also applies to each read and write.
    ///
    /// # Errors
    /// If nobody answers, or a user of this machine who is not gearmand's.
    pub fn connect(&self, limit: Duration) -> io::Result<TcpStream> {
        let end = Instant::now() + limit;
        let mut last = None;
        for address in self.addresses_within(limit)? {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            match TcpStream::connect_timeout(&address, left) {
                Ok(stream) => {
                    stream.set_read_timeout(Some(limit))?;
                    stream.set_write_timeout(Some(limit))?;
                    tune(&stream)?;
                    peer::check(&stream)?;
                    return Ok(stream);
                }
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| io::ErrorKind::NotFound.into()))
    }
}

/// Reads what is there. A signal interrupts a read with a time limit, whatever its handler
/// asks for.
pub fn read(stream: &mut TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match stream.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Sends small packets at once, and detects a peer that vanished within a
/// minute.
pub fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, Duration::from_secs(30))?;
    sockopt::set_tcp_keepintvl(stream, Duration::from_secs(5))?;
    sockopt::set_tcp_keepcnt(stream, 4)?;
    sockopt::set_tcp_user_timeout(stream, 30_000)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_people_write() {
        for (text, shown) in [
            ("127.0.0.1:4731", "127.0.0.1:4731"),
            ("jobs.example", "jobs.example:4730"),
            (" jobs:1 ", "jobs:1"),
            ("[::1]:4731", "[::1]:4731"),
            ("::1", "[::1]:4730"),
            ("[::1]", "[::1]:4730"),
        ] {
            assert_eq!(text.parse::<Server>().unwrap().to_string(), shown);
        }
        for text in ["", ":4730", "a:b", "a:99999", "a b:1", "a/b", "a,b:1"] {
            assert!(text.parse::<Server>().is_err(), "{text}");
        }
    }
}
