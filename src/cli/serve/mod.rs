//! `wp-gears status --serve`: a page that shows the queues.
//!
//! HTTP is parsed by `httparse`, and the loop around it is ours: one thread polls all
//! connections, so a slow client costs a few kilobytes and no thread, and events need
//! nothing else. tiny_http, and rouille on top of it, give no access to the sockets that
//! they accept, so there is no time limit for a client that sends slowly; each of those
//! has a thread; and headers may have any size. astra brings hyper for HTTP/1 alone, and a
//! thread for each connection as well. What they would save is keep-alive, chunks and
//! pipelining. None of it is needed: a connection serves one request.

mod access;
mod connection;
mod request;
mod response;
mod watcher;

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Result;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::base::problem::Problem;
use crate::cli::serve::access::{Access, TokenFile, Verdict};
use crate::cli::serve::connection::{Connection, Stage};
use crate::cli::serve::request::{Method, Request};
use crate::cli::serve::response::{JSON, METRICS, Response, TEXT};
use crate::cli::serve::watcher::{Seen, Watcher};
use crate::report::dashboard::{Nonce, login_page};
use crate::worker::binary::Binary;

pub use crate::cli::serve::watcher::Probe;

/// The most connections, and how many of them may be viewers.
const MOST: usize = 256;
const MOST_VIEWERS: usize = 64;
/// How many are accepted before the others are attended to.
const AT_ONCE: usize = 64;
/// How long nobody is accepted after that failed.
const PAUSE: Duration = Duration::from_millis(200);
/// How often an idle process looks whether an upgrade has replaced its program, and forgets
/// what nobody asks for.
const LOOK: Duration = Duration::from_secs(60);

/// Where to serve, and for whom.
pub struct Door {
    pub address: SocketAddr,
    pub token_file: Option<PathBuf>,
}

impl Door {
    fn access(&self) -> Result<Access> {
        if let Some(path) = &self.token_file {
            return Ok(Access::Token(TokenFile::open(path)?, Vec::new()));
        }
        let ip = self.address.ip();
        if !ip.to_canonical().is_loopback() {
            return Err(Problem::usage(
                format!("serve the page at {}", self.address),
                "others can reach this address, and nothing would keep them out",
            )
            .help("name a file with a token by --token-file, and let a web server with TLS pass requests on; or serve it at 127.0.0.1, and reach it through 'ssh -L'")
            .into());
        }
        Ok(Access::Local(ip))
    }
}

/// What is served where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Page,
    Events,
    Status,
    Metrics,
    Health,
    Login,
}

const PATHS: [(&str, Wanted); 6] = [
    ("/", Wanted::Page),
    ("/events", Wanted::Events),
    ("/api/status", Wanted::Status),
    ("/metrics", Wanted::Metrics),
    ("/healthz", Wanted::Health),
    ("/login", Wanted::Login),
];

/// Serves until the process is ended.
///
/// # Errors
/// For root, whose processes no browser should reach; an address that cannot be used, or
/// that others reach without a token.
pub fn run(door: &Door, probe: Box<Probe>, say: impl Fn(&str)) -> Result<()> {
    let what = || format!("serve the page at {}", door.address);
    if rustix::process::geteuid().is_root() {
        return Err(Problem::new(what(), "no process with root's rights serves browsers")
            .help("run 'wp-gears setup --dashboard', which serves it as a separate user, or run this as another user")
            .into());
    }
    let access = door.access()?;
    let listener = TcpListener::bind(door.address)
        .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
        .map_err(|e| Problem::new(what(), e).help("choose another address: --serve ADDR:PORT"))?;
    let address = listener.local_addr().map_or(door.address, |it| it);
    let mut service = Service {
        access,
        watcher: Watcher::start(probe)?,
        binary: Binary::of_this_process(),
        connections: Vec::new(),
        accept_at: Instant::now(),
        look_at: Instant::now() + LOOK,
    };
    say(&format!("serving http://{}/", shown(address)));
    while service.turn(&listener) {}
    Ok(())
}

fn shown(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        ip if ip.is_unspecified() => SocketAddr::new(IpAddr::from([127, 0, 0, 1]), address.port()),
        _ => address,
    }
}

struct Service {
    access: Access,
    watcher: Watcher,
    binary: Option<Binary>,
    connections: Vec<Connection>,
    accept_at: Instant,
    look_at: Instant,
}

impl Service {
    /// Waits for something to happen, and attends to it. False if it has to end.
    fn turn(&mut self, listener: &TcpListener) -> bool {
        let accepts = Instant::now() >= self.accept_at;
        let bell = self.watcher.bell();
        let mut fds = vec![
            PollFd::new(&bell, PollFlags::IN),
            match accepts {
                true => PollFd::new(listener, PollFlags::IN),
                false => PollFd::new(listener, PollFlags::empty()),
            },
        ];
        let all = self.connections.iter();
        fds.extend(all.map(|it| PollFd::new(it.stream(), it.flags())));
        let wait = self.due().saturating_duration_since(Instant::now());
        let wait = Timespec {
            tv_sec: wait.as_secs() as i64,
            // Rounded up: a poll that ends too early would be repeated.
            tv_nsec: i64::from(wait.subsec_nanos().saturating_add(999_999).min(999_999_999)),
        };
        // After an error, which is a signal, there is nothing to attend to.
        let _ = poll(&mut fds, Some(&wait));
        let seen: Vec<PollFlags> = fds.iter().map(PollFd::revents).collect();
        drop(fds);
        let now = Instant::now();
        if !seen[0].is_empty() && !self.tell(now) {
            return false;
        }
        for (at, flags) in seen[2..].iter().enumerate() {
            if !flags.is_empty()
                && let Some(request) = self.connections[at].attend(*flags, now)
            {
                self.serve(at, request, now);
            }
        }
        if seen[1].contains(PollFlags::IN) {
            self.accept(listener, now);
        }
        for connection in &mut self.connections {
            connection.expire(now);
        }
        self.connections.retain(|it| it.stage != Stage::Closed);
        if self.viewers() > 0 && self.watcher.due().is_some_and(|due| now >= due) {
            self.watcher.look();
        }
        if now >= self.look_at {
            self.look_at = now + LOOK;
            self.watcher.forget(now);
            // supervisor starts the new one.
            return !self.binary.as_ref().is_some_and(Binary::is_replaced);
        }
        true
    }

    fn due(&self) -> Instant {
        let connections = self.connections.iter().filter_map(Connection::until);
        let accept = (self.accept_at > Instant::now()).then_some(self.accept_at);
        let watch = self.watcher.due().filter(|_| self.viewers() > 0);
        connections
            .chain(accept)
            .chain(watch)
            .fold(self.look_at, Instant::min)
    }

    fn viewers(&self) -> usize {
        let stages = self.connections.iter().map(|it| it.stage);
        stages.filter(|stage| *stage == Stage::Viewing).count()
    }

    fn accept(&mut self, listener: &TcpListener, now: Instant) {
        for _ in 0..AT_ONCE {
            match listener.accept() {
                Ok((stream, _)) => {
                    self.make_room();
                    if self.connections.len() < MOST {
                        self.connections.extend(Connection::new(stream, now));
                    }
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => return,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(_) => {
                    self.accept_at = now + PAUSE;
                    return;
                }
            }
        }
    }

    /// Ends the one that has been there longest without getting an answer, so that
    /// connections that are held open keep nobody out.
    fn make_room(&mut self) {
        if self.connections.len() < MOST {
            return;
        }
        let oldest = |stage| self.connections.iter().position(|it| it.stage == stage);
        let idle = [
            Stage::Closed,
            Stage::Leaving,
            Stage::Asking,
            Stage::Answering,
        ];
        if let Some(at) = idle.into_iter().find_map(oldest) {
            self.connections.remove(at);
        }
    }

    fn serve(&mut self, at: usize, request: Request, now: Instant) {
        match self.route(&request, now) {
            Route::Answer(response) => {
                self.connections[at].answer_to(Some(&request), &response, now);
            }
            Route::Await(wanted) => {
                let seen = match wanted {
                    Wanted::Page => self.watcher.recent(now),
                    _ => self.watcher.fresh(now),
                };
                let response = match seen {
                    Some(seen) => of(seen, wanted),
                    None => return self.connections[at].wait(request, now),
                };
                self.reply(at, Some(&request), response, now);
            }
        }
    }

    fn reply(&mut self, at: usize, request: Option<&Request>, reply: Reply, now: Instant) {
        let is_full = self.viewers() >= MOST_VIEWERS;
        let connection = &mut self.connections[at];
        match reply {
            Reply::Whole(response) => connection.answer_to(request, &response, now),
            Reply::Stream(_) if is_full => {
                connection.answer_to(request, &Response::of_status(503), now);
            }
            Reply::Stream(first) => connection.view(&first, now),
        }
    }

    fn route(&mut self, request: &Request, now: Instant) -> Route {
        let known = PATHS.iter().find(|(path, _)| *path == request.path);
        let wanted = match (known, request.method) {
            (None, _) => return Route::status(404),
            (Some((_, Wanted::Login)), Method::Post) => return self.log_in(request, now),
            // There is nothing to post elsewhere.
            (Some(_), Method::Post) => return Route::status(405),
            (Some((_, wanted)), Method::Get | Method::Head) => *wanted,
        };
        match self.access.check(request, now) {
            Verdict::Allowed => {}
            Verdict::Misdirected => return Route::status(421),
            Verdict::Unknown => return Route::Answer(login(wanted, false)),
        }
        match wanted {
            Wanted::Login => Route::Answer(to_page()),
            Wanted::Events if request.method == Method::Head => Route::status(405),
            wanted => Route::Await(wanted),
        }
    }

    fn log_in(&mut self, request: &Request, now: Instant) -> Route {
        if matches!(self.access, Access::Local(_)) {
            return Route::status(405);
        }
        Route::Answer(match self.access.log_in(request, now) {
            Some(cookie) => to_page().with(&format!("Set-Cookie: {cookie}")),
            None => login(Wanted::Login, true),
        })
    }

    /// The watcher has looked: tells all who wait and all who watch. False if it is gone.
    fn tell(&mut self, now: Instant) -> bool {
        match self.watcher.news() {
            Ok(true) => {}
            Ok(false) => return true,
            Err(_) => return false,
        }
        let Some(seen) = self.watcher.latest() else {
            return true;
        };
        let event: Rc<[u8]> = seen.view.event().into();
        for connection in &mut self.connections {
            connection.send(&event, now);
        }
        for at in 0..self.connections.len() {
            let Some(request) = self.connections[at].request.take() else {
                continue;
            };
            let wanted = PATHS.iter().find(|(path, _)| *path == request.path);
            let latest = self.watcher.latest().zip(wanted);
            if let Some((seen, (_, wanted))) = latest {
                let reply = of(seen, *wanted);
                self.reply(at, Some(&request), reply, now);
            }
        }
        true
    }
}

/// What a request comes to.
enum Route {
    Answer(Response),
    /// Once the state of the queues is known.
    Await(Wanted),
}

impl Route {
    fn status(status: u16) -> Route {
        Route::Answer(Response::of_status(status))
    }
}

enum Reply {
    Whole(Response),
    /// Events, of which this is the first.
    Stream(Vec<u8>),
}

fn of(seen: &Seen, wanted: Wanted) -> Reply {
    Reply::Whole(match wanted {
        Wanted::Events => return Reply::Stream(seen.view.event()),
        Wanted::Page | Wanted::Login => match Nonce::new() {
            Ok(nonce) => Response::page(200, nonce, seen.view.page(&nonce)),
            Err(_) => Response::of_status(503),
        },
        Wanted::Status => Response::new(200, JSON, seen.status()),
        Wanted::Metrics => Response::new(200, METRICS, seen.metrics()),
        Wanted::Health => match seen.view.problems() {
            [] => Response::new(200, TEXT, "ok\n"),
            problems => Response::new(503, TEXT, problems.join("\n") + "\n"),
        },
    })
}

fn to_page() -> Response {
    Response::new(303, TEXT, "").with("Location: ./")
}

/// Browsers get a form, tools a line.
fn login(wanted: Wanted, failed: bool) -> Response {
    let shows_form = matches!(wanted, Wanted::Page | Wanted::Login);
    match Nonce::new().ok().filter(|_| shows_form) {
        Some(nonce) => Response::page(401, nonce, login_page(&nonce, failed)),
        None => Response::of_status(401),
    }
    .with("WWW-Authenticate: Bearer")
}
