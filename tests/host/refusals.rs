//! What setup refuses, it refuses before it changes anything.

use crate::harness::{Site, site};
use crate::support::{SECOND, add_second, on_both, ready_host, refused};

#[test]
fn bad_input_is_refused_before_anything_changes() {
    let host = ready_host("refusals");
    let setup = |site| vec!["wp-gears", "setup", "--site", site, "--yes"];

    refused(&host, &setup("/var/www/none"), 1, &["/var/www/none"]);
    host.run(&["mkdir", "/var/www/empty"]).ok();
    refused(
        &host,
        &setup("/var/www/empty"),
        1,
        &["/var/www/empty", "WordPress"],
    );

    let unknown = [&setup(site::FOLDER)[..], &["--wrokers", "3"]].concat();
    refused(&host, &unknown, 2, &["--wrokers"]);
    let wrong = [&setup(site::FOLDER)[..], &["--workers", "some"]].concat();
    refused(&host, &wrong, 2, &["--workers", "some"]);

    // Standard input is no terminal here.
    let asks = ["wp-gears", "setup", "--site", site::FOLDER];
    refused(&host, &asks, 1, &["--yes"]);

    let user = [
        &["runuser", "-u", site::USER, "--"],
        &setup(site::FOLDER)[..],
    ]
    .concat();
    refused(&host, &user, 1, &["root"]);

    let root_worker = [&setup(site::FOLDER)[..], &["--worker-user", "root"]].concat();
    refused(&host, &root_worker, 1, &["root"]);

    // Another program on the job server's port.
    host.run(&["systemctl", "stop", "gearman-job-server"]).ok();
    let other = "systemd-run --quiet --unit=other php -S 127.0.0.1:4730";
    host.shell(&format!("{other} && sleep 1")).ok();
    refused(&host, &setup(site::FOLDER), 1, &["4730", "php"]);
    host.shell("systemctl stop other; systemctl start gearman-job-server")
        .ok();

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
}
