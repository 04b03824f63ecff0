//! How somebody is told: by a command, a webhook or mail.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::base::clock;
use crate::base::problem::Problem;
use crate::base::secrets::MASK;
use crate::host::Host;
use crate::host::commands::{Command, explain};
use crate::intent::alert::Alert;

/// How long telling somebody may take.
const LIMIT: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    Command,
    Webhook,
    Mail,
}

impl Way {
    pub fn of(alert: &Alert) -> Vec<Way> {
        let ways = [
            (Way::Command, !alert.command.is_empty()),
            (Way::Webhook, alert.webhook_file.is_some()),
            (Way::Mail, alert.mail.is_some()),
        ];
        let ways = ways.into_iter().filter(|(_, is_asked)| *is_asked);
        ways.map(|(way, _)| way).collect()
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Way::Command => "command",
            Way::Webhook => "webhook",
            Way::Mail => "mail",
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    Begin,
    End,
    Test,
}

impl Moment {
    /// For scripts: it never changes.
    fn name(self) -> &'static str {
        match self {
            Moment::Begin => "begin",
            Moment::End => "end",
            Moment::Test => "test",
        }
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Moment::Begin => "problem",
            Moment::End => "over",
            Moment::Test => "test",
        })
    }
}

/// What to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub moment: Moment,
    pub kind: String,
    pub subject: String,
    pub text: String,
    /// In milliseconds since 1970.
    pub since: u64,
}

impl Event {
    fn line(&self, name: &str) -> String {
        format!("wp-gears on {name}: {}: {}", self.moment, self.text)
    }
}

/// # Errors
/// Whatever keeps somebody from being told.
pub fn by(host: &Host, alert: &Alert, way: Way, event: &Event) -> Result<()> {
    match way {
        Way::Command => by_command(host, &alert.command, event),
        Way::Webhook => match &alert.webhook_file {
            Some(file) => by_webhook(host, file, event),
            None => Ok(()),
        },
        Way::Mail => match &alert.mail {
            Some(address) => by_mail(host, address, event),
            None => Ok(()),
        },
    }
}

fn by_command(host: &Host, line: &[String], event: &Event) -> Result<()> {
    let command = Command::as_written(line)
        .env("WP_GEARS_ALERT", event.moment.name())
        .env("WP_GEARS_ALERT_KIND", &event.kind)
        .env("WP_GEARS_ALERT_SUBJECT", &event.subject)
        .env("WP_GEARS_ALERT_TEXT", &event.text)
        .env("WP_GEARS_ALERT_SINCE", clock::utc(event.since))
        .env("WP_GEARS_ALERT_HOST", host.name()?)
        .limit(LIMIT);
    host.check(&command)?;
    Ok(())
}

/// The URL reaches curl on its standard input: others can see arguments.
fn by_webhook(host: &Host, file: &Path, event: &Event) -> Result<()> {
    let url = url(host, file)?;
    let name = host.name()?;
    let body = json!({
        "text": event.line(&name),
        "alert": event.moment.name(),
        "kind": event.kind,
        "subject": event.subject,
        "since": clock::utc(event.since),
        "host": name,
    });
    let settings = [
        ("url", url.as_str()),
        ("header", "Content-Type: application/json"),
        ("data", &body.to_string()),
        ("proto", "=http,https"),
        ("max-time", "20"),
    ];
    let settings = settings.map(|(key, value)| format!("{key} = {}\n", quoted(value)));
    let command = Command::new("curl")
        .args([
            "--disable",
            "--silent",
            "--show-error",
            "--fail",
            "--output",
            "/dev/null",
            "--config",
            "-",
        ])
        .stdin(settings.concat())
        .limit(LIMIT);
    let what = || format!("send an alert to the URL in {}", file.display());
    let output = host.run(&command).map_err(|error| {
        Problem::new(what(), format!("{error:#}").replace(&url, MASK))
            .help("install curl, which sends it")
    })?;
    if !output.success() {
        let why = explain(&output).replace(&url, MASK);
        return Err(Problem::new(what(), why)
            .help("check the URL; 'wp-gears alert test' sends a test alert")
            .into());
    }
    Ok(())
}

fn url(host: &Host, file: &Path) -> Result<String> {
    let what = || format!("read the webhook's URL in {}", file.display());
    let Some(read) = host.read(file)? else {
        return Err(Problem::new(what(), "there is no such file")
            .help("write the URL into it, readable for root only")
            .into());
    };
    if read.meta.uid != 0 || read.meta.mode & 0o077 != 0 {
        return Err(
            Problem::new(what(), "others than root can read or change it")
                .help(format!(
                    "run 'chown root {0}' and 'chmod 600 {0}'",
                    file.display()
                ))
                .into(),
        );
    }
    let text = String::from_utf8_lossy(&read.bytes).trim().to_owned();
    let is_url = ["http://", "https://"]
        .iter()
        .any(|it| text.starts_with(it));
    if !is_url || text.contains(|c: char| c.is_control() || c == ' ') {
        return Err(Problem::new(what(), "its text is not a URL")
            .help("write one line into it that begins with https://")
            .into());
    }
    Ok(text)
}

/// As curl's config file has it.
fn quoted(value: &str) -> String {
    format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
}

fn by_mail(host: &Host, address: &str, event: &Event) -> Result<()> {
    let name = host.name()?;
    let plain = |c: char| match c.is_ascii() && !c.is_ascii_control() {
        true => c,
        false => '?',
    };
    let subject: String = event.line(&name).chars().map(plain).collect();
    let since = clock::utc(event.since);
    let mail = format!(
        "To: {address}\nSubject: {subject}\nMIME-Version: 1.0\n\
         Content-Type: text/plain; charset=UTF-8\nContent-Transfer-Encoding: 8bit\n\
         Auto-Submitted: auto-generated\n\n{}\n\nSince {since}.\n",
        event.line(&name)
    );
    let command = Command::new("sendmail")
        .args(["-t", "-i"])
        .stdin(mail)
        .limit(LIMIT);
    host.check(&command).map_err(|error| {
        Problem::new(format!("send an alert to {address}"), format!("{error:#}"))
            .help("install a mail transfer agent that brings 'sendmail', or use a webhook")
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_ends_where_it_ends() {
        assert_eq!(quoted(r#"a"b\n"#), r#""a\"b\\n""#);
    }
}
