//! Measures how long an edit takes. Only release builds are measured.

use std::path::Path;
use std::time::{Duration, Instant};
use wp_gears::site::config::{Desired, Edited, Want, edit};
use wp_gears::site::plugins::WP_GEARS;

fn plan(source: &[u8]) -> Edited {
    let desired = Desired {
        switch: WP_GEARS.switch,
        servers: Want::Default(vec!["127.0.0.1:4730".into()]),
        salt: Want::Default("salt".into()),
    };
    edit(source, &desired, &|_: &[u8]| None).expect("an edit")
}

/// The best of eleven runs, as the machine may be busy.
fn time(source: &[u8]) -> Duration {
    let times = (0..11).map(|_| {
        let start = Instant::now();
        plan(source);
        start.elapsed()
    });
    times.min().expect("eleven")
}

fn sample() -> Vec<u8> {
    let text = std::fs::read_to_string(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/wp-config/sample.php"),
    )
    .expect("the sample");
    let more =
        "define( 'SETTING', array( 'key' => 'value', 'other' => 2 ) ); // a setting\n".repeat(24);
    text.replacen("/* That's all", &format!("{more}/* That's all"), 1)
        .into_bytes()
}

#[test]
#[cfg_attr(debug_assertions, ignore = "a release build is measured")]
fn fast_enough() {
    let small = sample();
    assert!((2900..3300).contains(&small.len()), "{}", small.len());
    let five = b"/** A setting, with its docblock. */\ndefine( 'SETTING', 'its value' );\n\n// And another:\n$settings['key'] = array( 1, 'two' );\n";
    let cut = small
        .windows(4)
        .position(|it| it == b"/* T")
        .expect("the end");
    let large = [&small[..cut], &five.repeat(4_000), &small[cut..]].concat();
    let (one, long) = (time(&small), time(&large));
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| (0..500).for_each(|_| drop(plan(&small))));
        }
    });
    let thousand = start.elapsed();
    eprintln!(
        "{} bytes: {one:?}; 20,000 lines: {long:?}; 1,000 files by two threads: {thousand:?}",
        small.len()
    );
    assert!(one < Duration::from_millis(2));
    assert!(long < Duration::from_millis(50));
    assert!(thousand < Duration::from_secs(1));
}
