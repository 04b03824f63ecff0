//! A repository besides those of the distribution, such as EPEL: added only if
//! a package is not available without it.

use std::sync::Arc;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::base::problem::Problem;
use crate::host::Host;
use crate::host::platform::SigningKey;
use crate::resource::download::Download;
use crate::resource::package::PackagesInverse;
use crate::resource::source::{Source, open};
use crate::resource::{
    Change, Inverse, Phase, Resource, ResourceId, Revert, RevertContext, Reverted, State, Verb,
};

/// A repository that a package adds.
pub struct Repository {
    pub source: Arc<Source>,
}

impl Resource for Repository {
    fn id(&self) -> ResourceId {
        ResourceId::Repository(self.source.name.to_owned())
    }

    fn inspect(&self, host: &Host) -> Result<State> {
        Ok(match self.source.pending(host)? {
            None => State::Same,
            Some(_) => State::Differs(
                Change::new(Verb::Install)
                    .detail(self.source.package.clone())
                    .detail("some packages are not available without it"),
            ),
        })
    }

    fn inverses(&self, host: &Host) -> Result<Vec<Inverse>> {
        let brought = self.source.pending(host)?.unwrap_or_default();
        Ok(vec![Inverse::Packages(PackagesInverse { brought })])
    }

    fn apply(&self, host: &Host, watch: &dyn Fn(&str)) -> Result<()> {
        if let Some(key) = &self.source.key {
            self.trust(host, key, watch)?;
        }
        host.install(std::slice::from_ref(&self.source.package), watch)
            .map_err(|error| self.source.refused(error))
    }
}

impl Repository {
    /// Lets the package manager know who signs the package, which it then demands: the
    /// address alone proves nothing, as a proxy's certificate may be trusted too.
    fn trust(&self, host: &Host, key: &SigningKey, watch: &dyn Fn(&str)) -> Result<()> {
        let name = self.source.name;
        let what = format!("download the key that signs {name}");
        let other_way = format!("install {} yourself, then run again", self.source.package);
        let Some(sha256) = key.sha256 else {
            let why = format!("wp-gears does not know {} yet", key.url);
            return Err(Problem::new(what, why).help(other_way).into());
        };
        let download = Download {
            url: &key.url,
            sha256,
            what: &what,
            other_way: &other_way,
        };
        let spare = host.spare_user()?;
        let fetched = download.fetch(host, &spare, watch);
        host.end_all_of(&spare)?;
        host.package_manager()?.trust(host, fetched?)
    }
}

/// A repository that is configured, to be enabled or disabled.
pub struct Enabled {
    /// The prefix of its ID.
    pub prefix: String,
    /// Enable it only while one of these is missing; if empty, always.
    pub required: Vec<Vec<String>>,
    pub on: bool,
}

impl Enabled {
    fn differing(&self, host: &Host) -> Result<Option<String>> {
        if !self.required.is_empty() && open(host, &self.required)?.is_empty() {
            return Ok(None);
        }
        let all = host.package_manager()?.repositories(host)?;
        let of = |id: &str| {
            id.starts_with(&self.prefix) && !id.contains("debug") && !id.contains("source")
        };
        let ids: Vec<(String, bool)> = all.into_iter().filter(|(id, _)| of(id)).collect();
        if self.on && ids.iter().any(|(_, on)| *on) {
            return Ok(None);
        }
        let other = ids.into_iter().find(|(_, on)| *on != self.on);
        Ok(other.map(|(id, _)| id))
    }
}

impl Resource for Enabled {
    fn id(&self) -> ResourceId {
        ResourceId::Repository(self.prefix.trim_end_matches('-').to_owned())
    }

    fn inspect(&self, host: &Host) -> Result<State> {
        let verb = if self.on { Verb::Enable } else { Verb::Disable };
        Ok(match self.differing(host)? {
            None => State::Same,
            Some(id) => State::Differs(Change::new(verb).detail(id)),
        })
    }

    fn inverses(&self, host: &Host) -> Result<Vec<Inverse>> {
        let inverse = |id| Inverse::Repository(RepositoryInverse { id });
        Ok(self.differing(host)?.map(inverse).into_iter().collect())
    }

    fn apply(&self, host: &Host, _watch: &dyn Fn(&str)) -> Result<()> {
        match self.differing(host)? {
            Some(id) => host
                .package_manager()?
                .switch_repository(host, &id, self.on),
            None => Ok(()),
        }
    }
}

/// A repository that was disabled before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepositoryInverse {
    id: String,
}

impl Revert for RepositoryInverse {
    fn id(&self) -> ResourceId {
        ResourceId::Repository(self.id.clone())
    }

    fn revert(&self, context: &RevertContext) -> Result<Reverted> {
        if !context.purge {
            return Ok(Reverted::kept(format!(
                "the repository {}, which setup enabled (--purge disables it)",
                self.id
            )));
        }
        let off = Enabled {
            prefix: self.id.clone(),
            required: Vec::new(),
            on: false,
        };
        Ok(Reverted::by(Phase::Repositories, off))
    }
}
