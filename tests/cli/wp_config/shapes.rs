//! The files in fixtures/wp-config: the result of the edit, and what PHP makes of it.

use super::judge;
use serde_json::Value;
use std::path::PathBuf;
use wp_gears::site::config::{Desired, Include, Undone, Want, edit, remove, scan, undo};
use wp_gears::site::plugins::{WP_GEARS, WP_MINIONS};

const SERVER: &str = "127.0.0.1:4730";
const SALT: &str = "salt-of-the-test";
const MODES: [&str; 4] = ["top", "function", "web", "wp-cli"];

pub struct Shape {
    pub name: String,
    pub source: Vec<u8>,
    pub expect: toml::Table,
}

pub fn shapes() -> Vec<Shape> {
    let folder = judge::fixtures();
    let text = std::fs::read_to_string(folder.join("expect.toml")).unwrap();
    let table: toml::Table = text.parse().unwrap();
    assert!(table.len() >= 60);
    table
        .into_iter()
        .map(|(name, expect)| Shape {
            source: std::fs::read(folder.join(format!("{name}.php"))).unwrap(),
            expect: expect.as_table().unwrap().clone(),
            name,
        })
        .collect()
}

impl Shape {
    fn text(&self, key: &str) -> Option<&str> {
        self.expect.get(key).map(|it| it.as_str().unwrap())
    }

    fn list(&self, key: &str) -> Option<Vec<String>> {
        let list = self.expect.get(key)?.as_array().unwrap();
        Some(
            list.iter()
                .map(|it| it.as_str().unwrap().to_owned())
                .collect(),
        )
    }

    pub fn desired(&self) -> Desired {
        Desired {
            switch: match self.text("switch") {
                Some("minions") => WP_MINIONS.switch,
                _ => WP_GEARS.switch,
            },
            servers: match self.list("servers_exactly") {
                Some(list) => Want::Exactly(list),
                None => Want::Default(vec![SERVER.into()]),
            },
            salt: match self.text("salt_exactly") {
                Some(salt) => Want::Exactly(salt.into()),
                None => Want::Default(SALT.into()),
            },
        }
    }

    pub fn includes(&self) -> PathBuf {
        judge::fixtures().join(format!("{}.d", self.name))
    }

    /// The folder of WordPress, relative to that of wp-config.php.
    pub fn root(&self) -> &str {
        self.text("root").unwrap_or_default()
    }

    fn include(&self) -> Files {
        Files {
            folder: self.includes(),
            root: self.root().to_owned(),
        }
    }

    /// Whether PHP can judge it: a refused edit has no result, and the judge runs
    /// PHP 8.
    fn is_judged(&self) -> bool {
        !self.expect.contains_key("refused") && !self.expect.contains_key("only_old_php")
    }
}

struct Files {
    folder: PathBuf,
    root: String,
}

impl Include for Files {
    fn read(&self, path: &[u8]) -> Option<Vec<u8>> {
        std::fs::read(self.folder.join(std::str::from_utf8(path).ok()?)).ok()
    }

    fn root(&self) -> &str {
        &self.root
    }
}

#[test]
fn each_shape_has_the_expected_result() {
    let mut wrong = Vec::new();
    for shape in shapes() {
        if let Err(why) = has_expected_result(&shape) {
            wrong.push(format!("{}: {why}", shape.name));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn has_expected_result(shape: &Shape) -> Result<(), String> {
    let include = shape.include();
    let edited = match (
        edit(&shape.source, &shape.desired(), &include),
        shape.text("refused"),
    ) {
        (Err(refusal), Some(reason)) => {
            let line = shape
                .expect
                .get("line")
                .map(|it| it.as_integer().unwrap() as usize);
            if !refusal.reason.contains(reason) || (line.is_some() && refusal.line != line) {
                return Err(format!("refused for another reason: {refusal}"));
            }
            return Ok(());
        }
        (Err(refusal), None) => return Err(format!("refused: {refusal}")),
        (Ok(_), Some(_)) => return Err("not refused".into()),
        (Ok(edited), None) => edited,
    };
    let text = String::from_utf8_lossy(&edited.text).into_owned();
    let wants_same = shape.expect.contains_key("same");
    if (edited.text == shape.source) != wants_same {
        return Err(format!("unchanged: expected {wants_same}\n{text}"));
    }
    let warned = |words: &str| {
        edited
            .warnings
            .iter()
            .chain(&edited.without_host)
            .any(|it| it.text.contains(words))
    };
    if let Some(words) = shape.text("warn")
        && !warned(words)
    {
        return Err(format!("no warning with {words:?}: {:?}", edited.warnings));
    }
    if let Some(words) = shape.text("silent")
        && warned(words)
    {
        return Err(format!("a warning with {words:?}: {:?}", edited.warnings));
    }
    let again = edit(&edited.text, &shape.desired(), &include).map_err(|it| it.to_string())?;
    if again.text != edited.text {
        return Err(format!(
            "a second edit changes\n{text}\ninto\n{}",
            String::from_utf8_lossy(&again.text)
        ));
    }
    if scan(&edited.text, &include).ok() != Some(edited.found) {
        return Err("scan and edit disagree".into());
    }
    is_reverted(shape, &edited.text)
}

fn is_reverted(shape: &Shape, left: &[u8]) -> Result<(), String> {
    let back = |what: &str, undone: Undone, want: &[u8]| {
        if undone.text == want && undone.left_alone.is_empty() {
            return Ok(());
        }
        Err(format!(
            "{what} gives {}\nleaving {:?}",
            String::from_utf8_lossy(&undone.text),
            undone.left_alone
        ))
    };
    back("undo", undo(left, &shape.source, left), &shape.source)?;
    // An edit by hand changes the database's name and the end of the file.
    let elsewhere = |text: &[u8]| {
        let text: Vec<u8> = replace(text, b"'blog'", b"'other'");
        if text.ends_with(b"?>") || text.ends_with(b";") || !text.ends_with(b"\n") {
            return text;
        }
        [&text[..], b"\n"].concat()
    };
    let (edited, want) = (elsewhere(left), elsewhere(&shape.source));
    // In a file of one line, every edit by hand touches our lines.
    if shape
        .source
        .iter()
        .filter(|b| matches!(b, b'\n' | b'\r'))
        .count()
        > 2
    {
        back(
            "undo after edits",
            undo(&edited, &shape.source, left),
            &want,
        )?;
    }
    let removed = remove(left);
    let changed_in_place =
        edit(&removed.text, &shape.desired(), &shape.include()).is_ok_and(|it| it.text != left);
    if removed.text != shape.source && !changed_in_place && !in_place(shape) {
        return back("remove", removed, &shape.source);
    }
    Ok(())
}

/// Shapes whose values change in place: without a journal, these cannot be restored.
fn in_place(shape: &Shape) -> bool {
    [
        "off",
        "text-false",
        "salt-empty",
        "minions-cron",
        "servers-text",
        "servers-null",
    ]
    .contains(&&*shape.name)
        || shape.expect.contains_key("servers_exactly")
        || shape.expect.contains_key("salt_exactly")
}

fn replace(text: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    match text.windows(old.len()).position(|it| it == old) {
        Some(at) => [&text[..at], new, &text[at + old.len()..]].concat(),
        None => text.to_vec(),
    }
}

#[test]
fn php_sees_the_requested_settings() {
    let temp = tempfile::tempdir().unwrap();
    let (mut jobs, mut shown) = (Vec::new(), Vec::new());
    for shape in shapes().into_iter().filter(Shape::is_judged) {
        let Ok(edited) = edit(&shape.source, &shape.desired(), &shape.include()) else {
            continue; // reported by the other test
        };
        for (when, text) in [("before", &shape.source), ("after", &edited.text)] {
            let folder = temp.path().join(format!("{}-{when}", shape.name));
            let file = judge::site(&folder, text, &shape.includes(), shape.root());
            jobs.extend(MODES.map(|mode| (mode, file.clone())));
        }
        shown.push(shape);
    }
    let answers = judge::judge(&jobs);
    let mut wrong = Vec::new();
    for (shape, answers) in shown.iter().zip(answers.chunks(2 * MODES.len())) {
        let (before, after) = answers.split_at(MODES.len());
        for (mode, (before, after)) in MODES.iter().zip(before.iter().zip(after)) {
            let judged = match *mode {
                "web" | "wp-cli" => is_as_good(shape, before, after),
                _ => sees(shape, before, after),
            };
            if let Err(why) = judged {
                wrong.push(format!(
                    "{} ({mode}): {why}\n  before {before}\n  after  {after}",
                    shape.name
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    eprintln!(
        "{} shapes judged by PHP, each in {} ways",
        shown.len(),
        MODES.len()
    );
}

/// What worked for pages and for WP-CLI still does, and has the settings.
fn is_as_good(shape: &Shape, before: &Value, after: &Value) -> Result<(), String> {
    if before["loaded"] != true || !before["fatal"].is_null() {
        return Ok(());
    }
    let mut after = after.clone();
    if after["host"] != before["host"] && !before["host"].is_null() {
        return Err("another host".into());
    }
    after["host"] = shape.text("host").map_or(Value::Null, Value::from);
    sees(shape, before, &after)
}

fn sees(shape: &Shape, before: &Value, after: &Value) -> Result<(), String> {
    if after["loaded"] != true || !after["fatal"].is_null() {
        return Err("WordPress is not loaded".into());
    }
    let plugin = match shape.desired().switch {
        switch if switch == WP_GEARS.switch => "gears",
        _ => "minions",
    };
    let servers = shape.list("servers").unwrap_or(vec![SERVER.into()]);
    let has: Option<Vec<String>> = match &after["servers"] {
        Value::Array(list) => list
            .iter()
            .map(|it| it.as_str().map(str::to_owned))
            .collect(),
        Value::Object(keyed) => keyed
            .values()
            .map(|it| it.as_str().map(str::to_owned))
            .collect(),
        _ => None,
    };
    let salt = shape.text("salt").unwrap_or(SALT);
    let host = shape.text("host").map_or(Value::Null, Value::from);
    let new_notice = after["notices"].as_array().and_then(|notices| {
        let known = before["notices"].as_array()?;
        // A notice may name the folder, which is another one.
        let same = |notice: &Value| notice.as_str().map(|it| it.replace("-after/", "-before/"));
        notices
            .iter()
            .find(|notice| !known.iter().any(|it| same(it) == same(notice)))
    });
    match () {
        () if after[plugin] != true => Err("the switch is off".into()),
        () if has.as_ref() != Some(&servers) => Err("other servers".into()),
        () if after["salt"] != salt => Err("another salt".into()),
        () if after["host"] != host => Err("another host".into()),
        () if after["db"] != before["db"] => Err("another database".into()),
        () => match new_notice {
            Some(notice) => Err(format!("a new notice: {notice}")),
            None => Ok(()),
        },
    }
}
