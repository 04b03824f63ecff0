//! A busy site: pages submit jobs while remove switches it off, with opcode caches that
//! hold the old wp-config.php for a while, or for ever. Every job that a page was told
//! is accepted runs.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::harness::debian::install;
use crate::harness::{Host, Out, Site};
use crate::phase::phase;
use crate::support::{on_site, ready_host};

/// A page that takes its time before it submits a job, and says who accepted it.
const PAGE: &str = r#"<?php
require '/var/www/site/wp-load.php';
usleep((int) $_GET['ms'] * 1000);
if (!function_exists('wp_async_task_add')) { echo 'off'; exit; }
$sent = wp_async_task_add('test_job', ['n' => (int) $_GET['n']]);
echo is_string($sent) ? 'gearman' : ($sent ? 'cron' : 'lost');
"#;

/// A visitor, by number and by how long the pages take.
const VISITOR: &str = r#"n=$(($1 * 100000)); : >"/srv/visitor.$1"
while [ ! -e /srv/closed ]; do
    n=$((n + 1))
    answer=$(curl -s -m 60 -w ' %{http_code}' "http://localhost/submit.php?ms=$2&n=$n")
    echo "$n $answer" >>"/srv/visitor.$1"
done"#;

const VISITORS: [(&str, &str); 5] = [
    ("1", "0"),
    ("2", "20"),
    ("3", "100"),
    ("4", "300"),
    // Its pages have read the old wp-config.php long before they submit.
    ("5", "3000"),
];

const CACHES: [(&str, &str); 3] = [
    ("the default cache", ""),
    (
        "a cache that never looks",
        "opcache.validate_timestamps=0\n",
    ),
    (
        "a cache that looks every 10 s",
        "opcache.revalidate_freq=10\n",
    ),
];

/// What pages answered.
struct Traffic {
    pages: usize,
    accepted: BTreeSet<u32>,
    broken: Vec<String>,
}

/// Visitors come before, while and after this runs.
fn visited(host: &Host, during: impl FnOnce() -> Out) -> (Traffic, Out, Duration) {
    host.shell("rm -f /srv/closed /srv/visitor.*").ok();
    let (out, took) = std::thread::scope(|scope| {
        for (number, ms) in VISITORS {
            scope.spawn(move || host.run(&["sh", "-c", VISITOR, "visitor", number, ms]));
        }
        let pages = || host.shell("cat /srv/visitor.* 2>/dev/null | wc -l").stdout;
        let began = Instant::now();
        while pages().trim().parse::<usize>().unwrap_or(0) < 20
            && began.elapsed() < Duration::from_secs(60)
        {
            std::thread::sleep(Duration::from_millis(50));
        }
        let began = Instant::now();
        let out = during();
        let took = began.elapsed();
        // The slowest page that began before takes less.
        std::thread::sleep(Duration::from_secs(5));
        host.run(&["touch", "/srv/closed"]).ok();
        (out, took)
    });
    let mut traffic = Traffic {
        pages: 0,
        accepted: BTreeSet::new(),
        broken: Vec::new(),
    };
    for line in host.shell("cat /srv/visitor.*").stdout.lines() {
        traffic.pages += 1;
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            [number, "gearman", "200"] => {
                traffic.accepted.insert(number.parse().unwrap());
            }
            [_, "cron" | "off", "200"] => {}
            _ => traffic.broken.push(line.to_owned()),
        }
    }
    (traffic, out, took)
}

/// The jobs in gearmand's queues, if it runs.
fn queued(host: &Host) -> u64 {
    let script = "exec 3<>/dev/tcp/127.0.0.1/4730 || exit 0
        echo status >&3
        while read -r line <&3; do [ \"$line\" = . ] && exit; echo \"$line\"; done";
    let status = host.run(&["bash", "-c", script]).stdout;
    let jobs = status.lines().filter_map(|line| line.split('\t').nth(1));
    jobs.filter_map(|jobs| jobs.parse::<u64>().ok()).sum()
}

fn remove_loses_nothing(host: &Host, sapi: &str, service: &str) {
    host.put("/var/www/site/submit.php", PAGE, 0o644).unwrap();
    let site = Site::first(host);
    for (name, ini) in CACHES {
        phase(name);
        let path = format!("/etc/php/8.2/{sapi}/conf.d/99-test.ini");
        host.put(&path, ini, 0o644).unwrap();
        host.run(&["systemctl", "restart", service]).ok();
        site.forget_done();
        on_site(host, "setup", &[]).exits(0);
        let (traffic, removed, took) = visited(host, || on_site(host, "remove", &[]));
        let accepted = traffic.accepted.len();
        let ran: BTreeSet<u32> = site
            .wait_for(accepted, Duration::from_secs(5))
            .into_iter()
            .collect();
        let lost: Vec<&u32> = traffic.accepted.difference(&ran).collect();
        println!("{}", removed.text());
        println!(
            "{sapi}, {name}: remove took {took:.1?}; {} pages, {accepted} jobs accepted, {} of them never ran; {} queued after that; broken pages: {:?}",
            traffic.pages,
            lost.len(),
            queued(host),
            traffic.broken
        );
        let removed = removed.exits(0);
        assert!(accepted > 0, "{removed}");
        assert!(lost.is_empty(), "never ran: {lost:?}, {removed}");
        assert_eq!(queued(host), 0, "{removed}");
        assert_eq!(traffic.broken, [""; 0]);
        assert_eq!(host.processes_of("wp-gears worker"), []);
        assert!(!host.exists("/var/lib/wp-gears"), "{removed}");
    }
}

#[test]
fn remove_from_nginx_with_php_fpm() {
    let host = ready_host("busyfpm");
    remove_loses_nothing(&host, "fpm", "php8.2-fpm");
}

#[test]
fn remove_from_apache_with_mod_php() {
    let host = ready_host("busymodphp");
    host.shell("systemctl disable --now nginx php8.2-fpm").ok();
    install(&host, &["apache2", "libapache2-mod-php"]).unwrap();
    let site = "<VirtualHost *:80>
    DocumentRoot /var/www/site
    <Directory /var/www/site>
        Require all granted
        AllowOverride All
    </Directory>
</VirtualHost>
";
    host.put("/etc/apache2/sites-available/000-default.conf", site, 0o644)
        .unwrap();
    host.run(&["systemctl", "restart", "apache2"]).ok();
    remove_loses_nothing(&host, "apache2", "apache2");
}
