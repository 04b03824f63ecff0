//! What it costs to show many sites.

use std::path::Path;

use wp_gears::base::clock::now_ms;
use wp_gears::worker::figures::{Attempt, Ending};

use crate::measured::{Run, measure};

/// What workers of a busy site have recorded.
fn record(run: &Path) {
    let now = now_ms();
    let attempts = (0..500).map(|n| {
        let attempt = Attempt {
            at: now - n * 1000,
            hook: Some(format!("import_of_products_{}", n % 8)),
            first: true,
            submitted: Some(now - n * 1500),
            began: now - n * 1200,
            ran: n * n % 3000,
            ending: Ending::Done,
        };
        serde_json::to_string(&attempt).unwrap() + "\n"
    });
    let log = format!("1\n{}", attempts.collect::<String>());
    std::fs::create_dir_all(run).unwrap();
    std::fs::write(run.join("figures.log"), log).unwrap();
}

fn status(sites: usize, form: &str) -> Run {
    let dir = tempfile::tempdir().unwrap();
    for n in 0..sites {
        record(&dir.path().join(format!("run/site-{n}")));
        std::fs::create_dir_all(dir.path().join(format!("failed/site-{n}"))).unwrap();
    }
    let state = dir.path().to_str().unwrap();
    let words = ["status", form, "--servers", "127.0.0.1:9", "--state", state];
    let run = measure(env!("CARGO_BIN_EXE_wp-gears").as_ref(), &words);
    assert_eq!(run.code, 1, "{}", run.text);
    assert!(run.text.matches("import_of_products_7").count() >= sites);
    run
}

#[test]
fn four_times_the_sites_cost_four_times_as_much() {
    for form in ["--json", "--prometheus"] {
        let (few, many) = (status(40, form), status(160, form));
        let ratio = many.processor.as_secs_f64() / few.processor.as_secs_f64();
        println!(
            "{form}: {ratio:.1} times the processor time, {} and {} kB",
            few.kb, many.kb
        );
        assert!(ratio < 6.0, "{ratio}");
        // The text, and not ten times as much.
        let more = (many.kb - few.kb.min(many.kb)) as usize * 1024;
        let longer = many.text.len() - few.text.len();
        assert!(more < 3 * longer + (4 << 20), "{more} for {longer}");
    }
}
