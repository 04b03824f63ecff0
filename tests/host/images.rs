//! The hosts themselves: were they not as real as they claim, the other tests
//! would prove nothing.

use crate::harness::{Host, Image, Release, Shape, Site};

#[test]
fn a_site_answers_on_a_booted_host_without_gearman() {
    let host = Host::boot(&Image::site(Release::Bookworm).unwrap(), "site").unwrap();
    assert_eq!(
        host.run(&["systemctl", "is-system-running"]).ok().trim(),
        "running"
    );
    let (code, body) = Site::first(&host).get("http://localhost/");
    assert_eq!(code, 200, "{body}");
    assert!(body.contains("<title>Test</title>"), "{body}");
    host.run(&[
        "sh",
        "-c",
        "! dpkg-query -W gearman-job-server supervisor php-gearman",
    ])
    .ok();
}

#[test]
fn a_plain_container_has_no_init() {
    let image = Image::base(Release::Bookworm).unwrap();
    let host = Host::start(&image, "plain", Shape::Plain, &[]).unwrap();
    host.run(&["test", "!", "-e", "/run/systemd/system"]).ok();
    host.shell("apt-get update && apt-get install -y procps")
        .ok();
}
