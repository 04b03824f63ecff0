//! The password of a queue. gearmand reads it from a file of its own, as every
//! local user can see its command line in `ps`.

use std::fmt;
use std::path::Path;

use anyhow::Result;

use crate::base::problem::Problem;
use crate::gearman::options;
use crate::host::Host;
use crate::host::platform::Gearmand;

/// gearmand's default for --config-file. The file holds options as on the
/// command line, separated by white space, without quotes or comments.
pub const CONFIG: &str = "/etc/gearmand.conf";

/// Never printed: `Debug` masks it.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

/// A password, with gearmand's option for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secret {
    pub option: &'static str,
    pub password: Password,
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("••••")
    }
}

impl Password {
    /// Accepts a password from the user, without its line ending. gearmand's file
    /// has no quotes, so white space would cut the password in two.
    pub fn new(given: &str) -> Result<Password, Problem> {
        let text = given.strip_suffix('\n').unwrap_or(given);
        let text = text.strip_suffix('\r').unwrap_or(text);
        let why = if text.is_empty() {
            "it is empty"
        } else if text.contains(|c: char| c.is_whitespace() || c == '\0') {
            "it contains white space, which gearmand's configuration cannot hold"
        } else if text.len() > 256 {
            "it is longer than 256 bytes"
        } else {
            return Ok(Password(text.to_owned()));
        };
        let problem = Problem::usage("use the queue's password", why);
        Err(problem.help(
            "give the queue's database user a password of at most 256 bytes without white space",
        ))
    }

    /// Accepts a password that gearmand already uses.
    pub fn existing(text: String) -> Option<Password> {
        (!text.is_empty()).then_some(Password(text))
    }

    pub fn random() -> Result<Password> {
        Ok(Password(crate::base::random::letters(32)?))
    }

    /// For gearmand's file and the database client's input, never for an argument.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

/// The password that gearmand uses: its options override its configuration file.
pub fn current(host: &Host, gearmand: &Gearmand, option: &str) -> Result<Option<Password>> {
    if let Some(password) = in_options(host, gearmand, option)? {
        return Ok(Some(password));
    }
    let config = host.read(Path::new(CONFIG))?;
    Ok(config.and_then(|file| read(&file.bytes, option)))
}

/// The password in the options file, where every local user can read it.
pub fn in_options(host: &Host, gearmand: &Gearmand, option: &str) -> Result<Option<Password>> {
    let file = host.read(Path::new(gearmand.options_file))?;
    let value = |bytes: &[u8]| options::value(bytes, gearmand.options_variable, option, None);
    Ok(file
        .and_then(|file| value(&file.bytes))
        .and_then(Password::existing))
}

/// The password in gearmand's configuration file.
pub fn read(config: &[u8], option: &str) -> Option<Password> {
    let text = String::from_utf8_lossy(config).into_owned();
    let start = start_of(option);
    let mut words = text.split_whitespace();
    let value = words.find_map(|word| word.strip_prefix(start.as_str()))?;
    Password::existing(value.to_owned())
}

/// The configuration file with this secret and all its other options.
pub fn write(config: &[u8], secret: &Secret) -> Vec<u8> {
    if read(config, secret.option).as_ref() == Some(&secret.password) {
        return config.to_vec();
    }
    let start = start_of(secret.option);
    let is_old = |word: &&[u8]| word.starts_with(start.as_bytes());
    let mut text = Vec::new();
    for line in config.split_inclusive(|byte| *byte == b'\n') {
        let words: Vec<&[u8]> = line
            .split(|byte| byte.is_ascii_whitespace())
            .filter(|word| !word.is_empty())
            .collect();
        if !words.iter().any(is_old) {
            text.extend_from_slice(line);
            continue;
        }
        let kept: Vec<&[u8]> = words.into_iter().filter(|word| !is_old(word)).collect();
        if !kept.is_empty() {
            text.extend_from_slice(&kept.join(&b' '));
            text.push(b'\n');
        }
    }
    if !text.is_empty() && !text.ends_with(b"\n") {
        text.push(b'\n');
    }
    text.extend_from_slice(format!("{start}{}\n", secret.password.0).as_bytes());
    text
}

fn start_of(option: &str) -> String {
    format!("--{option}=")
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPTION: &str = "mysql-password";

    fn secret(password: Password) -> Secret {
        Secret {
            option: OPTION,
            password,
        }
    }

    #[test]
    fn every_character_but_white_space_is_preserved() {
        let odd = "b$c%d\"e#f;x\\y=z@!&'q--";
        let password = Password::new(odd).unwrap();
        let config = write(b"", &secret(password.clone()));
        assert_eq!(read(&config, OPTION), Some(password));
        for bad in ["", "\n", "a b", "a\tb", "a\nb\n", "a\u{a0}b"] {
            assert!(Password::new(bad).is_err(), "{bad:?}");
        }
        assert_eq!(Password::new("x\r\n").unwrap().reveal(), "x");
    }

    #[test]
    fn other_words_are_kept_and_the_password_is_written_once() {
        let new = secret(Password::new("new").unwrap());
        let config = b"--threads=4 --mysql-password=old\n\n--verbose=INFO";
        let text = write(config, &new);
        let expected = "--threads=4\n\n--verbose=INFO\n--mysql-password=new\n";
        assert_eq!(String::from_utf8_lossy(&text), expected);
        assert_eq!(write(&text, &new), text);
    }

    #[test]
    fn it_is_never_printed() {
        let password = Password::new("geheim").unwrap();
        assert!(!format!("{password:?}").contains("geheim"));
    }
}
