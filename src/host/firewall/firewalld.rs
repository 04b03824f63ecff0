//! firewalld: a policy of our own, in a file. It comes before the zones, so it holds
//! whatever the zone of a network says.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::host::Host;
use crate::host::commands::Command;
use crate::host::firewall::{Admission, NAME};

const PROGRAM: &str = "firewall-cmd";
const UNIT: &str = "firewalld";
/// Its own policies. Before version 0.9, it has none.
const POLICIES: &str = "/usr/lib/firewalld/policies";

pub(super) struct Firewalld;

/// Whether it filters packets.
pub(super) fn is_active(host: &Host) -> Result<bool> {
    let is_there = host.has_program(PROGRAM);
    Ok(is_there && (!host.live() || host.unit(UNIT, &[])?.active))
}

fn family(peer: &str) -> &'static str {
    match peer.contains(':') {
        true => "ipv6",
        false => "ipv4",
    }
}

/// Our rules as firewalld lists them.
fn rules(port: u16, peers: &[String]) -> BTreeSet<String> {
    let rule = |peer: &String| {
        let family = family(peer);
        format!(
            "rule family=\"{family}\" source address=\"{peer}\" port port=\"{port}\" protocol=\"tcp\" accept"
        )
    };
    peers.iter().map(rule).collect()
}

/// The rules of our policy that it has loaded. Without the policy, it has none.
fn loaded(host: &Host) -> Result<BTreeSet<String>> {
    let list = Command::new(PROGRAM).option("--policy=", NAME);
    let output = host.run(&list.args(["--list-rich-rules"]))?;
    let text = if output.success() {
        output.text()
    } else {
        String::new()
    };
    Ok(text.lines().map(|it| it.trim().to_owned()).collect())
}

impl Admission for Firewalld {
    fn can_admit(&self, host: &Host) -> bool {
        host.is_dir(Path::new(POLICIES))
    }

    fn file(&self) -> Option<PathBuf> {
        Some(PathBuf::from(format!("/etc/firewalld/policies/{NAME}.xml")))
    }

    fn text(&self, port: u16, peers: &[String]) -> String {
        let mut text = String::from(
            "<?xml version=\"1.0\" encoding=\"utf-8\"?>
<!-- Made by wp-gears. 'wp-gears remove' takes it out. -->
<policy target=\"CONTINUE\" priority=\"-100\">
  <short>wp-gears</short>
  <description>Hosts that reach the job server</description>
  <ingress-zone name=\"ANY\"/>
  <egress-zone name=\"HOST\"/>
",
        );
        for peer in peers {
            let family = family(peer);
            // Writing to a string does not fail.
            let _ = writeln!(
                text,
                "  <rule family=\"{family}\"><source address=\"{peer}\"/><port port=\"{port}\" protocol=\"tcp\"/><accept/></rule>"
            );
        }
        text.push_str("</policy>\n");
        text
    }

    fn differences(&self, host: &Host, port: u16, peers: &[String]) -> Result<Vec<String>> {
        if !is_active(host)? {
            return Ok(Vec::new());
        }
        let mut lines = Vec::new();
        if let Some(path) = self.file().filter(|_| !peers.is_empty()) {
            let text = host.read(&path)?.map(|file| file.bytes);
            if text.as_deref() != Some(self.text(port, peers).as_bytes()) {
                lines.push(format!("read {}", path.display()));
            }
        }
        if !lines.is_empty() || loaded(host)? != rules(port, peers) {
            // What its files say replaces all that was changed without them.
            lines.push("reload, which forgets rules that are not permanent".to_owned());
        }
        Ok(lines)
    }

    fn admit(&self, host: &Host, _port: u16, _peers: &[String]) -> Result<()> {
        host.check(&Command::new(PROGRAM).args(["--reload"]).changes())?;
        Ok(())
    }
}
