//! The virtual environment with supervisor, for platforms without a package of
//! it. The whole folder is ours.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;

use crate::base::paths::VENV;
use crate::base::problem::Problem;
use crate::host::Host;
use crate::host::commands::{Command, explain};
use crate::host::files::{Attributes, Node};
use crate::host::supervisor::PIP;
use crate::resource::directory::DirectoryInverse;
use crate::resource::{Change, Inverse, Resource, ResourceId, State, Verb};

/// What pip installs; older versions need a setuptools that new Pythons do not have.
const WANTED: &str = "supervisor==4.3.0";
/// The SHA-256 checksums of its wheel and of its source, as PyPI publishes them.
const CHECKSUMS: [&str; 2] = [
    "0bcb763fddafba410f35cbde226aa7f8514b9fb82eb05a0c85f6588d1c13f8db",
    "4a2bf149adf42997e1bb44b70c43b613275ec9852c3edacca86a9166b27e945e",
];
const LIMIT: Duration = Duration::from_secs(900);

/// The file that is written last: without it the environment is incomplete.
pub fn complete() -> PathBuf {
    Path::new(VENV).join("complete")
}

pub struct Environment;

impl Environment {
    /// Why, or how, it has to be installed.
    fn lack(&self, host: &Host) -> Result<Option<&'static str>> {
        match host.look(Path::new(VENV))? {
            Node::Absent => return Ok(Some("with pip, into a new virtual environment")),
            Node::Directory(meta) if meta.uid == 0 => {}
            _ => return Err(foreign("a file of another type already exists there")),
        }
        if !host.exists(&complete()) {
            let half_made = host.exists(&Path::new(VENV).join("pyvenv.cfg"));
            if !half_made && !host.list(Path::new(VENV))?.is_empty() {
                return Err(foreign("the folder already exists and holds other files"));
            }
            return Ok(Some("again: the last installation did not finish"));
        }
        // A new version of Python does not see what was installed for the old one.
        let python = match host.look_through(&Path::new(VENV).join("bin/python3"))? {
            Node::File(meta) => meta.path,
            _ => return Ok(Some("again: its Python is gone")),
        };
        let name = python.file_name().unwrap_or_default();
        let has_minor = name.to_string_lossy().contains('.');
        let library = Path::new(VENV).join("lib").join(name);
        if has_minor && !host.is_dir(&library) {
            return Ok(Some("again: the host has another version of Python now"));
        }
        Ok(None)
    }
}

fn foreign(why: &str) -> anyhow::Error {
    Problem::new(format!("create the virtual environment {VENV}"), why)
        .help("move it away, then run again")
        .into()
}

impl Resource for Environment {
    fn id(&self) -> ResourceId {
        ResourceId::Environment
    }

    fn inspect(&self, host: &Host) -> Result<State> {
        Ok(match self.lack(host)? {
            None => State::Same,
            Some(how) => {
                State::Differs(Change::new(Verb::Install).detail(format!("{WANTED} {how}")))
            }
        })
    }

    fn inverses(&self, _host: &Host) -> Result<Vec<Inverse>> {
        Ok(vec![Inverse::Directory(DirectoryInverse {
            path: VENV.into(),
            before: None,
        })])
    }

    fn apply(&self, host: &Host, watch: &dyn Fn(&str)) -> Result<()> {
        // Set the mode explicitly, as the umask may be anything.
        host.make_dir(Path::new(VENV), Attributes::root(0o755))?;
        let make = Command::new("python3").args(["-m", "venv", "--clear", VENV]);
        step(
            host,
            make,
            "create a virtual environment (python3 -m venv)",
            "install python3-venv, then run again",
            watch,
        )?;
        let pip = Command::new(Path::new(VENV).join("bin/python3"))
            .args(["-m", "pip", "install", "--no-input"])
            .args(["--disable-pip-version-check", "--no-deps"])
            .args(["--require-hashes", "--requirement", "/dev/stdin"])
            .stdin(requirement())
            .caller_env(|name| name.starts_with("PIP_"));
        step(
            host,
            pip,
            &format!("install {WANTED} with pip"),
            "allow access to PyPI, or set a mirror or a folder of packages in /etc/pip.conf, then run again",
            watch,
        )?;
        let version = host.check(&Command::new(PIP.program).args(["--version"]))?;
        let version = version.text();
        host.write(&complete(), version.as_bytes(), None, None)
    }
}

/// What to install, in the format of pip's requirements files.
fn requirement() -> String {
    let checksums = CHECKSUMS.map(|sum| format!(" --hash=sha256:{sum}"));
    format!("{WANTED}{}\n", checksums.concat())
}

fn step(host: &Host, command: Command, what: &str, help: &str, watch: &dyn Fn(&str)) -> Result<()> {
    let output = host.run_watched(&command.changes().limit(LIMIT), watch)?;
    if output.success() {
        return Ok(());
    }
    Err(Problem::new(what, explain(&output)).help(help).into())
}
