//! Follows the advice of every refusal to the letter: the next edit must succeed, and
//! PHP must like the file.

use super::judge;
use super::shapes::{Shape, shapes};
use regex::bytes::Regex;
use std::collections::BTreeMap;
use wp_gears::site::config::{Refusal, edit};

/// The advice is about something outside of these files.
const ELSEWHERE: [&str; 3] = ["empty", "bedrock", "debian"];

const MAIN: &str = "";

/// wp-config.php and the files that it includes, by name.
type Files = BTreeMap<String, Vec<u8>>;

fn files(shape: &Shape) -> Files {
    let mut files = Files::from([(MAIN.to_owned(), shape.source.clone())]);
    let folder = shape.includes();
    for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
        if entry.path().is_file() {
            let name = entry.file_name().into_string().unwrap();
            files.insert(name, std::fs::read(entry.path()).unwrap());
        }
    }
    files
}

fn attempt(shape: &Shape, files: &Files) -> Result<Vec<u8>, Refusal> {
    let include = |path: &[u8]| {
        let path = std::str::from_utf8(path).ok()?;
        files.get(path).filter(|_| !path.is_empty()).cloned()
    };
    edit(&files[MAIN], &shape.desired(), &include).map(|edited| edited.text)
}

#[test]
fn following_the_advice_works() {
    let temp = tempfile::tempdir().unwrap();
    let (mut wrong, mut jobs, mut names) = (Vec::new(), Vec::new(), Vec::new());
    for shape in shapes() {
        if !shape.expect.contains_key("refused") || ELSEWHERE.contains(&&*shape.name) {
            continue;
        }
        let mut files = files(&shape);
        let mut followed = Vec::new();
        // What else is needed may turn out afterwards.
        let result = loop {
            match attempt(&shape, &files) {
                Ok(text) => break Ok(text),
                Err(refusal) => {
                    let said = refusal.to_string();
                    if followed.len() == 3 || followed.contains(&said) {
                        break Err(format!("refused again: {said}"));
                    }
                    if let Err(why) = follow(&refusal, &mut files) {
                        break Err(format!("{why}: {said}"));
                    }
                    followed.push(said);
                }
            }
        };
        match result {
            Err(why) => wrong.push(format!("{}: {why}", shape.name)),
            Ok(text) => {
                let includes = temp.path().join(format!("{}.d", shape.name));
                std::fs::create_dir_all(&includes).unwrap();
                let beside = |name: &&String| *name != MAIN && !name.starts_with(['.', '/']);
                for (name, text) in files.iter().filter(|(name, _)| beside(name)) {
                    std::fs::write(includes.join(name), text).unwrap();
                }
                let folder = temp.path().join(&shape.name);
                let file = judge::site(&folder, &text, &includes, shape.root());
                jobs.extend([("top", file.clone()), ("function", file)]);
                names.push((shape.name.clone(), text, followed));
            }
        }
    }
    let answers = judge::judge(&jobs);
    for ((name, text, followed), answers) in names.iter().zip(answers.chunks(2)) {
        for answer in answers {
            let notices = answer["notices"].to_string();
            let works = answer["loaded"] == true
                && answer["gears"] == true
                && answer["salt"].is_string()
                && answer["servers"]
                    .as_array()
                    .is_some_and(|it| !it.is_empty())
                && !notices.contains("already defined");
            if !works {
                let text = String::from_utf8_lossy(text);
                wrong.push(format!("{name}: {answer}\n{followed:?}\n{text}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    eprintln!("the advice of {} refusals followed", names.len());
}

/// Does what the advice says.
fn follow(refusal: &Refusal, files: &mut Files) -> Result<(), String> {
    let (text, lines) = match refusal.by_hand.split_once(":\n") {
        Some((text, lines)) => (
            text,
            lines.replace("\n  ", "\n").trim_start().to_owned() + "\n",
        ),
        None => (&*refusal.by_hand, String::new()),
    };
    let says = |phrase: &str| text.contains(phrase);
    let places = places(text);
    let here = refusal.line.unwrap_or(1);
    let main = files.get_mut(MAIN).unwrap();
    match () {
        () if says("take the definition of ") => {
            let name = word_after(text, "take the definition of ");
            for (file, line) in places {
                let call = format!(r"(?i)define\( '{name}', ([^()]|\([^()]*\))*\)");
                let text = files.get_mut(&file).ok_or("no such file")?;
                change(text, line, &call, "true")?;
            }
            Ok(())
        }
        () if says(" out of ") => {
            let name = word_after(text, "take ");
            let (file, line) = places[0].clone();
            let text = files.get_mut(&file).ok_or("no such file")?;
            change(text, line, &format!(r"(, )?'{name}' => \w+"), "")
        }
        () if says("write '") && !says("write ' in") => {
            let name = text.split('\'').nth(1).unwrap().to_owned();
            change(
                main,
                places[0].1,
                &format!(r"\b{name}\b"),
                &format!("'{name}'"),
            )
        }
        () if says("write this in its place") => {
            let (file, line) = places[0].clone();
            let text = files.get_mut(&file).ok_or("no such file")?;
            change(
                text,
                line,
                r"(?i)(define\(|\$gearman_servers).*;",
                lines.trim_end(),
            )
        }
        () if says("as one plain list") || says("write each of them so") => {
            let every = r"(sort\( )?\$gearman_servers(\[\])? ?[=)].*;";
            let all = match says("in place of all lines") {
                true => (1..=30).map(|line| (MAIN.to_owned(), line)).collect(),
                false => places,
            };
            for (file, line) in all {
                let text = files.get_mut(&file).ok_or("no such file")?;
                let _ = change(text, line, every, "true;");
            }
            before_load(files.get_mut(MAIN).unwrap(), &lines)
        }
        () if says("name that file with --wp-config") => {
            before_load(files.get_mut("real-config.php").ok_or("no file")?, &lines)
        }
        () if says("above that function") => change(main, 1, r"<\?php", &format!("<?php\n{lines}")),
        () if says("at its end") => {
            main.extend(lines.into_bytes());
            Ok(())
        }
        () if says("add these lines") => before_load(main, &lines),
        () if says("write <?php in place of <?=") => change(main, here, r"<\?=", "<?php"),
        () if says("write <?php in place of <?") => change(main, here, r"<\?", "<?php"),
        () if says("move it above that statement") => {
            let all = String::from_utf8(main.clone()).unwrap();
            let moved = Regex::new(r"(define\( 'DOMAIN[^)]*\)|\$gearman_servers = [^;]*)").unwrap();
            let what = moved.find(all.as_bytes()).ok_or("nothing to move")?;
            let what = String::from_utf8_lossy(what.as_bytes()).into_owned();
            let rest = all.replacen(&what, "true", 1);
            *main = rest
                .replacen("<?php\n", &format!("<?php\n{what};\n"), 1)
                .into_bytes();
            Ok(())
        }
        () if says("remove the goto") => change(main, here, "goto [a-z]+;", ""),
        () if says("remove what ends it") => {
            let included = refusal.reason.split_once(", line ").map(|(file, _)| file);
            let text = files
                .get_mut(included.unwrap_or(MAIN))
                .ok_or("no such file")?;
            let line = if included.is_some() { 2 } else { here };
            change(text, line, "exit.*;", "")
        }
        () if says("remove it") => change(main, here, "\\x00", ""),
        () if says("end it with */") => {
            main.extend(b"*/\n");
            Ok(())
        }
        () if says("its first line") => {
            *main = [&b"<?php\n"[..], main].concat();
            Ok(())
        }
        () if says("in UTF-8") => {
            let wide: Vec<u16> = main[2..]
                .chunks(2)
                .map(|it| u16::from_le_bytes([it[0], it[1]]))
                .collect();
            *main = String::from_utf16(&wide).unwrap().into_bytes();
            Ok(())
        }
        () if says("what they stand for") => {
            let text = String::from_utf8(main.clone()).unwrap();
            let text = text.replace("&#039;", "'").replace("&lt;", "<");
            *main = text.into_bytes();
            Ok(())
        }
        () if says("write ' in place of each") => change(
            main,
            here,
            "(?-u)(\\xe2\\x80\\x98|\\xe2\\x80\\x99|\\x91|\\x92)",
            "'",
        ),
        () if says("correct it") => change(main, here, "false;", "false );"),
        () => Err("no advice that the test can follow".into()),
    }
}

fn word_after(text: &str, phrase: &str) -> String {
    let rest = &text[text.find(phrase).unwrap() + phrase.len()..];
    rest.split(' ').next().unwrap().to_owned()
}

/// The places that an advice names, as file and line.
fn places(text: &str) -> Vec<(String, usize)> {
    let place = regex::Regex::new(r"line (\d+)(?: of ([\w./-]+\.php))?").unwrap();
    place
        .captures_iter(text)
        .map(|it| {
            let file = it.get(2).map_or(MAIN, |file| file.as_str());
            (file.to_owned(), it[1].parse().unwrap())
        })
        .collect()
}

/// Replaces what a pattern finds in a line.
fn change(text: &mut Vec<u8>, line: usize, pattern: &str, new: &str) -> Result<(), String> {
    let pattern = Regex::new(pattern).unwrap();
    let mut lines: Vec<Vec<u8>> = text.split(|b| *b == b'\n').map(<[u8]>::to_vec).collect();
    let old = lines.get(line - 1).cloned().ok_or("no such line")?;
    let new = pattern.replace_all(&old, regex::bytes::NoExpand(new.as_bytes()));
    if new == old {
        return Err(format!("nothing like {pattern} in line {line}"));
    }
    lines[line - 1] = new.into_owned();
    *text = lines.join(&b'\n');
    Ok(())
}

/// Adds lines before the last one that loads WordPress.
fn before_load(text: &mut Vec<u8>, new: &str) -> Result<(), String> {
    let load = b"wp-settings.php";
    let at = text.windows(load.len()).rposition(|it| it == load);
    let at = at.ok_or("no line loads WordPress")?;
    let start = text[..at]
        .iter()
        .rposition(|b| *b == b'\n')
        .map_or(0, |it| it + 1);
    text.splice(start..start, new.bytes());
    Ok(())
}
