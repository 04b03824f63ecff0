//! Firewall rules, in a table of ours in the kernel: loaded from a file of ours.

use std::path::PathBuf;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::gearman::instance;
use crate::host::Host;
use crate::resource::{
    Change, Inverse, Phase, Resource, ResourceId, Revert, RevertContext, Reverted, State, Verb,
};

pub struct Rules {
    pub table: String,
    /// Where its chain is hooked in.
    pub hook: &'static str,
    /// The file with them, which an earlier resource has written.
    pub file: PathBuf,
    pub text: String,
}

/// Whether the kernel has the rules of this text.
///
/// # Errors
/// If nft cannot be run.
pub fn are_loaded(host: &Host, table: &str, hook: &str, text: &str) -> Result<bool> {
    if !host.has_packet_filter() {
        return Ok(false);
    }
    let there = host.table(table)?.unwrap_or_default();
    Ok(there.hooks == [hook] && there.comments == instance::comments(text))
}

impl Resource for Rules {
    fn id(&self) -> ResourceId {
        ResourceId::Rules(self.table.clone())
    }

    fn inspect(&self, host: &Host) -> Result<State> {
        let load = Change::new(Verb::Create).detail(format!("from {}", self.file.display()));
        if !host.has_packet_filter() {
            return Ok(State::After(ResourceId::Packages, load));
        }
        Ok(
            match are_loaded(host, &self.table, self.hook, &self.text)? {
                true => State::Same,
                false => State::Differs(load),
            },
        )
    }

    fn inverses(&self, _host: &Host) -> Result<Vec<Inverse>> {
        Ok(vec![Inverse::Rules(RulesInverse {
            table: self.table.clone(),
        })])
    }

    fn apply(&self, host: &Host, _watch: &dyn Fn(&str)) -> Result<()> {
        host.load_rules(&self.file)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RulesInverse {
    pub table: String,
}

impl Revert for RulesInverse {
    fn id(&self) -> ResourceId {
        ResourceId::Rules(self.table.clone())
    }

    fn revert(&self, _context: &RevertContext) -> Result<Reverted> {
        let table = self.table.clone();
        Ok(Reverted::by(Phase::Foundations, NoRules { table }))
    }
}

/// Takes a table out of the kernel.
pub struct NoRules {
    pub table: String,
}

impl Resource for NoRules {
    fn id(&self) -> ResourceId {
        ResourceId::Rules(self.table.clone())
    }

    fn inspect(&self, host: &Host) -> Result<State> {
        let is_there =
            host.live() && host.has_packet_filter() && host.table(&self.table)?.is_some();
        Ok(match is_there {
            true => State::Differs(Change::new(Verb::Remove)),
            false => State::Same,
        })
    }

    fn apply(&self, host: &Host, _watch: &dyn Fn(&str)) -> Result<()> {
        host.drop_table(&self.table)
    }
}
