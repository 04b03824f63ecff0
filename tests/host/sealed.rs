//! Sealed jobs on a host: a local user without a site can submit and read none.

use std::time::Duration;

use crate::harness::{Host, Site, site};
use crate::phase::phase;
use crate::support::{SECOND, add_second, jobs_run, on_both, on_site, ready_host, until};

/// What a local user can send: 100 jobs to a function, in the sites' own format.
const INJECT: &str = r#"<?php
$client = new GearmanClient(); $client->addServers('127.0.0.1:4730');
for ($n = 1; $n <= 100; $n++) {
    $client->doBackground($argv[1], json_encode(['hook' => 'test_job', 'args' => ['n' => $n], 'blog_id' => null]));
}
echo 'submitted';"#;

/// Everything that the job server reads and writes, into a file.
const TRACE: &str = "strace -f -qq -e trace=read,recvfrom,sendto,write -s 100000 -o /root/trace -p $(pidof gearmand) >/dev/null 2>&1 </dev/null &
    echo $! >/root/strace.pid
    timeout 20 sh -c 'until grep -q TracerPid:.[1-9] /proc/$(pidof gearmand)/status; do :; done'";

fn has_only_sealed(host: &Host, name: &str) -> bool {
    let marker = format!("/var/lib/wp-gears/run/{name}/seal-only");
    host.run(&["test", "-e", &marker]).code == 0
}

/// Sent as a user who knows the function, and has neither site.
fn inject(host: &Host, folder: &str) {
    // The function's name, which the sites' salts keep from her, as if she had it.
    let code = format!(
        "define('WP_GEARS_ASK', true); require '{folder}/wp-load.php'; echo WP_ASYNC_TASK_SALT . ':WP_Async_Task';"
    );
    let function = host.shell(&format!(
        "setpriv --reuid $(stat -c %u {folder}) --regid $(stat -c %g {folder}) --clear-groups php -r \"{code}\""
    ));
    let function = function.ok();
    let sent = host.as_user("mallory", &["php", "/srv/inject.php", function.trim()]);
    assert_eq!(sent.ok(), "submitted");
}

#[test]
fn nobody_else_submits_or_reads_a_sites_jobs() {
    let host = ready_host("sealed");
    host.shell("apt-get update -q && apt-get install -qy strace")
        .ok();
    host.run(&["useradd", "-m", "mallory"]).ok();
    host.put("/srv/inject.php", INJECT, 0o644).unwrap();
    add_second(&host);
    host.run(&on_both("setup")).exits(0);
    let sites = [
        Site::first(&host),
        Site {
            host: &host,
            folder: SECOND,
            user: "second",
        },
    ];

    phase("the arguments are nowhere");
    jobs_run(&sites[0], 5);
    host.run(&["wp-gears", "pause"]).exits(0);
    let secret = "reset-link-4711";
    let page = format!("{}/send.php", site::FOLDER);
    let text = format!(
        "<?php require 'wp-load.php'; wp_async_task_add('test_job', ['n' => 7, 'link' => '{secret}']); echo 'sent';"
    );
    host.put(&page, &text, 0o644).unwrap();
    sites[0].forget_done();
    host.shell(TRACE).ok();
    assert_eq!(sites[0].get("http://localhost/send.php").0, 200);
    let seen = host
        .shell(&format!(
            "grep -rlaF {secret} /var/lib/gearman* /var/log /var/lib/wp-gears || true; journalctl --no-pager | grep -F {secret} || true"
        ))
        .ok();
    assert_eq!(seen, "");
    host.run(&["wp-gears", "resume"]).exits(0);
    assert_eq!(sites[0].wait_for(1, Duration::from_secs(30)), [7]);
    host.shell("kill $(cat /root/strace.pid)").ok();
    let packets = host.read("/root/trace").unwrap();
    assert!(packets.contains("WP_Async_Task"), "the traffic was seen");
    assert!(!packets.contains(secret) && !packets.contains("test_job"));

    phase("only sealed jobs");
    until(150, "both sites run only sealed jobs", || {
        has_only_sealed(&host, "site") && has_only_sealed(&host, "second")
    });
    let doctor = host.run(&["wp-gears", "doctor", "seal"]).exits(0);
    assert!(
        doctor.stdout.contains("only sealed jobs are run"),
        "{doctor}"
    );
    for (site, name) in sites.iter().zip(["site", "second"]) {
        site.forget_done();
        inject(&host, site.folder);
        until(120, "all are refused", || {
            let log = format!("/var/log/wp-gears/{name}.log");
            host.read(&log).unwrap().matches(" refused: ").count() == 100
        });
        // 0 of 100.
        assert_eq!(host.run(&["test", "-e", "/srv/jobs/done"]).code, 1);
        jobs_run(site, 5);
    }
    let doctor = host.run(&["wp-gears", "doctor", "failed-jobs"]);
    assert!(doctor.stdout.contains("100 refused"), "{doctor}");

    phase("off, and away");
    on_site(&host, "setup", &["--seal", "false"]).exits(0);
    jobs_run(&sites[0], 3);
    on_site(&host, "remove", &[]).exits(0);
    let left = host.shell("ls /var/www/site/wp-content/mu-plugins/wp-gears* || true");
    assert!(!left.ok().contains("wp-gears-seal"));
}

#[test]
fn keys_that_differ_between_pages_and_workers_are_named() {
    let host = ready_host("two-keys");
    // As from a variable that only the web server's PHP has.
    host.shell(&format!(
        "sed -i \"1a define( 'AUTH_KEY', 'cli' === PHP_SAPI ? 'a key for the command line, 0123456789' : 'a key for web requests, 9876543210' );\" {}/wp-config.php
         sed -i \"/'AUTH_KEY', *'put your/d\" {}/wp-config.php",
        site::FOLDER,
        site::FOLDER
    ))
    .ok();
    let setup = host.run(&["wp-gears", "setup", "--site", site::FOLDER, "--yes"]);
    assert_eq!(setup.code, 1, "{setup}");
    let why = "the page seals jobs with other secret keys";
    assert!(setup.stderr.contains(why), "{setup}");
    // Its switch is taken back.
    let config = host
        .read(&format!("{}/wp-config.php", site::FOLDER))
        .unwrap();
    assert!(!config.contains("WP_GEARS"), "{config}");
}
