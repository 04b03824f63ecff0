//! The wizard on a booted host, answered through a terminal, compared with the same
//! setup by options on another host.

use std::time::Duration;

use crate::common::terminal::Terminal;
use crate::harness::{Host, Site, Tree, site};
use crate::support::{everything, fresh_host, jobs_run, none};

const PATIENCE: Duration = Duration::from_secs(90);
const ENTER: &str = "\r";

const SAME: &str = "wp-gears setup --site /var/www/site --workers 2 --queue sqlite --yes";

#[test]
fn the_wizard_makes_the_same_host_as_the_options_that_it_tells_at_the_end() {
    let (asked, given) = std::thread::scope(|scope| {
        let given = scope.spawn(|| {
            let host = fresh_host("given");
            host.run(&SAME.split(' ').collect::<Vec<_>>()).exits(0);
            host
        });
        let asked = fresh_host("wizard");
        stopped_while_packages_come(&asked);
        by_answers(&asked);
        (asked, given.join().unwrap())
    });
    none(tree(&given).changes_to(&tree(&asked)), "other by answers");
    assert_eq!(config(&given), config(&asked));
    jobs_run(&Site::first(&asked), 3);
}

/// A host with the wizard, up to its first question.
fn wizard(host: &Host) -> Terminal {
    let mut command = host.command(&["wp-gears", "setup"]);
    command.env("TERM", "xterm-256color");
    let mut terminal = Terminal::run(command, 80, 24);
    terminal.patience = PATIENCE;
    terminal
}

fn wait(terminal: &Terminal, text: &str) -> String {
    let screen = terminal.wait_for(text);
    println!("{screen}\n{}", "-".repeat(80));
    screen
}

/// Presses Enter at each question, up to the plan.
fn suggested(terminal: &mut Terminal) -> String {
    let screen = wait(terminal, "Which sites?");
    let site = r#"[x] /var/www/site  "Test", WordPress 6.1.9, no plugin yet"#;
    assert!(screen.contains(site), "{screen}");
    terminal.keys(ENTER);
    let screen = wait(terminal, "How many workers?");
    assert!(screen.contains("GB)."), "{screen}");
    terminal.keys(ENTER);
    wait(terminal, "Where should queued jobs");
    terminal.keys(ENTER);
    wait(terminal, "Is this right?");
    terminal.keys(ENTER);
    wait(terminal, "Apply these changes?")
}

/// The package manager finishes its work, and nothing follows.
fn stopped_while_packages_come(host: &Host) {
    let mut terminal = wizard(host);
    let screen = suggested(&mut terminal);
    assert!(screen.contains("gearman-job-server"), "{screen}");
    terminal.keys("y");
    terminal.wait_until("what apt does", |screen| {
        screen.contains("install packages Unpacking") || screen.contains("install packages Setting")
    });
    // The key would kill the program that entered the host, along with the terminal.
    let pids = host.processes_of("wp-gears setup");
    let inside = pids.iter().find(|it| it.command.starts_with("wp-gears"));
    let pid = inside.unwrap().pid.to_string();
    host.run(&["kill", "-INT", &pid]).exits(0);
    wait(&terminal, "Stopping after this step");
    let screen = wait(&terminal, "to undo.");
    assert!(screen.contains("✓ install packages"), "{screen}");
    assert!(screen.contains("Stopped after 1 of "), "{screen}");
    assert_eq!(terminal.ends().code(), Some(130));
    host.run(&["dpkg", "--audit"]).exits(0);
}

/// Waits for the end, with the test job and the equivalent command line.
fn by_answers(host: &Host) {
    let mut terminal = wizard(host);
    suggested(&mut terminal);
    terminal.keys("y");
    let screen = wait(&terminal, "setup --yes'.");
    assert!(screen.contains("verified with a test job"), "{screen}");
    assert!(screen.contains(&format!("\n  {SAME}\n")), "{screen}");
    assert!(terminal.sent().contains("submitted after"));
    assert!(terminal.ends().success());
}

/// Everything except random values and traces of how it was set up.
fn tree(host: &Host) -> Tree {
    everything(host)
        .without("/var/lib/wp-gears/state")
        .without(&format!("{}/wp-config.php", site::FOLDER))
}

fn config(host: &Host) -> String {
    let text = host
        .read(&format!("{}/wp-config.php", site::FOLDER))
        .unwrap();
    let salt = regex::Regex::new("'WP_ASYNC_TASK_SALT', '[^']+'").unwrap();
    salt.replace_all(&text, "SALT").into_owned()
}
