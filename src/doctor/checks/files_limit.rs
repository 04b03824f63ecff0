//! How many connections gearmand can hold. At its limit, it uses a whole CPU core.

use crate::doctor::context::Context;
use crate::doctor::{Check, Finding};
use crate::gearman::daemon::FILES_LIMIT;
use crate::host::platform::Init;
use crate::host::services::Action;
use crate::intent::options::Role;
use crate::resource::ResourceId;

pub const CHECK: Check = Check {
    name: "files-limit",
    describes: "how many files (connections) the running gearmand can open",
    vital: false,
    run,
};

/// The default of systemd and shells, which a busy host reaches.
const TOO_FEW: u64 = 1024;

fn run(context: &Context) -> Vec<Finding> {
    if !context.has_role(Role::Server) {
        return vec![Finding::skipped("the job server runs elsewhere")];
    }
    let pid = context.gearmand().map(|unit| unit.main_pid).unwrap_or(0);
    let Some((soft, hard)) = context.host.files_limits(pid) else {
        return vec![match context.host.process(pid) {
            Some(_) => Finding::skipped("it requires root"),
            None => Finding::skipped("gearmand is not running"),
        }];
    };
    let name = context.platform.family.gearmand.unit;
    let message = format!("gearmand can open {soft} files");
    let services = context.services();
    let help = format!(
        "raise {}, then run '{}'",
        services.files_limit_hint(name),
        services.command(Action::Restart, name)
    );
    let service = ResourceId::Service(name.to_owned());
    vec![if soft <= TOO_FEW {
        let message = format!(
            "gearmand can open only {soft} files: with more connections, it stops answering"
        );
        match context.platform.init {
            Init::Systemd => Finding::failed(message, help).fixed_by(service),
            // Setup does not edit init scripts.
            Init::Sysv => Finding::warning(message, help),
        }
    } else if soft < FILES_LIMIT.min(hard) {
        Finding::warning(format!("{message}, but setup sets {FILES_LIMIT}"), help).fixed_by(service)
    } else {
        Finding::ok(message)
    }]
}
