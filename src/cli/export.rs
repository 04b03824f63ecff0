//! `wp-gears setup --export DIR`: what another host needs to work for the same sites, in
//! two files, of which one has the secrets.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use anyhow::Result;
use toml_edit::{ArrayOfTables, DocumentMut, Item, Table};

use crate::base::problem::Problem;
use crate::cli::common::{DONE, spec_of};
use crate::cli::options::SetupArgs;
use crate::gearman::server::Server;
use crate::host::Host;
use crate::intent::exported::{OPTIONS, SECRETS};
use crate::intent::exposure::{Reach, reach};
use crate::intent::options::{HostOptions, Role, SiteOptions, Spec};
use crate::intent::record::{Intent, record};
use crate::intent::resolve::{self, Resolved, SiteResolved};
use crate::report::Ui;
use crate::site::plugins::PluginChoice;
use crate::worker::options::WorkerOptions;

const HEADER: &str = "\
# What another host needs to work for these sites. Copy this folder there, with the
# sites' files and their secret keys, and run 'wp-gears setup --from FOLDER'.
# --role web is for a host with pages, --role worker,web for both.
";
const HEADER_OF_SECRETS: &str =
    "# Keep this file to root: anybody who knows a site's salt can find its queue.\n";

pub fn run(host: &Host, args: &SetupArgs, folder: &Path, ui: Ui) -> Result<u8> {
    let spec = spec_of(host, args)?;
    let mut resolved = resolve::resolve(host, &spec)?;
    if let Some((_, error)) = resolved.refused.drain(..).next() {
        return Err(error);
    }
    let servers = servers(&spec, &resolved)?;
    let mut intent = Intent {
        host: HostOptions {
            role: Some(vec![Role::Worker]),
            servers: Some(servers),
            ..HostOptions::default()
        },
        ..Intent::default()
    };
    let mut secrets = ArrayOfTables::new();
    for site in &resolved.sites {
        let wish = spec.sites.iter().find(|wish| wish.dir == site.dir);
        let wish = wish.map(|wish| wish.options.clone()).unwrap_or_default();
        intent.sites.push((site.dir.clone(), shared(wish, site)));
        intent.hooks.insert(site.dir.clone(), site.hooks.clone());
        if let Some(salt) = site.effective_salt() {
            let mut table = Table::new();
            let dir = site.dir.to_string_lossy();
            table.insert("dir", toml_edit::value(dir.as_ref()));
            table.insert("salt", toml_edit::value(salt));
            table.decor_mut().set_prefix("\n");
            secrets.push(table);
        }
    }
    intent.hooks.retain(|_, rules| !rules.is_empty());
    let text = record(Some(HEADER), &folder.join(OPTIONS), "", &intent)?;
    let mut document = DocumentMut::new();
    document.insert("site", Item::ArrayOfTables(secrets));
    let secret = format!("{HEADER_OF_SECRETS}{document}");

    let cannot = |error: std::io::Error| {
        Problem::new(format!("write into {}", folder.display()), error)
            .help("pass a folder that does not exist yet, or one of yours")
    };
    if !folder.is_dir() {
        fs::DirBuilder::new()
            .mode(0o700)
            .create(folder)
            .map_err(cannot)?;
    }
    write(folder, OPTIONS, &text, 0o644).map_err(cannot)?;
    write(folder, SECRETS, &secret, 0o600).map_err(cannot)?;
    let shown = folder.display();
    ui.line(&format!(
        "{shown}/{OPTIONS} has the options, and {shown}/{SECRETS} the salts.\n\
         Copy the folder to the other host, with the sites' files, and run\n\
         'wp-gears setup --from {shown}' there. Then delete it on both."
    ));
    Ok(DONE)
}

/// A site's options that hold on every host: not its programs and folders, and not how
/// much it can do.
fn shared(wish: SiteOptions, site: &SiteResolved) -> SiteOptions {
    SiteOptions {
        name: Some(site.name.clone()),
        plugin: Some(PluginChoice::This(site.plugin)),
        salt: None,
        workers: None,
        worker_dir: None,
        program: None,
        worker: WorkerOptions {
            php: None,
            log: None,
            ..wish.worker
        },
        ..wish
    }
}

/// The job servers as other hosts reach them.
fn servers(spec: &Spec, resolved: &Resolved) -> Result<Vec<String>> {
    if let Some(servers) = &spec.host.servers {
        let is_elsewhere = |it: &String| it.parse::<Server>().is_ok_and(|it| !it.is_local());
        if servers.iter().all(is_elsewhere) {
            return Ok(servers.clone());
        }
    }
    let own = &resolved.host;
    let is_one = own
        .listen
        .parse::<std::net::IpAddr>()
        .is_ok_and(|it| !it.is_unspecified());
    let serves = own.roles.contains(&Role::Server) && spec.host.servers.is_none();
    if serves && is_one && reach(&own.listen) != Reach::Machine {
        return Ok(vec![own.own_server()]);
    }
    let what = "name the job servers for other hosts";
    let why = match serves {
        true => format!("this host's listens on {}", own.listen),
        false => "not all are named by addresses that other hosts reach".to_owned(),
    };
    Err(Problem::usage(what, why)
        .help("run 'wp-gears setup --listen ADDR' with this host's address in a private network first, or name them with --servers")
        .into())
}

/// Replaces a file, if it is there. Its secrets are never in a file that others can read.
fn write(folder: &Path, name: &str, text: &str, mode: u32) -> std::io::Result<()> {
    let new = folder.join(format!(".{name}.new"));
    match fs::remove_file(&new) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(mode).open(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(new, folder.join(name))
}
