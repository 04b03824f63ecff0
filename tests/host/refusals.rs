//! Setup refuses before it changes anything.

use crate::harness::{Site, site};
use crate::phase::phase;
use crate::support::{SECOND, add_second, on_both, ready_host, refused};

#[test]
fn bad_input_is_refused_before_anything_changes() {
    let host = ready_host("refusals");
    let setup = |site| vec!["wp-gears", "setup", "--site", site, "--yes"];

    phase("folders without a site");
    refused(&host, &setup("/var/www/none"), 1, &["/var/www/none"]);
    host.run(&["mkdir", "/var/www/empty"]).ok();
    refused(
        &host,
        &setup("/var/www/empty"),
        1,
        &["/var/www/empty", "WordPress"],
    );

    phase("wrong options");
    let unknown = [&setup(site::FOLDER)[..], &["--wrokers", "3"]].concat();
    refused(&host, &unknown, 2, &["--wrokers"]);
    let wrong = [&setup(site::FOLDER)[..], &["--workers", "some"]].concat();
    refused(&host, &wrong, 2, &["--workers", "some"]);

    phase("no terminal");
    // Standard input is not a terminal here.
    let asks = ["wp-gears", "setup", "--site", site::FOLDER];
    refused(&host, &asks, 1, &["--yes"]);

    phase("without root");
    let user = [
        &["runuser", "-u", site::USER, "--"],
        &setup(site::FOLDER)[..],
    ]
    .concat();
    refused(&host, &user, 1, &["root"]);

    let root_worker = [&setup(site::FOLDER)[..], &["--worker-user", "root"]].concat();
    refused(&host, &root_worker, 1, &["root"]);

    phase("a PHP without json or fork");
    // PHPs that lack something that jobs need: this PHP, with a function renamed.
    for (name, part) in [("php-no-json", "json"), ("php-no-fork", "pcntl_fork")] {
        let other = part.replace('o', "0");
        let changed = format!("s/{part}\\x00/{other}\\x00/g");
        host.shell(&format!(
            "sed '{changed}' /usr/bin/php8.2 >/usr/local/bin/{name}; chmod +x /usr/local/bin/{name}"
        ))
        .ok();
    }
    let no_json = [
        &setup(site::FOLDER)[..],
        &["--php", "/usr/local/bin/php-no-json"],
    ]
    .concat();
    refused(&host, &no_json, 1, &["has no json", "php-no-json"]);
    let no_fork = [
        &setup(site::FOLDER)[..],
        &["--php", "/usr/local/bin/php-no-fork"],
    ]
    .concat();
    let fork = [&no_fork[..], &["--worker-mode", "fork"]].concat();
    refused(&host, &fork, 1, &["has no pcntl", "--worker-mode"]);

    phase("another program on the port");
    // Another program on the job server's port.
    host.run(&["systemctl", "stop", "gearman-job-server"]).ok();
    let other = "systemd-run --quiet --unit=other php -S 127.0.0.1:4730";
    host.shell(&format!("{other} && sleep 1")).ok();
    refused(&host, &setup(site::FOLDER), 1, &["4730", "php"]);
    host.shell("systemctl stop other; systemctl start gearman-job-server")
        .ok();

    phase("two sites with one salt");
    // Two sites that would run each other's jobs.
    add_second(&host);
    for folder in [site::FOLDER, SECOND] {
        let salt =
            "sed -i \"s/^\\(\\/\\* That's all\\)/define('WP_ASYNC_TASK_SALT', 'same');\\n\\1/\"";
        host.shell(&format!(
            "{salt} {folder}/wp-config.php; grep -q same {folder}/wp-config.php"
        ))
        .ok();
    }
    refused(&host, &on_both("setup"), 1, &["salt", site::FOLDER, SECOND]);

    assert_eq!(Site::first(&host).get("http://localhost/").0, 200);

    phase("spawn where PHP cannot fork");
    // If fork was not requested, each job gets its own PHP process.
    let salt = "sed -i '/WP_ASYNC_TASK_SALT/d' /var/www/site/wp-config.php";
    host.shell(salt).ok();
    let spawned = host.run(&no_fork).exits(0);
    assert!(spawned.stdout.contains("(spawn)"), "{spawned}");
}
