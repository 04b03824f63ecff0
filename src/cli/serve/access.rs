//! Who may look. On loopback that is every user of the machine, by a name of the
//! machine's own, so that no website can lead a browser here under its name (DNS
//! rebinding). With a token, whoever has it: tools in a header, browsers with a cookie that
//! they get for it.

use std::fs::File;
use std::io::Read;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::base::problem::Problem;
use crate::cli::serve::request::Request;

const COOKIE: &str = "wp_gears_dashboard";
/// How long a browser stays logged in, and how many do at a time.
const LIFETIME: Duration = Duration::from_secs(12 * 3600);
const MAX_SESSIONS: usize = 64;

/// A shorter token could be guessed.
const MIN_TOKEN: usize = 16;
const MAX_TOKEN: usize = 1024;
/// The modes with which nobody but the owner can change the file, or others read it.
const FORBIDDEN: u32 = 0o137;

type Hash = [u8; 32];

pub enum Access {
    Local(IpAddr),
    Token(TokenFile, Vec<Session>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Allowed,
    /// It came under a name that is not this machine's.
    Misdirected,
    /// It has to show the token first.
    Unknown,
}

pub struct Session {
    hash: Hash,
    /// Ends when the token changes.
    token: Hash,
    until: Instant,
}

impl Access {
    pub fn check(&self, request: &Request, now: Instant) -> Verdict {
        let (file, sessions) = match self {
            Access::Local(address) => {
                return match is_local(&request.host, *address) {
                    true => Verdict::Allowed,
                    false => Verdict::Misdirected,
                };
            }
            Access::Token(file, sessions) => (file, sessions),
        };
        let Ok(token) = file.hash() else {
            return Verdict::Unknown;
        };
        let shown = request.authorization.as_deref().and_then(bearer);
        if shown.is_some_and(|shown| same(&hash(shown), &token)) {
            return Verdict::Allowed;
        }
        let known = request.cookies_named(COOKIE).any(|cookie| {
            let cookie = hash(cookie);
            sessions.iter().any(|session| {
                same(&session.hash, &cookie) && same(&session.token, &token) && now < session.until
            })
        });
        match known {
            true => Verdict::Allowed,
            false => Verdict::Unknown,
        }
    }

    /// The cookie for whoever sends the token in a form; `None` for anyone else.
    pub fn log_in(&mut self, request: &Request, now: Instant) -> Option<String> {
        let Access::Token(file, sessions) = self else {
            return None;
        };
        let token = file.hash().ok()?;
        let shown = form_urlencoded::parse(&request.body).find(|(key, _)| key == "token");
        let (_, shown) = shown?;
        if !same(&hash(shown.trim()), &token) {
            return None;
        }
        let secret = crate::base::random::letters(43).ok()?;
        sessions.retain(|session| now < session.until);
        if sessions.len() >= MAX_SESSIONS {
            sessions.remove(0);
        }
        sessions.push(Session {
            hash: hash(&secret),
            token,
            until: now + LIFETIME,
        });
        let secure = if request.is_secure { "; Secure" } else { "" };
        let seconds = LIFETIME.as_secs();
        Some(format!(
            "{COOKIE}={secret}; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}"
        ))
    }
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then_some(token.trim())
}

/// Of hashes, so that not even lengths make a difference.
fn same(one: &Hash, other: &Hash) -> bool {
    one.ct_eq(other).into()
}

fn hash(text: &str) -> Hash {
    Sha256::digest(text.as_bytes()).into()
}

/// Whether this is a name of the machine itself: its port may be that of a tunnel.
fn is_local(host: &str, address: IpAddr) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || bare
            .parse::<IpAddr>()
            .is_ok_and(|ip| ip.to_canonical().is_loopback() || ip == address)
}

/// The file with the token. It is read each time, so that it can be replaced.
pub struct TokenFile(PathBuf);

impl TokenFile {
    /// # Errors
    /// A file that others can read or change, or with a token that is too short.
    pub fn open(path: &Path) -> Result<TokenFile, Problem> {
        let file = TokenFile(path.to_owned());
        file.hash()
            .map_err(|why| Problem::new(format!("use the token in {}", path.display()), why).help(
                "make one with 'umask 077; openssl rand -hex 32 >FILE', owned by root or by the user that serves the page, with mode 0600, or 0640 for a group",
            ))?;
        Ok(file)
    }

    fn hash(&self) -> Result<Hash, String> {
        let file = File::open(&self.0).map_err(|e| e.to_string())?;
        let meta = file.metadata().map_err(|e| e.to_string())?;
        let us = rustix::process::geteuid().as_raw();
        if !meta.is_file() {
            return Err("it is not a regular file".into());
        }
        if meta.uid() != 0 && meta.uid() != us {
            return Err("it belongs to another user".into());
        }
        if meta.mode() & FORBIDDEN != 0 {
            let mode = meta.mode() & 0o7777;
            return Err(format!("its mode {mode:04o} lets others read or change it"));
        }
        let mut text = String::new();
        file.take(MAX_TOKEN as u64 + 1)
            .read_to_string(&mut text)
            .map_err(|e| e.to_string())?;
        let token = text.trim();
        if !(MIN_TOKEN..=MAX_TOKEN).contains(&token.len()) {
            return Err(format!(
                "the token has to have {MIN_TOKEN} to {MAX_TOKEN} characters"
            ));
        }
        Ok(hash(token))
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::cli::serve::request::Method;

    fn request() -> Request {
        Request {
            method: Method::Get,
            path: "/".into(),
            host: String::new(),
            authorization: None,
            cookies: String::new(),
            is_secure: false,
            body: Vec::new(),
        }
    }

    #[test]
    fn only_names_of_the_machine_lead_to_loopback() {
        let local = Access::Local(Ipv4Addr::LOCALHOST.into());
        let check = |host: &str| {
            let host = host.to_owned();
            local.check(&Request { host, ..request() }, Instant::now())
        };
        for host in [
            "127.0.0.1:8730",
            "localhost",
            "LOCALHOST:1",
            "[::1]:8730",
            "127.0.0.2",
        ] {
            assert_eq!(check(host), Verdict::Allowed, "{host}");
        }
        for host in [
            "",
            "evil.test",
            "evil.test:8730",
            "localhost.evil.test",
            "10.0.0.1",
            "a:b",
        ] {
            assert_eq!(check(host), Verdict::Misdirected, "{host}");
        }
    }

    #[test]
    fn a_token_opens_by_header_and_by_cookie_until_it_changes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let put = |text: &str, mode| {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        for (text, mode, says) in [
            ("a".repeat(32), 0o644, "0644"),
            ("a".repeat(32), 0o660, "0660"),
            ("short".into(), 0o600, "characters"),
        ] {
            put(&text, mode);
            let refused = TokenFile::open(&path).err().unwrap();
            assert!(refused.why.contains(says), "{refused}");
        }
        put("a+b/c=d-0123456789\n", 0o640);
        let mut access = Access::Token(TokenFile::open(&path).unwrap(), Vec::new());
        let now = Instant::now();
        assert_eq!(access.check(&request(), now), Verdict::Unknown);
        let bearer = |token: &str| Request {
            authorization: Some(format!("Bearer {token}")),
            ..request()
        };
        assert_eq!(
            access.check(&bearer("a+b/c=d-0123456789"), now),
            Verdict::Allowed
        );
        assert_eq!(
            access.check(&bearer("a+b/c=d-012345678"), now),
            Verdict::Unknown
        );
        let form = |text: &str| Request {
            body: text.into(),
            ..request()
        };
        assert!(
            access
                .log_in(&form("token=wrong-0123456789"), now)
                .is_none()
        );
        let cookie = access
            .log_in(&form("token=a%2Bb%2Fc%3Dd-0123456789"), now)
            .unwrap();
        assert!(cookie.contains("HttpOnly; SameSite=Strict"), "{cookie}");
        assert!(!cookie.contains("0123456789"), "{cookie}");
        let logged_in = Request {
            cookies: format!("x=1; {}", cookie.split(';').next().unwrap()),
            ..request()
        };
        assert_eq!(access.check(&logged_in, now), Verdict::Allowed);
        assert_eq!(access.check(&logged_in, now + LIFETIME), Verdict::Unknown);
        put("another-token-0123456789", 0o600);
        assert_eq!(access.check(&logged_in, now), Verdict::Unknown);
    }
}
