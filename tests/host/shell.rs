//! Not a test: a booted host to look around in, until Enter is pressed.
//! `tests/run host shell --ignored --nocapture`

use crate::harness::{Host, Image, Release};

#[test]
#[ignore = "waits for a person"]
fn shell() {
    let host = Host::boot(&Image::with_packages(Release::Bookworm).unwrap(), "shell").unwrap();
    host.install(crate::wp_gears()).unwrap();
    println!("{}", host.enter_command("bash"));
    std::io::stdin().read_line(&mut String::new()).unwrap();
}
