//! The supported plugins, represented by stand-ins with the same public names.

use std::fs;
use std::path::Path;
use std::time::Instant;

use serde_json::json;

use super::lab::{Plan, Site, lab, run, sleep, wait_for};

fn fixture(name: &str) -> String {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/plugins");
    fs::read_to_string(dir.join(name)).unwrap()
}

fn later(space: &str, prefix: &str, four: bool) -> String {
    let (uses, init, cron) = if four {
        (
            "'gearman' === strtolower( (string) self::config( 'BACKEND', '' ) )",
            "add_action( 'plugins_loaded', 'wp_async_task_init', 9 );",
            "array( $args )",
        )
    } else {
        (
            "class_exists( 'GearmanClient' )",
            "wp_async_task_init();",
            "$args",
        )
    };
    fixture("later.php.in")
        .replace("%SPACE%", space)
        .replace("%PREFIX%", prefix)
        .replace("%USES_GEARMAN%", uses)
        .replace("%INIT%", init)
        .replace("%CRON_ARGS%", cron)
}

fn works(name: &str, plugin: String, shown: &str) {
    let jobs = "add_action( 'wp_async_task_before_job', function ( $hook ) { out( \"before $hook\", 'hooks' ); } );
        add_action( 'wp_async_task_after_job_t_line', function () { out( 'after', 'hooks' ); } );
        add_action( 'wp_async_task_after_work', function ( $ok, $worker ) { out( 'work ' . var_export( $ok, true ) . ' ' . get_class( $worker ), 'hooks' ); }, 10, 2 );";
    let site = Site::with(
        name,
        Plan {
            plugin: Some(plugin),
            jobs: jobs.into(),
            ..Plan::default()
        },
    );
    for mode in ["fork", "spawn"] {
        let _ = fs::remove_file(site.dir.join("wp-content/uploads/out"));
        let _ = fs::remove_file(site.dir.join("wp-content/uploads/hooks"));
        let worker = site.worker(&["--worker-mode", mode]);
        site.add("t_line", json!(["one"]));
        site.add("t_chain", json!([3]));
        site.add("t_throw", json!([]));
        site.wait_for_out(30, 5);
        wait_for(10, "the failed job", || !site.kept().is_empty());
        assert!(
            site.log().contains(&format!("({shown}, PHP")),
            "{}",
            site.log()
        );
        assert!(site.log().contains(&format!(", {mode})")), "{}", site.log());
        let failed = site.failed();
        assert!(failed[0].to_string().contains("a bad job"), "{failed:?}");
        site.wp_gears(&["failed", "forget", "--all"]);
        let hooks = site.lines("hooks");
        assert_eq!(&hooks[..2], ["before t_line", "after"], "{hooks:?}");
        if name != "gears1" {
            assert!(hooks[2].starts_with("work true Wp"), "{hooks:?}");
        }
        worker.stop();
    }
}

#[test]
fn wp_gears_1() {
    works("gears1", fixture("wp-gears-1.php"), "WP Gears 1");
}

#[test]
fn wp_gears_2() {
    works("gears2", later("WpGears", "WP_GEARS", false), "WP Gears 2");
}

#[test]
fn wp_minions_3() {
    works(
        "minions3",
        later("WpMinions", "WP_MINIONS", false),
        "WP Minions",
    );
}

#[test]
fn wp_minions_4() {
    works(
        "minions4",
        later("WpMinions", "WP_MINIONS", true),
        "WP Minions",
    );
}

#[test]
fn without_a_salt_the_function_is_the_plugins() {
    for (name, plugin, function) in [
        ("nosalt1", Some(fixture("wp-gears-1.php")), "WP_Async_Task"),
        (
            "nosalt4",
            Some(later("WpMinions", "WP_MINIONS", true)),
            ":WP_Async_Task",
        ),
        ("nosalt0", None, ":WP_Async_Task"),
    ] {
        let site = Site::with(
            name,
            Plan {
                plugin,
                ..Plan::default()
            },
        );
        let config = fs::read_to_string(site.dir.join("wp-config.php")).unwrap();
        let worker = site.worker(&[]);
        site.add("t_line", json!(["salted"]));
        site.wait_for_out(20, 1);
        // The signal makes the worker check without a job, and notice that the salt is gone.
        let salt = format!("define( 'WP_ASYNC_TASK_SALT', 'salt-of-{name}' );");
        site.write("wp-config.php", &config.replace(&salt, ""));
        super::lab::signal(worker.pid(), "USR1");
        wait_for(10, "the new name", || {
            site.gearmand
                .queue(function)
                .is_some_and(|q| q.workers == 1)
        });
        site.add("t_line", json!(["plain"]));
        site.wait_for_out(20, 2);
        worker.stop();
    }
}

#[test]
fn without_a_job_server_jobs_go_to_wp_cron_and_pages_do_not_wait() {
    let mut site = Site::new("cron");
    let config = fs::read_to_string(site.dir.join("wp-config.php")).unwrap();
    site.write(
        "wp-config.php",
        &config.replace("define( 'WP_GEARS_TIMEOUT', 5000 );", ""),
    );
    let add = "$t = microtime( true ); $h = wp_async_task_add( 't_line', array( 'x' ), 'high' ); $again = wp_async_task_add( 't_line', array( 'y' ) );
        echo var_export( $h && $again, true ), ' - ', (int) ( ( microtime( true ) - $t ) * 1000 );";
    site.gearmand.kill();
    let said = site.php(add);
    let words: Vec<_> = said.split(' ').collect();
    assert_eq!(words[0], "true", "{said}");
    assert!(words[2].parse::<u64>().unwrap() < 200, "{said}");
    // The hook receives the same arguments from WP-Cron as from a worker.
    site.php(
        "foreach ( _get_cron_array() as $events ) { foreach ( $events['t_line'] ?? array() as $event ) {
            if ( array( 'x' ) === $event['args'][0] ) { do_action_ref_array( 't_line', $event['args'] ); } } }",
    );
    assert_eq!(site.out(), ["x"]);

    // A server that accepts connections and never answers.
    let listener = std::net::TcpListener::bind(("127.0.0.1", site.gearmand.server.port)).unwrap();
    let start = Instant::now();
    let said = site.php(add);
    assert!(said.starts_with("true"), "{said}");
    let waited: u64 = said.split(' ').nth(2).unwrap().parse().unwrap();
    assert!(waited < 900, "{said} {:?}", start.elapsed());
    drop(listener);

    let config = fs::read_to_string(site.dir.join("wp-config.php")).unwrap();
    site.write(
        "wp-config.php",
        &config.replace("define( 'WP_GEARS', true );", ""),
    );
    assert!(site.php(add).starts_with("true"));
    let worker = site.worker(&[]);
    site.wait_for_log(20, "no define( 'WP_GEARS', true )");
    worker.stop();
}

#[test]
fn another_plugin_goes_before_the_bundled_one() {
    let site = Site::new("both");
    let dir = site.dir.join("wp-content/plugins/wp-gears");
    fs::create_dir_all(&dir).unwrap();
    lab().give_away(&dir);
    site.write(
        "wp-content/plugins/wp-gears/wp-gears.php",
        &fixture("wp-gears-1.php"),
    );
    site.php("update_option( 'active_plugins', array( 'wp-gears/wp-gears.php' ) );");
    assert_eq!(
        site.php("echo get_class( $GLOBALS['wp_async_task'] );"),
        "Gearman_Async_Task"
    );
    let worker = site.worker(&[]);
    site.add("t_line", json!(["x"]));
    site.wait_for_out(20, 1);
    assert!(site.log().contains("WP Gears 1"));
    worker.stop();
}

#[test]
fn the_runner_by_hand_takes_one_job() {
    for (name, plugin) in [
        ("hand0", None),
        ("hand1", Some(fixture("wp-gears-1.php"))),
        ("hand4", Some(later("WpMinions", "WP_MINIONS", true))),
    ] {
        let site = Site::with(
            name,
            Plan {
                plugin,
                ..Plan::default()
            },
        );
        site.add("t_line", json!(["1"]));
        site.add("t_line", json!(["2"]));
        // As in the readme: through the link in the WordPress root, from any folder.
        run(lab()
            .command("php")
            .arg(site.dir.join("wp-gears-runner.php"))
            .current_dir("/"));
        assert_eq!(site.out(), ["1"]);
        run(lab()
            .command("php")
            .arg("wp-gears-runner.php")
            .current_dir(&site.dir));
        assert_eq!(site.out(), ["1", "2"]);
    }
}

#[test]
fn over_http_there_is_only_403() {
    let site = Site::new("http");
    site.add("t_line", json!(["not run"]));
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let dir = lab().dir.join("http");
    fs::create_dir_all(&dir).unwrap();
    const PRIVATE: [&str; 15] = [
        "runner.php",
        "work.php",
        "database.php",
        "clock.php",
        "seal.php",
        "client.php",
        "keys.php",
        "fork.php",
        "job.php",
        "plugin.php",
        "request.php",
        "exits.php",
        "memory.php",
        "store.php",
        "overdue.php",
    ];
    for file in PRIVATE.into_iter().chain(["bundled.php"]) {
        fs::copy(lab().dir.join("lib").join(file), dir.join(file)).unwrap();
    }
    std::os::unix::fs::symlink(
        site.dir.join("wp-gears-runner.php"),
        dir.join("wp-gears-runner.php"),
    )
    .unwrap();
    let mut web = lab()
        .command("php")
        .args(["-S", &format!("127.0.0.1:{port}"), "-t"])
        .arg(&dir)
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    lab().remember(web.id());
    let get = |path: &str| -> Option<String> {
        use std::io::{Read, Write};
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).ok()?;
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: site.test\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        Some(text)
    };
    wait_for(10, "the web server", || get("/").is_some());
    for file in PRIVATE.into_iter().chain(["wp-gears-runner.php"]) {
        let answer = get(&format!("/{file}")).unwrap();
        assert!(answer.starts_with("HTTP/1.1 403"), "{file}: {answer}");
        assert_eq!(answer.split("\r\n\r\n").nth(1), Some(""), "{file}");
    }
    assert_eq!(
        get("/bundled.php").unwrap().split("\r\n\r\n").nth(1),
        Some("")
    );
    sleep(100);
    assert!(site.out().is_empty());
    web.kill().unwrap();
    web.wait().unwrap();
}
