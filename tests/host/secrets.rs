//! Secrets are not disclosed: not in arguments or environments of processes, output,
//! logs, or files that were not secret before.

use std::collections::BTreeSet;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::harness::{Host, Site, site};
use crate::phase::phase;
use crate::support::{jobs_run, ready_host};

const PLANTED: [&str; 4] = [
    "planted-auth-key",
    "planted-nonce",
    "planted-old-salt",
    "planted-new-salt",
];

/// Files that may contain them: the site's and the administrator's own; our copies of
/// originals; and for the site's user the opcode cache and the function's name, which
/// contains the salt.
const AT_HOME: [&str; 2] = ["/var/www/", "/etc/wp-gears.toml"];
const WITH_US: [&str; 3] = [
    "/var/lib/wp-gears/state/originals/",
    "/var/lib/wp-gears/cache/site/",
    "/var/lib/wp-gears/run/site/function",
];

const FOLDERS: &str =
    "/etc /root /run /tmp /usr/local /var/lib/wp-gears /var/log /var/tmp /var/www";

/// Reports what others than root or the site's user can read.
const OPEN: &str = "
    cd /var/lib/wp-gears
    test $(ls state/originals | wc -l) -gt 1 || echo no originals
    find state -perm /077 -o ! -user root
    find state -type f ! -perm 600
    find cache/site run/site -maxdepth 0 -perm /077 -o ! -user www-data";

fn plant(host: &Host) -> Vec<String> {
    let config = format!("{}/wp-config.php", site::FOLDER);
    let text = host.read(&config).unwrap();
    let password = text
        .lines()
        .find(|line| line.contains("DB_PASSWORD"))
        .unwrap();
    let password = password.split('\'').nth(3).unwrap().to_owned();
    assert!(password.len() > 5, "{password}");
    // Next to the lines that are edited.
    let lines = "define( 'AUTH_KEY', 'planted-auth-key' );\n\
        define( 'WP_ASYNC_TASK_SALT', 'planted-old-salt' ); define( 'NONCE_KEY', 'planted-nonce' );\n";
    let (before, after) = text.split_once("/* That's all").unwrap();
    host.shell(&format!(
        "cat >{config} <<'EOF'\n{before}{lines}/* That's all{after}\nEOF"
    ))
    .ok();
    host.put(
        "/etc/wp-gears.toml",
        "[[site]]\ndir = \"/var/www/site\"\nsalt = \"planted-new-salt\"\n",
        0o600,
    )
    .unwrap();
    let mut secrets: Vec<String> = PLANTED.map(str::to_owned).to_vec();
    secrets.push(password);
    secrets
}

/// The arguments and environments of all processes while `run` runs.
fn watched<T>(host: &Host, secrets: &[String], run: impl FnOnce() -> T) -> (T, u32) {
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let (mut seen, mut looks) = (BTreeSet::new(), 0u32);
            while !ended.load(Ordering::SeqCst) {
                for process in host.processes() {
                    let pid = process.outer;
                    for file in ["cmdline", "environ"] {
                        let bytes = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
                        let text = String::from_utf8_lossy(&bytes).replace('\0', " ");
                        if secrets.iter().any(|secret| text.contains(secret)) {
                            seen.insert(format!("{file} of {}: {text}", process.command));
                        }
                    }
                }
                looks += 1;
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            (seen, looks)
        });
        let result = run();
        ended.store(true, Ordering::SeqCst);
        let (seen, looks) = watch.join().unwrap();
        assert!(seen.is_empty(), "{seen:#?}");
        (result, looks)
    })
}

#[test]
fn secrets_are_seen_nowhere() {
    let host = ready_host("secrets");
    host.shell("apt-get update -q && apt-get install -qy strace")
        .ok();
    let secrets = plant(&host);
    let hidden = |text: &str, of: &str| {
        for secret in &secrets {
            assert!(
                !text.contains(secret.as_str()),
                "{of} shows {secret}:\n{text}"
            );
        }
    };
    let strace = "strace -f -v -s 100000 -e trace=execve,execveat -o /root/trace wp-gears";
    let patterns: Vec<String> = secrets.iter().map(|one| format!("-e {one}")).collect();
    let patterns = patterns.join(" ");
    let (mut starts, mut looks) = (0, 0);
    for words in [
        "plan -v",
        "plan --json",
        "setup --print-config",
        "setup --yes -v",
        "setup --yes --json --workers 3 --prove",
        "doctor -v",
        "doctor --json",
        "status --json",
        "pause",
        "resume",
        "remove --yes -v",
    ] {
        phase(words);
        let of_site = match words.contains("print-config") || words.starts_with("status") {
            true => "",
            false => "--site /var/www/site",
        };
        let (out, times) = watched(&host, &secrets, || {
            host.shell(&format!("{strace} {words} {of_site}"))
        });
        println!("{out}");
        out.text().lines().next().expect("it says something");
        hidden(&out.text(), words);
        let trace = host.read("/root/trace").unwrap();
        starts += trace.matches("execve(").count();
        looks += times;
        hidden(&trace, "a process that was started");
        if words == "setup --yes -v" {
            jobs_run(&Site::first(&host), 3);
            assert_eq!(host.shell(OPEN).ok(), "");
        }
        let found = host.shell(&format!(
            "grep -rlaF {patterns} {FOLDERS} 2>/dev/null || true"
        ));
        let with_us = WITH_US.iter().filter(|_| !words.starts_with("remove"));
        let homes: Vec<&&str> = AT_HOME.iter().chain(with_us).collect();
        for file in found.ok().lines() {
            let is_home = homes.iter().any(|home| file.starts_with(**home));
            assert!(is_home, "{words}: in {file}");
        }
        let journal = host.shell("journalctl --no-pager -o cat").ok();
        hidden(&journal, "the system's journal");
    }
    println!("{starts} starts, looked {looks} times");
    assert!(
        starts > 30 && looks > 50,
        "{starts} starts, looked {looks} times"
    );
}
