//! Processes that pretend to be others: a user who listens in gearmand's place, and
//! titles that are lies.

use std::time::{Duration, Instant};

use crate::harness::{Host, Site, site};
use crate::phase::phase;
use crate::support::{everything, jobs_run, none, on_site, ready_host};

/// Answers as gearmand does, takes every job, and keeps what it is sent.
const FAKE: &str = r#"
import socketserver, struct

class Fake(socketserver.BaseRequestHandler):
    def handle(self):
        while True:
            data = self.request.recv(65536)
            if not data:
                return
            with open('/tmp/got', 'ab') as got:
                got.write(data)
            if data.startswith(b'\0REQ'):
                kind = struct.unpack('>I', data[4:8])[0]
                reply = {16: (17, data[12:]), 7: (8, b'H:x:1'), 18: (8, b'H:x:1'), 30: (10, b'')}.get(kind)
                if reply:
                    self.request.sendall(b'\0RES' + struct.pack('>II', reply[0], len(reply[1])) + reply[1])
            elif data.startswith(b'version'):
                self.request.sendall(b'OK 1.1.20\n')
            else:
                self.request.sendall(b'.\n')

socketserver.ThreadingTCPServer.allow_reuse_address = True
socketserver.ThreadingTCPServer(('127.0.0.1', 4730), Fake).serve_forever()
"#;

/// Starts a command as mallory, whose title is what she likes.
fn as_mallory(host: &Host, title: &str, command: &str) {
    let script = format!("exec -a '{title}' {command}");
    host.put("/tmp/start", script, 0o755).unwrap();
    host.shell("setsid runuser -u mallory -- bash /tmp/start </dev/null >/dev/null 2>&1 &")
        .ok();
}

#[track_caller]
fn until(host: &Host, what: &str, script: &str) {
    let start = Instant::now();
    while host.shell(script).code != 0 {
        assert!(start.elapsed() < Duration::from_secs(30), "{what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// A page passes its job to WP-Cron.
#[track_caller]
fn a_page_gives_her_nothing(host: &Host) {
    let page = format!("{}/send.php", site::FOLDER);
    let send = "<?php require 'wp-load.php'; var_dump(wp_async_task_add('test_job', ['n' => 99]));";
    host.put(&page, send, 0o644).unwrap();
    let answer = Site::first(host).get("http://localhost/send.php");
    assert_eq!(answer.0, 200, "{answer:?}");
    assert!(answer.1.contains("true"), "{answer:?}");
    let got = host.read("/tmp/got").unwrap_or_default();
    assert!(!got.contains("WP_Async_Task"), "{got:?}");
}

fn she_listens(host: &Host) {
    host.run(&["useradd", "mallory"]).ok();
    host.put("/tmp/fake.py", FAKE, 0o644).unwrap();
    host.run(&["systemctl", "stop", "gearman-job-server"]).ok();
    as_mallory(host, "gearmand", "python3 /tmp/fake.py");
    until(host, "she listens", "grep -q ':127A .* 0A ' /proc/net/tcp");
}

#[test]
fn pages_that_seal_no_jobs_give_her_none_either() {
    let host = ready_host("impostor-plain");
    on_site(&host, "setup", &["--seal", "false"]).exits(0);
    she_listens(&host);
    a_page_gives_her_nothing(&host);
}

#[test]
fn nobody_takes_the_job_servers_place() {
    let host = ready_host("impostor");
    on_site(&host, "setup", &["--workers", "2"]).exits(0);

    phase("she listens where gearmand did");
    she_listens(&host);
    let log = "grep -q 'mallory listens on 127.0.0.1:4730' /var/log/wp-gears/site.log";
    until(&host, "the workers notice", log);

    phase("doctor, status and setup notice");
    let before = everything(&host);
    let doctor = on_site(&host, "doctor", &[]).exits(1);
    assert!(
        doctor.text().contains("user mallory), not to gearmand"),
        "{doctor}"
    );
    for words in [&["--prove"][..], &["--workers", "3"]] {
        let setup = on_site(&host, "setup", words).exits(1);
        assert!(setup.text().contains("user mallory"), "{setup}");
    }
    none(before.changes_to(&everything(&host)), "changed");

    phase("she got no job and no salt");
    a_page_gives_her_nothing(&host);

    phase("gearmand comes back");
    host.shell("pkill -KILL -u mallory").ok();
    host.run(&["systemctl", "start", "gearman-job-server"]).ok();
    let site = Site::first(&host);
    site.get("http://localhost/wp-cron.php");
    assert_eq!(site.wait_for(1, Duration::from_secs(30)), [99]);
    let asks_again = format!(
        "runuser -u www-data -- php -r 'require \"{}/wp-load.php\"; exit(get_site_transient(\"wp_gears_dead_servers\") ? 1 : 0);'",
        site::FOLDER
    );
    until(&host, "pages ask the job server again", &asks_again);
    jobs_run(&site, 20);
    on_site(&host, "doctor", &[]).exits(0);
}

#[test]
fn a_title_makes_root_do_nothing() {
    let host = ready_host("titles");
    host.run(&["useradd", "mallory"]).ok();
    let titles = [
        "php-fpm: master process (/etc/php/8.2/fpm/php-fpm.conf)",
        "/usr/sbin/gearmand",
        "/usr/bin/supervisord",
        "nginx: master process",
        "/usr/sbin/apache2",
        "php-cgi8.2",
        "/usr/local/lib/wp-gears/wp-gears worker --site /var/www/site --name site",
    ];
    for title in titles {
        as_mallory(&host, title, "sleep 3600");
        until(
            &host,
            title,
            &format!(
                "pgrep -u mallory -f -- '^{}'",
                title.replace(['(', ')'], ".")
            ),
        );
    }
    // As if a job had started them.
    host.shell(
        "for pid in $(pgrep -u mallory); do
             echo $pid >/sys/fs/cgroup/system.slice/supervisor.service/cgroup.procs
         done",
    )
    .ok();
    let hers = || {
        host.shell("pgrep -u mallory | xargs ps -o pid=,stat= -p")
            .ok()
    };
    let supervisord = || {
        host.shell("systemctl show -p MainPID -p NRestarts supervisor; cat /proc/$(systemctl show -P MainPID supervisor)/stat | cut -d' ' -f22").ok()
    };
    let (before, daemon) = (hers(), supervisord());

    let setup = on_site(&host, "setup", &[]).exits(0);
    assert!(!setup.text().contains("reload supervisor"), "{setup}");
    on_site(&host, "remove", &["--purge"]).exits(0);
    assert_eq!(hers(), before);
    assert_ne!(daemon, "");
}
