//! A job server for a site.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use wp_gears::gearman::binary::Client;
use wp_gears::gearman::server::Server;
use wp_gears::gearman::text::{Admin, FunctionStatus};

use super::{lab, wait_for};

/// A gearmand with a durable queue, on its own port.
pub struct Gearmand {
    pub server: Server,
    queue: PathBuf,
    child: Option<Child>,
}

impl Gearmand {
    pub fn new(name: &str) -> Gearmand {
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let mut gearmand = Gearmand {
            server: format!("127.0.0.1:{port}").parse().unwrap(),
            queue: lab().dir.join(format!("{name}.sqlite")),
            child: None,
        };
        gearmand.start();
        gearmand
    }

    pub fn start(&mut self) {
        let child = Command::new("gearmand")
            .args([
                "--listen=127.0.0.1",
                "--job-retries=255",
                "--queue-type=libsqlite3",
            ])
            .arg(format!("--port={}", self.server.port))
            .arg(format!("--libsqlite3-db={}", self.queue.display()))
            .arg(format!("--log-file={}.log", self.queue.display()))
            .arg(format!("--pid-file={}.pid", self.queue.display()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        lab().remember(child.id());
        self.child = Some(child);
        wait_for(10, "gearmand", || self.admin().is_some());
    }

    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    fn admin(&self) -> Option<Admin> {
        Admin::connect(&self.server, Duration::from_secs(5)).ok()
    }

    pub fn queue(&self, function: &str) -> Option<FunctionStatus> {
        let queues = self.admin()?.status().ok()?;
        queues.into_iter().find(|queue| queue.function == function)
    }

    pub fn submit(&self, function: &str, payload: &[u8]) {
        Client::connect(&self.server, Duration::from_secs(5))
            .unwrap()
            .submit(function.as_bytes(), b"", payload)
            .unwrap();
    }
}

impl Drop for Gearmand {
    fn drop(&mut self) {
        self.kill();
    }
}
