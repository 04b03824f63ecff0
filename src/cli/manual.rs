//! `wp-gears man` and `wp-gears completions`, generated from the command line's definition.

use std::io::Write;

use anyhow::Result;
use clap::ValueEnum;
use clap_complete::aot;

use crate::cli;
use crate::cli::common::DONE;

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Shell {
    Bash,
    Zsh,
    Fish,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  wp-gears completions bash >/usr/share/bash-completion/completions/wp-gears
  wp-gears completions zsh >/usr/local/share/zsh/site-functions/_wp-gears
  wp-gears completions fish >~/.config/fish/completions/wp-gears.fish")]
pub struct CompletionsArgs {
    #[arg(value_enum)]
    pub shell: Shell,
}

pub fn completions(args: &CompletionsArgs) -> Result<u8> {
    let shell = match args.shell {
        Shell::Bash => aot::Shell::Bash,
        Shell::Zsh => aot::Shell::Zsh,
        Shell::Fish => aot::Shell::Fish,
    };
    let mut text = Vec::new();
    aot::generate(shell, &mut cli::command(), "wp-gears", &mut text);
    // In bash, clap_complete takes the dash in our name for a subcommand.
    let text = String::from_utf8_lossy(&text).replace("wp__subcmd__gears", "wp__gears");
    print(text.as_bytes());
    Ok(DONE)
}

/// Commands with the same options as another command.
const ALIKE: [(&str, &str); 3] = [("plan", "setup"), ("resume", "pause"), ("reload", "pause")];

const SECTIONS: &str = r#".SH "EXIT CODES"
.TP
0
Success.
.TP
1
Failure. Standard error says what was attempted, what went wrong and what to do.
.TP
2
Invalid command line, environment or config file. Nothing was changed.
.TP
3
\fBplan \-\-check\fR found changes that setup would make.
.TP
130
Interrupted by Ctrl\-C.
.SH ENVIRONMENT
Options that take a value can be set by environment variables, such as WP_GEARS_WORKERS for \fB\-\-workers\fR.
Precedence, highest first: command line, environment, config file, current settings of the host, defaults.
NO_COLOR and TERM=dumb are respected.
.SH FILES
.TP
/etc/wp\-gears.toml
Config file. Top-level keys are named like the command-line options and apply to the host and to all sites. Each [[site]] table holds the options of one site, whose folder its dir key names. Each [[host]] table holds what differs on the hosts that its match key names, if several hosts share the file.
.TP
/usr/local/lib/wp\-gears
Programs of the workers: the wp\-gears binary and its PHP code, owned by root.
.TP
/var/lib/wp\-gears/state
Journals, and the originals of edited files. Only root can read it. \fBremove\fR restores from it.
.TP
/var/lib/wp\-gears/failed/SITE
Failed jobs, as shown by \fBwp\-gears failed\fR. Owned by the worker user.
.TP
/var/log/wp\-gears/SITE.log
Log of the site's workers.
"#;

/// Prints one manual page that covers all commands.
pub fn man() -> Result<u8> {
    let mut command = cli::command();
    command.build();
    let page = clap_mangen::Man::new(command.clone())
        .manual("System Administration")
        .section("8");
    let mut text = Vec::new();
    page.render_title(&mut text)?;
    page.render_name_section(&mut text)?;
    page.render_synopsis_section(&mut text)?;
    page.render_description_section(&mut text)?;
    writeln!(text, ".SH COMMANDS")?;
    for sub in command
        .get_subcommands()
        .filter(|sub| sub.get_name() != "help")
    {
        of_command(sub, &mut text)?;
    }
    text.extend_from_slice(SECTIONS.as_bytes());
    print(&text);
    Ok(DONE)
}

fn of_command(command: &clap::Command, text: &mut Vec<u8>) -> std::io::Result<()> {
    let name = command.get_name();
    writeln!(text, ".SS \"wp\\-gears {name}\"")?;
    let about = command
        .get_about()
        .map(ToString::to_string)
        .unwrap_or_default();
    writeln!(text, "{}.", escaped(&about))?;
    let mut options = Vec::new();
    match ALIKE.iter().find(|(alike, _)| *alike == name) {
        Some((_, other)) => writeln!(text, ".PP\nIt takes the options of \\fB{other}\\fR.")?,
        None => {
            let page = clap_mangen::Man::new(command.clone());
            page.render_options_section(&mut options)?;
        }
    }
    if name == "plan" {
        writeln!(
            text,
            "\\fB\\-\\-check\\fR exits with 3 if something would change."
        )?;
    }
    // clap_mangen writes sections, for a page per command; turn them into
    // paragraphs of ours.
    for line in String::from_utf8_lossy(&options).lines() {
        match line.strip_prefix(".SH ") {
            Some(heading) => writeln!(text, ".PP\n\\fB{}\\fR", heading.trim_matches('"'))?,
            None => writeln!(text, "{line}")?,
        }
    }
    for sub in command
        .get_subcommands()
        .filter(|sub| sub.get_name() != "help")
    {
        let about = sub.get_about().map(ToString::to_string).unwrap_or_default();
        let usage = format!("{name} {}", sub.get_name());
        writeln!(
            text,
            ".TP\n\\fB{}\\fR\n{}",
            escaped(&usage),
            escaped(&about)
        )?;
    }
    let more = command
        .get_after_help()
        .map(ToString::to_string)
        .unwrap_or_default();
    if !more.is_empty() {
        writeln!(text, ".PP\n.nf\n{}\n.fi", escaped(&more))?;
    }
    Ok(())
}

/// Escapes text for roff.
fn escaped(text: &str) -> String {
    let lines: Vec<String> = text
        .replace('\\', "\\e")
        .replace('-', "\\-")
        .lines()
        .map(|line| match line.starts_with(['.', '\'']) {
            true => format!("\\&{line}"),
            false => line.to_owned(),
        })
        .collect();
    lines.join("\n")
}

/// Prints to standard output; a closed pipe is not an error.
fn print(text: &[u8]) {
    let _ = std::io::stdout().write_all(text);
}
