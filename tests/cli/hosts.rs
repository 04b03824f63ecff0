//! One `/etc/wp-gears.toml` for all hosts of a fleet.

use std::os::unix::fs::PermissionsExt;

use crate::intent::{INTENT, is_settled, setup};
use crate::root::{PARAMS, Root, SITE, code, text};

/// What is on every host.
const SHARED: &str = "# the fleet
servers = [\"10.0.0.5:4730\"] # jobs1

[[site]]
dir = \"/var/www/site\"
salt = \"SaltOfTheFleet\"

[[host]]
match = \"jobs?\"
role = [\"server\"]
listen = \"10.0.0.5\"

[[host]]
match = \"worker*\"
role = [\"worker\"]
workers = 3 # each

[[host]]
match = [\"web1\", \"web2\"]
role = [\"web\"]
";

fn host(name: &str) -> Root {
    let root = Root::new();
    root.put("/etc/hostname", &format!("{name}\n"));
    root.put(INTENT, SHARED);
    root
}

#[test]
fn each_host_does_its_part_of_a_shared_file() {
    for name in ["jobs1", "worker7.example.com", "web2"] {
        let root = host(name);
        let before = root.tree();
        setup(&root, &[]);
        is_settled(&root);
        assert_eq!(root.get(INTENT), SHARED, "{name}");
        let (serves, works) = (name == "jobs1", name.starts_with("worker"));
        let options = root.get("/etc/default/gearman-job-server");
        assert_eq!(options.contains("--listen=10.0.0.5"), serves, "{options}");
        let program = "/etc/supervisor/conf.d/wp-gears-site.conf";
        assert_eq!(root.at(program).exists(), works, "{name}");
        let switched = root.get(&format!("{SITE}/wp-config.php"));
        assert_eq!(switched.contains("SaltOfTheFleet"), !serves, "{switched}");
        if works {
            let settings = root.get("/var/lib/wp-gears/run/site.settings.toml");
            assert!(settings.contains("workers = 3"), "{settings}");
        }
        let output = root.run(&["remove", "--yes", "--purge"]);
        assert_eq!(code(&output), 0, "{}", text(&output));
        // The site's table is taken out, as by each removal, and those of hosts stay.
        assert!(root.get(INTENT).contains("match = \"worker*\""), "{name}");
        root.put(INTENT, SHARED);
        assert_eq!(root.tree(), before, "{name}");
    }
}

#[test]
fn what_one_host_is_asked_goes_into_its_own_table() {
    let root = host("worker7");
    setup(&root, &["--site", SITE, "--workers", "5", "--port", "4731"]);
    is_settled(&root);
    let written = root.get(INTENT);
    let own = "\n[[host]]\nmatch = \"worker7\"\nport = 4731\n\n[[host.site]]\ndir = \"/var/www/site\"\nworkers = 5\n";
    assert_eq!(written.replace(own, ""), SHARED, "{written}");
    // The other hosts can have that file too.
    let other = host("worker8");
    setup(&other, &[]);
    other.put(INTENT, &written);
    let output = other.run(&["plan", "--check"]);
    assert_eq!(code(&output), 0, "{}", text(&output));
    let output = root.run(&["remove", "--yes", "--purge"]);
    assert_eq!(code(&output), 0, "{}", text(&output));
    let left = root.get(INTENT);
    assert!(
        !left.contains("worker7") && left.contains("workers = 3 # each"),
        "{left}"
    );
}

#[test]
fn a_shared_file_that_does_not_say_what_a_host_does_is_refused() {
    let root = host("worker7");
    for (more, says) in [
        (
            "[[host]]\nmatch = \"*7\"\nworkers = 4\n",
            "set 'workers' differently",
        ),
        (
            "[[host]]\nmatch = \"web1\"\n[[host]]\nmatch = \"web1\"\n",
            "two [[host]] tables have match = \"web1\"",
        ),
        (
            "[[host]]\nmatch = \"x\"\nrol = [\"web\"]\n",
            "did you mean 'role'?",
        ),
        ("[[host]]\nrole = [\"web\"]\n", "each [[host]] needs match"),
    ] {
        root.put(INTENT, &format!("{SHARED}{more}"));
        let before = root.tree();
        let output = root.run(&["setup", "--yes"]);
        assert_eq!(code(&output), 2, "{}", text(&output));
        let shown = text(&output).replace('\n', " ");
        let shown = shown.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(shown.contains(says) && shown.contains("line "), "{shown}");
        assert_eq!(root.tree(), before);
    }
    // A host that no table is for does not become a fleet of its own.
    let stranger = host("db1");
    let before = stranger.tree();
    for words in [&["setup", "--yes"][..], &["plan"]] {
        let output = stranger.run(words);
        assert_eq!(code(&output), 2, "{}", text(&output));
        let said = text(&output)
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ");
        assert!(said.contains("match = \"db1\""), "{said}");
    }
    assert_eq!(stranger.tree(), before);
    setup(&stranger, &["--role", "worker"]);
    is_settled(&stranger);
    // Without a name, no table can be chosen.
    let nameless = Root::new();
    nameless.put(INTENT, SHARED);
    let output = nameless.run(&["plan"]);
    assert_eq!(code(&output), 2, "{}", text(&output));
    assert!(text(&output).contains("/etc/hostname"), "{}", text(&output));
    assert_eq!(nameless.get("/etc/default/gearman-job-server"), PARAMS);
}

#[test]
fn what_another_host_needs_is_exported_with_the_secrets_apart() {
    let root = Root::new();
    let words = ["--site", SITE, "--salt", "SaltOfTheFleet", "--workers", "7"];
    setup(&root, &words);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fleet");
    let to = path.to_str().unwrap();
    // Nobody else reaches this host's own job server.
    let output = root.run(&["setup", "--export", to]);
    assert_eq!(code(&output), 2, "{}", text(&output));
    assert!(
        text(&output).contains("listens on 127.0.0.1"),
        "{}",
        text(&output)
    );
    assert!(!path.exists());

    setup(&root, &["--listen", "10.0.0.5", "--job-timeout", "90"]);
    let before = root.tree();
    let output = root.run(&["setup", "--export", to]);
    assert_eq!(code(&output), 0, "{}", text(&output));
    assert!(
        !text(&output).contains("SaltOfTheFleet"),
        "{}",
        text(&output)
    );
    assert_eq!(root.tree(), before);
    let get = |name: &str| std::fs::read_to_string(path.join(name)).unwrap();
    let exported = get("wp-gears.toml");
    for part in [
        "role = [\"worker\"]",
        "servers = [\"10.0.0.5:4730\"]",
        "job-timeout = 90",
    ] {
        assert!(exported.contains(part), "{part}: {exported}");
    }
    assert!(
        !exported.contains("SaltOf") && !exported.contains("workers ="),
        "{exported}"
    );
    assert!(get("wp-gears.secrets.toml").contains("salt = \"SaltOfTheFleet\""));
    let secrets = path.join("wp-gears.secrets.toml");
    let mode = |of: &std::path::Path| of.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&secrets), mode(&path)), (0o600, 0o700));
    // Again, over what is there.
    assert_eq!(code(&root.run(&["setup", "--export", to])), 0);

    let other = Root::new();
    let from = format!("--from={to}");
    let set_mode = |mode| {
        std::fs::set_permissions(&secrets, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    set_mode(0o644);
    let output = other.run(&["setup", "--yes", &from]);
    assert_eq!(code(&output), 2, "{}", text(&output));
    assert!(text(&output).contains("chmod 600"), "{}", text(&output));
    set_mode(0o600);
    let before = other.tree();
    for (mistake, says) in [(SITE, "in both files"), ("salt =", "no option")] {
        let good = get("wp-gears.secrets.toml");
        std::fs::write(
            &secrets,
            good.replace(mistake, mistake.replace('s', "x").as_str()),
        )
        .unwrap();
        let output = other.run(&["setup", "--yes", &from]);
        assert_eq!(code(&output), 2, "{}", text(&output));
        assert!(text(&output).contains(says), "{}", text(&output));
        std::fs::write(&secrets, good).unwrap();
    }
    let output = other.run(&["setup", "--yes", "--from", "/nowhere"]);
    assert_eq!(code(&output), 2, "{}", text(&output));
    assert!(text(&output).contains("--export DIR"), "{}", text(&output));
    assert_eq!(other.tree(), before);
    setup(&other, &[&from, "--role", "worker,web"]);
    is_settled(&other);
    let intent = other.get(INTENT);
    assert!(intent.contains("role = [\"worker\", \"web\"]"), "{intent}");
    assert!(
        intent.contains("10.0.0.5:4730") && !intent.contains("SaltOf"),
        "{intent}"
    );
    let config = other.get(&format!("{SITE}/wp-config.php"));
    assert!(config.contains("'SaltOfTheFleet'"), "{config}");
    std::fs::remove_dir_all(&path).unwrap();
    is_settled(&other);
}
