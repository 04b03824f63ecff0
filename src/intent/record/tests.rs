use super::*;
use crate::intent::options::{Queue, Role};
use crate::worker::workers::Workers;

const PATH: &str = "/etc/wp-gears.toml";
const NAME: &str = "worker1.example.com";

fn path() -> &'static Path {
    Path::new(PATH)
}

fn intent() -> Intent {
    Intent {
        host: HostOptions {
            role: Some(vec![Role::Worker, Role::Web]),
            servers: Some(vec!["jobs:4730".into()]),
            ..HostOptions::default()
        },
        sites: vec![(
            "/srv/a".into(),
            SiteOptions {
                workers: Some(Workers::fixed(4)),
                salt: Some("geheim".into()),
                ..SiteOptions::default()
            },
        )],
        ..Intent::default()
    }
}

#[test]
fn a_new_file_has_the_options_but_no_secret_and_reads_back() {
    let text = record(None, path(), NAME, &intent()).unwrap();
    let expected = format!(
        "{HEADER}\nrole = [\"worker\", \"web\"]\nservers = [\"jobs:4730\"]\n\n[[site]]\ndir = \"/srv/a\"\nworkers = 4\n"
    );
    assert_eq!(text, expected);
    assert_eq!(record(Some(&text), path(), NAME, &intent()).unwrap(), text);
    let read = parse(&text, path(), NAME).unwrap();
    assert_eq!(read.host, intent().host);
}

#[test]
fn new_sites_are_recorded_and_known_ones_are_not() {
    let before = "[[site]]\ndir = \"/srv/b\"\n";
    let mut wanted = intent();
    wanted.sites.push(("/srv/b".into(), SiteOptions::default()));
    let after = record(Some(before), path(), NAME, &wanted).unwrap();
    let recorded = Recorded::between(Some(before), &after, path(), NAME).unwrap();
    assert_eq!(recorded.sites, ["/srv/a".into()].into());
    let later = Recorded {
        sites: ["/srv/c".into()].into(),
        ..recorded.clone()
    };
    let both = recorded.fold(later);
    assert_eq!(both.sites, ["/srv/a".into(), "/srv/c".into()].into());
    let line = serde_json::to_string(&both).unwrap();
    assert_eq!(serde_json::from_str::<Recorded>(&line).unwrap(), both);
}

#[test]
fn what_the_user_wrote_is_kept() {
    let text = "# ours\nport = 4731 # not the usual one\nworkers = 4\n\n# the shop\n[[site]]\ndir = \"/srv/b/\"\n# two are enough\nworkers = 2\n# end\n";
    let mut wanted = intent();
    wanted.host.port = Some(4732);
    wanted.sites.push(("/srv/b".into(), SiteOptions::default()));
    let edited = record(Some(text), path(), NAME, &wanted).unwrap();
    for line in text.lines().filter(|line| !line.starts_with("port")) {
        assert!(edited.contains(line), "{line} of {edited}");
    }
    assert!(
        edited.contains("port = 4732 # not the usual one"),
        "{edited}"
    );
    // What all sites have is not written again for one.
    assert_eq!(edited.matches("workers").count(), 2, "{edited}");
    let without = without_sites(&edited, path(), NAME, &["/srv/a".into()]).unwrap();
    assert!(!without.contains("/srv/a"), "{without}");
    let gone = without_sites(&without, path(), NAME, &["/srv/b".into()]).unwrap();
    for comment in ["# the shop", "# two are enough", "# end", "# ours"] {
        assert!(gone.contains(comment), "{comment} of {gone}");
    }
    assert!(!gone.contains("[[site]]"), "{gone}");
}

#[test]
fn sites_in_an_inline_array_go_and_are_not_lost() {
    let text = "site = [{ dir = \"/srv/a\", workers = 4 }, { dir = \"/srv/b\" }]\n";
    let mut same = intent();
    same.host = HostOptions::default();
    assert_eq!(record(Some(text), path(), NAME, &same).unwrap(), text);
    // Where it cannot be written it is refused.
    same.sites[0].1.workers = Some(Workers::fixed(5));
    let error = record(Some(text), path(), NAME, &same)
        .unwrap_err()
        .to_string();
    assert!(error.contains("inline array"), "{error}");
    let one = without_sites(text, path(), NAME, &["/srv/a".into()]).unwrap();
    assert!(!one.contains("/srv/a") && one.contains("/srv/b"), "{one}");
    assert_eq!(
        without_sites(&one, path(), NAME, &["/srv/b".into()]).unwrap(),
        ""
    );
}

#[test]
fn what_was_recorded_is_restored() {
    let text = record(None, path(), NAME, &intent()).unwrap();
    let recorded = Recorded::between(None, &text, path(), NAME).unwrap();
    let without = without_sites(&text, path(), NAME, &["/srv/a".into()]).unwrap();
    assert_eq!(restore(&without, path(), NAME, &recorded).unwrap(), None);
    // With a line of the user's, the file stays.
    let edited = format!("queue = \"memory\"\n{without}# kept\n");
    let left = restore(&edited, path(), NAME, &recorded).unwrap().unwrap();
    assert!(
        left.contains("queue = \"memory\"") && left.contains("# kept"),
        "{left}"
    );
    assert!(!left.contains("role") && !left.contains("jobs"), "{left}");
}

#[test]
fn a_value_that_the_user_set_between_two_runs_is_restored() {
    let host = |port| Intent {
        host: HostOptions {
            port: Some(port),
            queue: Queue::of_type("builtin"),
            ..HostOptions::default()
        },
        ..Intent::default()
    };
    let first = record(None, path(), NAME, &host(1)).unwrap();
    let one = Recorded::between(None, &first, path(), NAME).unwrap();
    let by_hand = first.replace("port = 1", "port = 2");
    let second = record(Some(&by_hand), path(), NAME, &host(3)).unwrap();
    let two = Recorded::between(Some(&by_hand), &second, path(), NAME).unwrap();
    let both = one.fold(two);
    let left = restore(&second, path(), NAME, &both).unwrap().unwrap();
    assert!(
        left.contains("port = 2") && !left.contains("queue"),
        "{left}"
    );
}

#[test]
fn comments_at_the_top_stay_above_what_is_set() {
    let text = record(Some("# mine\n"), path(), NAME, &intent()).unwrap();
    assert!(text.starts_with("# mine\n\nrole"), "{text}");
    assert_eq!(
        record(Some("# mine\n"), path(), NAME, &Intent::default()).unwrap(),
        "# mine\n"
    );
    let role = "role = [\"worker\", \"web\"]\nservers = [\"jobs:4730\"]\n";
    let site = "[[site]]\ndir = \"/srv/a\"\nworkers = 4\n";
    for (top, of_site) in [
        (HEADER, ""),
        ("", ""),
        ("", "# the shop\n"),
        ("# ours\n\n# more\n", "# the shop\n"),
    ] {
        let gap = if top.is_empty() { "" } else { "\n" };
        let before = format!("{top}{gap}{of_site}{site}");
        let after = record(Some(&before), path(), NAME, &intent()).unwrap();
        assert_eq!(after, format!("{top}{gap}{role}\n{of_site}{site}"));
        assert_eq!(
            record(Some(&after), path(), NAME, &intent()).unwrap(),
            after
        );
    }
}

#[test]
fn rules_for_hooks_are_recorded_and_left_alone() {
    let text = "[[site]]\ndir = \"/srv/a\"\n# one after the other\n[[site.hook]]\nmatch = \"import_*\" # all\nconcurrency = 1\n\n[[site]]\ndir = \"/srv/b\"\n";
    let known = parse(text, path(), NAME).unwrap();
    let mut wanted = Intent {
        sites: vec![
            ("/srv/a".into(), SiteOptions::default()),
            ("/srv/b".into(), SiteOptions::default()),
        ],
        hooks: known.hooks.clone(),
        ..Intent::default()
    };
    assert_eq!(record(Some(text), path(), NAME, &wanted).unwrap(), text);
    let rule = HookRule {
        pattern: "mail".into(),
        rate: Some(60),
        ..HookRule::default()
    };
    wanted.hooks.insert("/srv/b".into(), vec![rule]);
    let edited = record(Some(text), path(), NAME, &wanted).unwrap();
    assert!(edited.starts_with(text), "{edited}");
    assert_eq!(parse(&edited, path(), NAME).unwrap().hooks, wanted.hooks);
    assert_eq!(
        record(Some(&edited), path(), NAME, &wanted).unwrap(),
        edited
    );
    // What people wrote stays when the site is removed.
    let left = without_sites(text, path(), NAME, &["/srv/a".into()]).unwrap();
    assert!(left.contains("# one after the other"), "{left}");
}

/// A file that hosts share.
const SHARED: &str = "# all hosts
servers = [\"jobs:4730\"] # the one

[[site]]
dir = \"/srv/a\"

# the server
[[host]]
match = \"jobs\"
role = [\"server\"]

[[host]]
match = [\"worker*\", \"web1\"] # many
role = [\"worker\", \"web\"]
workers = 2
# end
";

#[test]
fn in_a_file_that_hosts_share_only_the_own_table_changes() {
    let mut wanted = intent();
    let text = record(Some(SHARED), path(), NAME, &wanted).unwrap();
    let own = "\n[[host]]\nmatch = \"worker1\"\n\n[[host.site]]\ndir = \"/srv/a\"\nworkers = 4\n";
    assert_eq!(text.replace(own, ""), SHARED, "{text}");
    assert_eq!(record(Some(&text), path(), NAME, &wanted).unwrap(), text);
    // What is the same already is not written.
    wanted.sites[0].1.workers = Some(Workers::fixed(2));
    assert_eq!(record(Some(SHARED), path(), NAME, &wanted).unwrap(), SHARED);

    // A new option, and a new site, next to what is in the table.
    let mut more = intent();
    more.host.port = Some(4731);
    more.sites.push(("/srv/new".into(), SiteOptions::default()));
    let more_text = record(Some(&text), path(), NAME, &more).unwrap();
    for line in text.lines() {
        assert!(more_text.contains(line), "{line} of {more_text}");
    }
    for (name, port, sites) in [
        (NAME, Some(4731), 2),
        ("worker2", None, 1),
        ("jobs", None, 0),
    ] {
        let read = parse(&more_text, path(), name).unwrap();
        assert_eq!((read.host.port, read.sites.len()), (port, sites), "{name}");
    }

    // Each run is undone, and the tables of others stay.
    let one = Recorded::between(Some(SHARED), &text, path(), NAME).unwrap();
    let two = Recorded::between(Some(&text), &more_text, path(), NAME).unwrap();
    let both = one.fold(two);
    let line = serde_json::to_string(&both).unwrap();
    assert_eq!(serde_json::from_str::<Recorded>(&line).unwrap(), both);
    let dirs = ["/srv/a".into(), "/srv/new".into()];
    let left = without_sites(&more_text, path(), NAME, &dirs).unwrap();
    let left = restore(&left, path(), NAME, &both).unwrap().unwrap();
    let expected = SHARED.replace("\n[[site]]\ndir = \"/srv/a\"\n", "");
    assert_eq!(left, expected);
}

#[test]
fn an_own_table_of_the_user_is_edited_and_stays() {
    let text = format!(
        "{SHARED}\n[[host]]\n# mine\nmatch = \"worker1.example.com\"\nport = 4731 # odd\n\n[[host]]\nmatch = \"z\"\n"
    );
    let mut wanted = intent();
    wanted.host.port = Some(4732);
    let after = record(Some(&text), path(), NAME, &wanted).unwrap();
    assert!(
        after.contains("port = 4732 # odd\n\n[[host.site]]"),
        "{after}"
    );
    let recorded = Recorded::between(Some(&text), &after, path(), NAME).unwrap();
    assert!(
        recorded.set.is_empty() && !recorded.made_own,
        "{recorded:?}"
    );
    let own_only = SHARED.replace("/srv/a", "/srv/other");
    assert!(
        record(Some(&own_only), path(), NAME, &wanted)
            .unwrap()
            .contains("[[host.site]]")
    );
    let left = restore(&after, path(), NAME, &recorded).unwrap().unwrap();
    assert!(
        left.contains("# mine") && left.contains("port = 4731 # odd"),
        "{left}"
    );
}
