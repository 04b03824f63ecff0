//! supervisor where there is no package of it: a virtual environment that pip
//! fills, with its configuration, its folders, and what starts it at boot.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;

use crate::base::paths::{VENV, VENV_LOGS};
use crate::base::problem::Problem;
use crate::base::template;
use crate::host::Host;
use crate::host::commands::{Command, explain};
use crate::host::files::{Attributes, Node};
use crate::host::platform::{Init, Platform};
use crate::host::services::Unit;
use crate::host::supervisor::PIP;
use crate::resource::directory::Directory;
use crate::resource::file::{File, Owner};
use crate::resource::journal::Undo;
use crate::resource::{Change, Resource, ResourceId, State, Verb};

/// Older ones need a setuptools that new Pythons do not have.
const WANTED: &str = "supervisor>=4.3";
const LIMIT: Duration = Duration::from_secs(900);

/// What is to be there before its service can start; `live`: not a folder that stands for a host.
pub fn resources(platform: &Platform, live: bool) -> Result<Vec<Box<dyn Resource>>> {
    let folder = |path: &str, mode| {
        Box::new(Directory {
            path: path.into(),
            owner: Owner::Root,
            mode,
            shared: false,
        })
    };
    let mut list: Vec<Box<dyn Resource>> = Vec::new();
    if live {
        list.push(Box::new(Environment));
    }
    if let Some(above) = Path::new(PIP.config).parent() {
        list.push(folder(&above.to_string_lossy(), 0o755));
    }
    list.push(folder(PIP.programs, 0o755));
    list.push(folder(VENV_LOGS, 0o750));
    let file = |path: &str, template: &str, mode| -> Result<Box<dyn Resource>> {
        let text = template::render(template, &context())?;
        Ok(Box::new(File::whole(path, text.into_bytes(), mode)))
    };
    list.push(file(
        PIP.config,
        include_str!("../../../templates/supervisord.conf.tera"),
        0o644,
    )?);
    list.push(match platform.init {
        Init::Systemd => file(
            &format!("/etc/systemd/system/{}.service", PIP.unit),
            include_str!("../../../templates/supervisord.service.tera"),
            0o644,
        )?,
        Init::Sysv => file(
            &format!("/etc/init.d/{}", PIP.unit),
            include_str!("../../../templates/supervisord.init.tera"),
            0o755,
        )?,
    });
    Ok(list)
}

fn context() -> tera::Context {
    let mut context = tera::Context::new();
    context.insert("unit", PIP.unit);
    context.insert("program", PIP.program);
    context.insert("config", PIP.config);
    context.insert("programs", &format!("{}/*.{}", PIP.programs, PIP.ending));
    context.insert("socket", PIP.socket);
    context.insert("pid_file", &format!("/run/{}.pid", PIP.unit));
    context.insert("logs", VENV_LOGS);
    context
}

/// Whether the supervisord that runs is older than what it is made of.
pub fn is_stale(host: &Host, unit: &Unit) -> Result<Option<String>> {
    let Some(process) = host.process(unit.main_pid) else {
        return Ok(None);
    };
    for path in [complete(), PIP.config.into()] {
        if let Node::File(meta) = host.look(&path)?
            && meta.mtime() > process.started
        {
            return Ok(Some(format!("{} is newer than it", path.display())));
        }
    }
    Ok(None)
}

/// Written last: without it the environment is half made.
fn complete() -> PathBuf {
    Path::new(VENV).join("complete")
}

/// The virtual environment with supervisor in it; the whole folder is ours.
struct Environment;

impl Environment {
    /// What keeps it from being what is wanted.
    fn lack(&self, host: &Host) -> Result<Option<&'static str>> {
        match host.look(Path::new(VENV))? {
            Node::Absent => return Ok(Some("a virtual environment, filled by pip")),
            Node::Directory(meta) if meta.uid == 0 => {}
            _ => return Err(foreign("something else stands there")),
        }
        if !host.exists(&complete()) {
            let half_made = host.exists(&Path::new(VENV).join("pyvenv.cfg"));
            if !half_made && !host.list(Path::new(VENV))?.is_empty() {
                return Err(foreign("a folder that is not ours stands there"));
            }
            return Ok(Some("it is half made: made anew"));
        }
        // Another Python in its place does not see what was installed for the old one.
        let python = match host.look_through(&Path::new(VENV).join("bin/python3"))? {
            Node::File(meta) => meta.path,
            _ => return Ok(Some("its Python is gone: made anew")),
        };
        let name = python.file_name().unwrap_or_default();
        let has_minor = name.to_string_lossy().contains('.');
        let library = Path::new(VENV).join("lib").join(name);
        if has_minor && !host.is_dir(&library) {
            return Ok(Some("the host has another Python now: made anew"));
        }
        Ok(None)
    }
}

fn foreign(why: &str) -> anyhow::Error {
    Problem::new(format!("make the virtual environment {VENV}"), why)
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
            Some(why) => State::Differs(Change::new(Verb::Install).detail(why)),
        })
    }

    fn undo(&self, _host: &Host) -> Result<Option<Undo>> {
        Ok(Some(Undo::Directory {
            path: VENV.into(),
            was: None,
        }))
    }

    fn apply(&self, host: &Host, watch: &dyn Fn(&str)) -> Result<()> {
        // Its owner and mode do not depend on who runs this with which umask.
        host.make_dir(Path::new(VENV), Attributes::root(0o755))?;
        let make = Command::new("python3").args(["-m", "venv", "--clear", VENV]);
        step(
            host,
            make,
            "make a virtual environment (python3 -m venv)",
            "install what Python needs for it (python3-venv), then run again",
            watch,
        )?;
        let pip = Command::new(Path::new(VENV).join("bin/python3"))
            .args(["-m", "pip", "install", "--no-input"])
            .args(["--disable-pip-version-check", WANTED])
            .caller_env(|name| name.starts_with("PIP_"));
        step(
            host,
            pip,
            &format!("install {WANTED} by pip"),
            "let the host reach PyPI, or name a mirror or a folder with it in /etc/pip.conf, then run again",
            watch,
        )?;
        let version = host.check(&Command::new(PIP.program).args(["--version"]))?;
        let version = version.text();
        host.write(&complete(), version.as_bytes(), None, None)
    }
}

fn step(host: &Host, command: Command, what: &str, help: &str, watch: &dyn Fn(&str)) -> Result<()> {
    let output = host.run_watched(&command.changes().limit(LIMIT), watch)?;
    if output.success() {
        return Ok(());
    }
    Err(Problem::new(what, explain(&output)).help(help).into())
}
