//! A container without init: services are started by hand, and later by an init.

use crate::harness::{Host, Image, Release, Shape, Site, site};
use crate::phase::phase;
use crate::support::{daemons, everything, jobs_run, none, on_site, web_has_it, wp_gears};

#[test]
fn setup_works_without_init_and_holds_when_one_comes() {
    let image = Image::site_made(Release::Bookworm, Shape::Plain).unwrap();
    let mut host = Host::start(&image, "plain", Shape::Plain, &[]).unwrap();
    host.install(wp_gears()).unwrap();
    site::start(&host).unwrap();
    phase("setup without an init");
    let before = host.tree(&[site::FOLDER]);
    assert!(!web_has_it(&host));
    on_site(&host, "setup", &[]).exits(0);
    jobs_run(&Site::first(&host), 20);
    assert!(web_has_it(&host));
    phase("a second setup touches nothing");
    let (after, processes) = (everything(&host), daemons(&host));
    on_site(&host, "setup", &[]).exits(0);
    none(
        after.touches_to(&everything(&host)),
        "touched by a second setup",
    );
    assert_eq!(processes, daemons(&host));

    phase("boot with systemd");
    // The same files with systemd as process 1.
    host.power_cut();
    host.shape = Shape::Booted;
    host.power_on().unwrap();
    jobs_run(&Site::first(&host), 20);

    phase("remove without an init");
    host.power_cut();
    host.shape = Shape::Plain;
    host.power_on().unwrap();
    site::start(&host).unwrap();
    on_site(&host, "remove", &[]).exits(0);
    none(
        before.changes_to(&host.tree(&[site::FOLDER])),
        "left in the site",
    );
    assert_eq!(host.processes_of("wp-gears"), []);
}
