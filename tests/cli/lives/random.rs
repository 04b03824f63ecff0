//! Random lives of edited files: setup, edits by people at random places, setup with
//! other options, and so on. What people did is also done to a twin of the file that
//! setup never edits: in the end, remove makes the file its twin's equal.
//! WP_GEARS_LIVES sets the number of lives.

use crate::dice::Dice;
use crate::parallel;
use crate::root::{CONFIG, PARAMS};
use crate::settings_files::bedrock::APPLICATION;
use wp_gears::gearman::options::{self, Wanted};
use wp_gears::resource::file::{Edit, Rebase, Step};
use wp_gears::site::config::{self, Desired, Entry, Include, Stub, Want};
use wp_gears::site::plugins::WP_GEARS;
use wp_gears::supervisor::block;

/// Runs that many lives, and says which failed.
fn each(life: impl Fn(usize) -> Result<(), String> + Sync) {
    let count = std::env::var("WP_GEARS_LIVES").ok();
    let default = if cfg!(debug_assertions) { 400 } else { 10_000 };
    let count: usize = count.and_then(|it| it.parse().ok()).unwrap_or(default);
    let seeds: Vec<usize> = (0..count).collect();
    let outcomes = parallel::each(2, &seeds, |seed| {
        life(*seed).map_err(|why| format!("life {seed}: {why}"))
    });
    let bad: Vec<String> = outcomes.into_iter().filter_map(Result::err).collect();
    let first = bad.iter().take(3).cloned().collect::<Vec<_>>().join("\n\n");
    assert!(bad.is_empty(), "{} of {count}:\n{first}", bad.len());
}

/// A file and its twin.
struct Pair {
    file: String,
    twin: String,
    /// Lines that were added inside our part.
    inside: Vec<String>,
    story: Vec<String>,
    next: usize,
}

/// What makes a line of a person's.
type Line = dyn Fn(usize) -> String;

impl Pair {
    fn new(text: String) -> Pair {
        Pair {
            file: text.clone(),
            twin: text,
            inside: Vec::new(),
            story: Vec::new(),
            next: 0,
        }
    }

    fn told(&mut self, what: impl Into<String>) {
        self.story.push(what.into());
    }

    /// A line of the twin that the file has as well, and both only once.
    fn line(&self, dice: &mut Dice) -> Option<String> {
        let lines: Vec<&str> = self.twin.split_inclusive('\n').collect();
        let once = |text: &str, line: &str| {
            text.split_inclusive('\n')
                .filter(|it| it.trim() == line.trim())
                .count()
                == 1
        };
        for _ in 0..8 {
            let line = lines[dice.roll(lines.len())];
            let is_whole = self.file.split_inclusive('\n').any(|it| it == line);
            if !line.trim().is_empty()
                && is_whole
                && once(&self.file, line)
                && once(&self.twin, line)
            {
                return Some(line.to_owned());
            }
        }
        None
    }

    fn both(&mut self, change: impl Fn(&str) -> String) {
        self.file = change(&self.file);
        self.twin = change(&self.twin);
    }

    fn edit(&mut self, dice: &mut Dice, new: &Line, may_go: &dyn Fn(&str) -> bool) {
        self.next += 1;
        let added = new(self.next);
        let ending = if self.twin.contains("\r\n") {
            "\r\n"
        } else {
            "\n"
        };
        match dice.roll(9) {
            0..=3 => {
                let Some(line) = self.line(dice).filter(|it| it.ends_with('\n')) else {
                    return;
                };
                if line.trim_start().starts_with("<?php") || dice.roll(2) == 0 {
                    self.told(format!("add {added:?} after {line:?}"));
                    self.both(|text| after(text, &line, &format!("{added}{ending}")));
                } else {
                    self.told(format!("add {added:?} before {line:?}"));
                    self.both(|text| before(text, &line, &format!("{added}{ending}")));
                }
            }
            4 => {
                let Some(line) = self.line(dice).filter(|it| may_go(it)) else {
                    return;
                };
                self.told(format!("delete {line:?}"));
                self.both(|text| text.replacen(&line, "", 1));
            }
            5 => {
                let Some(line) = self.line(dice).filter(|it| may_go(it)) else {
                    return;
                };
                self.told(format!("replace {line:?} with {added:?}"));
                let end = &line[line.trim_end().len()..];
                self.both(|text| text.replacen(&line, &format!("{added}{end}"), 1));
            }
            6 if !self.twin.contains('\r') => {
                self.told("CR LF");
                self.both(|text| text.replace('\n', "\r\n"));
            }
            7 => {
                self.told("indent");
                self.both(|text| {
                    text.replace("\n\t", "\n      ")
                        .replace("\ndefine", "\n  define")
                });
            }
            _ => {
                self.told("more at the end");
                self.both(|text| {
                    format!(
                        "{text}{}{added}{ending}",
                        if text.ends_with('\n') { "" } else { ending }
                    )
                });
            }
        }
    }

    /// Compares the twin with what remove makes of the file.
    fn judge(&self, left: Option<&[u8]>, exact: bool) -> Result<(), String> {
        let left = String::from_utf8_lossy(left.unwrap_or_default()).into_owned();
        let fail = |why: &str| {
            let story = self.story.join("\n  ");
            Err(format!(
                "{why}\n  {story}\n--- twin\n{}\n--- file\n{}\n--- left\n{left}",
                self.twin, self.file
            ))
        };
        let indented = self.story.iter().any(|it| it == "indent");
        if exact && !indented && self.inside.is_empty() {
            return match left == self.twin {
                true => Ok(()),
                false => fail("the twin differs"),
            };
        }
        let lines = |text: &str| -> Vec<String> {
            let lines = text.lines().map(|line| line.trim().to_owned());
            lines
                .filter(|line| !line.is_empty() && !self.inside.contains(line))
                .collect()
        };
        if lines(&left) != lines(&self.twin) {
            return fail("the twin differs");
        }
        match self
            .inside
            .iter()
            .find(|line| !left.contains(line.as_str()))
        {
            Some(lost) => fail(&format!("{lost} is lost")),
            None => Ok(()),
        }
    }
}

fn after(text: &str, line: &str, new: &str) -> String {
    text.replacen(line, &format!("{line}{new}"), 1)
}

fn before(text: &str, line: &str, new: &str) -> String {
    text.replacen(line, &format!("{new}{line}"), 1)
}

const SERVERS: [&str; 3] = ["127.0.0.1:4730", "10.0.0.1:4730", "10.0.0.2:4999"];

fn config(dice: &mut Dice) -> String {
    let mut text = CONFIG.to_owned();
    let values = [
        "define( 'WP_ASYNC_TASK_SALT', 'old' ); // theirs\n",
        "define( 'WP_GEARS', false );\n",
        "global $gearman_servers;\n$gearman_servers = array(\n\t'a:1', # one\n\t'b:2',\n);\n",
        "define( 'MULTISITE', true );\ndefine( 'DOMAIN_CURRENT_SITE', 'net.example' );\n",
        "/**\n * Keys\n */\ndefine( 'AUTH_KEY', 'x' );\n",
        "if ( true ) {\n\t$scheme = 'https';\n}\n",
    ];
    for value in values {
        if dice.roll(3) == 0 {
            text = before(&text, "$table_prefix", value);
        }
    }
    if dice.roll(2) == 0 {
        text = before(
            &text,
            "if ( ! defined( 'ABSPATH'",
            "/* That's all, stop editing! */\n\n",
        );
    }
    if dice.roll(5) == 0 {
        text = text.replace('\n', "\r\n");
    }
    text
}

/// What includes Bedrock's application.php.
struct Bedrock(Entry);

impl Bedrock {
    fn new() -> Bedrock {
        let text = "<?php\nrequire_once dirname( __DIR__ ) . '/config/application.php';\nrequire_once ABSPATH . 'wp-settings.php';\n";
        Bedrock(Entry {
            name: "/srv/web/wp-config.php".into(),
            text: text.into(),
            stub: Stub::File("/srv/config/application.php".into()),
        })
    }

    fn application(dice: &mut Dice) -> String {
        let plain = config(dice);
        let (head, _) = plain.split_once("if ( ! defined( 'ABSPATH'").unwrap();
        let own = head.split_once("'geheim' );").unwrap().1;
        let own = own
            .replace("define( ", "Config::define( ")
            .replace("$table_prefix = 'wp_';", "");
        let own = own.replace("\r\n", "\n");
        let text = before(APPLICATION, "$table_prefix", own.trim_start());
        match plain.contains("\r\n") {
            true => text.replace('\n', "\r\n"),
            false => text,
        }
    }
}

impl Include for Bedrock {
    fn read(&self, _: &[u8]) -> Option<Vec<u8>> {
        None
    }

    fn entry(&self) -> Option<&Entry> {
        Some(&self.0)
    }
}

fn setup(pair: &mut Pair, rebase: &mut Rebase, dice: &mut Dice, include: &dyn Include) {
    let salt = format!("salt{}", dice.roll(1000));
    let count = 1 + dice.roll(2);
    let from = dice.roll(SERVERS.len());
    let servers = (0..count).map(|i| SERVERS[(from + i) % SERVERS.len()].to_owned());
    let desired = Desired {
        switch: WP_GEARS.switch,
        servers: match dice.roll(2) {
            0 => Want::Default(servers.collect()),
            _ => Want::Exactly(servers.collect()),
        },
        salt: match dice.roll(2) {
            0 => Want::Default(salt),
            _ => Want::Exactly(salt),
        },
    };
    pair.told(format!("setup {:?} {:?}", desired.servers, desired.salt));
    let Ok(edited) = config::edit(pair.file.as_bytes(), &desired, include) else {
        pair.told("refused");
        return;
    };
    if edited.text != pair.file.as_bytes() {
        rebase.add(Step::of(Some(pair.file.as_bytes()), &edited.text));
        pair.file = String::from_utf8(edited.text).unwrap();
    }
}

/// What people do to our block.
fn meddle(pair: &mut Pair, dice: &mut Dice) {
    let (Some(begin), Some(end)) = (pair.file.find("/* BEGIN wp"), pair.file.find("/* END wp"))
    else {
        return;
    };
    let ending = if pair.file.contains("\r\n") {
        "\r\n"
    } else {
        "\n"
    };
    match dice.roll(4) {
        0 => {
            pair.next += 1;
            let line = format!("define( 'INSIDE_{}', 1 );", pair.next);
            pair.told(format!("add {line} to the block"));
            pair.file.insert_str(end, &format!("{line}{ending}"));
            pair.inside.push(line);
        }
        1 | 2 if !pair.inside.is_empty() => {}
        1 => {
            pair.told("format the block");
            let block = pair.file[begin..end]
                .replace("( ", "(")
                .replace(" )", ")")
                .replace("array(", "Array( ");
            pair.file.replace_range(begin..end, &block);
        }
        2 => {
            pair.told("delete END");
            let line = end + pair.file[end..].find('\n').unwrap() + 1;
            pair.file.replace_range(end..line, "");
        }
        _ => {
            pair.told("indent the block");
            let block = pair.file[begin..end].replace('\n', "\n\t\t");
            pair.file.replace_range(begin..end, &block);
        }
    }
}

#[test]
fn wp_config_has_what_people_wrote_and_nothing_of_ours() {
    lives_of(config, &|_: &[u8]| None);
}

#[test]
fn application_php_has_what_people_wrote_and_nothing_of_ours() {
    lives_of(Bedrock::application, &Bedrock::new());
}

fn lives_of(first: fn(&mut Dice) -> String, include: &(dyn Include + Sync)) {
    each(|seed| {
        let mut dice = Dice::new(seed);
        let mut pair = Pair::new(first(&mut dice));
        let mut rebase = Rebase::new(Edit::WpConfig, "PARAMS");
        let meddles = dice.roll(3) == 0;
        let line = |n: usize| match n % 3 {
            0 => format!("// note {n}"),
            1 => format!("define( 'MINE_{n}', '{n}' );"),
            _ => format!("$mine_{n} = array( {n} );"),
        };
        let may_go = |line: &str| {
            ["DB_", "MINE", "note", "$mine", "AUTH"]
                .iter()
                .any(|it| line.contains(it))
        };
        setup(&mut pair, &mut rebase, &mut dice, include);
        for _ in 0..dice.roll(4) {
            for _ in 0..dice.roll(4) {
                pair.edit(&mut dice, &line, &may_go);
            }
            if meddles && dice.roll(2) == 0 {
                meddle(&mut pair, &mut dice);
            }
            setup(&mut pair, &mut rebase, &mut dice, include);
        }
        for _ in 0..dice.roll(4) {
            pair.edit(&mut dice, &line, &may_go);
        }
        if meddles {
            meddle(&mut pair, &mut dice);
        }
        let next = rebase.revert(Some(pair.file.as_bytes()));
        pair.told(format!("notes {:?}", next.notes));
        pair.judge(next.bytes.as_deref(), !meddles)?;
        let left = next.bytes.unwrap_or_default();
        match config::scan(&left, include) {
            Err(why) if config::scan(pair.twin.as_bytes(), include).is_ok() => {
                Err(format!("{why}\n{}", String::from_utf8_lossy(&left)))
            }
            _ => Ok(()),
        }
    });
}

#[test]
fn gearmands_options_have_what_people_wrote_and_nothing_of_ours() {
    let files = [
        PARAMS,
        "# a comment\nPARAMS='-d -q builtin --listen ::1 --verbose=INFO'\nOTHER=1\n",
        "PARAMS=\"\"\n",
        "OTHER=1\n",
    ];
    each(|seed| {
        let mut dice = Dice::new(seed);
        let mut pair = Pair::new(files[dice.roll(files.len())].to_owned());
        let mut rebase = Rebase::new(Edit::Options, "PARAMS");
        for round in 0..=dice.roll(4) {
            let port = format!("{}", 4730 + dice.roll(3));
            let wanted = [
                Wanted::new("listen", Some('L'), "127.0.0.1"),
                Wanted::new("port", Some('p'), &port),
                Wanted::new("queue-type", Some('q'), "libsqlite3"),
            ];
            let old = pair.file.clone();
            let new = options::merge(old.as_bytes(), "PARAMS", &wanted, &[]).unwrap();
            pair.told(format!("setup {port}"));
            if new != old.as_bytes() {
                rebase.add(Step::of(Some(old.as_bytes()), &new));
                pair.file = String::from_utf8(new).unwrap();
            }
            for _ in 0..dice.roll(3) {
                let line = |n: usize| match n % 2 {
                    0 => format!("# note {n}"),
                    _ => format!("MINE_{n}={n}"),
                };
                if dice.roll(3) > 0 {
                    pair.edit(&mut dice, &line, &|line| {
                        line.contains("MINE") || line.contains("note")
                    });
                } else if pair.file.contains("PARAMS=\"--listen")
                    && pair.twin.contains("PARAMS=\"--listen")
                {
                    pair.told("add an option");
                    let word = format!("PARAMS=\"--mine-{round}=1 --listen");
                    pair.both(|text| text.replacen("PARAMS=\"--listen", &word, 1));
                }
            }
        }
        let next = rebase.revert(Some(pair.file.as_bytes()));
        pair.told(format!("notes {:?}", next.notes));
        pair.judge(next.bytes.as_deref(), true)
    });
}

#[test]
fn supervisors_files_have_what_people_wrote_and_nothing_of_ours() {
    let main = "; main\n[supervisord]\nlogfile=/x ; here\n\n[program:b]\ncommand=/b\n";
    each(|seed| {
        let mut dice = Dice::new(seed);
        // A block, a section written by hand that becomes ours, or a file of ours.
        let kind = [Edit::Block, Edit::Section, Edit::Program][dice.roll(3)];
        let mut pair = Pair::new(match kind {
            Edit::Program => String::new(),
            _ => main.to_owned(),
        });
        let mut rebase = Rebase::new(kind, "PARAMS");
        for _ in 0..=dice.roll(4) {
            let name = if kind == Edit::Section { "b" } else { "a" };
            let count = 1 + dice.roll(4);
            let body = format!(
                "[program:{name}]\n; made by setup\ncommand=/worker --site /s\nnumprocs={count}\numask=027\n"
            );
            let old = pair.file.clone();
            let new = match kind {
                Edit::Section => block::replace_section(&old, "b", &body).unwrap(),
                _ if old.contains("[program:a]") && kind == Edit::Program => {
                    block::replace_section(&old, "a", &body).unwrap()
                }
                Edit::Program => body,
                _ => block::set(&old, "a", &body),
            };
            pair.told(format!("setup {count}"));
            if new != old {
                let before = Some(old.as_bytes()).filter(|text| !text.is_empty());
                rebase.add(Step::of(before, new.as_bytes()));
                pair.file = new;
            }
            for _ in 0..dice.roll(3) {
                pair.next += 1;
                let n = pair.next;
                let section = format!("\n[program:mine{n}]\ncommand=/mine{n}\n");
                match dice.roll(3) {
                    0 => {
                        pair.told(format!("add mine{n}"));
                        pair.both(|text| format!("{text}{section}"));
                    }
                    1 => {
                        pair.told(format!("add a comment {n}"));
                        pair.both(|text| format!("; note {n}\n{text}"));
                    }
                    _ => {
                        pair.told("a value");
                        pair.both(|text| text.replacen("logfile=/x", &format!("logfile=/x{n}"), 1));
                    }
                }
            }
        }
        let next = rebase.revert(Some(pair.file.as_bytes()));
        pair.told(format!("notes {:?}", next.notes));
        pair.judge(next.bytes.as_deref(), false)
    });
}
