//! Whether gearmand runs in the sandbox that its options allow.

use std::path::PathBuf;

use anyhow::Result;

use crate::gearman::sandbox::{self, Sandbox};
use crate::host::Host;
use crate::host::platform::{Family, Init};
use crate::host::process::Process;
use crate::host::services::{Unit, drop_in_folder};

/// The drop-in with the sandbox.
pub fn path(family: &Family) -> PathBuf {
    drop_in_folder(family.gearmand.unit).join(sandbox::FILE)
}

/// The text of the drop-in for a gearmand with these options besides its unit's.
pub fn drop_in(host: &Host, family: &Family, unit: &Unit, options: &[String]) -> String {
    let stock = match family.gearmand.pid_file {
        "" => None,
        path => Some(format!("--pid-file={path}")),
    };
    let fixed = unit.command_line().split_whitespace().map(str::to_owned);
    let fixed = stock.into_iter().chain(fixed);
    sandbox::drop_in(&Sandbox {
        systemd: host.systemd_version(),
        namespaces: host.can_make_mount_namespaces(),
        // Those that packages bring do.
        starts_as_user: !unit.present || !unit.user.is_empty(),
        words: fixed.chain(options.iter().cloned()).collect(),
    })
}

/// Whether the process runs without the sandbox that setup plans with these options
/// or, without them, runs in one that its unit no longer has.
pub fn is_stale(
    host: &Host,
    unit: &Unit,
    process: &Process,
    planned: Option<&[String]>,
) -> Result<bool> {
    let platform = host.platform()?;
    if platform.init != Init::Systemd {
        return Ok(false);
    }
    let confined = host.gains_no_privileges(process.pid);
    let Some(options) = planned else {
        return Ok(confined == Some(true) && !unit.no_new_privileges);
    };
    let Some(file) = host.read(&path(platform.family))? else {
        return Ok(true);
    };
    Ok(
        file.bytes != drop_in(host, platform.family, unit, options).as_bytes()
            || file.meta.mtime() > process.started
            || (confined == Some(false) && unit.no_new_privileges),
    )
}
