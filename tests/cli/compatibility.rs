//! The rows of docs/compatibility.md, which other tests make: none is left over from a
//! test that is gone.

use std::fs;
use std::path::Path;

#[test]
fn each_row_has_a_test_that_names_it() {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = String::new();
    for folder in ["common", "worker", "host"] {
        for entry in fs::read_dir(project.join("tests").join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "rs") {
                sources += &fs::read_to_string(path).unwrap();
            }
        }
    }
    let page = fs::read_to_string(project.join("docs/compatibility.md")).unwrap();
    let lines: Vec<&str> = page.lines().chain([""]).collect();
    let mut count = 0;
    for pair in lines.windows(2) {
        let row = pair[0]
            .strip_prefix("| ")
            .filter(|row| !row.starts_with("---"));
        let is_head = pair[1].starts_with("| ---");
        let Some((name, _)) = row
            .filter(|_| !is_head)
            .and_then(|row| row.split_once(" |"))
        else {
            continue;
        };
        count += 1;
        assert!(
            sources.contains(&format!("\"{name}\"")),
            "no test names the row {name:?}"
        );
    }
    assert!(count >= 5, "{count}");
}
