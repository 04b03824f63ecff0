//! PHP as the judge: many files, one process.

use serde_json::Value;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/wp-config")
}

/// Loud, and not a failure: the rest of the suite needs no PHP.
pub fn php_is_missing() -> bool {
    let works = Command::new("php")
        .args(["-r", "exit( function_exists( 'pcntl_fork' ) ? 0 : 1 );"])
        .status()
        .is_ok_and(|status| status.success());
    if !works {
        eprintln!("SKIPPED: no php with pcntl on this machine, so nobody judged the edits");
    }
    !works
}

/// One answer for each `(mode, file)`; mode is top, function or lint.
pub fn judge(jobs: &[(&str, PathBuf)]) -> Vec<Value> {
    let mut php = Command::new("php")
        .args(["-d", "error_reporting=-1", "-d", "opcache.enable_cli=0"])
        .arg(fixtures().join("judge.php"))
        .env_remove("HTTP_HOST")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("php starts");
    let lines: String = jobs
        .iter()
        .map(|(mode, file)| format!("{mode}\t{}\n", file.display()))
        .collect();
    let mut stdin = php.stdin.take().expect("piped");
    let feeder = std::thread::spawn(move || stdin.write_all(lines.as_bytes()));
    let output = php.wait_with_output().expect("php ends");
    feeder.join().expect("no panic").expect("php reads");
    let answers: Vec<Value> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or(Value::Null))
        .collect();
    assert_eq!(answers.len(), jobs.len(), "an answer for each file");
    answers
}

/// A site that the judge can load: the file, the stub that reports, and what
/// the file includes.
pub fn site(folder: &Path, config: &[u8], includes: &Path) -> PathBuf {
    std::fs::create_dir_all(folder).expect("a folder");
    if includes.is_dir() {
        copy(includes, folder);
    }
    std::fs::write(
        folder.join("wp-settings.php"),
        "<?php\njudge_say( true );\n",
    )
    .expect("the stub");
    let file = folder.join("wp-config.php");
    std::fs::write(&file, config).expect("the config");
    file
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).expect("a folder").flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            std::fs::create_dir_all(&target).expect("a folder");
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("a copy");
        }
    }
}
