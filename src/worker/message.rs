//! What the worker and the runner say to each other over the pipe: a line of
//! JSON each, and after a job's line its payload.

use serde::{Deserialize, Serialize};

/// The first line to the runner.
#[derive(Serialize, Debug)]
pub struct Hello<'a> {
    pub site: &'a str,
    pub name: &'a str,
    pub run: &'a str,
    pub fork: bool,
    /// Options that change too often to tell that the site was configured anew.
    pub volatile: &'a [String],
}

/// The line before a job's payload.
#[derive(Serialize, Debug)]
pub struct JobHeader<'a> {
    pub handle: &'a str,
    pub function: &'a str,
    pub unique: &'a str,
    pub size: usize,
}

/// What the runner says.
#[derive(Deserialize, Debug, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum Message {
    Ready(Ready),
    /// The site cannot run jobs: why.
    Broken(String),
    /// The job runs in this process.
    Started(i32),
    /// The process of the job is gone.
    Ended(Ended),
    Done(bool),
    Failed(Report),
    Fatal(Report),
    /// Not run: these options changed since the site was booted.
    Stale(Vec<String>),
    /// Not run: what a job needs is away for now.
    Unready(String),
    Status(u64, u64),
    /// In hexadecimal digits, as the next.
    Data(String),
    Warning(String),
}

#[derive(Deserialize, Debug, PartialEq)]
pub struct Ready {
    pub function: String,
    pub plugin: String,
    pub fork: bool,
    pub why_not: String,
    pub files: Vec<String>,
    pub php: String,
}

#[derive(Deserialize, Debug, PartialEq, Clone, Copy)]
pub struct Ended {
    pub pid: i32,
    #[serde(default)]
    pub code: Option<i32>,
    #[serde(default)]
    pub signal: Option<i32>,
}

#[derive(Deserialize, Debug, PartialEq)]
pub struct Report {
    pub message: String,
    #[serde(default)]
    pub file: String,
    #[serde(default)]
    pub line: u64,
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.message)?;
        if !self.file.is_empty() {
            write!(f, " in {}:{}", self.file, self.line)?;
        }
        Ok(())
    }
}

pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    digits
        .chunks(2)
        .map(|pair| {
            let high = (pair[0] as char).to_digit(16)?;
            let low = (pair[1] as char).to_digit(16)?;
            Some((high * 16 + low) as u8)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_runner_says() {
        let read = |text| serde_json::from_str::<Message>(text).unwrap();
        assert_eq!(read(r#"{"done":true}"#), Message::Done(true));
        assert_eq!(read(r#"{"status":[1,2]}"#), Message::Status(1, 2));
        let ended = Ended {
            pid: 7,
            code: None,
            signal: Some(9),
        };
        assert_eq!(
            read(r#"{"ended":{"pid":7,"code":null,"signal":9}}"#),
            Message::Ended(ended)
        );
        let Message::Failed(report) = read(r#"{"failed":{"message":"m"}}"#) else {
            panic!("not a report");
        };
        assert_eq!(report.to_string(), "m");
        assert_eq!(unhex("00ff41"), Some(vec![0, 255, 65]));
        assert_eq!(unhex("0g"), None);
    }
}
