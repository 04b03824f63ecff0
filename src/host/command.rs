//! What to run: a program, its arguments, its input, its user and its limits.
//!
//! What comes from the host, a file or a person must not become an option of the
//! program. So each word that the code does not have itself is the value of an option,
//! an operand or a name.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Duration;

use crate::host::users::User;

/// A command to run.
#[derive(Clone)]
pub struct Command {
    pub(super) program: OsString,
    pub(super) args: Vec<OsString>,
    /// A name that the program would take for an option.
    pub(super) refused: Option<String>,
    pub(super) env: Vec<(OsString, OsString)>,
    pub(super) stdin: Vec<u8>,
    pub(super) user: Option<User>,
    pub(super) dir: PathBuf,
    pub(super) limit: Duration,
    /// The site that it asks, if other sites wait for the answer too.
    pub(super) site: Option<PathBuf>,
    pub(super) changes: bool,
}

impl Command {
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Command {
            program: program.as_ref().to_owned(),
            args: Vec::new(),
            refused: None,
            env: Vec::new(),
            stdin: Vec::new(),
            user: None,
            dir: PathBuf::from("/"),
            limit: Duration::from_secs(30),
            site: None,
            changes: false,
        }
    }

    /// A command line that was made as a whole, for another program to run.
    pub fn as_written(line: &[String]) -> Self {
        let (program, args) = match line {
            [program, args @ ..] => (program.as_str(), args),
            [] => ("", line),
        };
        let mut command = Command::new(program);
        command.extend(args);
        command
    }

    /// Words that the code has: options, and values and verbs that never change.
    pub fn args(mut self, words: impl IntoIterator<Item = &'static str>) -> Self {
        self.extend(words);
        self
    }

    /// An option and its value as one word. Its name ends with what separates them.
    pub fn option(mut self, name: &'static str, value: impl AsRef<OsStr>) -> Self {
        let mut word = OsString::from(name);
        word.push(value);
        self.args.push(word);
        self
    }

    /// Operands, after the `--` that ends the options. They are the last words.
    pub fn operands<S: AsRef<OsStr>>(mut self, operands: impl IntoIterator<Item = S>) -> Self {
        self.args.push("--".into());
        self.extend(operands);
        self
    }

    /// Names for a program that may not know `--`. The command does not run with one
    /// that begins with a dash.
    pub fn names<S: AsRef<OsStr>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        for name in names {
            let name = name.as_ref();
            if name.as_encoded_bytes().starts_with(b"-") {
                self.refused = Some(name.to_string_lossy().into_owned());
            }
            self.args.push(name.to_owned());
        }
        self
    }

    fn extend<S: AsRef<OsStr>>(&mut self, words: impl IntoIterator<Item = S>) {
        let words = words.into_iter().map(|word| word.as_ref().to_owned());
        self.args.extend(words);
    }

    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.into(), value.as_ref().to_owned()));
        self
    }

    /// With the variables of the caller's environment that say how to reach the
    /// network, and those whose names `also` accepts.
    pub fn caller_env(mut self, also: fn(&str) -> bool) -> Self {
        const NETWORK: [&str; 5] = [
            "http_proxy",
            "https_proxy",
            "no_proxy",
            "ssl_cert_file",
            "ssl_cert_dir",
        ];
        self.env.extend(std::env::vars_os().filter(|(name, _)| {
            name.to_str().is_some_and(|name| {
                also(name) || NETWORK.contains(&name.to_ascii_lowercase().as_str())
            })
        }));
        self
    }

    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    pub fn dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.dir = dir.into();
        self
    }

    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// It asks this site: if other sites answer much faster, the limit is lower.
    pub fn of_site(mut self, dir: impl Into<PathBuf>) -> Self {
        self.site = Some(dir.into());
        self
    }

    /// It changes the machine: it counts as an act, and what the host knows of
    /// units and packages is forgotten.
    pub fn changes(mut self) -> Self {
        self.changes = true;
        self
    }

    /// Run as this user, with none of root's rights.
    pub fn user(mut self, user: &User) -> Self {
        self.user = Some(user.clone());
        self
    }

    /// As the trace and errors show it.
    pub(super) fn words(&self) -> String {
        let mut words = self.program.to_string_lossy().into_owned();
        for arg in &self.args {
            words.push(' ');
            words.push_str(&arg.to_string_lossy());
        }
        words
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Host;

    #[test]
    fn a_value_is_never_taken_for_an_option() {
        let host = Host::new(None).unwrap();
        let say = |command: Command| host.run(&command).map(|output| output.text());
        let last = Command::new("basename").operands(["--help"]);
        assert_eq!(say(last).unwrap(), "--help\n");
        let set = Command::new("env").option("A=", "--help").names(["env"]);
        assert!(say(set).unwrap().contains("A=--help\n"));
        let named = |name: &str| say(Command::new("env").names(["printf", name]));
        assert_eq!(named("a-b").unwrap(), "a-b");
        for name in ["-v", "--help", "-"] {
            let error = format!("{:#}", named(name).unwrap_err());
            assert!(error.contains(&format!("the name '{name}' for")), "{error}");
        }
    }
}
