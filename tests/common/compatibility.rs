//! docs/compatibility.md: tests make its rows, each from what it has just seen.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

fn page() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/compatibility.md")
}

/// Asserts that the table below the heading has this row; its first cell names it.
/// With `WP_GEARS_UPDATE=1`, writes it instead.
#[track_caller]
pub fn seen(heading: &str, cells: &[&str]) {
    // Tests run at the same time, in several processes.
    let folder = File::open(page().parent().unwrap()).unwrap();
    folder.lock().unwrap();
    let text = fs::read_to_string(page()).unwrap();
    let row = format!("| {} |", cells.join(" | "));
    let new = with_row(&text, heading, cells[0], &row);
    if std::env::var_os("WP_GEARS_UPDATE").is_some() {
        fs::write(page(), &new).unwrap();
        return;
    }
    assert_eq!(
        new, text,
        "\"{heading}\" in docs/compatibility.md differs from what was seen: {row}\n\
         If that is right, run this test with WP_GEARS_UPDATE=1"
    );
}

fn with_row(text: &str, heading: &str, name: &str, row: &str) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    let title = format!("## {heading}");
    let start = lines.iter().position(|line| *line == title);
    let start = start.unwrap_or_else(|| panic!("docs/compatibility.md has no {title:?}"));
    let is_row = |line: &str| line.starts_with('|');
    let above = lines[start..].iter().take_while(|line| !is_row(line));
    let first = start + above.count();
    let rows = lines[first..].iter().take_while(|line| is_row(line));
    let last = first + rows.count();
    let mine = format!("| {name} |");
    match lines[first..last]
        .iter()
        .position(|line| line.starts_with(&mine))
    {
        Some(at) => lines[first + at] = row,
        None => lines.insert(last, row),
    }
    lines.join("\n") + "\n"
}
