//! The firewall that a host has, and the commands that close a port to all but one peer.

use crate::host::Host;

/// A kind of firewall.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Firewall {
    Ufw,
    Firewalld,
    Nftables,
}

impl Host {
    /// The firewall that is installed. Every kernel has nftables.
    pub fn firewall(&self) -> Firewall {
        let by_program = [
            ("ufw", Firewall::Ufw),
            ("firewall-cmd", Firewall::Firewalld),
        ];
        let found = by_program.iter().find(|(name, _)| self.has_program(name));
        found.map_or(Firewall::Nftables, |(_, firewall)| *firewall)
    }
}

impl Firewall {
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
