//! The runner in the WordPress root: a link to ours that refuses web requests.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::base::paths;
use crate::doctor::context::Context;
use crate::doctor::{Check, Finding};
use crate::host::files::Node;
use crate::intent::resolve::SiteResolved;
use crate::resource::ResourceId;

pub const CHECK: Check = Check {
    name: "runner",
    describes: "the link to the runner in the WordPress root, and its answer over HTTP",
    vital: false,
    run,
};

const PATIENCE: Duration = Duration::from_secs(3);

fn run(context: &Context) -> Vec<Finding> {
    context.each_site(|site| {
        let name = site.plugin.runner;
        let path = site.dir.join(name);
        let by = ResourceId::Link(path.clone());
        let help = format!(
            "run 'ln -sfn {} {}'",
            paths::runner().display(),
            path.display()
        );
        match context.host.look(&path) {
            Ok(Node::Link { to, .. }) if to == paths::runner() => {}
            Ok(Node::Absent) => {
                let message = format!("{} is missing", path.display());
                return vec![Finding::failed(message, help).fixed_by(by)];
            }
            Ok(Node::Link { to, .. }) => {
                let message = format!("{} points to {}", path.display(), to.display());
                return vec![Finding::failed(message, help).fixed_by(by)];
            }
            Ok(_) => {
                let message = format!(
                    "{} is a copy, not a link, so it cannot find its code",
                    path.display()
                );
                return vec![Finding::failed(message, help).fixed_by(by)];
            }
            Err(error) => return vec![Finding::skipped(format!("{error:#}"))],
        }
        vec![over_http(context, site, name)]
    })
}

/// Requests the runner from this host's own web server, by the site's name.
fn over_http(context: &Context, site: &SiteResolved, name: &str) -> Finding {
    let linked = "the link is correct";
    let Ok(facts) = context.facts(site) else {
        return Finding::ok(format!(
            "{linked}; the site's address is unknown (see 'wordpress')"
        ));
    };
    let Some((host, port, folder)) = parts(&facts.home) else {
        return Finding::ok(format!(
            "{linked}; its address {} cannot be requested",
            facts.home
        ));
    };
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    match status(address, &host, &format!("{folder}/{name}")) {
        Ok(403) => Finding::ok(format!("{linked}, and it answers 403 on http://{host}")),
        // In some layouts it is outside of the web root, where no request can reach it.
        Ok(404) | Ok(301) | Ok(302) | Ok(307) | Ok(308) => {
            Finding::ok(format!("{linked}, and the web server does not serve it"))
        }
        Ok(code) => Finding::failed(
            format!("over HTTP, the runner answers {code} instead of 403"),
            format!(
                "check what the web server does with {name} on {host}: it must run it as PHP or refuse it"
            ),
        ),
        Err(why) => Finding::ok(format!("{linked}; not checked over HTTP ({why})")),
    }
}

/// Host, port and folder of a site's address. An https site is requested on port 80.
fn parts(home: &str) -> Option<(String, u16, String)> {
    let (scheme, rest) = home.split_once("://")?;
    let (authority, folder) = rest.split_once('/').unwrap_or((rest, ""));
    let plain = |text: &str| text.bytes().all(|b| b.is_ascii_graphic());
    if authority.is_empty() || !plain(authority) || !plain(folder) {
        return None;
    }
    let port = match authority.rsplit_once(':') {
        Some((_, port)) if scheme == "http" => port.parse().ok()?,
        _ => 80,
    };
    let folder = folder.trim_end_matches('/');
    let folder = if folder.is_empty() {
        String::new()
    } else {
        format!("/{folder}")
    };
    Some((authority.to_owned(), port, folder))
}

fn status(address: SocketAddr, host: &str, path: &str) -> Result<u16, String> {
    let failed = |error: std::io::Error| format!("{address}: {error}");
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).map_err(failed)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
    stream.set_write_timeout(Some(PATIENCE)).map_err(failed)?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: wp-gears\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).map_err(failed)?;
    let mut head = Vec::new();
    stream.take(4096).read_to_end(&mut head).map_err(failed)?;
    let head = String::from_utf8_lossy(&head).into_owned();
    let mut words = head.split_whitespace();
    let http = words.next().is_some_and(|word| word.starts_with("HTTP/"));
    match words.next().and_then(|word| word.parse().ok()) {
        Some(code) if http => Ok(code),
        _ => Err(format!("{address} does not speak HTTP")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sites_address_is_split() {
        let of = |host: &str, port, folder: &str| Some((host.to_owned(), port, folder.to_owned()));
        assert_eq!(parts("http://a.test"), of("a.test", 80, ""));
        assert_eq!(
            parts("http://a.test:8080/blog/"),
            of("a.test:8080", 8080, "/blog")
        );
        assert_eq!(parts("https://a.test:8443"), of("a.test:8443", 80, ""));
        assert_eq!(parts("http://a\r\nX: y"), None);
        assert_eq!(parts(""), None);
    }
}
