//! The machine that setup works on: files, commands, processes, users,
//! services and packages. Whoever changes a host does so through `Host`.

mod as_owner;
mod child;
mod command;
pub mod commands;
pub mod files;
pub mod firewall;
pub mod lock;
mod make;
mod namespaces;
mod own_program;
mod pace;
pub mod packages;
pub mod packet_filter;
pub mod platform;
pub mod process;
mod remove;
pub mod selinux;
pub mod services;
pub mod space;
mod spare_user;
pub mod supervisor;
mod unwritable;
pub mod users;
mod walk;
mod write;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};

use anyhow::{Context, Result};

use crate::base::problem::Problem;

/// Called before every act that changes the machine, with the act's number,
/// from 1, and name. Tests make one fail, or end the process there.
pub type Gate = dyn Fn(usize, &str) -> std::io::Result<()> + Send + Sync;

/// A machine, or a folder with the files of one (`--root`).
pub struct Host {
    root: PathBuf,
    live: bool,
    acts: AtomicUsize,
    gate: Option<Box<Gate>>,
    /// Shows each command before it runs (`-v`).
    pub trace: Option<fn(&str)>,
    /// The folders that have been cleared of what earlier runs left, by device and inode.
    swept: Mutex<HashSet<(u64, u64)>>,
    /// Answers about units and packages; forgotten after any act.
    pub(crate) units: Mutex<Option<services::Units>>,
    pub(crate) packages: Mutex<Option<packages::Installed>>,
    pub(crate) candidates: Mutex<packages::Candidates>,
    pub(crate) simulations: Mutex<packages::Simulations>,
    platform: OnceLock<platform::Platform>,
    mount_namespaces: OnceLock<bool>,
    stranger: OnceLock<users::User>,
    pace: pace::Pace,
}

impl Host {
    /// The running machine (`None`), or a folder with the files of one.
    pub fn new(root: Option<&Path>) -> Result<Self> {
        let (root, live) = match root {
            None => (PathBuf::from("/"), true),
            Some(dir) => {
                let dir = std::path::absolute(dir)?;
                if !dir.is_dir() {
                    return Err(Problem::usage(
                        format!("use --root {}", dir.display()),
                        "there is no such folder",
                    )
                    .into());
                }
                (dir, false)
            }
        };
        Ok(Host {
            root,
            live,
            acts: AtomicUsize::new(0),
            gate: None,
            trace: None,
            swept: Mutex::default(),
            units: Mutex::new(None),
            packages: Mutex::new(None),
            candidates: Mutex::default(),
            simulations: Mutex::default(),
            platform: OnceLock::new(),
            mount_namespaces: OnceLock::new(),
            stranger: OnceLock::new(),
            pace: pace::Pace::default(),
        })
    }

    /// The same machine with a gate before each act.
    pub fn with_gate(mut self, gate: Box<Gate>) -> Self {
        self.gate = Some(gate);
        self
    }

    /// Whether commands may run and services and packages exist: not under `--root`.
    pub fn live(&self) -> bool {
        self.live
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The path as the machine knows it, which differs under `--root`.
    fn on_machine(&self, path: &Path) -> PathBuf {
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// The name of this machine; empty if that is not known below `--root`.
    ///
    /// # Errors
    /// If /etc/hostname cannot be read there.
    pub fn name(&self) -> Result<String> {
        if self.live {
            return Ok(this_name());
        }
        let file = self.read(Path::new("/etc/hostname"))?;
        let text = file.map(|file| String::from_utf8_lossy(&file.bytes).into_owned());
        Ok(text.unwrap_or_default().trim().to_owned())
    }

    /// What os-release says, with the row of the platform table for it.
    pub fn platform(&self) -> Result<&platform::Platform> {
        if let Some(known) = self.platform.get() {
            return Ok(known);
        }
        let found = platform::detect(self)?;
        Ok(self.platform.get_or_init(|| found))
    }

    /// The supervisord of this host: our own if it was set up, otherwise the package's.
    pub fn supervisor(&self) -> Result<&'static supervisor::Supervisord> {
        if self.exists(Path::new(supervisor::PIP.config)) {
            return Ok(&supervisor::PIP);
        }
        Ok(&self.platform()?.family.supervisor)
    }

    /// Must be called before each act that changes something.
    pub(crate) fn act(&self, name: &str) -> Result<()> {
        let number = self.acts.fetch_add(1, Ordering::SeqCst) + 1;
        self.forget();
        match &self.gate {
            Some(gate) => gate(number, name).with_context(|| name.to_owned()),
            None => Ok(()),
        }
    }

    /// How many acts there were so far.
    pub fn acts(&self) -> usize {
        self.acts.load(Ordering::SeqCst)
    }
}

/// The name of the running machine.
pub fn this_name() -> String {
    let system = rustix::system::uname();
    system.nodename().to_string_lossy().into_owned()
}

/// A host for a test: an empty folder.
#[cfg(test)]
pub(crate) fn scratch() -> (tempfile::TempDir, Host) {
    let dir = tempfile::tempdir().unwrap();
    let host = Host::new(Some(dir.path())).unwrap();
    (dir, host)
}
