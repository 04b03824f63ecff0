//! Problems that any service can have.

use crate::doctor::Finding;
use crate::doctor::context::Context;
use crate::host::services::{Action, ServiceManager, Unit};
use crate::resource::ResourceId;

/// A masked service, which cannot start and which setup leaves alone.
pub fn masked(services: &dyn ServiceManager, name: &str, unit: &Unit) -> Option<Finding> {
    unit.masked.then(|| {
        let unmask = services.unmask_hint(name);
        Finding::failed(
            format!("the service {name} is masked"),
            format!("run '{unmask}', then 'wp-gears doctor --fix'"),
        )
    })
}

pub fn not_at_boot(services: &dyn ServiceManager, name: &str, unit: &Unit) -> Option<Finding> {
    (!unit.enabled).then(|| {
        let message = format!("the service {name} does not start at boot");
        let help = format!("run '{}'", services.command(Action::Enable, name));
        Finding::failed(message, help).fixed_by(ResourceId::Service(name.to_owned()))
    })
}

/// A service that does not run, with the last line of its log.
pub fn inactive(context: &Context, name: &str, unit: &Unit) -> Option<Finding> {
    if unit.active {
        return None;
    }
    let services = context.services();
    let log = context.host.service_log(name);
    let last = log
        .lines()
        .last()
        .map_or(String::new(), |line| format!("; {line}"));
    let message = format!("the service {name} is {}{last}", unit.state);
    let start = services.command(Action::Start, name);
    let help = format!(
        "run '{start}'; see its log with '{}'",
        services.log_hint(name)
    );
    Some(Finding::failed(message, help).fixed_by(ResourceId::Service(name.to_owned())))
}
