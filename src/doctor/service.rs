//! Problems that any service may have.

use crate::doctor::Finding;
use crate::host::services::{Action, ServiceManager, Unit};
use crate::resource::ResourceId;

/// A masked service cannot start, and setup leaves it alone.
pub fn masked(services: &dyn ServiceManager, name: &str, unit: &Unit) -> Option<Finding> {
    unit.masked.then(|| {
        let unmask = services.unmask_hint(name);
        Finding::failed(
            format!("the service {name} is masked"),
            format!("{unmask}, then wp-gears doctor --fix"),
        )
    })
}

pub fn not_at_boot(services: &dyn ServiceManager, name: &str, unit: &Unit) -> Option<Finding> {
    (!unit.enabled).then(|| {
        let seen = format!("the service {name} does not start at boot");
        Finding::failed(seen, services.command(Action::Enable, name))
            .fixed_by(ResourceId::Service(name.to_owned()))
    })
}
