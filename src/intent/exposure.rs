//! Who reaches the job server, which has no passwords: other machines, if it listens on
//! more than loopback, and the other owners whose sites use it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;

use crate::base::problem::Problem;
use crate::gearman::instance::JobServer;
use crate::host::Host;
use crate::host::files::Node;
use crate::host::firewall::Firewall;
use crate::host::platform::{Init, Platform};
use crate::intent::adopt::by_site;
use crate::intent::options::Role;
use crate::intent::resolved::{HostResolved, Resolved, SiteResolved};
use crate::supervisor::programs;

/// From where an address can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// From this machine.
    Machine,
    /// From a private network.
    Private,
    /// Perhaps from anywhere.
    Everywhere,
}

/// From where a server that listens on this address can be reached. What a name stands
/// for can change.
pub fn reach(listen: &str) -> Reach {
    let address = match listen.parse::<IpAddr>() {
        Ok(address) => address.to_canonical(),
        Err(_) if listen.eq_ignore_ascii_case("localhost") => return Reach::Machine,
        Err(_) => return Reach::Everywhere,
    };
    let is_private = match address {
        IpAddr::V4(v4) => {
            let [first, second, ..] = v4.octets();
            // Addresses behind a carrier's translation, which VPNs use as well.
            let shared = first == 100 && second & 0xc0 == 64;
            v4.is_private() || v4.is_link_local() || shared
        }
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_unicast_link_local(),
    };
    match address.is_loopback() {
        true => Reach::Machine,
        false if is_private => Reach::Private,
        false => Reach::Everywhere,
    }
}

/// Refuses an address that would expose the job server anew without `--expose`.
pub fn refuse(host: &HostResolved, listens_now: Option<&str>) -> Result<(), Problem> {
    let exposes = host.roles.contains(&Role::Server) && reach(&host.listen) == Reach::Everywhere;
    if !exposes || host.expose || listens_now == Some(&host.listen) {
        return Ok(());
    }
    let what = format!("let the job server listen on {}", host.listen);
    let why = "it is not an address of this machine alone or of a private network, and gearmand has no passwords: anybody who reaches it can take and cancel jobs, and run any hook of a site without seal = true";
    Err(Problem::usage(what, why).help(
        "listen on an address of a private network or VPN; or add --expose, and admit only the hosts of workers and pages in a firewall",
    ))
}

/// Refuses firewall rules that this host cannot load.
pub fn refuse_firewall(
    host: &Host,
    platform: &Platform,
    resolved: &HostResolved,
) -> Result<(), Problem> {
    if resolved.firewall.is_empty() {
        return Ok(());
    }
    let what = "close the job server's port to other hosts (--firewall)";
    if platform.init != Init::Systemd {
        let why = "systemd has to load the rules, and it is not this host's init system";
        return Err(Problem::new(what, why)
            .help("omit --firewall, and run the commands that the plan prints"));
    }
    if host.live() && host.may_filter_packets() == Some(false) {
        let why = "this container may not filter packets (it lacks CAP_NET_ADMIN)";
        return Err(Problem::new(what, why).help(
            "omit --firewall, and close the port on the machine that the container runs on",
        ));
    }
    let firewall = host.firewall().unwrap_or(Firewall::Nftables);
    if firewall.admission().is_some_and(|it| !it.can_admit(host)) {
        let why = format!("this {firewall} has no policies, which it needs to admit the peers");
        return Err(Problem::new(what, why)
            .help("omit --firewall, and run the commands that the plan prints"));
    }
    Ok(())
}

/// What the person who runs setup should know about who reaches what.
pub fn notes(host: &Host, resolved: &Resolved) -> Vec<String> {
    let own = &resolved.host;
    let mut notes = Vec::new();
    let reach = reach(&own.listen);
    if own.roles.contains(&Role::Server) && reach != Reach::Machine && own.firewall.is_empty() {
        let whom = match reach {
            Reach::Private => format!("everyone in the network of {}", own.listen),
            _ if own
                .listen
                .parse::<IpAddr>()
                .is_ok_and(|it| it.is_unspecified()) =>
            {
                "every network of this host".to_owned()
            }
            _ => format!("everyone who reaches {}", own.listen),
        };
        notes.push(format!(
            "port {} is open to {whom}: gearmand has no passwords, so they can take and cancel jobs, and run any hook of a site without seal = true",
            own.port
        ));
        notes.push(format!(
            "admit only the hosts of workers and pages to it, each as PEER: {}",
            admission(host, own.port, own.listen.parse().ok())
        ));
    }
    notes.extend(neighbours(host, resolved));
    notes.extend(common_users(&own.owners).into_iter().map(|(uid, owners)| {
        format!(
            "{} serves pages of {}, so it reaches the job servers of all of them: give each a php-fpm pool with a user of its own",
            host.user_name(uid),
            list(&owners)
        )
    }));
    notes.extend(shared_pools(host, resolved));
    notes
}

/// The commands of this host's firewall that admit only peers to a server that listens
/// on this address, or on a name.
pub fn admission(host: &Host, port: u16, address: Option<IpAddr>) -> String {
    // On all addresses, peers come by IPv4 as well.
    let is_v6 = |it: IpAddr| it.to_canonical().is_ipv6() && !it.is_unspecified();
    let firewall = host.firewall().unwrap_or(Firewall::Nftables);
    firewall.admits_only_a_peer(port, address.is_some_and(is_v6))
}

/// Sites of different users on this host's job server: those at hand, and those whose
/// workers the host has.
pub fn neighbours(host: &Host, resolved: &Resolved) -> Option<String> {
    let own = &resolved.host;
    if !own.roles.contains(&Role::Server) {
        return None;
    }
    let server = own.own_server();
    let uses_it = |site: &&SiteResolved| site.effective_servers().contains(&server);
    let sites = resolved.sites.iter().filter(uses_it);
    let mut users: BTreeSet<String> = sites.map(|site| site.user.clone()).collect();
    let here = |site: &PathBuf| resolved.sites.iter().any(|it| it.dir == *site);
    let programs = programs::all(host, own.supervisor).unwrap_or_default();
    for (site, program) in by_site(programs) {
        let servers = program.servers().unwrap_or_default();
        if !here(&site) && servers.contains(&server) {
            users.extend(program.get("user").map(str::to_owned));
        }
    }
    let users: BTreeSet<&str> = users.iter().map(String::as_str).collect();
    (users.len() > 1).then(|| {
        format!(
            "sites of {} share one job server: each of these users can take or cancel the others' jobs",
            users.into_iter().collect::<Vec<_>>().join(", ")
        )
    })
}

/// Users who are admitted to the job servers of several owners, with these.
fn common_users(servers: &[JobServer]) -> BTreeMap<u32, BTreeSet<&str>> {
    let mut users: BTreeMap<u32, BTreeSet<&str>> = BTreeMap::new();
    for server in servers {
        for uid in &server.admits {
            users.entry(*uid).or_default().insert(&server.owner);
        }
    }
    users.retain(|_, owners| owners.len() > 1);
    users
}

/// Sites of different owners whose code runs as one user.
pub fn shared_pools(host: &Host, resolved: &Resolved) -> Vec<String> {
    let users: BTreeSet<&str> = resolved.sites.iter().map(|it| it.user.as_str()).collect();
    let mut found = Vec::new();
    for user in users {
        let sites = resolved.sites.iter().filter(|site| site.user == user);
        let owner = |site: &SiteResolved| match host.look_through(&site.dir) {
            Ok(Node::Directory(meta)) if meta.uid != 0 => Some(host.user_name(meta.uid)),
            _ => None,
        };
        let owners: BTreeSet<String> = sites.filter_map(owner).collect();
        // What belongs to the user itself was given to the web server.
        let owners: BTreeSet<&str> = owners.iter().map(String::as_str).collect();
        if owners.iter().filter(|owner| **owner != user).count() > 1 {
            found.push(format!(
                "the code of sites that belong to {} runs as {user}: each can read the others' passwords and salts, and submit and run their jobs",
                list(&owners)
            ));
        }
    }
    found
}

fn list(names: &BTreeSet<&str>) -> String {
    let names: Vec<&str> = names.iter().copied().collect();
    match names.split_last() {
        Some((last, [])) => (*last).to_owned(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_who_serves_pages_of_several_owners_is_known() {
        let server = |owner: &str, admits: &[u32]| JobServer {
            owner: owner.into(),
            port: 4731,
            admits: admits.iter().copied().collect(),
        };
        let alone = [server("a", &[1]), server("b", &[2])];
        assert!(common_users(&alone).is_empty());
        let shared = [server("a", &[1, 33]), server("b", &[2, 33])];
        let expected = BTreeMap::from([(33, BTreeSet::from(["a", "b"]))]);
        assert_eq!(common_users(&shared), expected);
    }

    #[test]
    fn addresses_are_of_the_machine_private_or_reached_from_everywhere() {
        for (listen, expected) in [
            ("127.0.0.1", Reach::Machine),
            ("127.1.2.3", Reach::Machine),
            ("::1", Reach::Machine),
            ("::ffff:127.0.0.1", Reach::Machine),
            ("localhost", Reach::Machine),
            ("10.0.0.5", Reach::Private),
            ("172.31.0.1", Reach::Private),
            ("172.32.0.1", Reach::Everywhere),
            ("192.168.1.1", Reach::Private),
            ("169.254.0.1", Reach::Private),
            ("100.64.0.1", Reach::Private),
            ("100.128.0.1", Reach::Everywhere),
            ("fd00::1", Reach::Private),
            ("fe80::1", Reach::Private),
            ("::ffff:10.0.0.5", Reach::Private),
            ("0.0.0.0", Reach::Everywhere),
            ("::", Reach::Everywhere),
            ("203.0.113.5", Reach::Everywhere),
            ("2001:db8::1", Reach::Everywhere),
            ("queue.example", Reach::Everywhere),
        ] {
            assert_eq!(reach(listen), expected, "{listen}");
        }
    }
}
