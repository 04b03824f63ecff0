//! The web page that shows the queues: its user, and the program that serves it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;

use crate::base::paths::binary;
use crate::base::problem::Problem;
use crate::base::secrets::Secrets;
use crate::base::template;
use crate::host::Host;
use crate::host::supervisor::Supervisord;
use crate::intent::dashboard::{self, Address, Served};
use crate::intent::resolved::{HostResolved, Resolved};
use crate::plan::recipe::Recipe;
use crate::resource::directory::Directory;
use crate::resource::file::{Edit, File, Next, Owner};
use crate::resource::program::{DASHBOARD, Ensure, Program};
use crate::resource::system_user::SystemUser;
use crate::supervisor::programs;

/// A copy of the file with the token, for the program's group.
const TOKEN: &str = "/etc/wp-gears/dashboard.token";

/// How long it may take to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// The user, whose group sites' folders get.
///
/// # Errors
/// If a site has that user.
pub fn user(items: &mut Recipe, resolved: &Resolved, is_host: bool) -> Result<()> {
    if resolved.host.dashboard.is_none() {
        return Ok(());
    }
    let name = dashboard::USER;
    if let Some(site) = resolved.sites.iter().find(|site| site.user == name) {
        let why = format!(
            "it runs the jobs of {}, whose secrets it reads",
            site.dir.display()
        );
        return Err(
            Problem::new(format!("serve the dashboard as the user {name}"), why)
                .help("leave it out with --dashboard=false, or choose another --worker-user")
                .into(),
        );
    }
    if is_host {
        items.host(SystemUser { name });
    }
    Ok(())
}

/// The program, last of all: if it cannot start, jobs run anyway.
pub fn program(host: &Host, items: &mut Recipe, resolved: &HostResolved, live: bool) -> Result<()> {
    let supervisor = resolved.supervisor;
    let path = own_file(supervisor);
    let token = Path::new(TOKEN);
    let Some(served) = &resolved.dashboard else {
        if host.exists(&path) {
            items.host(absent(path));
            if live {
                items.host(group(supervisor, Ensure::Absent));
            }
        }
        if host.exists(token) {
            items.host(absent(token.to_owned()));
        }
        return Ok(());
    };
    match served.token_file.clone() {
        Some(from) => {
            items.host(Directory {
                path: token.parent().unwrap_or(token).to_owned(),
                owner: Owner::Root,
                mode: 0o755,
                shared: true,
            });
            let make =
                move |host: &Host, _: Option<&[u8]>| Ok(Some(read_token(host, &from)?).into());
            let file = File {
                make: Box::new(make),
                ..File::whole(token, Vec::new(), 0o640)
            };
            let owner = Owner::Group(dashboard::USER.into());
            items.host(file.owner(owner).secrets(Secrets::Hidden));
        }
        None if host.exists(token) => items.host(absent(token.to_owned())),
        None => {}
    }
    let text = program_text(served)?.into_bytes();
    let mut file = File::whole(path, text, 0o644).edit(Edit::Program);
    file.package = supervisor.package;
    let program = group(supervisor, Ensure::Running).defined_in(&file);
    items.host(file);
    if live {
        items.host(program);
    }
    Ok(())
}

fn own_file(supervisor: &Supervisord) -> PathBuf {
    let name = format!("{DASHBOARD}.{}", supervisor.ending);
    Path::new(supervisor.programs).join(name)
}

fn group(supervisor: &'static Supervisord, ensure: Ensure) -> Program {
    Program::new(DASHBOARD, ensure, supervisor, PATIENCE)
}

fn read_token(host: &Host, path: &Path) -> Result<Vec<u8>> {
    let file = host.read(path)?.ok_or_else(|| {
        let what = format!("read the dashboard's token in {}", path.display());
        Problem::new(what, "there is no such file").help("make one with 'openssl rand -hex 32'")
    })?;
    Ok(file.bytes)
}

fn program_text(served: &Served) -> Result<String> {
    let Address(address) = served.address;
    let mut words = vec![
        binary().to_string_lossy().into_owned(),
        "status".into(),
        format!("--serve={address}"),
    ];
    if served.token_file.is_some() {
        words.push(format!("--token-file={TOKEN}"));
    }
    let mut context = tera::Context::new();
    context.insert("program", DASHBOARD);
    context.insert("user", dashboard::USER);
    context.insert("command", &programs::join_words(&words));
    template::render(
        include_str!("../../../templates/dashboard.conf.tera"),
        &context,
    )
}

fn absent(path: PathBuf) -> File {
    File {
        make: Box::new(|_, _| Ok(Next::default())),
        ..File::whole(path, Vec::new(), 0o644)
    }
}
