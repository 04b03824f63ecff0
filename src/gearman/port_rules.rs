//! The firewall rules that admit only named hosts to the job server's port, and the unit
//! that loads them before it starts.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use anyhow::Result;

use crate::base::template;
use crate::gearman::instance::{FIREWALL_UNIT, RULES, mark};

/// Their table in the kernel. No owner's table has that name.
pub const TABLE: &str = "wpgears_port";
/// Where its chain is hooked in.
pub const HOOK: &str = "input";
/// The unit that loads them at boot.
pub const UNIT: &str = "wp-gears-firewall";

/// The file with them.
pub fn file() -> PathBuf {
    PathBuf::from(RULES).join("port.nft")
}

/// Reads a host or a network that may be admitted.
///
/// # Errors
/// What is expected.
pub fn peer(text: &str) -> Result<String, String> {
    let expected =
        || "expected an address or a network, such as 10.0.0.6 or 10.0.0.0/24".to_owned();
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().map_err(|_| expected())?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    match length.map(str::parse::<u8>) {
        None => Ok(address.to_string()),
        Some(Ok(length)) if length == most => Ok(address.to_string()),
        Some(Ok(length)) if (1..most).contains(&length) => {
            Ok(format!("{}/{length}", network(address, length)))
        }
        Some(_) => Err(expected()),
    }
}

/// The address without the bits of hosts, as firewalls write it.
fn network(address: IpAddr, length: u8) -> IpAddr {
    let length = u32::from(length);
    match address {
        IpAddr::V4(v4) => Ipv4Addr::from_bits(v4.to_bits() & !(u32::MAX >> length)).into(),
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !(u128::MAX >> length)).into(),
    }
}

/// The rules. The host itself is always admitted.
///
/// # Errors
/// If the template cannot be rendered.
pub fn rules(port: u16, peers: &[String]) -> Result<String> {
    let mut context = tera::Context::new();
    let (v6, v4): (Vec<&String>, Vec<&String>) = peers.iter().partition(|it| it.contains(':'));
    context.insert("table", TABLE);
    context.insert("port", &port);
    context.insert("v4", &v4);
    context.insert("v6", &v6);
    let render = |context: &tera::Context| {
        template::render(include_str!("../../templates/port.nft.tera"), context)
    };
    context.insert("mark", "");
    let mark = mark(&render(&context)?);
    context.insert("mark", &mark);
    render(&context)
}

/// The unit. `gearmand` is the job server's, which does not start without the rules.
///
/// # Errors
/// If the template cannot be rendered.
pub fn unit_text(gearmand: &str) -> Result<String> {
    let mut context = tera::Context::new();
    context.insert("firewall", FIREWALL_UNIT);
    context.insert("gearmand", gearmand);
    context.insert("rules", &file());
    template::render(include_str!("../../templates/port.service.tera"), &context)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gearman::instance::comments;

    #[test]
    fn peers_are_addresses_and_networks() {
        for (text, expected) in [
            ("10.0.0.6", Some("10.0.0.6")),
            ("10.0.0.0/24", Some("10.0.0.0/24")),
            ("fd00::0006", Some("fd00::6")),
            ("10.0.0.77/24", Some("10.0.0.0/24")),
            ("10.0.0.77/32", Some("10.0.0.77")),
            ("fd00::/8", Some("fd00::/8")),
            ("fd12:3456::7/20", Some("fd12:3000::/20")),
            ("fd00::7/128", Some("fd00::7")),
            ("0.0.0.0/0", None),
            ("10.0.0.0/33", None),
            ("10.0.0.0/", None),
            ("worker1", None),
            ("10.0.0.6; drop", None),
            ("", None),
        ] {
            assert_eq!(peer(text).ok().as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn each_peer_has_a_rule_and_the_rest_is_dropped() {
        let peers = ["10.0.0.6".to_owned(), "fd00::/8".to_owned()];
        let text = rules(4730, &peers).unwrap();
        for line in [
            "iifname != \"lo\" tcp dport 4730 ip saddr 10.0.0.6 accept",
            "iifname != \"lo\" tcp dport 4730 ip6 saddr fd00::/8 accept",
            "iifname != \"lo\" tcp dport 4730 drop",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
        assert_eq!(comments(&text).len(), 3);
        assert_ne!(comments(&text), comments(&rules(4731, &peers).unwrap()));
    }
}
