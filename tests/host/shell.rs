//! Not a test: a host to explore, until standard input ends.
//! `HOST=fresh tests/run host shell --ignored --nocapture`

use std::io::Read;

use crate::harness::{Host, Image, Release, Shape, rhel, site};
use crate::support::wp_gears;

#[test]
#[ignore = "interactive"]
fn shell() {
    let wanted = std::env::var("HOST").unwrap_or_else(|_| "ready".into());
    let image = match wanted.as_str() {
        "base" | "base-plain" => Image::base(Release::Bookworm),
        "fresh" => Image::site(Release::Bookworm),
        "plain" => Image::site_made(Release::Bookworm, Shape::Plain),
        "ready" => Image::with_packages(Release::Bookworm),
        "trixie" => Image::site(Release::Trixie),
        "el-base" => rhel::base(),
        "el" | "el-plain" => rhel::site(),
        "el-ready" => rhel::with_packages(),
        _ => panic!(
            "HOST is base, base-plain, fresh, plain, ready, trixie, el-base, el, el-plain or el-ready, \
             not {wanted}"
        ),
    };
    let plain = wanted.ends_with("plain");
    let shape = if plain { Shape::Plain } else { Shape::Booted };
    let host = Host::start(&image.unwrap(), "shell", shape, &[]).unwrap();
    if wanted == "plain" {
        site::start(&host).unwrap();
    }
    host.install(wp_gears()).unwrap();
    println!("{}", host.enter_command("bash"));
    std::io::stdin().read_to_end(&mut vec![]).unwrap();
}
