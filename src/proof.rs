//! The proof: one job through WordPress itself, as the worker user.

use std::time::Duration;

use anyhow::Result;

use crate::host::Host;
use crate::spec::resolve::SiteDecided;

pub struct Proof {
    pub took: Duration,
}

impl Proof {
    pub fn sentence(&self, site: &str) -> String {
        format!("{site} {:?}", self.took)
    }
    pub fn document(&self, site: &str) -> serde_json::Value {
        serde_json::json!({ "site": site })
    }
}

pub fn run(_host: &Host, _site: &SiteDecided) -> Result<Proof> {
    anyhow::bail!("nothing")
}
