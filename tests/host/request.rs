//! What a job sees of the request, and maintenance mode, on a host.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::harness::{Host, Site};
use crate::phase::phase;
use crate::support::{jobs_run, on_site, ready_host};

const CONFIG: &str = "/var/www/site/wp-config.php";
const MUST_USE: &str = "/var/www/site/wp-content/mu-plugins";
const MAINTENANCE: &str = "/var/www/site/.maintenance";

/// Writes what it sees into a file when setup's test job runs.
const SEES: &str = r#"<?php
add_action( 'wp_gears_probe', function () {
    file_put_contents( '/srv/jobs/sees', implode( ' ', array(
        home_url(), $_SERVER['HTTP_HOST'] ?? '-', $_SERVER['HTTPS'] ?? '-', $_SERVER['REQUEST_URI'] ?? '-' ) ) );
} );"#;

#[track_caller]
fn sees(host: &Host, expected: &str) {
    assert_eq!(host.read("/srv/jobs/sees").unwrap(), expected);
    host.run(&["rm", "/srv/jobs/sees"]).ok();
}

#[test]
fn a_job_sees_the_sites_home_whatever_its_plugins_do() {
    let host = ready_host("request");
    host.put(&format!("{MUST_USE}/sees.php"), SEES, 0o644)
        .unwrap();

    phase("a plugin redirects to https");
    host.put(
        &format!("{MUST_USE}/https.php"),
        "<?php add_action( 'init', function () {
            if ( ! is_ssl() && ( 'cli' === PHP_SAPI ) ) { wp_redirect( 'https://' . $_SERVER['HTTP_HOST'] . '/' ); exit; } } );",
        0o644,
    )
    .unwrap();
    let set = |home: &str| {
        let sql = format!(
            "UPDATE site.wp_options SET option_value = '{home}' WHERE option_name IN ('home', 'siteurl')"
        );
        host.run(&["mariadb", "-e", &sql]).ok();
    };
    set("https://localhost");
    let setup = on_site(&host, "setup", &[]).exits(0);
    assert!(setup.stdout.contains("ran a test job"), "{setup}");
    sees(&host, "https://localhost localhost on /");
    let doctor = host.run(&["wp-gears", "doctor"]).exits(0);
    assert!(doctor.stdout.contains("https://localhost"), "{doctor}");
    host.run(&["rm", &format!("{MUST_USE}/https.php")]).ok();
    set("http://localhost");

    phase("a home from the request");
    let config = host.read(CONFIG).unwrap();
    let from_host = "<?php define( 'WP_HOME', 'http://' . ( $_SERVER['HTTP_HOST'] ?? '' ) ); define( 'WP_SITEURL', WP_HOME );";
    host.run(&["cp", "-p", CONFIG, "/root/config"]).ok();
    host.put("/root/new", config.replacen("<?php", from_host, 1), 0o644)
        .unwrap();
    host.run(&["cp", "--no-preserve=mode", "/root/new", CONFIG])
        .ok();
    on_site(&host, "setup", &["--prove"]).exits(0);
    sees(&host, "http://localhost localhost - /");
    let doctor = host.run(&["wp-gears", "doctor", "wordpress"]).exits(0);
    assert!(doctor.stdout.contains("http://localhost"), "{doctor}");

    phase("another host");
    on_site(&host, "setup", &["--host", "www.site.test"]).exits(0);
    sees(&host, "http://www.site.test www.site.test - /");
    let intent = host.read("/etc/wp-gears.toml").unwrap();
    assert!(intent.contains("host = \"www.site.test\""), "{intent}");
    let again = on_site(&host, "setup", &[]).exits(0);
    assert!(again.stdout.contains("Nothing to change."), "{again}");

    phase("what ends WordPress is named");
    host.put(
        &format!("{MUST_USE}/exits.php"),
        "<?php\nadd_action( 'wp_loaded', function () {\n    if ( 'cli' === PHP_SAPI ) exit;\n} );",
        0o644,
    )
    .unwrap();
    let doctor = host.run(&["wp-gears", "doctor", "wordpress"]).exits(1);
    let place = format!("exit() was called in {MUST_USE}/exits.php:3, in the hook wp_loaded");
    assert!(doctor.stdout.contains(&place), "{doctor}");
}

/// The site becomes a network of two, on localhost and second.test, whose domain comes
/// from the request.
const NETWORK: &str = r#"cd /var/www/site; runuser -u www-data -- php -r '
    define( "WP_INSTALLING", true ); require "wp-load.php"; require ABSPATH . "wp-admin/includes/upgrade.php";
    foreach ( $wpdb->tables( "ms_global" ) as $name => $table ) { $wpdb->$name = $table; }
    install_network(); populate_network( 1, "localhost", "a@localhost.test", "test", "/", true );'
    sed -i "1a define( 'MULTISITE', true ); define( 'SUBDOMAIN_INSTALL', true ); \
        define( 'DOMAIN_CURRENT_SITE', \$_SERVER['HTTP_HOST'] ); define( 'PATH_CURRENT_SITE', '/' ); \
        define( 'SITE_ID_CURRENT_SITE', 1 ); define( 'BLOG_ID_CURRENT_SITE', 1 );" wp-config.php
    runuser -u www-data -- env HTTP_HOST=localhost php -r '
        require "wp-load.php"; var_dump( wpmu_create_blog( "second.test", "/", "second", 1 ) );'"#;

#[test]
fn a_network_whose_domain_comes_from_the_request() {
    let host = ready_host("network-request");
    let made = host.shell(NETWORK).exits(0);
    assert!(made.stdout.contains("int(2)"), "{made}");
    host.put(&format!("{MUST_USE}/sees.php"), SEES, 0o644)
        .unwrap();
    let before = host.read(CONFIG).unwrap();

    phase("setup says which host jobs get");
    let plan = on_site(&host, "plan", &[]).exits(0);
    let says = "jobs of /var/www/site run as requests to http://localhost, the network's main site";
    assert!(plan.stdout.contains(says), "{plan}");
    let setup = on_site(&host, "setup", &[]).exits(0);
    assert!(setup.stdout.contains("ran a test job"), "{setup}");
    sees(&host, "http://localhost localhost - /");
    let again = on_site(&host, "setup", &[]).exits(0);
    assert!(again.stdout.contains("Nothing to change."), "{again}");

    phase("a job of a subsite");
    let submit = "chdir( '/var/www/site' ); require 'wp-load.php'; switch_to_blog( 2 ); wp_async_task_add( 'wp_gears_probe', array( str_repeat( '0', 32 ) ) );";
    host.run(&[
        "runuser",
        "-u",
        "www-data",
        "--",
        "env",
        "HTTP_HOST=localhost",
        "php",
        "-r",
        submit,
    ])
    .ok();
    host.shell("timeout 20 sh -c 'until test -s /srv/jobs/sees; do sleep 0.1; done'")
        .exits(0);
    sees(&host, "http://second.test second.test - /");

    phase("another host is named");
    on_site(&host, "setup", &["--host", "second.test"]).exits(0);
    sees(&host, "http://second.test second.test - /");
    let plan = on_site(&host, "plan", &["--salt", "other"]).exits(0);
    let says = "jobs of /var/www/site run as requests to second.test, as --host says";
    assert!(plan.stdout.contains(says), "{plan}");

    phase("the network has no site there any more");
    let sql = "UPDATE site.wp_blogs SET domain = 'third.test' WHERE blog_id = 2; UPDATE site.wp_2_options SET option_value = 'http://third.test' WHERE option_name IN ('home', 'siteurl')";
    host.run(&["mariadb", "-e", sql]).ok();
    let doctor = host.run(&["wp-gears", "doctor", "multisite"]).exits(1);
    let says = "the network has no site at second.test";
    assert!(doctor.stdout.contains(says), "{doctor}");
    on_site(&host, "setup", &["--host", "third.test"]).exits(0);
    sees(&host, "http://third.test third.test - /");

    phase("remove");
    on_site(&host, "remove", &[]).exits(0);
    assert_eq!(host.read(CONFIG).unwrap(), before);
}

#[test]
fn maintenance_mode_is_said_and_jobs_wait_for_its_end() {
    let host = ready_host("maintenance");
    let begins = || {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs();
        let text = format!("<?php $upgrading = {now}; ?>");
        host.put(MAINTENANCE, text, 0o644).unwrap();
    };
    phase("before setup");
    begins();
    let config = host.read(CONFIG).unwrap();
    let setup = on_site(&host, "setup", &[]).exits(1);
    assert!(
        setup.stderr.contains("the site is in maintenance mode"),
        "{setup}"
    );
    assert_eq!(host.read(CONFIG).unwrap(), config);

    phase("it has ended");
    host.run(&["rm", MAINTENANCE]).ok();
    let setup = on_site(&host, "setup", &[]).exits(0);
    assert!(setup.stdout.contains("ran a test job"), "{setup}");

    phase("after setup");
    let site = Site::first(&host);
    site.forget_done();
    site.send(1, 1, 0.0).ok();
    site.wait_for(1, Duration::from_secs(20));
    begins();
    // A page whose request began before.
    let code = "define('WP_INSTALLING', true); require '/var/www/site/wp-load.php';
        exit(wp_async_task_add('test_job', ['n' => 2, 'sleep' => 0]) ? 0 : 9);";
    host.as_user("www-data", &["php", "-r", code]).ok();
    host.shell(
        "timeout 20 sh -c \"until wp-gears status | grep 'maintenance mode'; do sleep 0.2; done\"",
    )
    .ok();
    let doctor = host.run(&["wp-gears", "doctor"]).exits(0);
    for says in ["warning", "the site is in maintenance mode"] {
        assert!(doctor.stdout.contains(says), "{doctor}");
    }
    let setup = on_site(&host, "setup", &["--prove"]).exits(0);
    assert!(
        setup
            .stdout
            .contains("jobs are not verified [site]: the site is in maintenance mode"),
        "{setup}"
    );
    assert_eq!(site.done(), [1]);
    host.run(&["rm", MAINTENANCE]).ok();
    site.wait_for(2, Duration::from_secs(10));
    jobs_run(&site, 3);
    host.run(&["wp-gears", "doctor"]).exits(0);
}
