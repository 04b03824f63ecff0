//! The table of failed jobs and retries in a site's database, which its workers have
//! made: taken out with what is in it.

use std::path::PathBuf;

use anyhow::Result;

use crate::host::Host;
use crate::resource::{Change, Resource, ResourceId, State, Verb};
use crate::site::answers::StoredJobs;
use crate::site::ask::Target;
use crate::site::plugins::BUNDLED;

pub struct JobTable {
    pub dir: PathBuf,
    pub php: PathBuf,
    /// The user that runs the site's code.
    pub user: String,
    /// The host that its code sees.
    pub seen_as: Option<String>,
}

impl JobTable {
    fn target(&self) -> Target<'_> {
        Target {
            dir: &self.dir,
            php: &self.php,
            user: &self.user,
            // What it is called does not matter here.
            plugin: &BUNDLED,
            cache: None,
            host: self.seen_as.as_deref(),
        }
    }

    /// What is in it, if there is one.
    ///
    /// # Errors
    /// A site that cannot be asked.
    pub fn jobs(&self, host: &Host) -> Result<Option<StoredJobs>> {
        self.target().stored_jobs(host)
    }
}

impl Resource for JobTable {
    fn id(&self) -> ResourceId {
        ResourceId::JobTable(self.dir.clone())
    }

    fn inspect(&self, host: &Host) -> Result<State> {
        // It need not be asked again whether it can be asked.
        Ok(match self.jobs(host).unwrap_or_default() {
            Some(jobs) => State::Differs(Change::new(Verb::Remove).detail(jobs.to_string())),
            None => State::Same,
        })
    }

    fn apply(&self, host: &Host, _: &dyn Fn(&str)) -> Result<()> {
        host.act(&self.id().to_string())?;
        self.target().drop_stored_jobs(host).map(drop)
    }
}
