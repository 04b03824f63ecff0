//! A gearmand of its own for the sites of one owner: its command line, its unit, and
//! the firewall rules that keep other users of the host from its port.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::base::checksum;
use crate::base::template;
use crate::gearman::daemon::{self, FILES_LIMIT};
use crate::gearman::options::{Wanted, spell};
use crate::gearman::sandbox::{self, Sandbox};
use crate::host::platform::Gearmand;

/// The folder with the rules of all owners.
pub const RULES: &str = "/etc/wp-gears";
/// The unit that loads the host's own rules, where nftables does that.
pub const FIREWALL_UNIT: &str = "nftables";
/// Where the chain of an owner's table is hooked in.
pub const HOOK: &str = "output";
/// The address that it listens on.
pub const LISTEN: &str = "127.0.0.1";
/// What the names of all units begin with; the owner follows.
const UNIT: &str = "wp-gears-gearmand-";
/// What the names of its queue's folder and of its rules begin with.
const PREFIX: &str = "owner-";
/// The first version of systemd that knows all that the unit needs.
pub const SYSTEMD: u32 = 238;

/// The job server of an owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobServer {
    /// The worker user of the sites.
    pub owner: String,
    pub port: u16,
    /// The users who may connect to it.
    pub admits: BTreeSet<u32>,
}

/// The unit of an owner's job server.
pub fn unit(owner: &str) -> String {
    format!("{UNIT}{owner}")
}

/// The owner whose job server this unit is.
pub fn owner_of(unit: &str) -> Option<&str> {
    unit.strip_prefix(UNIT)
}

pub fn unit_file(unit: &str) -> PathBuf {
    format!("/etc/systemd/system/{unit}.service").into()
}

pub fn rules_file(owner: &str) -> PathBuf {
    Path::new(RULES).join(format!("{PREFIX}{owner}.nft"))
}

/// The owner's table in the kernel. Its name has letters, digits and underscores only.
pub fn table(owner: &str) -> String {
    let letter = |c: char| match c.is_ascii_alphanumeric() {
        true => c.to_string(),
        false => format!("_{:02x}", u32::from(c)),
    };
    let name: String = owner.chars().map(letter).collect();
    format!("wp_gears_{name}")
}

/// The drop-in for that unit, which otherwise removes the rules of owners.
pub fn firewall_drop_in() -> &'static str {
    include_str!("../../templates/nftables.dropin")
}

impl JobServer {
    pub fn address(&self) -> String {
        format!("{LISTEN}:{}", self.port)
    }

    pub fn unit(&self) -> String {
        unit(&self.owner)
    }

    /// The folder of its queue.
    pub fn folder(&self, gearmand: &Gearmand) -> PathBuf {
        Path::new(gearmand.queue_dir).join(format!("{PREFIX}{}", self.owner))
    }

    /// Its command line. `queue` are the options that select its queue.
    pub fn words(&self, gearmand: &Gearmand, queue: Vec<Wanted>) -> Vec<String> {
        let pid_file = format!("/run/{}/gearmand.pid", self.unit());
        let mut wanted = daemon::wanted(LISTEN, self.port, queue);
        wanted.push(Wanted::new("pid-file", Some('P'), &pid_file));
        wanted.push(Wanted::new("log-file", Some('l'), "stderr"));
        let program = gearmand.program.to_owned();
        [program]
            .into_iter()
            .chain(wanted.iter().map(spell))
            .collect()
    }

    /// Its unit, with the same sandbox as the shared job server's. It sees no other
    /// queue.
    ///
    /// # Errors
    /// If the template cannot be rendered.
    pub fn unit_text(
        &self,
        gearmand: &Gearmand,
        words: Vec<String>,
        keeps_files: bool,
        systemd: Option<u32>,
        namespaces: bool,
    ) -> Result<String> {
        let mut context = tera::Context::new();
        context.insert("owner", &self.owner);
        context.insert("firewall", FIREWALL_UNIT);
        context.insert("user", gearmand.user);
        context.insert("rules", &self.rules_file());
        context.insert("command", &words.join(" "));
        context.insert("files_limit", &FILES_LIMIT);
        context.insert("queues", &namespaces.then_some(gearmand.queue_dir));
        context.insert("queue", &keeps_files.then(|| self.folder(gearmand)));
        let sandbox = sandbox::settings(&Sandbox {
            systemd,
            namespaces,
            starts_as_user: true,
            words,
        });
        context.insert("sandbox", &sandbox);
        template::render(
            include_str!("../../templates/instance.service.tera"),
            &context,
        )
    }

    pub fn table(&self) -> String {
        table(&self.owner)
    }

    pub fn rules_file(&self) -> PathBuf {
        rules_file(&self.owner)
    }

    /// The rules. Only connections that begin are looked at: later packets may belong
    /// to no process any more. Nobody but gearmand's user, `gearmand`,
    /// answers on the port.
    ///
    /// # Errors
    /// If the template cannot be rendered.
    pub fn rules(&self, gearmand: &str) -> Result<String> {
        let admitted: BTreeSet<u32> = [0].into_iter().chain(self.admits.clone()).collect();
        let admitted: Vec<String> = admitted.iter().map(u32::to_string).collect();
        let mut context = tera::Context::new();
        context.insert("owner", &self.owner);
        context.insert("table", &self.table());
        context.insert("port", &self.port);
        context.insert("admitted", &admitted.join(", "));
        context.insert("gearmand", gearmand);
        let render = |context: &tera::Context| {
            template::render(include_str!("../../templates/owner.nft.tera"), context)
        };
        context.insert("mark", "");
        let mark = mark(&render(&context)?);
        context.insert("mark", &mark);
        render(&context)
    }
}

/// What the comments of all rules of a text begin with, by which those in the kernel
/// are known to be of this very text.
pub fn mark(text: &str) -> String {
    format!("wp-gears {}", checksum::short(text.as_bytes(), 16))
}

/// The comments of the rules in a text of ours.
pub fn comments(rules: &str) -> Vec<&str> {
    rules
        .lines()
        .filter_map(|line| line.split_once(" comment \"")?.1.strip_suffix('"'))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Host;

    fn of(owner: &str) -> JobServer {
        JobServer {
            owner: owner.into(),
            port: 4731,
            admits: [1001, 33].into(),
        }
    }

    fn debian() -> (tempfile::TempDir, Host) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        let release = "ID=debian\nVERSION_ID=12\n";
        std::fs::write(dir.path().join("etc/os-release"), release).unwrap();
        let host = Host::new(Some(dir.path())).unwrap();
        (dir, host)
    }

    #[test]
    fn a_unit_has_its_own_queue_and_the_sandbox() {
        let (_dir, host) = debian();
        let gearmand = &host.platform().unwrap().family.gearmand;
        let file = "/var/lib/gearman/owner-alice/queue.sqlite";
        let queue = vec![Wanted::new("libsqlite3-db", None, file)];
        let words = of("alice").words(gearmand, queue);
        let text = of("alice")
            .unit_text(gearmand, words, true, Some(252), true)
            .unwrap();
        for line in [
            "User=gearman",
            "ExecStartPre=+/usr/sbin/nft -f /etc/wp-gears/owner-alice.nft",
            "ExecStart=/usr/sbin/gearmand --listen=127.0.0.1 --port=4731 --job-retries=255 \
             --libsqlite3-db=/var/lib/gearman/owner-alice/queue.sqlite \
             --pid-file=/run/wp-gears-gearmand-alice/gearmand.pid --log-file=stderr",
            "TemporaryFileSystem=/var/lib/gearman",
            "BindPaths=/var/lib/gearman/owner-alice",
            "RuntimeDirectory=wp-gears-gearmand-alice",
            "ReadWritePaths=-/var/lib/gearman/owner-alice",
            "NoNewPrivileges=yes",
            "[Install]",
        ] {
            assert!(text.lines().any(|it| it == line), "no {line} in {text}");
        }
        let words = of("alice").words(gearmand, Vec::new());
        let in_memory = of("alice")
            .unit_text(gearmand, words, false, Some(252), true)
            .unwrap();
        assert!(!in_memory.contains("BindPaths="), "{in_memory}");
    }

    #[test]
    fn rules_are_known_by_their_comments() {
        let rules = of("alice").rules("gearman").unwrap();
        assert!(
            rules.contains("meta skuid { 0, 33, 1001, \"gearman\" } accept"),
            "{rules}"
        );
        let found = comments(&rules);
        assert_eq!(found.len(), 3, "{rules}");
        assert!(found.iter().all(|it| it.len() == "wp-gears ".len() + 18));
        let mut other = of("alice");
        other.admits.insert(1002);
        let other = other.rules("gearman").unwrap();
        assert!(comments(&other).iter().all(|it| !found.contains(it)));
    }

    #[test]
    fn tables_of_different_owners_have_different_names() {
        assert_eq!(table("alice"), "wp_gears_alice");
        assert_eq!(table("web-1"), "wp_gears_web_2d1");
        assert_ne!(table("web_1"), table("web-1"));
        assert_ne!(table("web_2d1"), table("web-1"));
    }
}
