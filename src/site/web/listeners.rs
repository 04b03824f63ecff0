//! The web servers that run on this host, and where they listen.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::Serialize;

use crate::host::Host;
use crate::host::process::Process;
use crate::site::web::Kind;

/// Programs that answer HTTP requests, and whose configuration `site::web` reads.
const PROGRAMS: [(&str, Option<Kind>); 9] = [
    ("nginx", Some(Kind::Nginx)),
    ("apache2", Some(Kind::Apache)),
    ("httpd", Some(Kind::Apache)),
    ("caddy", Some(Kind::Caddy)),
    ("lighttpd", Some(Kind::Lighttpd)),
    ("litespeed", None),
    ("openlitespeed", None),
    ("haproxy", None),
    ("varnishd", None),
];
/// Where servers listen for HTTP; these come first.
const USUAL: [u16; 2] = [80, 443];

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WebListener {
    pub program: &'static str,
    /// An address of this host at which it answers.
    pub address: IpAddr,
    pub port: u16,
}

/// The servers that run now; none below `--root`.
pub fn running(host: &Host) -> Vec<Kind> {
    if !host.live() {
        return Vec::new();
    }
    let processes = host.processes();
    let runs = |name: &str| {
        processes
            .iter()
            .any(|it| host.is_service(it, |it| it == name))
    };
    let running = PROGRAMS.iter().filter(|(name, _)| runs(name));
    running.filter_map(|(_, kind)| *kind).collect()
}

/// The web server's program that this process is.
pub fn program(host: &Host, process: &Process) -> Option<&'static str> {
    let mut names = PROGRAMS.iter().map(|(name, _)| *name);
    names.find(|name| host.is_service(process, |it| it == *name))
}

/// Each address and port once.
pub fn all(host: &Host) -> Vec<WebListener> {
    let mut found: Vec<WebListener> = Vec::new();
    for process in host.processes() {
        let Some(program) = program(host, &process) else {
            continue;
        };
        for listener in host.listeners_of(process.pid) {
            let address = match listener.address {
                IpAddr::V4(address) if address.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
                IpAddr::V6(address) if address.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
                other => other,
            };
            let one = WebListener {
                program,
                address,
                port: listener.port,
            };
            if !found.contains(&one) {
                found.push(one);
            }
        }
    }
    found.sort_by_key(|it| (!USUAL.contains(&it.port), it.address.is_ipv6(), it.port));
    found
}
