//! What two checks look for in a service alike, whatever it is of.

use crate::doctor::Finding;
use crate::host::services::Unit;
use crate::resource::ResourceId;

/// Nothing can start it, nor would setup.
pub fn masked(name: &str, unit: &Unit) -> Option<Finding> {
    let todo = format!("systemctl unmask {name}, then wp-gears doctor --fix");
    unit.masked
        .then(|| Finding::failed(format!("somebody masked the service {name}"), todo))
}

pub fn not_at_boot(name: &str, unit: &Unit) -> Option<Finding> {
    (!unit.enabled).then(|| {
        let seen = format!("the service {name} does not start at boot");
        Finding::failed(seen, format!("systemctl enable {name}"))
            .fixed_by(ResourceId::Service(name.to_owned()))
    })
}
