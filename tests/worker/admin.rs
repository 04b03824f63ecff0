//! What administrators see of their jobs in WordPress: the page with the failed ones, Site
//! Health and the commands of WP-CLI, in a real WordPress behind PHP's own web server.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::process::Command;

use serde_json::{Value, json};

use super::lab::{Plan, Site, lab, run, wait_for};
use super::site_server::{Browser, Web, found, nonce};

const PAGE: &str = "/wp-admin/tools.php?page=wp-gears-jobs";

/// Fails once, and when it is told to.
const JOBS: &str = r#"
add_action( 't_import', function ( $args ) {
	if ( file_exists( WP_CONTENT_DIR . '/uploads/sick' ) ) {
		throw new RuntimeException( "<script>alert( '$args[0]' )</script> & more" );
	}
	out( "import $args[0]" );
} );
"#;

pub fn site(name: &str, network: bool) -> Site {
    let config = format!(
        "define( 'WP_GEARS_STATE', '{}' ); define( 'WP_HTTP_BLOCK_EXTERNAL', true );",
        lab().dir.join("state").display()
    );
    let site = Site::with(
        name,
        Plan {
            jobs: JOBS.into(),
            config,
            network,
            ..Plan::default()
        },
    );
    site.write("wp-content/uploads/sick", "");
    fs::create_dir_all(site.dir.join("wp-content/mu-plugins/wp-gears-admin")).unwrap();
    site.write(
        "wp-content/mu-plugins/wp-gears-admin/admin.php",
        wp_gears::site::admin::text(),
    );
    site
}

fn rows(site: &Site, state: u8) -> String {
    let table = format!("{}_wp_gears_jobs", site.name);
    if lab()
        .sql(&format!("SHOW TABLES IN wp LIKE '{table}'"))
        .is_empty()
    {
        return "0".into();
    }
    lab().sql(&format!(
        "SELECT COUNT(*) FROM wp.{table} WHERE state = {state}"
    ))
}

#[test]
fn an_administrator_sees_failed_jobs_and_retries_and_deletes_them() {
    let site = site("admin", false);
    let worker = site.worker(&["--workers", "2"]);
    for n in 0..6 {
        site.add("t_import", json!([format!("secret-{n}")]));
    }
    wait_for(30, "the failed jobs", || rows(&site, 1) == "6");
    let web = Web::start(&site);
    let mut admin = web.log_in("site.test", "admin");
    let page = admin.get(PAGE).body;
    // Nothing of a job is markup, and its arguments are not there but in its error.
    assert!(
        page.contains("&lt;script&gt;alert( &#039;secret-0&#039; )&lt;/script&gt; &amp; more"),
        "{page}"
    );
    assert!(!page.contains("<script>alert("));
    assert_eq!(page.matches("name=\"job[]\"").count(), 6);
    assert_eq!(
        found(&page, "wp-gears-failed\"><span>Failed</span> <strong>", "<"),
        "6"
    );
    assert_eq!(
        found(
            &page,
            "wp-gears-workers\"><span>Workers</span> <strong>",
            "<"
        ),
        "2"
    );
    assert!(!page.contains("may not read"), "{page}");
    assert!(page.contains("Wait, 95% of the last hour"));

    // Somebody else's form.
    let token = found(&page, "name=\"job[]\" value=\"", "\"").to_owned();
    let forged = [
        ("action", "retry"),
        ("job[]", &*token),
        ("_wpnonce", "0123456789"),
    ];
    assert_eq!(admin.post(PAGE, &forged).status, 403);
    assert_eq!(admin.post(PAGE, &forged[..2]).status, 403);
    assert_eq!(rows(&site, 1), "6");

    // Two clicks at the same time, and a third one after it has failed again.
    let nonce = nonce(&page);
    let retry = [
        ("action", "retry"),
        ("job[]", &*token),
        ("_wpnonce", &*nonce),
    ];
    let id = token.split(':').next().unwrap();
    let tries = || {
        let failed = site.failed();
        let job = failed
            .iter()
            .find(|it| it["job"]["id"] == id && it["due"].is_null());
        job.map_or(0, |it| it["job"]["tries"].as_array().unwrap().len())
    };
    assert_eq!(tries(), 1);
    let mut other = Browser {
        host: admin.host.clone(),
        cookies: admin.cookies.clone(),
        port: admin.port,
    };
    let second = std::thread::scope(|scope| {
        let second = scope.spawn(|| other.post(PAGE, &retry));
        let first = admin.post(PAGE, &retry);
        let said = [first, second.join().unwrap()].map(|answer| admin.follow(&answer));
        said.map(|said| {
            (
                said.contains("1 job will run again."),
                said.contains("1 job was left alone"),
            )
        })
    });
    assert!(
        second.contains(&(true, false)) && second.contains(&(false, true)),
        "{second:?}"
    );
    wait_for(20, "the second attempt", || {
        tries() == 2 && rows(&site, 1) == "6"
    });
    let late = admin.post(PAGE, &retry);
    assert!(admin.follow(&late).contains("1 job was left alone"));

    // The link of the row, once the reason is gone.
    fs::remove_file(site.dir.join("wp-content/uploads/sick")).unwrap();
    let page = admin.get(&format!("{PAGE}&s=secret-0")).body;
    assert!(page.contains("Search results for: <strong>secret-0</strong>"));
    assert_eq!(page.matches("name=\"job[]\"").count(), 1);
    assert_eq!(admin.get(PAGE).body.matches("All attempts").count(), 1);
    let link = found(&page, "class='retry'><a href=\"", "\"").replace("&#038;", "&");
    let path = &link[link.find("/wp-admin").unwrap()..];
    let clicked = admin.get(path);
    assert!(admin.follow(&clicked).contains("1 job will run again."));
    site.wait_for_out(20, 1);
    assert_eq!(site.out(), ["import secret-0"]);
    wait_for(20, "the end of the job", || {
        rows(&site, 2) == "1" && site.failed().len() == 5
    });

    // Several, and all.
    let page = admin.get(PAGE).body;
    let tokens: Vec<&str> = page
        .split("name=\"job[]\" value=\"")
        .skip(1)
        .map(|it| it.split('"').next().unwrap())
        .collect();
    let nonce = self::nonce(&page);
    let forget = [
        ("action", "forget"),
        ("job[]", tokens[0]),
        ("job[]", tokens[1]),
        ("_wpnonce", &*nonce),
    ];
    let gone = admin.post(PAGE, &forget);
    assert!(admin.follow(&gone).contains("2 jobs deleted."));
    wait_for(20, "the host to know", || site.failed().len() == 3);
    let gone = admin.post(
        PAGE,
        &[
            ("everything", "retry"),
            ("action", "-1"),
            ("_wpnonce", &nonce),
        ],
    );
    assert!(admin.follow(&gone).contains("3 jobs will run again."));
    site.wait_for_out(20, 4);
    wait_for(20, "the end of all", || {
        site.failed().is_empty() && rows(&site, 2) == "6"
    });
    assert!(
        site.counts().values().all(|times| *times == 1),
        "{:?}",
        site.counts()
    );
    assert!(admin.get(PAGE).body.contains("No failed jobs."));

    // Another user's PHP says what it cannot see.
    let why_not = |command: &mut Command, state: &str| {
        let code = format!(
            "define( 'WP_GEARS_STATE', '{state}' ); require '{0}/wp-load.php';
             require WPMU_PLUGIN_DIR . '/wp-gears-admin/admin.php'; echo WP_Gears_Seen::why_not();",
            site.dir.display()
        );
        let output = run(command.args(["-d", "display_errors=stderr", "-r", &code]));
        String::from_utf8(output.stdout).unwrap()
    };
    let state = lab().dir.join("state");
    let state = state.to_str().unwrap();
    assert_eq!(why_not(&mut lab().command("php"), state), "");
    let elsewhere = why_not(&mut lab().command("php"), "/nonexistent");
    assert!(elsewhere.starts_with("There is no folder /nonexistent/run on this host"));
    if lab().is_root() {
        let mut command = Command::new("setpriv");
        command.args([
            "--reuid",
            "nobody",
            "--regid",
            "nogroup",
            "--clear-groups",
            "php",
        ]);
        let said = why_not(&mut command, state);
        assert!(
            said.starts_with("PHP runs as the user nobody here"),
            "{said}"
        );
    }

    // A subscriber has no such page, and Site Health knows the rest.
    site.php("wp_insert_user( [ 'user_login' => 'reader', 'user_pass' => 'pw', 'role' => 'subscriber' ] );");
    let mut reader = web.log_in("site.test", "reader");
    let refused = reader.get(PAGE);
    assert_eq!(refused.status, 403);
    assert!(!refused.body.contains("<ul class=\"wp-gears-numbers\""));
    assert_eq!(reader.post(PAGE, &retry).status, 403);
    health(&mut admin, &site, worker);
}

/// What Site Health finds, with workers and without.
fn health(admin: &mut Browser, site: &Site, worker: super::lab::Worker) {
    let tests = |admin: &mut Browser| -> BTreeMap<String, String> {
        let page = admin.get("/wp-admin/site-health.php").body;
        let data = found(&page, "var SiteHealth = ", ";\n");
        let data: Value = serde_json::from_str(data).unwrap();
        let direct = data["site_status"]["direct"].as_array().unwrap();
        let ours = direct.iter().filter(|it| {
            it["test"]
                .as_str()
                .is_some_and(|name| name.starts_with("wp_gears"))
        });
        ours.map(|it| {
            (
                it["test"].as_str().unwrap().into(),
                format!(
                    "{} {}",
                    it["status"].as_str().unwrap(),
                    it["label"].as_str().unwrap()
                ),
            )
        })
        .collect()
    };
    let now = tests(admin);
    assert_eq!(
        now["wp_gears_extension"],
        "good PHP can submit background jobs"
    );
    assert_eq!(
        now["wp_gears_workers"],
        "good 2 workers run background jobs"
    );
    assert_eq!(now["wp_gears_failed"], "good No background job has failed");
    assert_eq!(now["wp_gears_waiting"], "good 0 background jobs wait");
    let page = admin.get("/wp-admin/site-health.php?tab=debug").body;
    assert!(
        page.contains("health-check-accordion-block-wp-gears"),
        "{page}"
    );
    worker.stop();
    site.add("t_import", json!(["waits"]));
    let now = tests(admin);
    assert_eq!(
        now["wp_gears_workers"],
        "critical No worker runs background jobs"
    );
    assert!(
        now["wp_gears_waiting"].ends_with("1 background job waits"),
        "{now:?}"
    );
}

#[test]
fn a_networks_site_has_its_own_jobs_and_the_network_has_all() {
    let site = site("network-admin", true);
    site.php(
        "grant_super_admin( 1 );
         $two = wpmu_create_blog( 'two.site.test', '/', 'two', 1 );
         $user = wpmu_create_user( 'second', 'pw', 'b@site.test' );
         add_user_to_blog( $two, $user, 'administrator' );
         update_user_meta( $user, 'primary_blog', $two );",
    );
    let _worker = site.worker(&[]);
    site.add("t_import", json!(["of-one"]));
    site.php("switch_to_blog( 2 ); wp_async_task_add( 't_import', [ 'of-two' ] );");
    let table = "network_admin_wp_gears_jobs";
    let rows = |state: u8| {
        let tables = lab().sql(&format!("SHOW TABLES IN wp LIKE '{table}'"));
        if tables.is_empty() {
            return String::new();
        }
        lab().sql(&format!(
            "SELECT COUNT(*) FROM wp.{table} WHERE state = {state}"
        ))
    };
    wait_for(30, "the failed jobs", || rows(1) == "2");
    let web = Web::start(&site);
    let mut second = web.log_in("two.site.test", "second");
    let page = second.get(PAGE).body;
    assert_eq!(page.matches("name=\"job[]\"").count(), 1, "{page}");
    assert!(page.contains("of-two") && !page.contains("of-one"));
    assert!(!page.contains("<ul class=\"wp-gears-numbers\""));
    let own = found(&page, "name=\"job[]\" value=\"", "\"").to_owned();
    let its_nonce = nonce(&page);

    let mut network = web.log_in("site.test", "admin");
    let whole = "/wp-admin/network/settings.php?page=wp-gears-jobs";
    let page = network.get(whole).body;
    assert_eq!(page.matches("name=\"job[]\"").count(), 2, "{page}");
    assert!(page.contains("two.site.test") && page.contains("<ul class=\"wp-gears-numbers\""));
    let of_one = page
        .split("name=\"job[]\" value=\"")
        .skip(1)
        .map(|it| it.split('"').next().unwrap())
        .find(|token| *token != own)
        .unwrap();
    // Another site's job, all jobs, and the network's page.
    let other = second.post(
        PAGE,
        &[
            ("action", "forget"),
            ("job[]", of_one),
            ("_wpnonce", &its_nonce),
        ],
    );
    assert!(second.follow(&other).contains("1 job was left alone"));
    assert_eq!(rows(1), "2");
    assert_eq!(second.get(whole).status, 403);
    let all = second.post(PAGE, &[("everything", "forget"), ("_wpnonce", &its_nonce)]);
    assert!(second.follow(&all).contains("1 job deleted."));
    assert_eq!((rows(1), rows(2)), ("1".into(), "1".into()));

    fs::remove_file(site.dir.join("wp-content/uploads/sick")).unwrap();
    let all = network.post(
        whole,
        &[("everything", "retry"), ("_wpnonce", &nonce(&page))],
    );
    assert!(network.follow(&all).contains("1 job will run again."));
    site.wait_for_out(20, 1);
    assert_eq!(site.out(), ["import of-one"]);
}

/// WP-CLI in the site, if it can be had here.
fn wp(site: &Site, words: &[&str]) -> Option<Result<String, String>> {
    let Ok(wp) = which::which("wp") else {
        let _ = writeln!(std::io::stderr(), "skipped: WP-CLI cannot be had here");
        return None;
    };
    let output = lab()
        .command("php")
        .arg(wp)
        .args(words)
        .args(["--url=http://site.test", "--no-color"])
        .current_dir(&site.dir)
        .env("HOME", lab().dir.join("state"))
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Some(match output.status.success() {
        true => Ok(text(&output.stdout)),
        false => Err(text(&output.stderr)),
    })
}

#[test]
fn wp_cli_lists_retries_deletes_and_tests() {
    let site = site("commands", false);
    let worker = site.worker(&[]);
    site.add_many(&[
        ("t_import", json!(["a"])),
        ("t_import", json!(["b"])),
        ("t_throw", json!([])),
    ]);
    wait_for(30, "the failed jobs", || rows(&site, 1) == "3");
    let wp = |words: &[&str]| wp(&site, &[&["gears"], words].concat());
    let Some(listed) = wp(&[
        "failed",
        "--hook=t_i*",
        "--error=ALERT",
        "--since=1h",
        "--format=json",
    ]) else {
        return;
    };
    let listed: Value = serde_json::from_str(&listed.unwrap()).unwrap();
    let jobs = listed.as_array().unwrap();
    assert_eq!(jobs.len(), 2, "{listed}");
    assert_eq!(
        (&jobs[0]["hook"], &jobs[0]["attempts"]),
        (&json!("t_import"), &json!(1))
    );
    let wp = |words: &[&str]| wp(words).unwrap();
    assert_eq!(wp(&["failed", "--format=count"]).unwrap().trim(), "3");
    assert!(
        wp(&["failed", "--group"])
            .unwrap()
            .contains("RuntimeException: a bad job")
    );
    assert!(wp(&["retry"]).unwrap_err().contains("Choose jobs"));
    assert!(
        wp(&["retry", "1-2"])
            .unwrap_err()
            .contains("No such failed job: 1-2")
    );
    fs::remove_file(site.dir.join("wp-content/uploads/sick")).unwrap();
    assert!(
        wp(&["retry", "--hook=t_import"])
            .unwrap()
            .contains("Retried 2 of 2 jobs")
    );
    site.wait_for_out(20, 2);
    let id = wp(&["failed", "--format=ids"]).unwrap();
    assert!(
        wp(&["forget", id.trim()])
            .unwrap()
            .contains("Deleted 1 of 1 jobs")
    );
    wait_for(20, "the host to know", || site.failed().is_empty());
    assert!(wp(&["status"]).unwrap().contains("workers\t1"));
    assert!(wp(&["test"]).unwrap().contains("ran the job"));
    worker.stop();
    assert!(
        wp(&["test", "--timeout=1"])
            .unwrap_err()
            .contains("No worker ran the job")
    );
}
