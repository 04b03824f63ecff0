//! A newer version takes over what the one before left on a host.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use crate::intent::{INTENT, PROGRAM, is_settled, setup};
use crate::root::{CONFIG, PARAMS, Root, SETTINGS, SITE, code, text};

const SANDBOX: &str = "/etc/systemd/system/gearman-job-server.service.d/00-wp-gears-sandbox.conf";
const CONFIG_FILE: &str = "/var/www/site/wp-config.php";

/// The state that the version without the intent file left: journals and programs.
fn forget_the_intent(root: &Root) {
    std::fs::remove_file(root.at(INTENT)).unwrap();
    let journal = "/var/lib/wp-gears/state/host.jsonl";
    let lines: Vec<String> = root.get(journal).lines().map(str::to_owned).collect();
    let kept = lines
        .iter()
        .filter(|line| !line.contains("\"kind\":\"intent\""));
    let kept: Vec<&str> = kept.map(String::as_str).collect();
    assert!(kept.len() < lines.len(), "{lines:?}");
    root.put(journal, &format!("{}\n", kept.join("\n")));
}

#[test]
fn a_host_of_the_version_before_is_adopted_by_its_next_run() {
    for words in [
        &["--workers", "3", "--job-timeout", "90", "--port", "4731"][..],
        &["--role", "worker,web", "--servers", "jobs:4730,more:4731"],
    ] {
        let root = Root::new();
        root.site("/srv/b");
        setup(&root, &[&["--site", SITE], words].concat());
        setup(&root, &["--site", "/srv/b", "--workers", "1"]);
        let asked = root.get(INTENT);
        let program = root.get(PROGRAM);
        forget_the_intent(&root);
        let plan = text(&root.run(&["plan"]));
        assert!(plan.contains(&format!("create file {INTENT}")), "{plan}");
        // A run for one site records all sites.
        let one = text(&setup(&root, &["--site", SITE]));
        assert_eq!(one.matches("create ").count(), 2, "{one}"); // in the plan, and done
        assert_eq!(root.get(PROGRAM), program);
        let adopted = root.get(INTENT);
        for line in asked.lines() {
            assert!(adopted.lines().any(|it| it == line), "{line}: {adopted}");
        }
        is_settled(&root);
    }
}

#[test]
fn sites_of_the_version_before_keep_their_own_job_servers() {
    let root = Root::new();
    root.site("/srv/b");
    let role = ["--role", "worker,web", "--servers"];
    setup(
        &root,
        &[&["--site", SITE], &role[..], &["one:4730"]].concat(),
    );
    setup(
        &root,
        &[&["--site", "/srv/b"], &role[..], &["two:4730"]].concat(),
    );
    forget_the_intent(&root);
    let settings = || [SETTINGS, &SETTINGS.replace("site.", "b.")].map(|it| root.get(it));
    let before = settings();
    assert!(before[0].contains("one:4730") && before[1].contains("two:4730"));
    setup(&root, &[]);
    assert_eq!(settings(), before);
    is_settled(&root);
}

/// What the version before the intent file left on a host, its own code apart.
fn host_of_the_version_before(kind: &str) -> Root {
    let root = Root::new();
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/before");
    if kind == "pip" {
        std::fs::remove_dir_all(root.at("/etc/supervisor")).unwrap();
    }
    let copied = Command::new("cp")
        .args(["-r", "--no-preserve=all", "--"])
        .args([from.join(kind).join("."), root.path().into()])
        .status();
    assert!(copied.unwrap().success());
    root
}

#[test]
fn what_the_version_before_wrote_is_taken_over() {
    for kind in ["package", "pip"] {
        let root = host_of_the_version_before(kind);
        let etc = || {
            let mut tree = root.tree();
            tree.retain(|path, _| path.starts_with("etc") || path.ends_with("wp-config.php"));
            tree
        };
        let mut before = etc();
        setup(&root, &[]);
        let mut after = etc();
        assert!(after.remove(Path::new(&INTENT[1..])).is_some());
        for tree in [&mut before, &mut after] {
            // Only systemd reads that again: supervisord does not restart.
            tree.retain(|path, _| !path.ends_with("wp-gears-supervisor.service"));
        }
        // That is new.
        let sandbox = root.at(SANDBOX);
        assert!(sandbox.exists());
        after.remove(Path::new(&SANDBOX[1..]));

        // One program for all workers of the site.
        let is_program = |path: &Path| path.file_stem().is_some_and(|it| it == "wp-gears-site");
        let programs = [&mut before, &mut after].map(|tree| {
            let path = tree.keys().find(|it| is_program(it)).unwrap().clone();
            tree.remove(&path).unwrap()
        });
        assert!(programs[0].contains("numprocs=3") && programs[0].contains("--job-timeout 90"));
        assert!(programs[1].contains("numprocs=1") && programs[1].contains("--settings"));
        let settings = root.get(SETTINGS);
        assert!(settings.contains("workers = 3\n") && settings.contains("job-timeout = 90\n"));

        assert_eq!(after, before, "{kind}");
        let recorded = root.get(INTENT);
        assert!(recorded.contains("\nworkers = 3\njob-timeout = 90\n"));
        is_settled(&root);
        let output = root.run(&["remove", "--yes"]);
        assert_eq!(code(&output), 0, "{}", text(&output));
        assert_eq!(root.get(CONFIG_FILE), CONFIG);
        assert_eq!(root.get("/etc/default/gearman-job-server"), PARAMS);
        assert!(!root.at(INTENT).exists() && !sandbox.exists());
    }
}

#[test]
fn pages_of_the_version_before_keep_their_job_servers() {
    let root = Root::new();
    let servers = ["--role", "web", "--servers", "jobs:4730,more:1"];
    setup(&root, &[&["--site", SITE], &servers[..]].concat());
    let asked = root.get(INTENT);
    forget_the_intent(&root);
    // No program names the job servers: wp-config.php does.
    setup(&root, &[]);
    assert_eq!(root.get(INTENT), asked);
}

#[test]
fn an_installed_program_that_differs_is_replaced() {
    let root = Root::new();
    setup(&root, &["--site", SITE]);
    let path = root.at("/usr/local/lib/wp-gears/wp-gears");
    let program = std::fs::read(&path).unwrap();
    let mut other = program.clone();
    *other.last_mut().unwrap() ^= 1;
    let mode = |mode| std::fs::Permissions::from_mode(mode);
    for (bytes, bits) in [
        (&other, 0o755),
        (&program[1..].to_vec(), 0o755),
        (&program, 0o700),
    ] {
        std::fs::write(&path, bytes).unwrap();
        std::fs::set_permissions(&path, mode(bits)).unwrap();
        assert_eq!(code(&root.run(&["plan", "--check"])), 3);
        setup(&root, &[]);
        assert!(std::fs::read(&path).unwrap() == program);
        assert_eq!(path.metadata().unwrap().mode() & 0o7777, 0o755);
        is_settled(&root);
    }
}
