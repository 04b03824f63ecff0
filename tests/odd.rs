//! Whatever stands where setup writes: it is right, or refused before anything
//! changes. The outcomes are held in tests/odd.txt; WP_GEARS_UPDATE=1 writes them anew.

mod common;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::{Root, SITE, code, held, text};
use rustix::fs::{CWD, FileType, Mode, mknodat};

/// All that setup writes or makes.
const PLACES: [&str; 14] = [
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
];

type Plant = (&'static str, fn(&Path));

/// What may stand there instead.
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

/// What became of it, and whether that may be.
fn outcome(root: &Root, place: &str) -> (String, bool) {
    let before = root.tree();
    let run = root.run(&["setup", "--site", SITE, "--salt", "a-salt", "--yes"]);
    let said = text(&run);
    let error = said.lines().find(|line| line.starts_with("error:"));
    let error = error.unwrap_or_default().to_owned();
    if code(&run) == 1 {
        let differs = differences(&before, &root.tree());
        if !differs.is_empty() {
            return (format!("changed, then {error} {differs:?}"), false);
        }
        let names_it = error.contains(place) || error.contains(SITE);
        return (error, names_it && said.matches("error:").count() == 1);
    }
    if code(&run) != 0 {
        return (format!("ended with {}: {said}", code(&run)), false);
    }
    let again = root.run(&["plan", "--site", SITE, "--check"]);
    if code(&again) != 0 {
        return (format!("not all was done: {}", text(&again)), false);
    }
    let removed = root.run(&["remove", "--yes", "--purge"]);
    let differs = given_back(&before, &root.tree());
    match code(&removed) == 0 && differs.is_empty() {
        true => ("set up and given back".into(), true),
        false => (
            format!("not given back: {} {differs:?}", code(&removed)),
            false,
        ),
    }
}

/// Our own folders apart: what bears our name goes with us.
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
fn what_stands_in_the_way_is_dealt_with_or_refused() {
    let cases: Vec<(&str, &Plant)> = PLACES
        .iter()
        .flat_map(|place| KINDS.iter().map(move |kind| (*place, kind)))
        .collect();
    let next = AtomicUsize::new(0);
    let rows = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some((place, kind)) = cases.get(next.fetch_add(1, Ordering::SeqCst)) {
                    let root = Root::new();
                    plant(&root, place, kind);
                    let (said, good) = outcome(&root, place);
                    let row = format!("{place} | {} | {said}", kind.0);
                    rows.lock().unwrap().push((row, good));
                }
            });
        }
    });
    let mut rows = rows.into_inner().unwrap();
    rows.sort();
    let bad: Vec<&str> = rows
        .iter()
        .filter(|(_, good)| !good)
        .map(|(row, _)| row.as_str())
        .collect();
    assert!(bad.is_empty(), "{}", bad.join("\n"));
    let table: String = rows.iter().map(|(row, _)| format!("{row}\n")).collect();
    held("odd.txt", &table);
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
        (b"blank ", "blanks"),
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
        // What was written is read back as it was meant.
        let again = run(&["plan", "--check"]);
        assert_eq!(code(&again), 0, "{dir:?}: {}", text(&again));
        assert_eq!(read_by_supervisor(&root), dir.to_str().unwrap());
        let removed = run(&["remove", "--yes", "--purge"]);
        assert_eq!(code(&removed), 0, "{dir:?}: {}", text(&removed));
        assert_eq!(given_back(&before, &root.tree()), [""; 0], "{dir:?}");
    }
}

/// The site's folder as supervisor takes it from the program's file.
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
    let output = Command::new("/usr/bin/python3")
        .args(["-c", READ])
        .arg(root.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output));
    String::from_utf8(output.stdout).unwrap()
}
