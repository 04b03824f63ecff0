//! ufw: its rules are in two files, one for each family of addresses. Ours have a comment.

use std::path::Path;

use anyhow::Result;

use crate::base::checksum::hex;
use crate::host::Host;
use crate::host::commands::Command;
use crate::host::firewall::{Admission, NAME};

const PROGRAM: &str = "ufw";
const CONFIG: &str = "/etc/ufw/ufw.conf";
const RULES: [&str; 2] = ["/etc/ufw/user.rules", "/etc/ufw/user6.rules"];

pub(super) struct Ufw;

/// Whether it filters packets, now and after a reboot.
pub(super) fn is_active(host: &Host) -> Result<bool> {
    if !host.has_program(PROGRAM) {
        return Ok(false);
    }
    let config = host.read(Path::new(CONFIG))?;
    let text = config.map_or_else(Default::default, |file| file.bytes);
    let text = String::from_utf8_lossy(&text);
    Ok(text.lines().any(|line| line.trim() == "ENABLED=yes"))
}

/// A rule that admits somebody to a port.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    peer: String,
    port: u16,
    is_ours: bool,
}

/// The rules that admit to one TCP port, of a file of ufw's: `### tuple ### allow tcp 4730
/// 0.0.0.0/0 any 10.0.0.6 in comment=…`, with what they match and who sends it.
fn rules(text: &str) -> Vec<Rule> {
    let comment = format!("comment={}", hex(NAME.as_bytes()));
    let rule = |line: &str| {
        let words: Vec<&str> = line
            .strip_prefix("### tuple ###")?
            .split_whitespace()
            .collect();
        let [
            "allow",
            "tcp",
            port,
            "0.0.0.0/0" | "::/0",
            "any",
            peer,
            "in",
            rest @ ..,
        ] = &words[..]
        else {
            return None;
        };
        Some(Rule {
            peer: (*peer).to_owned(),
            port: port.parse().ok()?,
            is_ours: rest.contains(&comment.as_str()),
        })
    };
    text.lines().filter_map(rule).collect()
}

/// The rules to add, and those of ours to take out.
fn changes(rules: &[Rule], port: u16, peers: &[String]) -> (Vec<Rule>, Vec<Rule>) {
    let wanted = peers.iter().map(|peer| Rule {
        peer: peer.clone(),
        port,
        is_ours: true,
    });
    let same = |one: &Rule, other: &Rule| (&one.peer, one.port) == (&other.peer, other.port);
    let wanted: Vec<Rule> = wanted.collect();
    let add = wanted
        .iter()
        .filter(|it| !rules.iter().any(|rule| same(rule, it)));
    let out = rules
        .iter()
        .filter(|it| it.is_ours && !wanted.iter().any(|rule| same(rule, it)));
    (add.cloned().collect(), out.cloned().collect())
}

fn all(host: &Host) -> Result<Vec<Rule>> {
    let mut found = Vec::new();
    if !host.has_program(PROGRAM) {
        return Ok(found); // Its files outlive it.
    }
    for path in RULES {
        if let Some(file) = host.read(Path::new(path))? {
            found.extend(rules(&String::from_utf8_lossy(&file.bytes)));
        }
    }
    Ok(found)
}

impl Admission for Ufw {
    fn differences(&self, host: &Host, port: u16, peers: &[String]) -> Result<Vec<String>> {
        let (add, out) = changes(&all(host)?, port, peers);
        let add = add
            .iter()
            .map(|it| format!("admit {} to port {}", it.peer, it.port));
        let out = out
            .iter()
            .map(|it| format!("no longer admit {} to port {}", it.peer, it.port));
        Ok(add.chain(out).collect())
    }

    fn admit(&self, host: &Host, port: u16, peers: &[String]) -> Result<()> {
        let (add, out) = changes(&all(host)?, port, peers);
        // The first rule that matches decides, so ours come before those that close the port.
        for rule in add {
            change(host, &["prepend", "allow"], &rule, &["comment", NAME])?;
        }
        for rule in out {
            change(host, &["delete", "allow"], &rule, &[])?;
        }
        Ok(())
    }
}

fn change(host: &Host, verb: &[&'static str], rule: &Rule, comment: &[&'static str]) -> Result<()> {
    let command = Command::new(PROGRAM)
        .args(verb.iter().copied())
        .args(["proto", "tcp", "from"])
        .names([&rule.peer])
        .args(["to", "any", "port"])
        .names([rule.port.to_string()])
        .args(comment.iter().copied());
    host.check(&command.changes())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_missing_rules_are_added_and_only_ours_taken_out() {
        let text = "*filter\n### RULES ###\n
            ### tuple ### deny tcp 4730 0.0.0.0/0 any 0.0.0.0/0 in
            ### tuple ### allow tcp 4730 0.0.0.0/0 any 10.0.0.5 in
            ### tuple ### allow tcp 4730 0.0.0.0/0 any 10.0.0.6 in comment=77702d6765617273
            ### tuple ### allow tcp 22 0.0.0.0/0 any 10.0.0.7 in
            ### tuple ### allow any 4730 0.0.0.0/0 any 10.0.0.7 out
            ### tuple ### allow tcp 4730:4740 0.0.0.0/0 any 10.0.0.7 in_eth0
            -A ufw-user-input -p tcp --dport 4730 -s 10.0.0.5 -j ACCEPT";
        let text: String = text
            .lines()
            .map(|line| format!("{}\n", line.trim()))
            .collect();
        let rules = rules(&text);
        let names = |port, peers: &[&str]| {
            let peers: Vec<String> = peers.iter().map(|it| (*it).to_owned()).collect();
            let (add, out) = changes(&rules, port, &peers);
            let names = |all: Vec<Rule>| all.into_iter().map(|it| it.peer).collect::<Vec<_>>();
            (names(add), names(out))
        };
        let said = |add: &[&str], out: &[&str]| {
            let own = |all: &[&str]| all.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
            (own(add), own(out))
        };
        assert_eq!(names(4730, &["10.0.0.5", "10.0.0.6"]), said(&[], &[]));
        assert_eq!(
            names(4730, &["10.0.0.7"]),
            said(&["10.0.0.7"], &["10.0.0.6"])
        );
        assert_eq!(
            names(4731, &["10.0.0.6"]),
            said(&["10.0.0.6"], &["10.0.0.6"])
        );
        assert_eq!(names(4730, &[]), said(&[], &["10.0.0.6"]));
    }
}
