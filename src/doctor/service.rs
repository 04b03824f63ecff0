//! Problems that any service can have.

use crate::doctor::Finding;
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
