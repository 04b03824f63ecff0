//! A job server for a site.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use wp_gears::gearman::binary::Client;
use wp_gears::gearman::server::Server;
use wp_gears::gearman::text::{Admin, FunctionStatus};

use super::{lab, wait_for};

/// A gearmand on its own port.
pub struct Gearmand {
    pub server: Server,
    queue: Option<PathBuf>,
    /// How many files it may open, if not as many as it does by itself.
    pub files: Option<u32>,
    child: Option<Child>,
}

impl Gearmand {
    /// Without a file, its jobs are in memory.
    pub fn new(queue: Option<PathBuf>) -> Gearmand {
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let mut gearmand = Gearmand {
            server: format!("127.0.0.1:{port}").parse().unwrap(),
            queue,
            files: None,
            child: None,
        };
        gearmand.start();
        gearmand
    }

    /// One that is started and ended elsewhere.
    pub fn of_another(server: Server) -> Gearmand {
        Gearmand {
            server,
            queue: None,
            files: None,
            child: None,
        }
    }

    pub fn start(&mut self) {
        let files = lab().dir.join(format!("gearmand-{}", self.server.port));
        let mut command = Command::new("gearmand");
        command
            .args(["--listen=127.0.0.1", "--job-retries=255"])
            .arg(format!("--port={}", self.server.port))
            .arg(format!("--log-file={}.log", files.display()))
            .arg(format!("--pid-file={}.pid", files.display()));
        if let Some(queue) = &self.queue {
            command
                .arg("--queue-type=libsqlite3")
                .arg(format!("--libsqlite3-db={}", queue.display()));
        }
        command.args(
            self.files
                .map(|files| format!("--file-descriptors={files}")),
        );
        let child = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        lab().remember(child.id());
        self.child = Some(child);
        wait_for(10, "gearmand", || self.admin().is_some());
    }

    pub fn pid(&self) -> i32 {
        self.child.as_ref().map_or(0, |child| child.id() as i32)
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

    pub fn status(&self) -> Option<Vec<FunctionStatus>> {
        self.admin()?.status().ok()
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
