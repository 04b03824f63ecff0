//! Workers under a real supervisor that is restarted and killed while jobs run.

use std::time::Duration;

use crate::harness::{Host, Site};
use crate::phase::phase;
use crate::support::{on_site, ready_host};

const LIMIT: Duration = Duration::from_secs(120);

/// supervisor ran each worker, and its command had all options.
const BEFORE: &str = "f=/etc/supervisor/conf.d/wp-gears-site.conf; \
    sed -i 's#^command=.*#command=/usr/local/lib/wp-gears/wp-gears worker --site /var/www/site --name site \
    --servers 127.0.0.1:4730 --php /usr/bin/php --worker-mode fork --job-retries 3 --stop-timeout 300#; \
    s/^numprocs=.*/numprocs=3/; s/^stopwaitsecs=.*/stopwaitsecs=310/' $f; \
    rm /var/lib/wp-gears/run/site.settings.toml; supervisorctl update; \
    until [ $(supervisorctl status | grep -c RUNNING) = 3 ]; do sleep 0.1; done";

#[test]
fn no_job_is_lost_or_run_twice_by_what_happens_to_supervisor() {
    let host = ready_host("workers");
    on_site(&host, "setup", &["--workers", "3"]).exits(0);
    phase("supervisorctl restart");
    during_jobs(&host, |host| {
        host.run(&["supervisorctl", "restart", "all"]).ok();
    });
    phase("reload");
    during_jobs(&host, |host| {
        host.run(&["wp-gears", "reload", "--wait"]).exits(0);
    });
    phase("another number of workers, and other options");
    let crew = crew(&host);
    for words in [
        ["--workers", "8"],
        ["--workers", "1"],
        ["--workers", "2"],
        ["--max-jobs", "4000"],
    ] {
        during_jobs(&host, |host| {
            on_site(host, "setup", &words).exits(0);
            on_site(host, "plan", &["--check"]).exits(0);
        });
        assert_eq!(self::crew(&host), crew, "{words:?}");
    }
    host.run(&["wp-gears", "doctor"]).exits(0);
    phase("the program of the version before");
    host.shell(BEFORE).ok();
    during_jobs(&host, |host| {
        on_site(host, "setup", &[]).exits(0);
        on_site(host, "plan", &["--check"]).exits(0);
    });
    let program = host.shell("cat /etc/supervisor/conf.d/wp-gears-site.conf");
    let program = program.ok();
    assert!(program.contains("numprocs=1\n"), "{program}");
    host.run(&["wp-gears", "doctor"]).exits(0);
    phase("supervisord is killed");
    // Its workers go on without it, and systemd restarts it.
    during_jobs(&host, |host| {
        let supervisord = host.processes_of("supervisord");
        assert_eq!(supervisord.len(), 1);
        host.kill9(supervisord[0].pid);
    });
}

/// The process that supervisord runs for the site.
fn crew(host: &Host) -> String {
    host.run(&["supervisorctl", "pid", "wp-gears-site:wp-gears-site_00"])
        .ok()
}

/// Twelve jobs of 1.5 s, and what to do to the host while some of them run.
fn during_jobs(host: &Host, act: impl FnOnce(&Host)) {
    let site = Site::first(host);
    site.forget_done();
    site.send(1, 12, 1.5).ok();
    assert!(!site.wait_for(1, LIMIT).is_empty());
    act(host);
    let mut done = site.wait_for(12, LIMIT);
    done.sort_unstable();
    assert_eq!(done, (1..=12).collect::<Vec<_>>());
}
