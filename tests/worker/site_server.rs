//! PHP's own web server with a site, and a person who uses it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::lab::{Site, lab, run, wait_for};

/// A web server of the site.
pub struct Web {
    pub port: u16,
    child: Child,
}

pub struct Answer {
    pub status: u16,
    location: String,
    pub body: String,
}

/// A person with a browser.
#[derive(Default)]
pub struct Browser {
    pub port: u16,
    pub host: String,
    pub cookies: BTreeMap<String, String>,
}

impl Web {
    pub fn start(site: &Site) -> Web {
        // WordPress resolves the path of its admin pages, so they must not be a link.
        let admin = site.dir.join("wp-admin");
        let from = fs::read_link(&admin).unwrap();
        fs::remove_file(&admin).unwrap();
        run(Command::new("cp").arg("-r").arg(&from).arg(&admin));
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let child = lab()
            .command("php")
            .args(["-d", "display_errors=1", "-d", "error_reporting=-1", "-S"])
            .arg(format!("127.0.0.1:{port}"))
            .arg("-t")
            .arg(&site.dir)
            .env("PHP_CLI_SERVER_WORKERS", "3")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        lab().remember(child.id());
        wait_for(10, "the web server", || {
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        Web { port, child }
    }

    pub fn browser(&self, host: &str) -> Browser {
        Browser {
            port: self.port,
            host: host.into(),
            cookies: BTreeMap::from([("wordpress_test_cookie".into(), "WP+Cookie+check".into())]),
        }
    }

    pub fn log_in(&self, host: &str, user: &str) -> Browser {
        let mut browser = self.browser(host);
        let answer = browser.post(
            "/wp-login.php",
            &[("log", user), ("pwd", "pw"), ("testcookie", "1")],
        );
        assert_eq!(answer.status, 302, "{user}: {}", answer.body);
        browser
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        for pid in super::lab::children(self.child.id() as i32) {
            super::lab::signal(pid, "KILL");
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn escaped(text: &str) -> String {
    let one = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => {
            char::from(byte).to_string()
        }
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(one).collect()
}

impl Browser {
    pub fn request(&mut self, method: &str, path: &str, body: &str) -> Answer {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        let cookies: Vec<String> = self
            .cookies
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let request = format!(
            "{method} {path} HTTP/1.0\r\nHost: {}\r\nCookie: {}\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
            self.host,
            cookies.join("; "),
            body.len()
        );
        // At once: the server takes a part of the head for a bad one.
        stream
            .write_all(request.as_bytes())
            .unwrap_or_else(|e| panic!("{path}: {e}"));
        let mut text = Vec::new();
        stream.read_to_end(&mut text).unwrap();
        let text = String::from_utf8_lossy(&text).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let mut location = String::new();
        for line in head.lines() {
            let (name, value) = line.split_once(": ").unwrap_or_default();
            if name.eq_ignore_ascii_case("location") {
                location = value.into();
            } else if name.eq_ignore_ascii_case("set-cookie")
                && let Some((name, value)) = value.split(';').next().unwrap().split_once('=')
            {
                self.cookies.insert(name.into(), value.into());
            }
        }
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|it| it.parse().ok())
            .unwrap_or(0);
        for bad in [
            "<b>Warning</b>",
            "<b>Notice</b>",
            "<b>Deprecated</b>",
            "<b>Fatal error</b>",
        ] {
            let ours = body
                .split(bad)
                .skip(1)
                .find(|rest| rest[..rest.len().min(400)].contains("mu-plugins"));
            assert!(ours.is_none(), "{path}: {bad}{}", &ours.unwrap()[..300]);
        }
        Answer {
            status,
            location,
            body: body.into(),
        }
    }

    pub fn get(&mut self, path: &str) -> Answer {
        self.request("GET", path, "")
    }

    pub fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let fields: Vec<String> = fields
            .iter()
            .map(|(name, value)| format!("{}={}", escaped(name), escaped(value)))
            .collect();
        self.request("POST", path, &fields.join("&"))
    }

    /// What the page says after the click.
    pub fn follow(&mut self, answer: &Answer) -> String {
        assert_eq!(answer.status, 302, "{}", answer.body);
        let path = answer
            .location
            .split_once("://")
            .map_or(&*answer.location, |(_, rest)| {
                &rest[rest.find('/').unwrap()..]
            });
        self.get(path).body
    }
}

/// The value of the field or the address that begins with this.
pub fn found<'a>(page: &'a str, begins: &str, ends: &str) -> &'a str {
    let (_, rest) = page
        .split_once(begins)
        .unwrap_or_else(|| panic!("no {begins} in\n{page}"));
    rest.split_once(ends).unwrap().0
}

pub fn nonce(page: &str) -> String {
    found(page, "name=\"_wpnonce\" value=\"", "\"").into()
}
