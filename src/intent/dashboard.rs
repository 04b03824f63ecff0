//! Where the web page that shows the queues is served.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::base::problem::Problem;
use crate::intent::past::Role;

/// The user who serves it, and whose group may read what workers publish.
pub const USER: &str = "wp-gears";

const PORT: u16 = 8730;

/// An address and a port to listen at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address(pub SocketAddr);

impl Default for Address {
    fn default() -> Self {
        Address((Ipv4Addr::LOCALHOST, PORT).into())
    }
}

impl Address {
    /// Whether only this machine reaches it.
    pub fn is_loopback(self) -> bool {
        self.0.ip().to_canonical().is_loopback()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Address {
    type Err = String;

    /// An address with a port or without, or a port alone.
    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let own = Address::default().0;
        let text = match text.strip_prefix("localhost") {
            Some(port) => format!("127.0.0.1{port}"),
            None => text.to_owned(),
        };
        let with_port = text.parse().ok();
        let port = || Some(SocketAddr::new(own.ip(), text.parse().ok()?));
        let ip = || Some(SocketAddr::new(text.parse().ok()?, own.port()));
        with_port
            .or_else(port)
            .or_else(ip)
            .map(Address)
            .ok_or_else(|| format!("expected ADDR:PORT, such as {own}"))
    }
}

/// Whether there is a dashboard, and where.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Text", into = "Text")]
pub enum Dashboard {
    #[default]
    Off,
    At(Address),
}

/// As the file has it.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Text {
    Is(bool),
    At(String),
}

impl TryFrom<Text> for Dashboard {
    type Error = String;

    fn try_from(text: Text) -> std::result::Result<Self, String> {
        match text {
            Text::Is(is) => Ok(Dashboard::from(is)),
            Text::At(text) => text.parse(),
        }
    }
}

impl From<Dashboard> for Text {
    fn from(it: Dashboard) -> Text {
        match it {
            Dashboard::Off => Text::Is(false),
            Dashboard::At(address) => Text::At(address.to_string()),
        }
    }
}

impl From<bool> for Dashboard {
    fn from(is: bool) -> Dashboard {
        match is {
            true => Dashboard::At(Address::default()),
            false => Dashboard::Off,
        }
    }
}

impl FromStr for Dashboard {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text.parse::<bool>() {
            Ok(is) => Ok(is.into()),
            Err(_) => text.parse().map(Dashboard::At),
        }
    }
}

/// The dashboard of a host that has one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Served {
    pub address: Address,
    pub token_file: Option<PathBuf>,
}

/// # Errors
/// An address that others reach without a token, and a host without supervisor.
pub fn resolve(
    wish: Dashboard,
    token_file: Option<PathBuf>,
    roles: &[Role],
) -> Result<Option<Served>> {
    let Dashboard::At(address) = wish else {
        return Ok(None);
    };
    let what = format!("serve the dashboard at {address}");
    if !roles.contains(&Role::Worker) {
        let why = "supervisor runs it, which only hosts with the role 'worker' have";
        return Err(Problem::usage(what, why)
            .help("have it on a host with workers, or run 'wp-gears status --serve' as a service of yours")
            .into());
    }
    if token_file.is_none() && !address.is_loopback() {
        let why = "others can reach this address, and nothing would keep them out";
        return Err(Problem::usage(what, why)
            .help("name a file with a token by --dashboard-token-file, and let a web server with TLS pass requests on")
            .into());
    }
    Ok(Some(Served {
        address,
        token_file,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_may_be_short() {
        for (text, shown) in [
            ("true", "127.0.0.1:8730"),
            ("9000", "127.0.0.1:9000"),
            ("10.0.0.5", "10.0.0.5:8730"),
            ("localhost:9", "127.0.0.1:9"),
            ("[::1]:9", "[::1]:9"),
            ("::1", "[::1]:8730"),
        ] {
            let wanted = Dashboard::At(Address(shown.parse().unwrap()));
            assert_eq!(text.parse(), Ok(wanted), "{text}");
        }
        assert_eq!("false".parse(), Ok(Dashboard::Off));
        for bad in ["", "here", "10.0.0.5:", "1:2:3", "99999", "example.test:80"] {
            assert!(bad.parse::<Dashboard>().is_err(), "{bad}");
        }
    }
}
