//! The timer that looks for problems and tells of them, where the config file has an
//! `[alert]` table.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::base::paths::ALERT_TIMER;
use crate::host::Host;
use crate::host::platform::{Init, Platform};
use crate::plan::recipe::Recipe;
use crate::resource::ResourceId;
use crate::resource::file::{File, Next};
use crate::resource::service::{self, Service};

const UNITS: &str = "/etc/systemd/system";
const SERVICE: &str = "wp-gears-alert.service";

fn file(unit: &str) -> PathBuf {
    Path::new(UNITS).join(unit)
}

/// The units, or their removal where nobody wants to be told any more.
pub fn resources(
    host: &Host,
    items: &mut Recipe,
    platform: &Platform,
    is_wanted: bool,
    live: bool,
) -> Result<()> {
    let timer = file(ALERT_TIMER);
    let is_there = host.exists(&timer);
    if platform.init != Init::Systemd || !is_wanted && !is_there {
        return Ok(());
    }
    let service = |items: &mut Recipe| {
        items.host(Service {
            unit: ALERT_TIMER.into(),
            enabled: Some(is_wanted),
            active: Some(is_wanted),
            stale: service::never(),
            also: Vec::new(),
            installed_by: ResourceId::File(timer.clone()),
        });
    };
    if live && !is_wanted {
        service(items);
    }
    for (unit, text) in [
        (SERVICE, include_str!("../../../templates/alert.service")),
        (ALERT_TIMER, include_str!("../../../templates/alert.timer")),
    ] {
        let whole = File::whole(file(unit), text.as_bytes(), 0o644);
        items.host(match is_wanted {
            true => whole,
            false => File {
                make: Box::new(|_, _| Ok(Next::default())),
                ..whole
            },
        });
    }
    if live && is_wanted {
        service(items);
    }
    Ok(())
}
