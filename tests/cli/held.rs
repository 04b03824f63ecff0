//! Texts for users, held in files, so that changes show in reviews.
//! `WP_GEARS_UPDATE=1 cargo test --test cli held` writes them all: the names of tests
//! that hold a text begin with `held`.

use std::path::Path;

/// Fails if the text differs from the file. The path is relative to the project's
/// folder.
#[track_caller]
pub fn held(path: &str, text: String) {
    held_each([(path.to_owned(), text)]);
}

/// The same for several files; shows all that differ.
#[track_caller]
pub fn held_each(texts: impl IntoIterator<Item = (String, String)>) {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut differences = String::new();
    for (path, text) in texts {
        let file = project.join(&path);
        if std::env::var_os("WP_GEARS_UPDATE").is_some() {
            std::fs::write(&file, &text).unwrap();
        }
        let before = std::fs::read_to_string(&file).unwrap_or_default();
        let diff = similar::TextDiff::from_lines(&before, &text);
        differences += &diff.unified_diff().header(&path, "this run").to_string();
    }
    assert!(
        differences.is_empty(),
        "if this change is meant: WP_GEARS_UPDATE=1 cargo test --test cli held\n{differences}"
    );
}
