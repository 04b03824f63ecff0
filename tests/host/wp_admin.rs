//! What administrators see in WordPress, as the PHP of a host's web server shows it: with
//! all of PHP's complaints, of which none may be about ours.

use crate::harness::{Host, Site, site};
use crate::support::until;

const LOG: &str = "/srv/jobs/complaints";

/// Notes everything that PHP says of files of ours, also while it compiles them; and a job
/// that fails.
const LISTENER: &str = r#"<?php
ini_set( 'opcache.enable', '0' );
error_reporting( -1 );
set_error_handler( function ( $level, $text, $file, $line ) {
    if ( ( error_reporting() & $level ) && false !== strpos( $file, 'wp-gears' ) ) {
        file_put_contents( '/srv/jobs/complaints', "$level $text in $file:$line\n", FILE_APPEND );
    }
    return true;
} );
add_action( 'test_throw', function () { throw new Exception( 'it is broken' ); } );
"#;

/// The host's PHP parses each file of ours, and shows what it says of it.
const PARSE: &str = r#"set -- /usr/local/lib/wp-gears/*.php /var/www/site/wp-content/mu-plugins/wp-gears*.php \
    /var/www/site/wp-content/mu-plugins/wp-gears-*/*.php
for file; do php -d error_reporting=-1 -d display_errors=1 -d log_errors=0 -l "$file"; done |
    grep -v '^No syntax errors' | sort -u; echo "$# files""#;

/// A page, for the administrator.
#[track_caller]
fn page(host: &Host, path: &str, more: &[&str]) -> String {
    let url = format!("http://localhost/wp-{path}");
    let words = [
        "curl",
        "-sSL",
        "-m",
        "30",
        "-c",
        "/root/jar",
        "-b",
        "/root/jar",
        &url,
    ];
    host.run(&[&words[..], more].concat()).ok()
}

fn between<'a>(page: &'a str, begins: &str, ends: &str) -> &'a str {
    let (_, rest) = page
        .split_once(begins)
        .unwrap_or_else(|| panic!("no {begins} in\n{page}"));
    rest.split_once(ends).unwrap().0
}

pub fn an_administrator_sees_no_complaint_of_php(host: &Host) {
    let site = Site::first(host);
    let listener = format!("{}/wp-content/mu-plugins/0-listener.php", site::FOLDER);
    host.put(&listener, LISTENER, 0o644).unwrap();
    let parsed = host.shell(PARSE).ok();
    assert!(
        parsed.lines().count() == 1 && parsed.ends_with(" files\n"),
        "{parsed}"
    );
    let code = "require '/var/www/site/wp-load.php'; wp_async_task_add('test_throw', []);";
    host.as_user(site.user, &["php", "-r", code]).ok();

    page(host, "login.php", &[]);
    let login = ["-d", "log=admin&pwd=not-a-secret&testcookie=1"];
    assert!(page(host, "login.php", &login).contains("wpadminbar"));
    let tools = "admin/tools.php?page=wp-gears-jobs";
    let failed = "wp-gears-failed\"><span>Failed</span> <strong>";
    until(20, "the failed job", || {
        between(&page(host, tools, &[]), failed, "<") == "1"
    });
    for view in ["&view=groups", "&view=retries", "&s=broken"] {
        let shown = page(host, &format!("{tools}{view}"), &[]);
        assert!(
            shown.contains("<h1 class=\"wp-heading-inline\">Background jobs"),
            "{shown}"
        );
    }
    let health = page(host, "admin/site-health.php", &[]);
    assert!(health.contains("1 background job has failed"), "{health}");
    let debug = page(host, "admin/site-health.php?tab=debug", &[]);
    assert!(
        debug.contains("health-check-accordion-block-wp-gears"),
        "{debug}"
    );
    // Retried, and deleted after it has failed again.
    for (action, says) in [
        ("retry", "1 job will run again."),
        ("forget", "1 job deleted."),
    ] {
        until(20, "its failure", || {
            between(&page(host, tools, &[]), failed, "<") == "1"
        });
        let shown = page(host, tools, &[]);
        let nonce = between(&shown, "name=\"_wpnonce\" value=\"", "\"");
        let job = between(&shown, "name=\"job[]\" value=\"", "\"");
        let form = format!("action={action}&_wpnonce={nonce}&job[]={job}");
        let done = page(host, tools, &["-d", &form]);
        assert!(done.contains(says), "{done}");
    }
    until(20, "the host to know", || {
        let listed = host.run(&["wp-gears", "failed", "--json"]).ok();
        listed.contains("\"failed\": []") || listed.contains("\"failed\":[]")
    });
    host.run(&["rm", "-f", &listener, "/root/jar"]).ok();
    assert_eq!(host.read(LOG).unwrap_or_default(), "");
}
