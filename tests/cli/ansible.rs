//! The Ansible collection in `contrib/ansible`, with real Ansible.

use std::fs;
use std::process::{Command, Output};

use crate::controller::{Controller, collection, succeeds};
use crate::root::{Root, SITE, text};

/// Runs a task of the module on this machine, on a root.
fn task(controller: &Controller, root: &Root, parameters: &str, args: &[&str]) -> Output {
    let indented = parameters.replace('\n', "\n        ");
    let playbook = controller.home.path().join("playbook.yml");
    let task = format!(
        "- hosts: localhost\n  connection: local\n  gather_facts: false\n  tasks:\n    - wp_gears.wp_gears.wp_gears:\n        executable: {}\n        root: {}\n        {indented}\n",
        env!("CARGO_BIN_EXE_wp-gears"),
        root.path().display(),
    );
    fs::write(&playbook, task).unwrap();
    controller
        .command("ansible-playbook")
        .env("ANSIBLE_COLLECTIONS_PATH", controller.home.path())
        .env("ANSIBLE_LOCALHOST_WARNING", "false")
        .env("ANSIBLE_INVENTORY_UNPARSED_WARNING", "false")
        .args(args)
        .arg(&playbook)
        .output()
        .unwrap()
}

#[test]
fn ansible_lint_finds_nothing() {
    let controller = Controller::new();
    // ansible-lint finds a collection's own modules only where it is installed.
    let work = controller.home.path().join("work");
    succeeds(
        Command::new("cp")
            .arg("-r")
            .args([collection(), work.clone()])
            .output(),
    );
    let built = controller.home.path().join("built");
    let mut build = controller.command("ansible-galaxy");
    build
        .args(["collection", "build", "--output-path"])
        .arg(&built);
    succeeds(build.current_dir(&work).output());
    let archive = fs::read_dir(&built)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let mut install = controller.command("ansible-galaxy");
    succeeds(
        install
            .args(["collection", "install"])
            .arg(archive)
            .output(),
    );
    let mut lint = controller.command("ansible-lint");
    lint.args(["--offline", "--profile", "production"]);
    let found = succeeds(lint.current_dir(&work).output());
    assert!(found.contains("0 failure(s), 0 warning(s)"), "{found}");
}

const TASK: &str = "\
host:
  queue: memory
  port: 4731
sites:
  - dir: /var/www/site
    workers: 3
    job_retries: 5
salts:
  /var/www/site: Geheim123456";

#[test]
fn a_task_sets_up_and_then_changes_nothing() {
    let (controller, root) = (Controller::new(), Root::new());
    let before = root.tree();

    let checked = text(&task(&controller, &root, TASK, &["--check", "--diff"]));
    assert!(checked.contains("changed=1"), "{checked}");
    assert!(checked.contains("+workers = 3"), "{checked}");
    assert!(
        checked.contains("+define( 'WP_ASYNC_TASK_SALT', '••••' );"),
        "{checked}"
    );
    assert_eq!(root.tree(), before, "check mode changed something");

    let done = text(&task(&controller, &root, TASK, &["-vvv"]));
    assert!(done.contains("changed=1"), "{done}");
    assert!(!done.contains("Geheim123456"), "{done}");
    let file = root.get("/etc/wp-gears.toml");
    assert!(
        file.contains("port = 4731") && file.contains("job-retries = 5"),
        "{file}"
    );
    assert!(
        root.get(&format!("{SITE}/wp-config.php"))
            .contains("'Geheim123456'")
    );

    let set_up = root.tree();
    for args in [&[][..], &["--check"]] {
        let again = text(&task(&controller, &root, TASK, args));
        assert!(
            again.contains("changed=0") && again.contains("failed=0"),
            "{again}"
        );
    }
    assert_eq!(root.tree(), set_up);

    let absent = "state: absent\npurge: true";
    let checked = text(&task(&controller, &root, absent, &["--check", "--diff"]));
    assert!(checked.contains("changed=1"), "{checked}");
    assert!(checked.contains("-port = 4731"), "{checked}");
    assert_eq!(root.tree(), set_up, "check mode changed something");
    let done = text(&task(&controller, &root, absent, &[]));
    assert!(done.contains("changed=1"), "{done}");
    assert_eq!(root.tree(), before);
    let again = text(&task(&controller, &root, absent, &[]));
    assert!(
        again.contains("changed=0") && again.contains("failed=0"),
        "{again}"
    );
}

#[test]
fn what_wp_gears_refuses_fails_the_task_with_its_words() {
    let (controller, root) = (Controller::new(), Root::new());
    for (parameters, why) in [
        ("host: {queu: memory}", "there is no option 'queu'"),
        ("host: {queu: memory}", "did you mean 'queue'?"),
        ("sites: [{dir: /nowhere}]", "/nowhere"),
        ("sites: [{workers: 2}]", "each of 'sites' needs 'dir'"),
        (
            "salts: {/srv/b: x}",
            "'salts' names folders that are not in 'sites'",
        ),
    ] {
        let before = root.tree();
        let failed = text(&task(&controller, &root, parameters, &[]));
        assert!(failed.contains("failed=1"), "{failed}");
        assert!(failed.replace("\\n", "\n").contains(why), "{failed}");
        assert_eq!(root.tree(), before);
    }
}
