//! supervisor for platforms without a package of it: a virtual environment filled
//! by pip, with its configuration, folders and service.

use std::path::Path;

use anyhow::Result;

use crate::base::paths::VENV_LOGS;
use crate::base::template;
use crate::host::Host;
use crate::host::files::Node;
use crate::host::platform::{Init, Platform};
use crate::host::services::Unit;
use crate::host::supervisor::PIP;
use crate::resource::Resource;
use crate::resource::directory::Directory;
use crate::resource::environment;
use crate::resource::file::{File, Owner};

/// What its service needs before it can start. `live` is false below `--root`.
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
        list.push(Box::new(environment::Environment));
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

/// Why the running supervisord is older than its files; `None` if it is not.
pub fn is_stale(host: &Host, unit: &Unit) -> Result<Option<String>> {
    let Some(process) = host.process(unit.main_pid) else {
        return Ok(None);
    };
    for path in [environment::complete(), PIP.config.into()] {
        if let Node::File(meta) = host.look(&path)?
            && meta.mtime() > process.started
        {
            return Ok(Some(format!("{} changed after it started", path.display())));
        }
    }
    Ok(None)
}
