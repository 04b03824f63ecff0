//! Lets PHP judge many files in one process.

use crate::common::needs::{installed, missing};
use serde_json::Value;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/wp-config")
}

/// Returns an answer for each `(mode, file)`; the mode is "top" or "function".
pub fn judge(jobs: &[(&str, PathBuf)]) -> Vec<Value> {
    ask(jobs
        .iter()
        .map(|(mode, file)| format!("{mode}\t{}\n", file.display())))
}

/// For each text, whether PHP parses it.
pub fn parses(texts: &[Vec<u8>]) -> Vec<bool> {
    ask(texts.iter().map(|text| format!("lint\t{}\n", base64(text))))
        .iter()
        .map(|answer| answer["parses"] == true)
        .collect()
}

fn ask(questions: impl ExactSizeIterator<Item = String>) -> Vec<Value> {
    let count = questions.len();
    let lines: String = questions.collect();
    let has_pcntl = Command::new("php")
        .args(["-r", "exit( function_exists( 'pcntl_fork' ) ? 0 : 1 );"])
        .status();
    if !installed("php", has_pcntl).success() {
        missing("PHP with pcntl");
    }
    let mut php = Command::new("php")
        .args(["-d", "error_reporting=-1", "-d", "opcache.enable_cli=0"])
        .arg(fixtures().join("judge.php"))
        .env_remove("HTTP_HOST")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("php starts");
    let mut stdin = php.stdin.take().expect("piped");
    let feeder = std::thread::spawn(move || stdin.write_all(lines.as_bytes()));
    let output = php.wait_with_output().expect("php ends");
    feeder.join().expect("no panic").expect("php reads");
    let answers: Vec<Value> = String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or(Value::Null))
        .collect();
    assert_eq!(answers.len(), count, "an answer for each file");
    answers
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len() * 4 / 3 + 4);
    for chunk in bytes.chunks(3) {
        let mut bits = [0; 3];
        bits[..chunk.len()].copy_from_slice(chunk);
        let bits = u32::from_be_bytes([0, bits[0], bits[1], bits[2]]);
        for i in 0..4 {
            match i <= chunk.len() {
                true => text.push(LETTERS[(bits >> (18 - 6 * i)) as usize & 63] as char),
                false => text.push('='),
            }
        }
    }
    text
}

/// Creates a site that the judge can load: the file, the files that it includes,
/// and a stub of WordPress that reports.
pub fn site(folder: &Path, config: &[u8], includes: &Path, root: &str) -> PathBuf {
    std::fs::create_dir_all(folder).expect("a folder");
    if includes.is_dir() {
        copy(includes, folder);
    }
    std::fs::write(
        folder.join(root).join("wp-settings.php"),
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
