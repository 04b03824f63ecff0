//! Who is at the other end of a connection to a job server of this machine.
//!
//! Any local user can listen on a job server's port while gearmand is down, and
//! would then get the jobs of every page. The kernel says which user opened a socket.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use nix::unistd::{Uid, User};
use rustix::net::sockopt::Timeout;
use rustix::net::{self, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use crate::base::sockets::{self, Socket, TABLES};
use crate::host::platform::users_of_gearmand;

/// Folders of gearmand's, which only root can make and give to another user.
const FOLDERS: [&str; 3] = ["/var/lib/gearman", "/run/gearman", "/run/gearmand"];

/// How long the kernel may take to answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// A user of this machine who answers in place of a job server.
#[derive(Debug)]
pub struct Stranger {
    at: SocketAddr,
    uid: u32,
}

impl std::error::Error for Stranger {}

impl fmt::Display for Stranger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user = User::from_uid(Uid::from_raw(self.uid)).ok().flatten();
        match user {
            Some(user) => write!(f, "the user {}", user.name)?,
            None => write!(f, "user id {}", self.uid)?,
        }
        write!(f, " listens on {}, not gearmand", self.at)
    }
}

/// The stranger who caused an error, if it was one.
pub fn stranger(error: &io::Error) -> Option<&Stranger> {
    error.get_ref()?.downcast_ref()
}

/// Fails if the connection leads to a process of this machine that is not a job
/// server's. What runs elsewhere, or in another network namespace, is not known, and
/// neither is anything on a machine without a user for gearmand.
///
/// # Errors
/// [`Stranger`].
pub fn check(stream: &TcpStream) -> io::Result<()> {
    let (Ok(local), Ok(remote)) = (stream.local_addr(), stream.peer_addr()) else {
        return Ok(()); // it is gone, as the next read says
    };
    let Some(uid) = owner(canonical(local), canonical(remote)) else {
        return Ok(());
    };
    match is_trusted(uid) {
        true => Ok(()),
        false => Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            Stranger { at: remote, uid },
        )),
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Whether a job server of this machine may belong to this user: root, we, or a user
/// of gearmand's.
pub fn is_trusted(uid: u32) -> bool {
    if uid == 0 || uid == rustix::process::geteuid().as_raw() {
        return true;
    }
    let users = users_of_gearmand().filter_map(|name| User::from_name(name).ok()?);
    let folders = FOLDERS.iter().filter_map(|dir| std::fs::metadata(dir).ok());
    let mut known = users
        .map(|user| user.uid.as_raw())
        .chain(folders.map(|meta| meta.uid()))
        .filter(|uid| *uid != 0)
        .peekable();
    known.peek().is_none() || known.any(|it| it == uid)
}

/// The user whose process has the other end of our connection, or is going to accept
/// it: as long as nobody has, the connection ends with the socket that listens.
fn owner(ours: SocketAddr, theirs: SocketAddr) -> Option<u32> {
    let is_here = theirs.ip().is_loopback() || theirs.ip() == ours.ip();
    if !is_here {
        return None;
    }
    let nobody = match ours {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    let accepted = ask_kernel(theirs, ours).filter(|(_, inode)| *inode != 0);
    let found = accepted.or_else(|| ask_kernel(theirs, nobody));
    // Kernels may lack the module that answers.
    found.map_or_else(|| from_tables(ours, theirs), |(uid, _)| Some(uid))
}

/// The user and the inode of the socket at `local` whose peer is at `remote`, or that
/// listens for it: sock_diag(7), with the layout of linux/inet_diag.h. It looks for one
/// socket, where /proc/net/tcp lists all of them, which takes milliseconds.
fn ask_kernel(local: SocketAddr, remote: SocketAddr) -> Option<(u32, u32)> {
    const LENGTH: u32 = 72;
    const BY_FAMILY: u16 = 20;
    const REQUEST: u16 = 1;
    const TCP: u8 = 6;
    let family = if local.is_ipv4() { 2 } else { 10 };
    let mut message = Vec::new();
    message.extend(LENGTH.to_ne_bytes());
    message.extend(BY_FAMILY.to_ne_bytes());
    message.extend(REQUEST.to_ne_bytes());
    message.extend([0; 8]);
    message.extend([family, TCP, 0, 0]);
    message.extend(u32::MAX.to_ne_bytes()); // in any state
    message.extend(local.port().to_be_bytes());
    message.extend(remote.port().to_be_bytes());
    for address in [local.ip(), remote.ip()] {
        let mut words = [0; 16];
        match address {
            IpAddr::V4(ip) => words[..4].copy_from_slice(&ip.octets()),
            IpAddr::V6(ip) => words = ip.octets(),
        }
        message.extend(words);
    }
    message.extend([0; 4]); // on any interface
    message.extend([0xff; 8]); // without a cookie
    let socket = net::socket_with(
        AddressFamily::NETLINK,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        Some(net::netlink::SOCK_DIAG),
    )
    .ok()?;
    net::sockopt::set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE)).ok()?;
    net::send(&socket, &message, SendFlags::empty()).ok()?;
    let mut answer = [0; 256];
    let (length, _) = net::recv(&socket, &mut answer, RecvFlags::empty()).ok()?;
    let answer = answer.get(..length)?;
    let word = |at: usize| -> Option<u32> {
        let bytes = answer.get(at..at + 4)?.try_into().ok()?;
        Some(u32::from_ne_bytes(bytes))
    };
    // An error is of another type.
    let kind: [u8; 2] = answer.get(4..6)?.try_into().ok()?;
    (u16::from_ne_bytes(kind) == BY_FAMILY)
        .then(|| word(80).zip(word(84)))
        .flatten()
}

/// The same, from lists of all sockets.
fn from_tables(ours: SocketAddr, theirs: SocketAddr) -> Option<u32> {
    let is_v6 = |table: &&&str| table.ends_with('6');
    // A socket for IPv6 takes IPv4's connections as well.
    let tables = TABLES.iter().filter(|it| theirs.is_ipv4() || is_v6(it));
    let mut listener = None;
    for table in tables {
        let text = std::fs::read_to_string(table).unwrap_or_default();
        for socket in sockets::parse(&text) {
            let is_end = socket.local == theirs && socket.remote == ours;
            if is_end && !socket.listens && socket.inode != 0 {
                return Some(socket.uid);
            }
            if accepts(&socket, theirs) {
                listener = Some(socket.uid);
            }
        }
    }
    listener
}

fn accepts(socket: &Socket, at: SocketAddr) -> bool {
    let ip = socket.local.ip();
    socket.listens && socket.local.port() == at.port() && (ip == at.ip() || ip.is_unspecified())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn knows_who_is_going_to_accept_and_who_has_accepted() {
        let us = rustix::process::geteuid().as_raw();
        for address in ["127.0.0.1:0", "[::1]:0", "[::]:0", "0.0.0.0:0"] {
            let Ok(listener) = TcpListener::bind(address) else {
                continue; // without IPv6
            };
            let mut at = listener.local_addr().unwrap();
            if at.ip().is_unspecified() {
                at.set_ip(IpAddr::from([127, 0, 0, 1]));
            }
            let stream = TcpStream::connect(at).unwrap();
            let ours = stream.local_addr().unwrap();
            assert_eq!(owner(ours, at), Some(us), "{address}");
            assert_eq!(from_tables(ours, at), Some(us), "{address}");
            let found = ask_kernel(at, ours);
            assert!(found.is_none_or(|(_, inode)| inode == 0), "{found:?}");
            let accepted = listener.accept().unwrap();
            let found = ask_kernel(at, ours);
            assert!(
                found.is_none_or(|(uid, inode)| uid == us && inode != 0),
                "{found:?}"
            );
            assert_eq!(owner(ours, at), Some(us), "{address}");
            assert_eq!(from_tables(ours, at), Some(us), "{address}");
            drop(listener);
            assert_eq!(owner(ours, at), Some(us), "{address}");
            assert_eq!(from_tables(ours, at), Some(us), "{address}");
            drop(accepted);
        }
    }

    #[test]
    fn pages_trust_the_same_users() {
        let php = include_str!("../../templates/peer.php");
        for name in users_of_gearmand().chain(FOLDERS) {
            assert!(php.contains(&format!("'{name}'")), "{name}");
        }
    }

    #[test]
    fn nothing_is_known_of_what_runs_elsewhere() {
        let ours = "192.0.2.1:50000".parse().unwrap();
        assert_eq!(owner(ours, "192.0.2.2:4730".parse().unwrap()), None);
    }
}
