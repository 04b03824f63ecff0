//! Deployments by release: the site is a `current` link, which is used as given, and
//! workers notice when it changes.

use std::time::{Duration, Instant};

use crate::harness::Host;
use crate::support::ready_host;

const CURRENT: &str = "/srv/shop/current";

/// A job that writes the release's name to a file.
const PLUGIN: &str = "<?php add_action( 'release', function () {
    file_put_contents( '/srv/jobs/release', 'RELEASE' );
} );";

#[test]
fn workers_follow_the_current_link() {
    let host = ready_host("releases");
    release(&host, "/var/www/site", "one");
    let setup = ["wp-gears", "setup", "--site", CURRENT, "--yes"];
    host.run(&setup).exits(0);
    let program = host
        .read("/etc/supervisor/conf.d/wp-gears-shop.conf")
        .unwrap();
    assert!(program.contains("--site /srv/shop/current "), "{program}");
    assert_eq!(job(&host, "one"), "one");

    release(&host, "/srv/shop/one", "two");
    // While jobs follow each other, workers check for changes every half second; one
    // second is promised.
    std::thread::sleep(Duration::from_millis(1100));
    let log = || host.read("/var/log/wp-gears/shop.log").unwrap_or_default();
    assert_eq!(job(&host, "two"), "two", "{}", log());
    // The new release includes what the old one had, so nothing is left to do.
    host.run(&[&setup[..], &["--no-prove"]].concat()).exits(0);
    let plan = ["wp-gears", "plan", "--site", CURRENT, "--check"];
    host.run(&plan).exits(0);
}

/// Copies a release to a new one, and makes it the current one.
fn release(host: &Host, from: &str, name: &str) {
    let folder = format!("/srv/shop/{name}");
    let link = format!("{CURRENT}.new");
    let script = format!(
        "mkdir -p /srv/shop && cp -a {from} {folder} && ln -s {folder} {link} && \
         chown -h www-data {link} && mv -T {link} {CURRENT}"
    );
    let plugin = format!("{folder}/wp-content/mu-plugins/release.php");
    host.shell(&script.replace("&& ln", &format!("&& rm -f {plugin} && ln")))
        .ok();
    host.put(&plugin, PLUGIN.replace("RELEASE", name), 0o644)
        .unwrap();
}

/// Submits the job from the current release and waits for its file.
fn job(host: &Host, wanted: &str) -> String {
    let code = "define( 'WP_GEARS_TIMEOUT', 5000 ); require '/srv/shop/current/wp-load.php'; exit( wp_async_task_add( 'release' ) ? 0 : 1 );";
    host.as_user("www-data", &["php", "-r", code]).ok();
    let began = Instant::now();
    loop {
        let now = host.read("/srv/jobs/release").unwrap_or_default();
        if now == wanted || began.elapsed() > Duration::from_secs(20) {
            return now;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}
