//! TCP sockets, as the kernel lists them in /proc/net/tcp and /proc/net/tcp6.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The lists of this machine.
pub const TABLES: [&str; 2] = ["/proc/net/tcp", "/proc/net/tcp6"];

/// A socket of some process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Socket {
    pub local: SocketAddr,
    /// Unspecified if it listens.
    pub remote: SocketAddr,
    pub listens: bool,
    /// The user of the process that opened it; without a meaning if the inode is 0.
    pub uid: u32,
    /// 0 for a connection that no process has accepted yet.
    pub inode: u64,
}

/// The sockets in a list. IPv4 addresses in a list of IPv6 become plain ones.
pub fn parse(table: &str) -> impl Iterator<Item = Socket> {
    table.lines().skip(1).filter_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let local = address(fields.next()?)?;
        let remote = address(fields.next()?)?;
        let listens = fields.next()? == "0A";
        // Queues, timers and retransmissions are between the two.
        let uid = fields.nth(3)?.parse().ok()?;
        let inode = fields.nth(1)?.parse().ok()?;
        Some(Socket {
            local,
            remote,
            listens,
            uid,
            inode,
        })
    })
}

/// Hexadecimal words in the machine's byte order, a colon, and the port.
fn address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let mut bytes = Vec::new();
    for start in (0..address.len()).step_by(8) {
        let word = u32::from_str_radix(address.get(start..start + 8)?, 16).ok()?;
        bytes.extend(word.to_ne_bytes());
    }
    let address = match <[u8; 4]>::try_from(bytes.as_slice()) {
        Ok(bytes) => IpAddr::V4(Ipv4Addr::from(bytes)),
        Err(_) => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?)),
    };
    let port = u16::from_str_radix(port, 16).ok()?;
    Some(SocketAddr::new(address.to_canonical(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn reads_both_lists() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:127A 00000000:0000 0A 00000000:00000000 00:00000000 00000000   112        0 35712 1 0000 100 0 0 10 0
   1: 0100007F:127A 0100007F:D3A0 01 00000000:00000000 00:00000000 00000000     0        0 0 1 0000 20 4 30 10 -1
";
        let found: Vec<Socket> = parse(table).collect();
        assert_eq!(found[0].local, "127.0.0.1:4730".parse().unwrap());
        assert_eq!((found[0].uid, found[0].inode), (112, 35712));
        assert!(found[0].listens && !found[1].listens);
        assert_eq!(found[1].remote, "127.0.0.1:54176".parse().unwrap());
        assert_eq!(found[1].inode, 0);
        let mapped = "sl\n 0: 0000000000000000FFFF00000100007F:127A 00000000000000000000000001000000:0001 01 0:0 0:0 0 7 0 9";
        let found: Vec<Socket> = parse(mapped).collect();
        assert_eq!(found[0].local, "127.0.0.1:4730".parse().unwrap());
        assert_eq!(found[0].remote, "[::1]:1".parse().unwrap());
        assert_eq!((found[0].uid, found[0].inode), (7, 9));
    }

    #[test]
    fn what_is_no_list_has_no_sockets() {
        for text in ["", "a\nb", "a\n 0: 7F:1 2 3", "a\n 0: xyz"] {
            assert_eq!(parse(text).count(), 0, "{text:?}");
        }
    }
}
