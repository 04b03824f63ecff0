//! Something unexpected where setup writes: either setup copes and remove restores it,
//! or setup refuses before anything changes. odd.txt holds the refusals.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::python;
use crate::held::held;
use crate::parallel;
use crate::root::{Root, SITE, code, text};
use rustix::fs::{CWD, FileType, Mode, mknodat};

/// Everything that setup writes or creates.
const PLACES: [&str; 15] = [
    "/etc/default/gearman-job-server",
    "/etc/systemd/system/gearman-job-server.service.d",
    "/etc/systemd/system/gearman-job-server.service.d/wp-gears.conf",
    "/usr/local/lib/wp-gears",
    "/usr/local/lib/wp-gears/runner.php",
    "/var/log/wp-gears/site.log",
    "/var/lib/wp-gears",
    "/var/lib/wp-gears/state/host.jsonl",
    "/var/lib/wp-gears/state/originals",
    "/etc/supervisor/conf.d/wp-gears-site.conf",
    "/var/www/site/wp-config.php",
    "/var/www/site/wp-gears-runner.php",
    "/var/www/site/wp-content/mu-plugins",
    "/var/www/site/wp-content/mu-plugins/wp-gears-bundled.php",
    "/var/www/site/wp-content/mu-plugins/wp-gears-admin",
];

type Plant = (&'static str, fn(&Path));

/// What may exist there instead.
const KINDS: [Plant; 7] = [
    ("a folder", |at| {
        std::fs::create_dir(at).unwrap();
        std::fs::write(at.join("other"), "another's").unwrap();
    }),
    ("a file", |at| std::fs::write(at, "another's\n").unwrap()),
    ("a pipe", |at| {
        mknodat(CWD, at, FileType::Fifo, Mode::from_raw_mode(0o644), 0).unwrap();
    }),
    ("a socket", |at| {
        mknodat(CWD, at, FileType::Socket, Mode::from_raw_mode(0o644), 0).unwrap();
    }),
    ("a link to nothing", |at| symlink("/nowhere/x", at).unwrap()),
    ("a link to itself", |at| {
        symlink(at.file_name().unwrap(), at).unwrap()
    }),
    ("nothing, nor its folder", |at| {
        let _ = std::fs::remove_dir_all(at.parent().unwrap());
    }),
];

fn plant(root: &Root, place: &str, kind: &Plant) {
    let at = root.at(place);
    std::fs::create_dir_all(at.parent().unwrap()).unwrap();
    match std::fs::symlink_metadata(&at) {
        Ok(meta) if meta.is_dir() => std::fs::remove_dir_all(&at).unwrap(),
        Ok(_) => std::fs::remove_file(&at).unwrap(),
        Err(_) => {}
    }
    kind.1(&at);
}

enum Outcome {
    /// Setup succeeded, and remove restored everything.
    SetUp,
    /// Setup refused with this error, before anything changed.
    Refused(String),
}

/// The result, or why it is wrong.
fn outcome(root: &Root, place: &str) -> Result<Outcome, String> {
    let before = root.tree();
    let run = root.run(&["setup", "--site", SITE, "--salt", "a-salt", "--yes"]);
    let said = text(&run);
    let error = said.lines().find(|line| line.starts_with("error:"));
    let error = error.unwrap_or_default().to_owned();
    if code(&run) == 1 {
        let differs = differences(&before, &root.tree());
        if !differs.is_empty() {
            return Err(format!("changed, then {error} {differs:?}"));
        }
        // The site's own folder may be missing.
        let in_site = Path::new(place).parent() == Some(Path::new(SITE));
        let names_it = error.contains(place) || in_site && error.contains(SITE);
        return match names_it && said.matches("error:").count() == 1 {
            true => Ok(Outcome::Refused(error)),
            false => Err(error),
        };
    }
    if code(&run) != 0 {
        return Err(format!("exited with {}: {said}", code(&run)));
    }
    let again = root.run(&["plan", "--site", SITE, "--check"]);
    if code(&again) != 0 {
        return Err(format!("not all was done: {}", text(&again)));
    }
    let removed = root.run(&["remove", "--yes", "--purge"]);
    let differs = given_back(&before, &root.tree());
    match code(&removed) == 0 && differs.is_empty() {
        true => Ok(Outcome::SetUp),
        false => Err(format!("not restored: {} {differs:?}", code(&removed))),
    }
}

/// Without our own folders: everything with our name is removed.
fn given_back(before: &Tree, after: &Tree) -> Vec<String> {
    let ours = ["-var/lib/wp-gears", "-var/log/wp-gears"];
    let mut differs = differences(before, after);
    differs.retain(|path| !ours.iter().any(|ours| path.starts_with(ours)));
    differs
}

type Tree = BTreeMap<PathBuf, String>;

fn differences(before: &Tree, after: &Tree) -> Vec<String> {
    let came = after
        .iter()
        .filter(|(path, what)| before.get(*path) != Some(what));
    let gone = before.keys().filter(|path| !after.contains_key(*path));
    came.map(|(path, _)| format!("+{}", path.display()))
        .chain(gone.map(|path| format!("-{}", path.display())))
        .collect()
}

#[test]
fn held_are_the_refusals_of_what_stands_in_the_way() {
    let cases: Vec<(&str, &Plant)> = PLACES
        .iter()
        .flat_map(|place| KINDS.iter().map(move |kind| (*place, kind)))
        .collect();
    let rows = parallel::each(2, &cases, |(place, kind)| {
        let root = Root::new();
        plant(&root, place, kind);
        let row = |outcome| format!("{place} | {} | {outcome}\n", kind.0);
        match outcome(&root, place) {
            Ok(Outcome::SetUp) => Ok(String::new()),
            Ok(Outcome::Refused(error)) => Ok(row(error)),
            Err(why) => Err(row(why)),
        }
    });
    let bad: String = rows.iter().filter_map(|row| row.clone().err()).collect();
    assert!(bad.is_empty(), "{bad}");
    let mut refusals: Vec<String> = rows.into_iter().flatten().collect();
    refusals.sort();
    held("tests/cli/odd.txt", refusals.concat());
}

#[test]
fn any_name_of_a_sites_folder_is_right_or_refused() {
    const RIGHT: [&str; 6] = [
        "my site, it's \"100%\"",
        "%(here)s",
        "a;b#c,$HOME\\back",
        "-rf",
        "{{ s\u{ed}t\u{e9} }}",
        "tab\there",
    ];
    const REFUSED: [(&[u8], &str); 6] = [
        (b"a ;b", "';'"),
        (b"a #b", "'#'"),
        (b"blank ", "a space at either end"),
        (b"line\nbreak", "a line break"),
        (b"line\rbreak", "a line break"),
        (b"latin\xe9", "UTF-8"),
    ];
    let right = RIGHT.iter().map(|name| (name.as_bytes(), None));
    let refused = REFUSED.iter().map(|(name, why)| (*name, Some(*why)));
    for (name, refused) in right.chain(refused) {
        let dir = Path::new("/var/www").join(OsStr::from_bytes(name));
        let root = Root::new();
        std::fs::rename(root.at(SITE), root.at(&dir)).unwrap();
        let before = root.tree();
        let run = |words: &[&str]| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_wp-gears"));
            command.env_clear().args(words).arg("--site").arg(&dir);
            command.arg("--root").arg(root.path()).output().unwrap()
        };
        let output = run(&["setup", "--yes"]);
        if let Some(why) = refused {
            assert_eq!(code(&output), 1, "{dir:?}: {}", text(&output));
            assert!(text(&output).contains(why), "{dir:?}: {}", text(&output));
            assert_eq!(before, root.tree(), "{dir:?}");
            continue;
        }
        assert_eq!(code(&output), 0, "{dir:?}: {}", text(&output));
        // What was written is read back with the same meaning.
        let again = run(&["plan", "--check"]);
        assert_eq!(code(&again), 0, "{dir:?}: {}", text(&again));
        assert_eq!(read_by_supervisor(&root), dir.to_str().unwrap());
        let removed = run(&["remove", "--yes", "--purge"]);
        assert_eq!(code(&removed), 0, "{dir:?}: {}", text(&removed));
        assert_eq!(given_back(&before, &root.tree()), [""; 0], "{dir:?}");
    }
}

/// The site's folder as supervisor reads it from the program's file.
fn read_by_supervisor(root: &Root) -> String {
    const READ: &str = "
import glob, shlex, sys
from supervisor.options import UnhosedConfigParser, expand
parser = UnhosedConfigParser()
parser.read(glob.glob(sys.argv[1] + '/etc/supervisor/conf.d/*.conf'))
[section] = parser.sections()
command = shlex.split(expand(parser.get(section, 'command'), {}, 'command'))
directory = expand(parser.get(section, 'directory'), {}, 'directory')
assert command[command.index('--site') + 1] == directory, (command, directory)
sys.stdout.buffer.write(directory.encode())";
    python::run(READ, &[root.path().to_str().unwrap()], "").unwrap_or_else(|why| panic!("{why}"))
}
