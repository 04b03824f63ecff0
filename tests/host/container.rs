//! The recipe for container images: files and packages at build time, and
//! `wp-gears worker --workers N` as process 1 of its own container.

use std::time::Duration;

use serde_json::Value;

use crate::harness::debian;
use crate::harness::{Host, Image, Release, Shape, Site, site};
use crate::phase::phase;
use crate::support::{on_site, wp_gears};

const LIMIT: Duration = Duration::from_secs(60);

/// As documented, in its own PID namespace.
const WORKER: &str = "unshare --fork --pid --mount-proc \
    setpriv --reuid=www-data --regid=www-data --clear-groups \
    /usr/local/lib/wp-gears/wp-gears worker --site /var/www/site --name site --workers 2 \
    > /tmp/worker.log 2>&1 < /dev/null & echo $!";

#[test]
fn an_image_is_built_without_starting_anything_and_its_worker_is_process_1() {
    let image = Image::site_made(Release::Bookworm, Shape::Plain).unwrap();
    let host = Host::start(&image, "container", Shape::Plain, &[]).unwrap();
    host.install(wp_gears()).unwrap();
    site::start(&host).unwrap();
    phase("setup without a start");
    on_site(&host, "setup", &["--no-start"]).exits(0);
    for name in ["gearmand", "supervisord", "wp-gears worker"] {
        assert_eq!(host.processes_of(name), [], "{name} was started");
    }
    on_site(&host, "plan", &["--no-start", "--check"]).exits(0);

    phase("the worker as process 1 runs jobs");
    host.run(&["service", "gearman-job-server", "start"]).ok();
    let unshare = host.shell(WORKER).ok().trim().to_owned();
    let site = Site::first(&host);
    site.forget_done();
    site.send(1, 20, 0.0).ok();
    let mut done = site.wait_for(20, LIMIT);
    done.sort_unstable();
    assert_eq!(done, (1..=20).collect::<Vec<_>>());

    phase("TERM to process 1");
    // TERM to process 1: running jobs finish, then everything exits.
    site.forget_done();
    site.send(1, 2, 2.0).ok();
    std::thread::sleep(Duration::from_millis(800));
    let first = host.shell(&format!("pgrep -P {unshare}")).ok();
    host.run(&["kill", "-TERM", first.trim()]).ok();
    let mut done = site.wait_for(2, LIMIT);
    done.sort_unstable();
    assert_eq!(done, [1, 2]);
    for _ in 0..100 {
        if host.processes_of("wp-gears").is_empty() {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("left: {:?}", host.processes_of("wp-gears"));
}

/// What the YAML file describes.
fn compose() -> Value {
    let file = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/contrib/container/compose.yaml"
    );
    let code = "import json, sys, yaml; json.dump(yaml.safe_load(open(sys.argv[1])), sys.stdout)";
    let mut python = std::process::Command::new("python3");
    let out = python.args(["-c", code, file]).output().unwrap();
    assert!(out.status.success(), "{out:?}");
    serde_json::from_slice(&out.stdout).unwrap()
}

/// The words of the instruction that runs setup, without `RUN`.
fn setup_of_the_image() -> String {
    let text = include_str!("../../contrib/container/Dockerfile").replace("\\\n", " ");
    let found = text.lines().find(|line| line.starts_with("RUN wp-gears"));
    found.unwrap()["RUN ".len()..].to_owned()
}

fn words(value: &Value) -> Vec<String> {
    let all = value.as_array().unwrap().iter();
    all.map(|word| word.as_str().unwrap().to_owned()).collect()
}

/// Variables as `env` takes them. The database is on this host, which has one address.
fn environment(service: &Value) -> Vec<String> {
    let all = service["environment"].as_object().into_iter().flatten();
    let here = [
        ("DB_HOST", "localhost"),
        ("DB_NAME", "site"),
        ("DB_USER", "site"),
    ];
    all.map(|(name, value)| {
        let text = value
            .as_str()
            .map_or_else(|| value.to_string(), String::from);
        let own = here.iter().find(|(it, _)| it == name);
        format!("{name}={}", own.map_or(text.as_str(), |(_, value)| value))
    })
    .collect()
}

/// Starts a service as its container would: the first process, its user, without
/// capabilities, nothing to write to but what the file mounts. Returns the process that
/// waits for it.
fn start(host: &Host, service: &Value, name: &str) -> String {
    let user = service["user"].as_str().unwrap();
    let mut script = String::from("set -e\n");
    for volume in service["volumes"].as_array().unwrap() {
        let folder = volume.as_str().unwrap().split(':').nth(1).unwrap();
        script +=
            &format!("mkdir -p {folder}; chown {user}: {folder}; mount --bind {folder} {folder}\n");
    }
    // Jobs of the test note there that they ran.
    script += "mount --bind /srv/jobs /srv/jobs\n";
    for tmpfs in service["tmpfs"].as_array().unwrap() {
        let (folder, options) = tmpfs
            .as_str()
            .unwrap()
            .split_once(':')
            .unwrap_or((tmpfs.as_str().unwrap(), "mode=1777"));
        script += &format!("mkdir -p {folder}; mount -t tmpfs -o {options} tmpfs {folder}\n");
    }
    assert_eq!(service["read_only"], true);
    script += "mount -o remount,bind,ro /\n";
    let quoted = |word: String| format!("'{word}'");
    let words: Vec<String> = [environment(service), words(&service["command"])]
        .concat()
        .into_iter()
        .map(quoted)
        .collect();
    script += &format!(
        "exec setpriv --reuid={user} --regid={user} --clear-groups --no-new-privs \
         --inh-caps=-all --bounding-set=-all env {}\n",
        words.join(" ")
    );
    let file = format!("/root/{name}.sh");
    host.put(&file, script, 0o700).unwrap();
    let started = host.shell(&format!(
        "unshare --fork --pid --mount --mount-proc --propagation private sh {file} \
         > /root/{name}.log 2>&1 < /dev/null & echo $!"
    ));
    started.ok().trim().to_owned()
}

/// The process that is number 1 there.
fn first(host: &Host, unshare: &str) -> String {
    host.shell(&format!("pgrep -P {unshare}"))
        .ok()
        .trim()
        .to_owned()
}

/// Runs the health check as the container's engine does.
fn is_healthy(host: &Host, service: &Value, first: &str) -> bool {
    let test = words(&service["healthcheck"]["test"]);
    assert_eq!(test[0], "CMD");
    let user = service["user"].as_str().unwrap();
    let enter = [
        "nsenter", "--pid", "--mount", "--root", "--target", first, "--",
    ];
    let change = [
        "setpriv",
        "--reuid",
        user,
        "--regid",
        user,
        "--clear-groups",
        "env",
    ];
    let more = [environment(service), test[1..].to_vec()].concat();
    let more: Vec<&str> = more.iter().map(String::as_str).collect();
    let out = host.run(&[&enter[..], &change, &more].concat());
    host.put("/root/health.log", out.to_string(), 0o600)
        .unwrap();
    out.code == 0
}

fn wait_until(host: &Host, what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..300 {
        if done() {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("waited 30 s for {what}: {}", host.shell("tail /root/*.log"));
}

#[test]
fn services_of_the_compose_file_run_jobs_and_keep_nothing_of_their_own() {
    let compose = compose();
    let services = &compose["services"];
    let image = Image::site_made(Release::Bookworm, Shape::Plain).unwrap();
    let host = Host::start(&image, "compose", Shape::Plain, &[]).unwrap();
    host.install(wp_gears()).unwrap();
    site::start(&host).unwrap();
    let config = include_str!("../../contrib/container/wp-config.php");
    let place = format!("{}/wp-config.php", site::FOLDER);
    host.put(&place, config, 0o644).unwrap();
    host.run(&["chown", "www-data:", &place]).ok();
    host.shell("echo 127.0.0.1 gearmand >> /etc/hosts").ok();
    // Of what the image installs, the host lacks this.
    debian::install(&host, &["gearman-job-server"]).unwrap();
    host.run(&["service", "gearman-job-server", "stop"]).ok();

    phase("setup of the image");
    let setup = setup_of_the_image();
    host.shell(&setup).ok();
    let once = host.read(&place).unwrap();
    assert!(!once.contains("WP_ASYNC_TASK_SALT', '"), "{once}");
    host.shell(&setup).ok();
    assert_eq!(host.read(&place).unwrap(), once);

    phase("the services start");
    for (name, secret) in compose["secrets"].as_object().unwrap() {
        assert_eq!(secret["file"], format!("./secrets/{name}"));
        let value = match name.as_str() {
            "db_password" => "pw-site\n".to_owned(),
            name => format!("{name} that nobody else knows\n"),
        };
        let file = format!("/run/secrets/{name}");
        host.put(&file, value, 0o400).unwrap();
        host.run(&["chown", "www-data:", &file]).ok();
    }
    let server = start(&host, &services["gearmand"], "gearmand");
    let worker = start(&host, &services["worker"], "worker");
    wait_until(&host, "the worker's first process", || {
        !host
            .shell(&format!("pgrep -P {worker}"))
            .stdout
            .trim()
            .is_empty()
    });
    let one = first(&host, &worker);
    wait_until(&host, "health", || {
        is_healthy(&host, &services["worker"], &one)
    });

    phase("a page submits jobs");
    let site = Site::first(&host);
    site.forget_done();
    let code = r#"require "/var/www/site/wp-load.php";
        foreach ( range( 1, 20 ) as $n ) wp_async_task_add( "test_job", array( "n" => $n, "sleep" => 0 ) );"#;
    let page = environment(&services["web"]);
    let page: Vec<&str> = page.iter().map(String::as_str).collect();
    let words = [&["env"][..], &page, &["php", "-r", code]].concat();
    host.as_user("www-data", &words).ok();
    let mut done = site.wait_for(20, LIMIT);
    done.sort_unstable();
    assert_eq!(done, (1..=20).collect::<Vec<_>>());

    phase("without a job server the container is not healthy");
    host.run(&["kill", "-TERM", &first(&host, &server)]).ok();
    wait_until(&host, "ill health", || {
        !is_healthy(&host, &services["worker"], &one)
    });
    let server = start(&host, &services["gearmand"], "gearmand");
    wait_until(&host, "health again", || {
        is_healthy(&host, &services["worker"], &one)
    });

    phase("the end");
    for unshare in [worker, server] {
        host.run(&["kill", "-TERM", &first(&host, &unshare)]).ok();
        wait_until(&host, "the end", || {
            !host.exists(&format!("/proc/{unshare}"))
        });
    }
}
