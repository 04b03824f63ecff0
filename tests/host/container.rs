//! The recipe for container images: files and packages at build time, and
//! `wp-gears worker --workers N` as process 1 of its own container.

use std::time::Duration;

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
