//! The intent for a host is remembered: without its workers, on hosts with only some
//! of the roles, and after an upgrade from the version without the file.

use crate::harness::{Host, Image, Out, Release, Site, site};
use crate::phase::phase;
use crate::support::{
    SECOND, add_second, daemons, everything, host_of, jobs_run, none, on_site, ready_host,
};

const INTENT: &str = "/etc/wp-gears.toml";
const PROGRAM: &str = "/etc/supervisor/conf.d/wp-gears-site.conf";

/// A job server that this host reaches as "jobs", as if it were on another host. The
/// package is removed: only wp-gears would install it again.
const JOBS: &str = "cp /usr/sbin/gearmand /usr/local/sbin/jobs
    export DEBIAN_FRONTEND=noninteractive
    apt-get -qq purge gearman-job-server
    echo '127.0.0.2 jobs' >>/etc/hosts
    systemd-run --quiet --unit=jobs jobs --listen=jobs
    until ss -Hltn src 127.0.0.2:4730 | grep -q .; do sleep 0.1; done";

#[test]
fn a_host_of_workers_stays_one_and_its_program_comes_back() {
    let host = ready_host("roles");
    host.shell(JOBS).ok();
    phase("setup with roles");
    on_site(
        &host,
        "setup",
        &["--role", "worker,web", "--servers", "jobs:4730"],
    )
    .exits(0);
    is_settled(&host);
    phase("doctor sees no fault");
    for words in [&["doctor"][..], &["doctor", "--fix", "--yes"]] {
        let out = host.run(&[&["wp-gears"], words].concat()).exits(0);
        for line in ["✓ packages  ", "✓ job-server  ", "✓ intent  "] {
            assert!(out.stdout.contains(line), "{line}: {out}");
        }
    }
    host.run(&["sh", "-c", "! dpkg-query -W gearman-job-server"])
        .ok();
    jobs_run(&Site::first(&host), 5);

    phase("the program is deleted");
    let text = host.read(PROGRAM).unwrap();
    host.shell(&format!("rm {PROGRAM}; supervisorctl update"))
        .ok();
    let out = host.run(&["wp-gears", "doctor"]).exits(1);
    assert!(
        out.stdout.contains(&format!("{PROGRAM} is missing")),
        "{out}"
    );
    let of_programs = |line: &str| line.starts_with("✗ programs") && line.contains("wp-gears-site");
    assert!(out.stdout.lines().any(of_programs), "{out}");
    host.run(&["wp-gears", "doctor", "--fix", "--yes"]).exits(0);
    assert_eq!(host.read(PROGRAM).unwrap(), text);
    jobs_run(&Site::first(&host), 5);

    phase("its file alone is deleted");
    let workers = daemons(&host);
    host.run(&["rm", PROGRAM]).ok();
    host.run(&["wp-gears", "doctor"]).exits(1);
    host.run(&["wp-gears", "doctor", "--fix", "--yes"]).exits(0);
    assert_eq!(host.read(PROGRAM).unwrap(), text);
    assert_eq!(daemons(&host), workers);

    phase("pages alone");
    host.run(&["wp-gears", "remove", "--yes"]).exits(0);
    let words = ["--role", "web", "--servers", "jobs:4730"];
    on_site(&host, "setup", &words).exits(0);
    is_settled(&host);
    host.run(&["wp-gears", "doctor"]).exits(0);
}

#[test]
fn a_job_server_needs_no_site() {
    let host = host_of(&Image::base(Release::Bookworm).unwrap(), "server");
    host.run(&["apt-get", "-qq", "update"]).ok();
    let words = ["--role", "server", "--listen", "127.0.0.3", "--yes"];
    host.run(&[&["wp-gears", "setup"], &words[..]].concat())
        .exits(0);
    is_settled(&host);
    let out = host.run(&["wp-gears", "doctor"]).exits(0);
    assert!(
        out.stdout.contains("✓ port") && !out.stdout.contains("\n!"),
        "{out}"
    );
    host.run(&["wp-gears", "status", "--servers", "127.0.0.3:4730"])
        .exits(0);
    host.run(&["wp-gears", "remove", "--yes"]).exits(0);
    assert!(!host.exists(INTENT));
}

#[test]
fn a_host_of_the_version_before_is_adopted_without_a_restart() {
    let host = ready_host("before");
    add_second(&host);
    let before = everything(&host);
    let words = ["--workers", "3", "--job-timeout", "90", "--max-jobs", "70"];
    on_site(&host, "setup", &words).exits(0);
    let second = [
        "wp-gears",
        "setup",
        "--site",
        SECOND,
        "--workers",
        "1",
        "--yes",
    ];
    host.run(&second).exits(0);
    let asked = host.read(INTENT).unwrap();
    host.shell(&format!(
        r#"rm {INTENT}; sed -i '/"kind":"intent"/d' /var/lib/wp-gears/state/host.jsonl"#
    ))
    .ok();

    phase("adopted");
    let (files, running) = (everything(&host), daemons(&host));
    let plan = host.run(&["wp-gears", "plan"]).exits(0);
    let shown = format!("+ create file {INTENT}\n");
    assert!(plan.stdout.starts_with(&shown), "{plan}");
    host.run(&["wp-gears", "setup", "--yes"]).exits(0);
    assert_eq!(sorted(&host.read(INTENT).unwrap()), sorted(&asked));
    assert_eq!(daemons(&host), running);
    let touched = files.touches_to(&everything(&host));
    let unexpected = touched.into_iter().filter(|it| {
        ![INTENT, "/var/lib/wp-gears/state", "/etc:"]
            .iter()
            .any(|part| it.contains(part))
    });
    none(unexpected.collect(), "touched by the run that adopts");
    is_settled(&host);
    jobs_run(&Site::first(&host), 5);

    phase("remove");
    host.shell(&format!(
        "sed -i 's/^dir = .*second.*/& # the shop/' {INTENT}"
    ))
    .ok();
    host.run(&["wp-gears", "remove", "--yes", "--site", site::FOLDER])
        .exits(0);
    let left = host.read(INTENT).unwrap();
    assert!(!left.contains(site::FOLDER), "{left}");
    assert!(
        left.contains(SECOND) && left.contains("# the shop"),
        "{left}"
    );
    is_settled(&host);
    host.run(&["wp-gears", "remove", "--yes"]).exits(0);
    // Only an administrator's own comment is kept.
    assert_eq!(host.read(INTENT).unwrap().trim(), "# the shop");
    host.run(&["rm", INTENT]).ok();
    none(before.changes_to(&everything(&host)), "left by remove");
}

/// Asserts that neither plan nor a second setup have anything to do.
#[track_caller]
fn is_settled(host: &Host) -> Out {
    host.run(&["wp-gears", "plan", "--check"]).exits(0);
    let (before, running) = (everything(host), daemons(host));
    let again = host.run(&["wp-gears", "setup", "--yes"]).exits(0);
    let touched = before.touches_to(&everything(host));
    none(touched, &format!("touched by a second setup, {again}"));
    assert_eq!(running, daemons(host));
    again
}

fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines
}
