//! The firewall rules of the job server's port in the recipe (`--firewall`): ours in the
//! kernel close it to others, and those of another firewall that is in force admit the peers.

use anyhow::Result;

use crate::gearman::instance::unit_file;
use crate::gearman::port_rules::{self, HOOK, TABLE, UNIT};
use crate::host::Host;
use crate::host::firewall::Firewall;
use crate::host::platform::Platform;
use crate::intent::resolve::HostResolved;
use crate::plan::recipe::Recipe;
use crate::plan::recipe::owners::{absent, stopped};
use crate::resource::ResourceId;
use crate::resource::admission::Admission;
use crate::resource::file::File;
use crate::resource::rules::{NoRules, Rules};
use crate::resource::service::{self, Service};

/// The rules, and the unit that loads them before the job server starts. What loads them
/// again after the host's own is there for those of owners as well.
pub fn resources(
    host: &Host,
    items: &mut Recipe,
    platform: &Platform,
    resolved: &HostResolved,
    live: bool,
) -> Result<()> {
    if resolved.firewall.is_empty() {
        return Ok(());
    }
    let gearmand = &platform.family.gearmand;
    let text = port_rules::rules(resolved.port, &resolved.firewall)?;
    let bytes = text.clone().into_bytes();
    items.host(File::whole(port_rules::file(), bytes, 0o644));
    if live {
        items.host(Rules {
            table: TABLE.to_owned(),
            hook: HOOK,
            file: port_rules::file(),
            text,
        });
    }
    let unit = port_rules::unit_text(gearmand.unit)?.into_bytes();
    items.host(File::whole(unit_file(UNIT), unit, 0o644));
    if live {
        items.host(Service {
            unit: UNIT.to_owned(),
            enabled: Some(true),
            active: None,
            stale: service::never(),
            also: vec![gearmand.unit],
            installed_by: ResourceId::File(unit_file(UNIT)),
        });
    }
    admission(host, items, resolved, live)
}

/// Another firewall drops what its own rules do not admit.
fn admission(host: &Host, items: &mut Recipe, resolved: &HostResolved, live: bool) -> Result<()> {
    let firewall = host.firewall()?;
    let Some(rules) = firewall.admission() else {
        return Ok(());
    };
    let (port, peers) = (resolved.port, resolved.firewall.clone());
    if let Some(path) = rules.file() {
        let text = rules.text(port, &peers).into_bytes();
        items.host(File::whole(path, text, 0o644));
    }
    if live {
        items.host(Admission {
            firewall,
            port,
            peers,
        });
    }
    Ok(())
}

/// Takes them away where nobody asks for them any more.
pub fn retire(host: &Host, items: &mut Recipe, resolved: &HostResolved, live: bool) {
    if !resolved.firewall.is_empty() || !host.exists(&port_rules::file()) {
        return;
    }
    for firewall in [Firewall::Ufw, Firewall::Firewalld] {
        let file = firewall.admission().and_then(|it| it.file());
        if let Some(file) = file {
            items.host(absent(file));
        }
        if live {
            items.host(Admission::none(firewall));
        }
    }
    if live {
        items.host(stopped(UNIT));
    }
    items.host(absent(unit_file(UNIT)));
    if live {
        let table = TABLE.to_owned();
        items.host(NoRules { table });
    }
    items.host(absent(port_rules::file()));
}
