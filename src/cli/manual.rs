//! `wp-gears man` and `wp-gears completions`: both made from the command line itself.

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
    // clap_complete takes the dash of our own name for a step down (in bash).
    let text = String::from_utf8_lossy(&text).replace("wp__subcmd__gears", "wp__gears");
    print(text.as_bytes());
    Ok(DONE)
}

/// Commands whose options are another's.
const ALIKE: [(&str, &str); 3] = [("plan", "setup"), ("resume", "pause"), ("reload", "pause")];

const SECTIONS: &str = r#".SH "EXIT CODES"
.TP
0
All that was asked for was done.
.TP
1
Something failed; standard error says what was attempted, what came back and what to do.
.TP
2
Bad words on the command line, in the environment or in the file. Nothing was changed.
.TP
3
\fBplan \-\-check\fR found something that setup would change.
.SH ENVIRONMENT
Each option of setup with a value has a variable: WP_GEARS_ and its name, as WP_GEARS_WORKERS for \fB\-\-workers\fR.
The command line goes over the environment, that over the file, that over what the host already has, that over the default.
NO_COLOR and TERM=dumb are heeded.
.SH FILES
.TP
/etc/wp\-gears.toml
Options of the host and of all sites, by their names on the command line, and a table [[site]] with a key dir for what one site has for itself.
.TP
/usr/local/lib/wp\-gears
Root's: the binary that workers run and the PHP that they run it with.
.TP
/var/lib/wp\-gears/state
The journal and the originals of all that was edited. Root alone can read it; \fBremove\fR gives back what it holds.
.TP
/var/lib/wp\-gears/failed/SITE
Jobs that failed, for \fBwp\-gears failed\fR. The worker user's.
.TP
/var/log/wp\-gears/SITE.log
What the site's workers log.
"#;

/// One page with every command.
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
        Some((_, as_of)) => writeln!(text, ".PP\nIts options are those of \\fB{as_of}\\fR.")?,
        None => {
            let page = clap_mangen::Man::new(command.clone());
            page.render_options_section(&mut options)?;
        }
    }
    if name == "plan" {
        writeln!(
            text,
            "\\fB\\-\\-check\\fR exits with 3 where something would change."
        )?;
    }
    // Sections of their own in a page of their own; paragraphs here.
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

/// Text that roff shows as it is.
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

/// A reader that went away is no error.
fn print(text: &[u8]) {
    let _ = std::io::stdout().write_all(text);
}
