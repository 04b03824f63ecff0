//! Usage errors, help, the manual page and completions.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use crate::common::needs::installed;
use crate::root::{code, wp_gears};

fn lines(bytes: &[u8]) -> Vec<String> {
    String::from_utf8(bytes.to_vec())
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect()
}

/// Like `common::wp_gears`, on a terminal of 80 columns.
fn at_80_columns(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_wp-gears"))
        .args(args)
        .env_clear()
        .env("COLUMNS", "80")
        .output()
        .unwrap()
}

#[test]
fn a_wrong_value_is_one_line_that_names_the_option_the_value_and_what_is_allowed() {
    for (words, option, value, allowed) in [
        ("setup --workers 0", "--workers", "'0'", "from 1 to 512"),
        ("setup --workers 513", "--workers", "'513'", "from 1 to 512"),
        (
            "setup --workers many",
            "--workers",
            "'many'",
            "whole number",
        ),
        ("setup --workers=-1", "--workers", "'-1'", "from 1 to 512"),
        (
            "setup --workers 8..2",
            "--workers",
            "'8..2'",
            "such as 2..8",
        ),
        ("setup --scale-after 0", "--scale-after", "'0'", "from 1 to"),
        (
            "setup --isolation site",
            "--isolation",
            "'site'",
            "none, owner",
        ),
        (
            "setup --owner-ports alice",
            "--owner-ports",
            "'alice'",
            "such as alice:4731",
        ),
        ("setup --port 0", "--port", "'0'", "from 1 to 65535"),
        ("setup --port 65536", "--port", "'65536'", "from 1 to 65535"),
        ("setup --port 47,30", "--port", "'47,30'", "whole number"),
        (
            "setup --queue redis",
            "--queue",
            "'redis'",
            "memory, sqlite, mysql",
        ),
        (
            "setup --plugin gears",
            "--plugin",
            "'gears'",
            "auto, wp-gears, wp-minions, bundled",
        ),
        (
            "setup --role server,cook",
            "--role",
            "'cook'",
            "server, worker, web",
        ),
        (
            "setup --worker-mode thread",
            "--worker-mode",
            "'thread'",
            "fork, spawn",
        ),
        ("setup --servers a:b", "--servers", "'a:b'", "HOST:PORT"),
        (
            "setup --servers jobs:1,x:99999",
            "--servers",
            "'x:99999'",
            "HOST:PORT",
        ),
        ("setup --listen 1/2", "--listen", "'1/2'", "an address"),
        (
            "setup --dashboard=here",
            "--dashboard",
            "'here'",
            "such as 127.0.0.1:8730",
        ),
        (
            "status --serve here",
            "--serve",
            "'here'",
            "such as 127.0.0.1:8730",
        ),
        (
            "setup --mysql-host /run/mysqld.sock",
            "--mysql-host",
            "'/run/mysqld.sock'",
            "name or address",
        ),
        (
            "setup --mysql-port 0",
            "--mysql-port",
            "'0'",
            "from 1 to 65535",
        ),
        (
            "setup --mysql-user a`b",
            "--mysql-user",
            "'a`b'",
            "letters, digits",
        ),
        ("setup --mysql-database=", "--mysql-database", "", "1 to 64"),
        (
            "setup --mysql-table a.b",
            "--mysql-table",
            "'a.b'",
            "1 to 64",
        ),
        (
            "setup --firewall worker1",
            "--firewall",
            "'worker1'",
            "an address or a network",
        ),
        ("setup --drain 0", "--drain", "'0'", "from 1 to 86400"),
        ("remove --drain soon", "--drain", "'soon'", "whole number"),
        (
            "setup --program a]b",
            "--program",
            "'a]b'",
            "letters, digits",
        ),
        (
            "setup --program ../x",
            "--program",
            "'../x'",
            "letters, digits",
        ),
        ("setup --php=", "--php", "", "a path"),
        (
            "setup --job-timeout 0",
            "--job-timeout",
            "'0'",
            "from 1 to 604800",
        ),
        (
            "setup --job-retries 101",
            "--job-retries",
            "'101'",
            "from 0 to 100",
        ),
        (
            "setup --stop-timeout 1.5",
            "--stop-timeout",
            "'1.5'",
            "from 1 to 86400",
        ),
        (
            "setup --allow-upgrades=perhaps",
            "--allow-upgrades",
            "'perhaps'",
            "true, false",
        ),
        ("setup --salt", "--salt", "", "value is required"),
        (
            "plan --queue disk",
            "--queue",
            "'disk'",
            "memory, sqlite, mysql",
        ),
        ("status --watch 0", "--watch", "'0'", "0.1 to 3600"),
        ("status --servers :1", "--servers", "':1'", "HOST:PORT"),
        ("status --json --prometheus", "--json", "", "'--prometheus'"),
        (
            "pause --timeout long",
            "--timeout",
            "'long'",
            "whole number",
        ),
        ("completions tcsh", "SHELL", "'tcsh'", "bash, zsh, fish"),
    ] {
        let words: Vec<&str> = words.split(' ').collect();
        let output = wp_gears(&words);
        assert_eq!(code(&output), 2, "{words:?}");
        let said = lines(&output.stderr);
        assert_eq!(said.len(), 1, "{words:?}: {said:#?}");
        for wanted in [option, value, allowed] {
            assert!(
                said[0].contains(wanted),
                "{words:?} does not say {wanted:?}: {}",
                said[0]
            );
        }
    }
}

#[test]
fn a_word_that_is_nearly_right_is_told_the_right_one() {
    for (words, near) in [
        (&["setpu"][..], "'setup'"),
        (&["stats"], "'status'"),
        (&["setup", "--wokers", "3"], "'--workers'"),
        (&["setup", "--sites", "/srv"], "'--site'"),
        (&["setup", "--queue", "sqlit"], "'sqlite'"),
        (&["failed", "retri"], "'retry'"),
    ] {
        let output = wp_gears(words);
        let said = lines(&output.stderr);
        assert_eq!((code(&output), said.len()), (2, 1), "{said:?}");
        let wanted = format!("did you mean {near}?");
        assert!(said[0].ends_with(&wanted), "{said:?}");
    }
}

#[test]
fn wrong_words_are_a_document_too_where_one_is_asked_for() {
    let output = wp_gears(&["setup", "--workers", "0", "--json"]);
    let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(document["error"].as_str().unwrap().contains("--workers"));
}

/// Every command's name.
fn commands() -> Vec<String> {
    wp_gears::cli::command()
        .get_subcommands()
        .map(|command| command.get_name().to_owned())
        .collect()
}

#[test]
fn help_is_short_fits_80_columns_and_has_examples() {
    for command in commands() {
        let output = at_80_columns(&[&command, "-h"]);
        assert_eq!(code(&output), 0, "{command}");
        let short = lines(&output.stdout);
        assert!(short.len() <= 60, "{command} -h has {} lines", short.len());
        let long = lines(&at_80_columns(&[&command, "--help"]).stdout);
        assert!(long.len() >= short.len(), "{command}");
        for line in short.iter().chain(&long) {
            assert!(line.chars().count() <= 80, "{command}: {line}");
        }
        // `man` has no options, and supervisor runs `worker`.
        let plain = ["man", "worker"].contains(&command.as_str());
        let examples = short.iter().any(|line| line.starts_with("Examples"));
        assert_eq!(examples, !plain, "examples of {command}");
    }
}

#[test]
fn each_option_can_come_from_a_variable_of_its_name() {
    let command = wp_gears::cli::command();
    let setup = command.find_subcommand("setup").unwrap();
    for arg in setup
        .get_arguments()
        .filter(|arg| arg.get_action().takes_values())
    {
        let name = arg.get_long().unwrap();
        let wanted = format!("WP_GEARS_{}", name.to_uppercase().replace('-', "_"));
        let env = arg.get_env().and_then(|env| env.to_str());
        assert_eq!(env, Some(wanted.as_str()), "--{name}");
    }
}

#[test]
fn the_manual_page_is_sound_and_names_every_option() {
    let output = wp_gears(&["man"]);
    assert_eq!(code(&output), 0);
    let groff = Command::new("groff")
        .args(["-Tascii", "-man", "-ww", "-P-cbou"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut groff = installed("groff", groff);
    groff
        .stdin
        .take()
        .unwrap()
        .write_all(&output.stdout)
        .unwrap();
    let shown = groff.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&shown.stderr), "");
    let page = String::from_utf8(shown.stdout).unwrap();
    for word in [
        "EXIT CODES",
        "FILES",
        "ENVIRONMENT",
        "/etc/wp-gears.toml",
        "wp-gears failed",
    ] {
        assert!(page.contains(word), "no {word} in\n{page}");
    }
    for command in wp_gears::cli::command().get_subcommands() {
        assert!(page.contains(&format!("wp-gears {}", command.get_name())));
        for arg in command.get_arguments().filter(|arg| !arg.is_hide_set()) {
            if let Some(long) = arg.get_long() {
                assert!(page.contains(&format!("--{long}")), "--{long}");
            }
        }
    }
}

#[test]
fn bash_completes_what_is_typed() {
    let script = r#"
        source <(wp-gears completions bash)
        complete -p wp-gears >/dev/null || exit 1
        ask() {
            COMP_WORDS=("$@"); COMP_CWORD=$(( $# - 1 )); COMPREPLY=()
            _wp__gears wp-gears "${@: -1}" "${@: -2:1}"
            echo "${COMPREPLY[*]}"
        }
        ask wp-gears setup --q
        ask wp-gears setup --queue ""
        ask wp-gears sta
        ask wp-gears failed ret"#;
    let bin = std::path::Path::new(env!("CARGO_BIN_EXE_wp-gears"))
        .parent()
        .unwrap();
    let output = Command::new("bash")
        .args(["--norc", "-c", script])
        .env("PATH", format!("{}:/usr/bin:/bin", bin.display()))
        .output()
        .unwrap();
    let said = lines(&output.stdout);
    assert_eq!(
        said,
        ["--quiet --queue", "memory sqlite mysql", "status", "retry"],
        "{output:?}"
    );
}

#[test]
fn completions_for_zsh_and_fish_are_of_their_kind() {
    for (shell, marker) in [
        ("zsh", "#compdef wp-gears"),
        ("fish", "complete -c wp-gears "),
    ] {
        let output = wp_gears(&["completions", shell]);
        let text = String::from_utf8(output.stdout).unwrap();
        let marked = text.lines().any(|line| line.starts_with(marker));
        assert!(marked && text.contains("queue"), "{shell}:\n{text}");
        // Parsed by the shell itself, if it is installed.
        if let Ok(mut child) = Command::new(shell).arg("-n").stdin(Stdio::piped()).spawn() {
            child
                .stdin
                .take()
                .unwrap()
                .write_all(text.as_bytes())
                .unwrap();
            assert!(child.wait().unwrap().success(), "{shell}");
        }
    }
}
