//! Derives options from a host that was set up by hand, or by a version that
//! recorded no intent. They are read once and then recorded.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::{Args, FromArgMatches};

use crate::gearman::options;
use crate::host::Host;
use crate::host::platform::Platform;
use crate::intent::options::{HostOptions, SiteOptions};
use crate::queue;
use crate::site::{find, plugins};
use crate::supervisor::programs::ProgramSection;
use crate::worker::options::WorkerOptions;
use crate::worker::workers::Workers;

/// The options in the job server's options file, except values that come with
/// the package.
pub fn host_options(host: &Host, platform: &Platform) -> Result<HostOptions> {
    let gearmand = &platform.family.gearmand;
    let Some(file) = host.read(Path::new(gearmand.options_file))? else {
        return Ok(HostOptions::default());
    };
    let value = |name: &str, short| {
        options::value(&file.bytes, gearmand.options_variable, name, short)
            .filter(|value| !value.is_empty())
    };
    let (queue, store) = queue::adopt(&value);
    Ok(HostOptions {
        listen: value("listen", Some('L')).filter(|address| address != gearmand.stock_listen),
        port: value("port", Some('p')).and_then(|port| port.parse().ok()),
        queue,
        store,
        ..HostOptions::default()
    })
}

/// The address of this host's own job server, from its options file.
pub fn own_server(host: &Host) -> Option<String> {
    let options = host_options(host, host.platform().ok()?).ok()?;
    Some(server_of(&options))
}

/// The address at which a job server with these options is reached from its own host.
pub fn server_of(options: &HostOptions) -> String {
    let listen = options.listen.as_deref().unwrap_or("127.0.0.1");
    reached_at(listen, options.port.unwrap_or(4730))
}

/// The address at which a server that listens there is reached from its own host.
pub fn reached_at(listen: &str, port: u16) -> String {
    match listen {
        "0.0.0.0" | "::" | "localhost" => format!("127.0.0.1:{port}"),
        address if address.contains(':') => format!("[{address}]:{port}"),
        address => format!("{address}:{port}"),
    }
}

/// The options of a program, ours or one written by the plugin's readme.
pub fn site_options(program: &ProgramSection) -> SiteOptions {
    SiteOptions {
        name: program.option("--name"),
        // Without numprocs, supervisor's own default applies.
        workers: match program.get("numprocs") {
            None if program.crew.is_none() => Some(Workers::fixed(1)),
            _ => program.workers(),
        },
        worker_user: program.get("user").map(str::to_owned),
        worker_dir: program.get("directory").map(PathBuf::from),
        program: Some(program.name.clone()),
        worker: worker_options(program),
        ..SiteOptions::default()
    }
}

/// The worker options in a program's command, and in its settings file. Unknown options
/// and invalid values in the command are ignored.
pub fn worker_options(program: &ProgramSection) -> WorkerOptions {
    let known = WorkerOptions::augment_args(clap::Command::new("worker").no_binary_name(true));
    let mut read = WorkerOptions::default();
    for arg in known.get_arguments() {
        let name = arg.get_long().unwrap_or_default();
        let Some(value) = program.option(&format!("--{name}")) else {
            continue;
        };
        let words = [format!("--{name}={value}")];
        let parsed = known.clone().try_get_matches_from(words);
        if let Ok(one) = parsed.and_then(|it| WorkerOptions::from_arg_matches(&it)) {
            read = one.over(read);
        }
    }
    match &program.crew {
        Some(crew) => read.over(crew.options.clone()),
        None => read,
    }
}

/// The options of a site that differ from the defaults, and are worth recording.
pub fn beyond_defaults(options: SiteOptions, dir: &Path, name: &str) -> SiteOptions {
    options.changed_from(&SiteOptions {
        name: Some(find::name(dir)),
        program: Some(format!("wp-gears-{name}")),
        worker_dir: Some(dir.to_owned()),
        ..SiteOptions::defaults()
    })
}

/// Programs by the site that they serve. Ours take precedence over those written
/// by the plugin's readme.
pub fn by_site(programs: Vec<ProgramSection>) -> HashMap<PathBuf, ProgramSection> {
    let mut found = HashMap::new();
    for program in &programs {
        if let Some(dir) = program.runner_site(&plugins::runners()) {
            found.insert(dir, program.clone());
        }
    }
    for program in programs {
        if let Some(dir) = program.site() {
            found.insert(dir, program);
        }
    }
    found
}
