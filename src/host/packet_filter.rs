//! The kernel's packet filter, nftables: the tables of ours in it.

use std::path::Path;

use anyhow::Result;
use serde_json::Value;

use crate::host::Host;
use crate::host::commands::Command;

/// The program that loads rules, and its package on every distribution.
pub const PROGRAM: &str = "nft";
pub const PACKAGE: &str = "nftables";

/// A table in the kernel.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    /// Where its chains are hooked in.
    pub hooks: Vec<String>,
    /// The comments of its rules.
    pub comments: Vec<String>,
}

impl Host {
    /// Whether rules can be loaded here at all.
    pub fn has_packet_filter(&self) -> bool {
        self.has_program(PROGRAM)
    }

    /// Whether this process may load rules; `None` if it is not root's.
    pub fn may_filter_packets(&self) -> Option<bool> {
        const NET_ADMIN: u32 = 12;
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        let status = std::fs::read_to_string("/proc/self/status").ok()?;
        let line = status.lines().find_map(|it| it.strip_prefix("CapEff:"))?;
        let all = u64::from_str_radix(line.trim(), 16).ok()?;
        Some(all & 1 << NET_ADMIN != 0)
    }

    /// The table of this name in the family inet; `None` if there is none.
    ///
    /// # Errors
    /// If nft cannot be run, or says what cannot be read.
    pub fn table(&self, name: &str) -> Result<Option<Table>> {
        let list = Command::new(PROGRAM).args(["-j", "list", "table", "inet"]);
        let output = self.run(&list.names([name]))?;
        match output.success() {
            true => Ok(Some(table(&serde_json::from_slice(&output.stdout)?))),
            false => Ok(None),
        }
    }

    /// Loads rules from a file.
    ///
    /// # Errors
    /// What nft says.
    pub fn load_rules(&self, file: &Path) -> Result<()> {
        let load = Command::new(PROGRAM).option("--file=", file);
        self.check(&load.changes())?;
        Ok(())
    }

    /// # Errors
    /// What nft says.
    pub fn drop_table(&self, name: &str) -> Result<()> {
        let delete = Command::new(PROGRAM).args(["delete", "table", "inet"]);
        self.check(&delete.names([name]).changes())?;
        Ok(())
    }
}

fn table(listing: &Value) -> Table {
    let all = listing["nftables"].as_array().into_iter().flatten();
    let mut table = Table::default();
    for it in all {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        table.hooks.extend(text(&it["chain"]["hook"]));
        table.comments.extend(text(&it["rule"]["comment"]));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hooks_and_comments_are_found_in_a_listing() {
        let listing = r#"{"nftables": [{"metainfo": {"version": "1.0.6"}},
            {"table": {"family": "inet", "name": "t", "handle": 3}},
            {"chain": {"family": "inet", "table": "t", "name": "output", "handle": 1,
                "type": "filter", "hook": "output", "prio": 0, "policy": "accept"}},
            {"rule": {"family": "inet", "table": "t", "chain": "output", "handle": 3,
                "comment": "a 1", "expr": [{"accept": null}]}},
            {"rule": {"family": "inet", "table": "t", "chain": "output", "handle": 4, "expr": []}}]}"#;
        let found = table(&serde_json::from_str(listing).unwrap());
        let expected = Table {
            hooks: vec!["output".into()],
            comments: vec!["a 1".into()],
        };
        assert_eq!(found, expected);
    }
}
