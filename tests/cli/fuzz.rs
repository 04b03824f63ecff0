//! Mutated files of users and other programs: no panic, no hang, and what holds for
//! valid files holds for any. WP_GEARS_FUZZ sets the number of samples.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::common::python;
use crate::dice::Dice;
use wp_gears::gearman::binary::Inbox;
use wp_gears::gearman::option_names::short;
use wp_gears::gearman::options::{self, Wanted};
use wp_gears::gearman::undo;
use wp_gears::supervisor::{block, programs};

/// Runs the test on mutated samples; each may take at most a second.
fn each(samples: &[&str], words: &[&str], mut check: impl FnMut(&[u8], usize)) {
    let count = std::env::var("WP_GEARS_FUZZ").ok();
    let count = count.and_then(|it| it.parse().ok()).unwrap_or(4_000);
    for seed in 0..count {
        let mut dice = Dice::new(seed);
        let mut text = samples[dice.roll(samples.len())].as_bytes().to_vec();
        for _ in 0..=dice.roll(6) {
            let other = samples[dice.roll(samples.len())];
            dice.mutate(&mut text, other.as_bytes(), words);
        }
        let began = Instant::now();
        check(&text, seed);
        let took = began.elapsed();
        assert!(took < Duration::from_secs(1), "seed {seed}: {took:?}");
    }
}

const OPTIONS: [&str; 6] = [
    "# PARAMS=\"-q x\"\nPARAMS=\"--listen=localhost \\\n --daemon \\\n --log-file=/var/log/g.log\"\n",
    "OPTIONS=\"\"\n",
    "# a comment\nPARAMS='-d -q builtin --listen ::1 -qMySQL --verbose=INFO'\nOTHER=1\n",
    "PARAMS=-d\n",
    "PARAMS=\"--mysql-password=x --mysql-host=db\"\r\nPARAMS=\"--port 4731\"\r\n",
    "export PARAMS=\"-p4731 -t 4\"",
];

const OPTION_WORDS: [&str; 28] = [
    "PARAMS=",
    "OPTIONS=",
    "\"",
    "'",
    "\\",
    "\\\n",
    "\n",
    "\r\n",
    " ",
    "\t",
    "#",
    "=",
    "--",
    "-q",
    "-p",
    "--queue-type=",
    "--queue-type ",
    "--port=1",
    "--listen",
    "--daemon",
    "-d",
    "$X",
    "`",
    "--mysql-password=geheim",
    "\0",
    "\u{e9}",
    "export ",
    ";",
];

fn wanted() -> Vec<Wanted> {
    let option = |name, short, value: Option<&str>| Wanted {
        name,
        short,
        value: value.map(str::to_owned),
    };
    vec![
        option("daemon", Some('d'), None),
        option("listen", Some('L'), Some("127.0.0.1")),
        option("port", Some('p'), Some("4730")),
        option("queue-type", Some('q'), Some("libsqlite3")),
    ]
}

#[test]
fn any_options_file_is_edited_once_and_for_all_or_refused() {
    let unwanted = ["mysql-password".to_owned(), "log-file".to_owned()];
    let mut edited = 0;
    each(&OPTIONS, &OPTION_WORDS, |text, seed| {
        let line = String::from_utf8_lossy(text);
        let is_name = |c: char| c.is_ascii_lowercase() || c == '-';
        for (name, _) in options::given(&line) {
            if !name.chars().all(is_name) {
                continue;
            }
            let without = options::without(&line, &name);
            let left = options::given(&without);
            assert!(
                left.iter().all(|(other, _)| *other != name),
                "seed {seed}: {name} {without:?} of {line:?}"
            );
        }
        let Ok(new) = options::merge(text, "PARAMS", &wanted(), &unwanted) else {
            return;
        };
        edited += 1;
        let again = options::merge(&new, "PARAMS", &wanted(), &unwanted);
        let shown = String::from_utf8_lossy(&new);
        assert!(
            again.is_ok_and(|again| again == new),
            "seed {seed}: not for all: {shown}\nof {line}"
        );
        for option in wanted() {
            let value = options::value(&new, "PARAMS", option.name, option.short);
            assert_eq!(
                value,
                Some(option.value.unwrap_or_default()),
                "seed {seed}: {shown}"
            );
        }
        for name in &unwanted {
            let value = options::value(&new, "PARAMS", name, short(name));
            assert_eq!(value, None, "seed {seed}: {shown}");
        }
        let mine = [&new[..], b"\n# mine\n"].concat();
        let (back, _) = undo::undo(&mine, text, &new, "PARAMS");
        let lines = |text: &[u8]| -> Vec<Vec<u8>> {
            let lines = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
            lines
                .filter(|it| !it.is_empty())
                .map(<[u8]>::to_vec)
                .collect()
        };
        let original = [text, b"\n# mine\n"].concat();
        assert_eq!(lines(&back), lines(&original), "seed {seed}: {shown}");
    });
    assert!(edited > 500, "only {edited} were edited");
}

const PROGRAMS: [&str; 3] = [
    "[unix_http_server]\nfile=/var/run/supervisor.sock ; the path\n\n[program:a]\ncommand = /bin/x worker --site \"/s t\" --name a ; why\n numprocs=2\nuser: www-data\n# a comment\nprocess_name=%(program_name)s_%(process_num)02d\n[include]\nfiles = conf.d/*.conf\n",
    "; BEGIN wp-gears a\n[program:a]\ncommand=/usr/local/lib/wp-gears/wp-gears worker --site /srv/100%%\nenvironment=HOME=\"/x\",USER=\"u\"\n; END wp-gears a\n",
    "[program:b]\r\n  command=php wp-gears-runner.php\r\n  directory=/srv/b #c\r\n  autostart=true\r\n",
];

const PROGRAM_WORDS: [&str; 30] = [
    "[program:a]",
    "[program:",
    "[",
    "]",
    "=",
    ":",
    ";",
    " ;",
    "#",
    " #",
    "\n",
    "\r",
    "\r\n",
    "\n ",
    "\n\t",
    "\t",
    "%",
    "%%",
    "\"",
    "'",
    "\\",
    "command=",
    "directory",
    "user=x",
    "--site /a",
    "; BEGIN wp-gears a\n",
    "; END wp-gears a\n",
    "[include]\n",
    "\u{e9}",
    "A",
];

#[test]
fn any_file_of_supervisors_is_read_as_supervisor_reads_it() {
    let mut texts = Vec::new();
    each(&PROGRAMS, &PROGRAM_WORDS, |text, seed| {
        // Only Python treats these as white space.
        let text = String::from_utf8_lossy(text).replace(|c| ('\x1c'..='\x1f').contains(&c), " ");
        programs::parse(&text, Path::new("/f"));
        let with = block::set(&text, "new", "[program:new]\ncommand=/bin/a\n");
        let again = block::set(&with, "new", "[program:new]\ncommand=/bin/a\n");
        assert_eq!(with, again, "seed {seed}");
        let without = block::remove(&with, "new").unwrap();
        assert_eq!(without.trim_end(), text.trim_end(), "seed {seed}");
        if let Some(section) = block::section(&text, "a") {
            let same = block::replace_section(&text, "a", section);
            assert_eq!(same.as_ref(), Some(&text), "seed {seed}");
        }
        texts.push(text);
    });
    let answers = supervisors_own(&texts);
    let mut read = 0;
    for (seed, (text, judged)) in texts.iter().zip(answers).enumerate() {
        // Files that supervisor rejects may be read in any way.
        let Some(judged) = judged else { continue };
        read += 1;
        let mut ours: Vec<(String, Vec<(String, String)>)> = Vec::new();
        for program in programs::parse(text, Path::new("/f")) {
            let mut values = Vec::new();
            for (key, _) in &program.values {
                let value = program.get(key).unwrap_or_default();
                values.push((key.clone(), plain(value)));
            }
            values.sort();
            values.dedup();
            ours.push((program.name, values));
        }
        assert_eq!(ours, judged, "seed {seed}:\n{text}");
    }
    assert!(read > 500, "only {read} were read");
}

/// For a value of several lines, only its words matter.
fn plain(value: &str) -> String {
    value.split_whitespace().collect::<Vec<_>>().join(" ")
}

type Sections = Vec<(String, Vec<(String, String)>)>;

/// What supervisor's own parser reads in each text; nothing if it fails.
fn supervisors_own(texts: &[String]) -> Vec<Option<Sections>> {
    const JUDGE: &str = "
import json, sys
from supervisor.options import UnhosedConfigParser
answers = []
for text in json.load(sys.stdin):
    parser = UnhosedConfigParser()
    try:
        import io
        parser.read_file(io.StringIO(text, newline=None))
    except Exception:
        answers.append(None)
        continue
    sections = []
    for name in parser.sections():
        if name.startswith('program:'):
            values = [[k, ' '.join(v.replace('%%', '%').split())] for k, v in parser.items(name)]
            sections.append([name[8:].strip(), sorted(values)])
    answers.append(sections)
json.dump(answers, sys.stdout)";
    judged(JUDGE, texts)
}

/// The result of a script that reads the texts as JSON and writes JSON.
fn judged<T: serde::de::DeserializeOwned>(script: &str, texts: &[String]) -> T {
    let texts = serde_json::to_string(texts).unwrap();
    let answers = python::run(script, &[], &texts).unwrap_or_else(|why| panic!("{why}"));
    serde_json::from_str(&answers).unwrap()
}

#[test]
fn any_words_are_split_as_pythons_shlex_does() {
    let samples = [
        "/bin/x worker --site \"/s t\" 'a b' c\\ d",
        "php -d x=\"y \\\" z\"",
    ];
    let words = [
        "\"", "'", "\\", " ", "\t", "\r", "a", "\u{e9}", "#", "$", "`", "\\\"", "\\'",
    ];
    let mut lines = Vec::new();
    each(&samples, &words, |text, seed| {
        let line = String::from_utf8_lossy(text).replace(['\n', '\r', '\0'], " ");
        let split = programs::split_words(&line);
        let joined = programs::join_words(&split);
        assert_eq!(programs::split_words(&joined), split, "seed {seed}: {line}");
        lines.push(line);
    });
    const SHLEX: &str = "
import json, shlex, sys
def split(line):
    try:
        return shlex.split(line)
    except ValueError:
        return None
json.dump([split(line) for line in json.load(sys.stdin)], sys.stdout)";
    let answers: Vec<Option<Vec<String>>> = judged(SHLEX, &lines);
    for (line, judged) in lines.iter().zip(answers) {
        if let Some(judged) = judged {
            assert_eq!(programs::split_words(line), judged, "{line:?}");
        }
    }
}

#[test]
fn any_configuration_is_read_or_refused_without_its_secrets() {
    let samples = [
        "queue = 'sqlite'\nworkers = 2\nservers = ['a:1', 'b:2']\n[[site]]\ndir = '/a'\nsalt = 'geheim'\n[[site]]\ndir = '/b'\nworkers = 5\n",
        "salt = \"geheim\"\nport = 4730\nallow-upgrades = true\n",
        "role = [\"worker\", \"web\"]\nlisten = '0.0.0.0'\njob-timeout = 60\n",
    ];
    let words = [
        "'",
        "\"",
        "\"\"\"",
        "'''",
        "=",
        "\n",
        "[",
        "]",
        "[[site]]\n",
        "[site]\n",
        "{",
        "}",
        ",",
        ".",
        "salt = ",
        "'geheim'",
        "dir = ",
        "workers",
        "1e9",
        "-1",
        "0x",
        "true",
        "\\u",
        "\u{e9}",
        "\0",
        "#",
        "1979-05-27",
        "plugin = 'bundled'\n",
        "[[[[[[[[[[[[[[[[",
    ];
    let mut read = 0;
    each(&samples, &words, |text, seed| {
        let text = String::from_utf8_lossy(text);
        match wp_gears::intent::file::parse(&text, Path::new("/etc/wp-gears.toml"), "host") {
            Ok(_) => read += 1,
            Err(error) => {
                let said = format!("{error:#}");
                // The value of another option is not secret.
                let mut lines = text.lines().filter(|line| line.contains("geheim"));
                let is_secret = lines.all(|line| line.trim().starts_with("salt"));
                let plain = !text.contains("\"\"\"") && !text.contains("'''");
                let leaks = is_secret && plain && said.contains("geheim");
                assert!(!leaks, "seed {seed}: {said}\n{text}");
            }
        }
    });
    assert!(read > 50, "only {read} were read");
}

#[test]
fn any_answer_on_the_job_servers_port_is_read_or_refused() {
    let packet =
        String::from_utf8(b"\0RES\0\0\0\x0b\0\0\0\x0fH:host:1\0fn\0abcd".to_vec()).unwrap();
    let noop = "\0RES\0\0\0\x06\0\0\0\0";
    let samples = [packet.as_str(), noop, "HTTP/1.1 400 Bad Request\r\n"];
    each(
        &samples,
        &["\0", "\0RES", "\u{7f}", "\0\0\0\u{1}", noop],
        |bytes, seed| {
            // In two pieces, as it may arrive from the network.
            let (one, two) = bytes.split_at(Dice::new(seed).roll(bytes.len() + 1));
            let mut inbox = Inbox::default();
            inbox.feed(one);
            let mut taken = 0;
            for more in [&b""[..], two] {
                inbox.feed(more);
                while let Ok(Some(packet)) = inbox.take() {
                    taken += packet.data.len() + 12;
                    for n in 1..5 {
                        let _ = packet.fields(n);
                    }
                }
            }
            assert!(taken <= bytes.len(), "seed {seed}");
        },
    );
}
