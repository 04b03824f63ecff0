//! What a job sees of the request, and what ends the loading of a site.

use std::fs;

use serde_json::json;
use wp_gears::base::problem::Problem;
use wp_gears::host::Host;

use super::lab::{Plan, Site, lab, sleep, wait_for};

/// A job that writes what it sees, and what wp-config.php saw.
const SEES: &str = "add_action( 't_sees', function () { out( implode( ' ', array(
    AT_CONFIG, home_url( '/x' ), var_export( is_ssl(), true ),
    $_SERVER['HTTP_HOST'] ?? '-', $_SERVER['SERVER_NAME'] ?? '-', $_SERVER['SERVER_PORT'] ?? '-', $_SERVER['HTTPS'] ?? '-',
    $_SERVER['REQUEST_URI'] ?? '-', $_SERVER['REQUEST_METHOD'] ?? '-', $_SERVER['REMOTE_ADDR'] ?? '-', $_SERVER['SERVER_PROTOCOL'] ?? '-' ) ) ); } );";
const AT_CONFIG: &str = "define( 'AT_CONFIG', $_SERVER['HTTP_HOST'] ?? 'none' );";

fn site(name: &str, config: &str, jobs: &str) -> Site {
    Site::with(
        name,
        Plan {
            config: format!("{AT_CONFIG} {config}"),
            jobs: format!("{SEES} {jobs}"),
            ..Plan::default()
        },
    )
}

/// Submits the job without loading the site.
fn submit(site: &Site) {
    let job = json!({ "hook": "t_sees", "args": [], "blog_id": null });
    site.gearmand
        .submit(&site.function, job.to_string().as_bytes());
}

/// Asks a site as setup and doctor do.
fn asked(site: &Site) -> anyhow::Result<String> {
    let host = Host::new(None).unwrap();
    let user = lab().user();
    let target = site.target(&user);
    target.facts(&host, &[]).map(|facts| facts.home)
}

#[test]
fn a_job_sees_a_request_to_the_sites_home() {
    let site = site("request", "", "");
    site.php("update_option( 'home', 'https://www.site.test:8443/blog' );");
    let expected = "www.site.test:8443 https://www.site.test:8443/blog/x true www.site.test:8443 www.site.test 8443 on /blog/ GET 127.0.0.1 HTTP/1.1";
    for (count, mode) in [(1, "fork"), (2, "spawn")] {
        let worker = site.worker(&["--worker-mode", mode]);
        site.add("t_sees", json!([]));
        let out = site.wait_for_out(20, count);
        assert_eq!(out[count - 1], expected, "{}", site.log());
        worker.stop();
    }
    // Only the first start had to find it out.
    assert_eq!(
        site.log().matches("the site's home is").count(),
        1,
        "{}",
        site.log()
    );
    assert_eq!(asked(&site).unwrap(), "https://www.site.test:8443/blog");

    let _worker = site.worker(&[]);
    site.add("t_sees", json!([]));
    site.wait_for_out(20, 3);
    site.php("update_option( 'home', 'http://new.test' );");
    site.add("t_sees", json!([]));
    let out = site.wait_for_out(20, 4);
    let expected =
        "new.test http://new.test/x false new.test new.test 80 - / GET 127.0.0.1 HTTP/1.1";
    assert_eq!(out[3], expected, "{}", site.log());
}

#[test]
fn a_home_that_comes_from_the_request_is_the_one_in_the_database() {
    let config = "define( 'WP_HOME', 'http://' . ( $_SERVER['HTTP_HOST'] ?? '' ) ); define( 'WP_SITEURL', WP_HOME );";
    let site = site("from-host", config, "");
    let worker = site.worker(&[]);
    site.add("t_sees", json!([]));
    let out = site.wait_for_out(20, 1);
    assert!(
        out[0].starts_with("site.test http://site.test/x false"),
        "{out:?}"
    );
    worker.stop();
    assert_eq!(asked(&site).unwrap(), "http://site.test");

    let _worker = site.worker(&["--host", "other.test"]);
    site.add("t_sees", json!([]));
    let out = site.wait_for_out(20, 2);
    assert!(
        out[1].starts_with("other.test http://other.test/x false"),
        "{out:?}"
    );
}

#[test]
fn a_copy_of_a_site_has_the_home_that_its_config_says() {
    let site = site("copied", "define( 'WP_HOME', 'https://staging.test' );", "");
    let _worker = site.worker(&[]);
    site.add("t_sees", json!([]));
    let out = site.wait_for_out(20, 1);
    assert!(
        out[0].starts_with("staging.test https://staging.test/x true staging.test"),
        "{out:?}"
    );
    assert_eq!(asked(&site).unwrap(), "https://staging.test");
}

#[test]
fn a_redirect_to_https_and_a_page_cache_do_not_end_the_loading() {
    let jobs = "add_action( 'init', function () { if ( ! is_ssl() ) { wp_redirect( 'https://' . $_SERVER['HTTP_HOST'] . $_SERVER['REQUEST_URI'] ); exit; } } );
        add_action( 'wp_loaded', function () { if ( empty( $_SERVER['HTTP_HOST'] ) ) { exit; } } );";
    let site = site("https", "define( 'WP_CACHE', true );", "");
    site.php("update_option( 'home', 'https://site.test' ); update_option( 'siteurl', 'https://site.test' );");
    site.write("wp-content/mu-plugins/https.php", &format!("<?php {jobs}"));
    site.write(
        "wp-content/advanced-cache.php",
        "<?php echo 'a cached page'; exit;",
    );
    let _worker = site.worker(&[]);
    submit(&site);
    let out = site.wait_for_out(20, 1);
    assert!(
        out[0].starts_with("site.test https://site.test/x true"),
        "{out:?}"
    );
    assert_eq!(asked(&site).unwrap(), "https://site.test");
}

#[test]
fn what_ends_the_loading_is_named() {
    let site = site("exits", "", "");
    site.php("");
    let plugin = site.dir.join("wp-content/mu-plugins/z.php");
    let plugin = plugin.display();
    let cases = [
        (
            "<?php\nadd_action( 'init', function () {\n\twp_redirect( 'https://site.test/' );\n\texit;\n} );",
            format!(
                "exit() was called in {plugin}:4, in the hook init, after a redirect to https://site.test/"
            ),
        ),
        (
            "<?php\nadd_action( 'wp_loaded', 'stop' );\nfunction stop() {\n\tif ( empty( $_GET['x'] ) ) exit( 'bye' );\n}",
            format!("exit() was called in {plugin}:4, in the hook wp_loaded"),
        ),
        (
            "<?php\n\ndefined( 'NEVER' ) || die();",
            format!("exit() was called in {plugin}:3"),
        ),
        (
            "<?php\nwp_die( 'in <i>trouble</i>' );",
            format!("in trouble (wp_die() was called in {plugin}:2)"),
        ),
        ("<?php\nno_such();", format!("no_such() in {plugin}:2")),
        (
            "<?php\nthrow new Exception( 'thrown' );",
            format!("thrown in {plugin}:2"),
        ),
    ];
    for (text, expected) in &cases {
        site.write("wp-content/mu-plugins/z.php", text);
        let said = asked(&site).unwrap_err().downcast::<Problem>().unwrap().why;
        assert!(said.contains(expected), "{said}");
        submit(&site);
        for mode in ["fork", "spawn"] {
            let worker = site.worker(&["--worker-mode", mode]);
            site.wait_for_log(20, expected);
            worker.stop();
            fs::write(site.log_path(), "").unwrap();
        }
    }
    fs::remove_file(site.dir.join("wp-content/mu-plugins/z.php")).unwrap();
    let config = fs::read_to_string(site.dir.join("wp-config.php")).unwrap();
    site.write(
        "wp-config.php",
        &config.replacen("<?php", "<?php if ( 'cli' === PHP_SAPI ) die( 'no' );", 1),
    );
    let path = site.dir.join("wp-config.php");
    let expected = format!("exit() was called in {}:1", path.display());
    let _worker = site.worker(&[]);
    site.wait_for_log(20, &expected);
    let said = asked(&site).unwrap_err().downcast::<Problem>().unwrap().why;
    assert!(said.contains(&expected), "{said}");
}

#[test]
fn a_network_whose_domain_comes_from_the_request_is_found_in_the_database() {
    let site = Site::with(
        "network-host",
        Plan {
            network: true,
            config: AT_CONFIG.into(),
            jobs: SEES.into(),
            ..Plan::default()
        },
    );
    site.php(
        "wpmu_create_blog( 'two.site.test', '/', 'second', 1 ); update_blog_option( 2, 'home', 'https://two.site.test' );",
    );
    let config = fs::read_to_string(site.dir.join("wp-config.php")).unwrap();
    let from_request = config
        .replace(
            "'DOMAIN_CURRENT_SITE', 'site.test'",
            "'DOMAIN_CURRENT_SITE', $_SERVER['HTTP_HOST']",
        )
        .replace(
            "if ( ! isset( $_SERVER['HTTP_HOST'] ) ) $_SERVER['HTTP_HOST'] = 'site.test';",
            "",
        );
    site.write("wp-config.php", &from_request);
    assert_eq!(asked(&site).unwrap(), "http://site.test");
    let worker = site.worker(&[]);
    for (count, blog, expected) in [
        (
            1,
            1,
            "site.test http://site.test/x false site.test site.test 80 - /",
        ),
        (
            2,
            2,
            "site.test https://two.site.test/x true two.site.test two.site.test 443 on /",
        ),
        (
            3,
            1,
            "site.test http://site.test/x false site.test site.test 80 - /",
        ),
    ] {
        let job = json!({ "hook": "t_sees", "args": [], "blog_id": blog });
        site.gearmand
            .submit(&site.function, job.to_string().as_bytes());
        let out = site.wait_for_out(20, count);
        assert!(out[count - 1].starts_with(expected), "{out:?}");
    }
    worker.stop();
    // The network moves.
    lab().sql("USE wp; UPDATE network_host_site SET domain = 'new.test'; UPDATE network_host_blogs SET domain = 'new.test' WHERE blog_id = 1; UPDATE network_host_options SET option_value = 'http://new.test' WHERE option_name IN ( 'home', 'siteurl' )");
    assert_eq!(asked(&site).unwrap(), "http://new.test");
    let _worker = site.worker(&[]);
    let job = json!({ "hook": "t_sees", "args": [], "blog_id": 1 });
    site.gearmand
        .submit(&site.function, job.to_string().as_bytes());
    let out = site.wait_for_out(20, 4);
    assert!(out[3].starts_with("new.test http://new.test/x"), "{out:?}");
}

/// The ways of leaving a network's domain to the request.
const FROM_REQUEST: [(&str, &str); 5] = [
    (
        "net-server",
        "define( 'DOMAIN_CURRENT_SITE', $_SERVER['HTTP_HOST'] );",
    ),
    ("net-none", ""),
    (
        "net-getenv",
        "define( 'DOMAIN_CURRENT_SITE', getenv( 'HTTP_HOST' ) );",
    ),
    (
        "net-name",
        "define( 'DOMAIN_CURRENT_SITE', strtolower( getenv( 'SERVER_NAME' ) ?: ( $_SERVER['SERVER_NAME'] ?? '' ) ) );",
    ),
    (
        "net-fake",
        "if ( ! isset( $_SERVER['HTTP_HOST'] ) ) $_SERVER['HTTP_HOST'] = 'localhost'; define( 'DOMAIN_CURRENT_SITE', $_SERVER['HTTP_HOST'] );",
    ),
];

/// A network of two sites, on site.test and two.site.test.
fn network(name: &str, domain: &str) -> Site {
    let site = Site::with(
        name,
        Plan {
            network: true,
            config: AT_CONFIG.into(),
            jobs: SEES.into(),
            ..Plan::default()
        },
    );
    site.php("wpmu_create_blog( 'two.site.test', '/', 'second', 1 );");
    let config = fs::read_to_string(site.dir.join("wp-config.php")).unwrap();
    let fixed = "define( 'DOMAIN_CURRENT_SITE', 'site.test' );";
    let fallback = "if ( ! isset( $_SERVER['HTTP_HOST'] ) ) $_SERVER['HTTP_HOST'] = 'site.test';";
    assert!(config.contains(fixed) && config.contains(fallback));
    let config = config.replace(fallback, "").replace(fixed, domain);
    site.write("wp-config.php", &config);
    site
}

/// Runs a job of each site of a network.
fn runs_jobs_of_both(site: &Site) {
    for (blog, host) in [(1, "site.test"), (2, "two.site.test")] {
        let count = site.out().len() + 1;
        let job = json!({ "hook": "t_sees", "args": [], "blog_id": blog });
        site.gearmand
            .submit(&site.function, job.to_string().as_bytes());
        let out = site.wait_for_out(20, count);
        let expected = format!("http://{host}/x false {host} {host} 80");
        assert!(out[count - 1].contains(&expected), "{out:?}{}", site.log());
    }
}

#[test]
fn jobs_of_a_network_get_its_host_however_it_is_left_to_the_request() {
    for (name, domain) in FROM_REQUEST {
        eprintln!("{domain}");
        let site = network(name, domain);
        assert_eq!(asked(&site).unwrap(), "http://site.test");
        for mode in ["fork", "spawn"] {
            let worker = site.worker(&["--worker-mode", mode]);
            runs_jobs_of_both(&site);
            worker.stop();
        }
    }
}

#[test]
fn a_host_that_is_named_helps_where_the_config_ends_without_one() {
    let site = network(
        "net-exits",
        "if ( empty( $_SERVER['HTTP_HOST'] ) ) exit( 'which host?' ); define( 'DOMAIN_CURRENT_SITE', $_SERVER['HTTP_HOST'] );",
    );
    let worker = site.worker(&[]);
    submit(&site);
    site.wait_for_log(20, "exit() was called in");
    worker.stop();
    let _worker = site.worker(&["--host", "site.test"]);
    site.wait_for_out(20, 1);
    runs_jobs_of_both(&site);
}

#[test]
fn maintenance_mode_pauses_the_workers() {
    let site = site("maintenance", "", "");
    site.php("");
    let file = site.dir.join(".maintenance");
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let ends = |count: usize| {
        fs::remove_file(&file).unwrap();
        site.wait_for_out(10, count);
    };
    let status = || {
        let server = site.gearmand.server.to_string();
        let output = site.wp_gears(&["status", "--json", "--servers", &server]);
        let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        document["sites"][0]["maintenance"] == true
    };
    for (mode, first) in [("fork", 0), ("spawn", 3)] {
        // Before the site was ever loaded, and after.
        site.write(".maintenance", &format!("<?php $upgrading = {since}; ?>"));
        let worker = site.worker(&["--worker-mode", mode]);
        submit(&site);
        site.wait_for_log(10, "the site is in maintenance mode");
        sleep(300);
        assert_eq!(site.out().len(), first);
        assert!(worker.php().is_none());
        ends(first + 1);
        site.write(".maintenance", "<?php $upgrading = time();");
        submit(&site);
        wait_for(10, "the worker to say so", status);
        assert_eq!(site.out().len(), first + 1, "{}", site.log());
        ends(first + 2);
        // An upgrade that failed ten minutes ago.
        site.write(
            ".maintenance",
            &format!("<?php $upgrading = {}; ?>", since - 600),
        );
        submit(&site);
        site.wait_for_out(10, first + 3);
        fs::remove_file(&file).unwrap();
        worker.stop();
    }
    let count = |text: &str| site.log().matches(text).count();
    assert_eq!(
        (
            count("is in maintenance mode"),
            count("mode has ended"),
            count("cannot run")
        ),
        (4, 4, 0),
        "{}",
        site.log()
    );
}
