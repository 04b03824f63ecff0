//! The firewall that is in force on a host: the commands that close a port to all but one
//! peer, and the peers that its own rules admit. Our rules in the kernel can only close a
//! port: what another firewall drops there, they cannot admit.

mod firewalld;
mod ufw;

use std::fmt;
use std::path::PathBuf;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::host::Host;

/// A kind of firewall.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Firewall {
    Ufw,
    Firewalld,
    Nftables,
}

/// By what a firewall's own rules are known to be ours.
const NAME: &str = "wp-gears";

/// A firewall with rules of its own, to which ours are added.
pub trait Admission: Sync {
    /// Whether it knows what ours need.
    fn can_admit(&self, _host: &Host) -> bool {
        true
    }

    /// The file of our own that has our rules; `None` if commands change them.
    fn file(&self) -> Option<PathBuf> {
        None
    }

    /// The text of that file.
    fn text(&self, _port: u16, _peers: &[String]) -> String {
        String::new()
    }

    /// What has to change so that our rules admit these peers to a TCP port, and no
    /// others; for people.
    ///
    /// # Errors
    /// If its rules cannot be read.
    fn differences(&self, host: &Host, port: u16, peers: &[String]) -> Result<Vec<String>>;

    /// Changes it, after the file.
    ///
    /// # Errors
    /// What the firewall says.
    fn admit(&self, host: &Host, port: u16, peers: &[String]) -> Result<()>;
}

impl fmt::Display for Firewall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Firewall::Ufw => "ufw",
            Firewall::Firewalld => "firewalld",
            Firewall::Nftables => "nftables",
        })
    }
}

impl Host {
    /// The firewall that is in force. Every kernel has nftables.
    ///
    /// # Errors
    /// If the service manager cannot be asked.
    pub fn firewall(&self) -> Result<Firewall> {
        Ok(if ufw::is_active(self)? {
            Firewall::Ufw
        } else if firewalld::is_active(self)? {
            Firewall::Firewalld
        } else {
            Firewall::Nftables
        })
    }
}

impl Firewall {
    /// Its own rules, if it has any beside ours in the kernel.
    pub fn admission(self) -> Option<&'static dyn Admission> {
        match self {
            Firewall::Ufw => Some(&ufw::Ufw),
            Firewall::Firewalld => Some(&firewalld::Firewalld),
            Firewall::Nftables => None,
        }
    }

    /// The commands with which only `PEER`, an address that the administrator fills in,
    /// reaches a TCP port from outside. Run again, they admit one more.
    pub fn admits_only_a_peer(self, port: u16, v6: bool) -> String {
        let rules: &[&str] = match self {
            Firewall::Ufw => &[
                "ufw prepend allow proto tcp from PEER to any port {port}",
                "ufw deny proto tcp to any port {port}",
            ],
            Firewall::Firewalld => &[
                "firewall-cmd --permanent --remove-port={port}/tcp",
                "firewall-cmd --permanent --add-rich-rule='rule family={family} source address=PEER port port={port} protocol=tcp accept'",
                "firewall-cmd --reload",
            ],
            Firewall::Nftables => &[
                "nft add table inet wp_gears",
                "nft add chain inet wp_gears input '{ type filter hook input priority -5; }'",
                "nft add set inet wp_gears peers '{ type {family}_addr; }'",
                "nft add element inet wp_gears peers '{ PEER }'",
                "nft add rule inet wp_gears input iifname != lo tcp dport {port} {ip} saddr != @peers drop",
                "nft add rule inet wp_gears input iifname != lo meta nfproto != {family} tcp dport {port} drop",
            ],
        };
        let (family, ip) = if v6 { ("ipv6", "ip6") } else { ("ipv4", "ip") };
        rules
            .join(" && ")
            .replace("{port}", &port.to_string())
            .replace("{family}", family)
            .replace("{ip}", ip)
    }
}
