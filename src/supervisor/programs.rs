//! Reads program definitions in supervisor's files, to find ours and what an
//! earlier setup configured.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::host::Host;
use crate::host::supervisor::Supervisord;
use crate::worker::settings::CrewSettings;
use crate::worker::workers::Workers;

/// A `[program:NAME]` section.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProgramSection {
    pub name: String,
    pub file: PathBuf,
    /// Keys and values in file order, with `%%` unescaped to `%`.
    pub values: Vec<(String, String)>,
    /// What its settings file says, if it is a crew of ours.
    pub crew: Option<CrewSettings>,
}

impl ProgramSection {
    /// The value of a key. If it is set several times, the last one wins.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.values
            .iter()
            .rfind(|(name, _)| name == key)
            .map(|(_, value)| value.as_str())
    }

    /// The command line, split into words.
    pub fn command(&self) -> Vec<String> {
        split_words(self.get("command").unwrap_or_default())
    }

    /// The value of an option in the command line.
    pub fn option(&self, name: &str) -> Option<String> {
        let words = self.command();
        let at = words.iter().position(|word| word == name)?;
        words.get(at + 1).cloned()
    }

    /// The number of workers, if it is stated.
    pub fn workers(&self) -> Option<Workers> {
        match &self.crew {
            Some(crew) => Some(crew.workers),
            None => self.get("numprocs")?.parse().ok(),
        }
    }

    /// The job servers in its settings or its command line, if it is a worker of ours.
    pub fn servers(&self) -> Option<Vec<String>> {
        if let Some(crew) = &self.crew {
            return Some(crew.servers.iter().map(ToString::to_string).collect());
        }
        let servers = self.option("--servers")?;
        Some(servers.split(',').map(str::to_owned).collect())
    }

    /// The site whose jobs it runs, if it is a worker of ours.
    pub fn site(&self) -> Option<PathBuf> {
        site_of(&self.command())
    }

    /// The site whose runner it runs, if it was set up by hand as the plugin's
    /// readme describes.
    /// `runners` are the names of the runners.
    pub fn runner_site(&self, runners: &[&str]) -> Option<PathBuf> {
        let dir = Path::new(self.get("directory").unwrap_or("/")).to_owned();
        let path = self
            .command()
            .iter()
            .map(|word| dir.join(word))
            .find(|path| runners.iter().any(|name| path.ends_with(name)))?;
        path.parent().map(Path::to_owned)
    }
}

/// Whether two texts define the program alike. Comments and layout do not count.
pub fn same(program: &str, one: &str, other: &str) -> bool {
    let values = |text| {
        let all = parse(text, Path::new(""));
        all.into_iter()
            .find(|it| it.name == program)
            .map(|it| it.values)
    };
    values(one).is_some() && values(one) == values(other)
}

/// The site whose worker these words start, if they start a worker of ours.
pub fn site_of(words: &[String]) -> Option<PathBuf> {
    words.iter().find(|word| *word == "worker")?;
    let at = words.iter().position(|word| word == "--site")?;
    words.get(at + 1).map(PathBuf::from)
}

/// All programs in supervisor's main file and in the folder of programs.
pub fn all(host: &Host, supervisor: &Supervisord) -> Result<Vec<ProgramSection>> {
    let mut files = vec![PathBuf::from(supervisor.config)];
    let ending = format!(".{}", supervisor.ending);
    for name in host.list(Path::new(supervisor.programs))? {
        if name.to_string_lossy().ends_with(&ending) {
            files.push(Path::new(supervisor.programs).join(name));
        }
    }
    let mut programs = Vec::new();
    for file in files {
        if let Some(data) = host.read(&file)? {
            programs.extend(parse(&String::from_utf8_lossy(&data.bytes), &file));
        }
    }
    for program in &mut programs {
        program.crew = crew(host, program);
    }
    Ok(programs)
}

/// The settings of a crew; `None` if it has no file of them, or a damaged one.
fn crew(host: &Host, program: &ProgramSection) -> Option<CrewSettings> {
    program.site()?;
    let path = PathBuf::from(program.option("--settings")?);
    let data = host.read(&path).ok()??;
    CrewSettings::of_text(std::str::from_utf8(&data.bytes).ok()?).ok()
}

/// Whether supervisor's main file includes the folder of programs. A missing
/// main file will come from the package, which includes it.
pub fn folder_is_included(host: &Host, supervisor: &Supervisord) -> Result<bool> {
    let Some(file) = host.read(Path::new(supervisor.config))? else {
        return Ok(true);
    };
    let text = String::from_utf8_lossy(&file.bytes).into_owned();
    let folder = Path::new(supervisor.programs);
    let above = Path::new(supervisor.config).parent().unwrap_or(folder);
    let mut inside = false;
    for line in text.lines() {
        if line.starts_with('[') {
            inside = line.starts_with("[include]");
        }
        let line = &line[..comment(line).unwrap_or(line.len())];
        if !inside || line.trim_start().starts_with([';', '#', '[']) {
            continue;
        }
        let patterns = line.strip_prefix("files").unwrap_or(line);
        let all = format!("*.{}", supervisor.ending);
        for pattern in patterns
            .trim_start_matches([' ', '\t', '=', ':'])
            .split_whitespace()
        {
            let pattern = above.join(pattern);
            let name = pattern.file_name().map(|name| name.to_string_lossy());
            if pattern.parent() == Some(folder)
                && name.is_some_and(|name| name == all || name == "*")
            {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Parses the programs in one file, like supervisor's ConfigParser.
pub fn parse(text: &str, file: &Path) -> Vec<ProgramSection> {
    let mut programs: Vec<ProgramSection> = Vec::new();
    // The program of the current section; `None` in other sections.
    let mut program: Option<usize> = None;
    // The indentation of the last option; `None` where no value can continue.
    let mut option: Option<usize> = None;
    for line in text.split(['\n', '\r']) {
        let line = match line.trim_start().starts_with([';', '#']) {
            true => continue,
            false => &line[..comment(line).unwrap_or(line.len())],
        };
        let bare = line.trim();
        if bare.is_empty() {
            continue;
        }
        let indent = line.chars().take_while(|c| c.is_whitespace()).count();
        let values = program.map(|at| &mut programs[at].values);
        // A line indented further continues the value before it.
        if option.is_some_and(|before| indent > before) {
            if let Some((_, before)) = values.and_then(|values| values.last_mut()) {
                before.push('\n');
                before.push_str(&bare.replace("%%", "%"));
            }
        } else if let Some(section) = bare
            .strip_prefix('[')
            .and_then(|rest| rest.get(..rest.rfind(']')?))
            .filter(|section| !section.is_empty())
        {
            option = None;
            program = section.strip_prefix("program:").map(|name| {
                let name = name.trim();
                // A repeated section continues the first one.
                let known = programs.iter().position(|program| program.name == name);
                known.unwrap_or_else(|| {
                    programs.push(ProgramSection {
                        name: name.to_owned(),
                        file: file.to_owned(),
                        values: Vec::new(),
                        crew: None,
                    });
                    programs.len() - 1
                })
            });
        } else if let Some((key, raw)) = bare.split_once(['=', ':']) {
            option = Some(indent);
            if let Some(values) = values {
                let value = raw.trim().replace("%%", "%");
                values.push((key.trim().to_lowercase(), value));
            }
        }
    }
    programs
}

/// The start of a comment in a line: a `;` or `#` after white space.
fn comment(line: &str) -> Option<usize> {
    let mut blank = false;
    line.char_indices().find_map(|(at, c)| {
        let begins = blank && matches!(c, ';' | '#');
        blank = c.is_whitespace();
        begins.then_some(at)
    })
}

/// Escapes a value for supervisor's file, where `%` is doubled. `None` if the
/// file cannot hold it: a line break, a blank at either end, or text that would
/// start a comment.
pub fn value(text: &str) -> Option<String> {
    let fits = !text.contains(['\n', '\r']) && text.trim() == text && comment(text).is_none();
    fits.then(|| text.replace('%', "%%"))
}

/// Joins words into a line that supervisor splits into the same words. Other
/// quotes than these would change the programs of hosts that are set up, and
/// restart their workers.
pub fn join_words<S: AsRef<str>>(words: &[S]) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=,@+%".contains(c);
    let mut line = String::new();
    for word in words.iter().map(AsRef::as_ref) {
        if !line.is_empty() {
            line.push(' ');
        }
        if !word.is_empty() && word.chars().all(plain) {
            line.push_str(word);
        } else {
            line.push('"');
            for c in word.chars() {
                if matches!(c, '"' | '\\') {
                    line.push('\\');
                }
                line.push(c);
            }
            line.push('"');
        }
    }
    line
}

/// Splits a line like Python's shlex in POSIX mode, which supervisor uses. The
/// shlex crate does not: to it `#` starts a comment, `\r` is no blank, and `\$`
/// in double quotes loses its backslash.
pub fn split_words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (None, ' ' | '\t' | '\r' | '\n') => words.extend(word.take()),
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '\\') => word.get_or_insert_default().extend(chars.next()),
            (Some('"'), '\\') => match chars.next() {
                Some(next @ ('"' | '\\')) => word.get_or_insert_default().push(next),
                Some(next) => word.get_or_insert_default().extend(['\\', next]),
                None => {}
            },
            (Some(open), c) if c == open => quote = None,
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_layout_make_no_other_program() {
        let one = "[program:a]\n; ours\ncommand=x worker\nuser=b\n";
        let other = "; theirs\n[program:a]\ncommand = x worker ; really\nuser: b\n\n[program:c]\n";
        assert!(same("a", one, other));
        assert!(!same("a", one, &other.replace("user: b", "user: c")));
        assert!(!same("a", one, "[program:b]\n") && !same("d", one, one));
    }

    #[test]
    fn words_survive_joining_and_splitting() {
        for words in [
            vec!["a", "b c", "", "d\"e", "f\\g", "h'i", "100%"],
            vec!["/srv/my site/x", "--name", "a b"],
        ] {
            assert_eq!(split_words(&join_words(&words)), words);
        }
    }

    #[test]
    fn sections_comments_and_continuation_lines() {
        let text = "[supervisord]\nuser=root\n[program:a]\ncommand = /bin/x worker --site \"/s t\" ; why\n numprocs=2\nuser: www-data\n[x]\n";
        let programs = parse(text, Path::new("/f"));
        assert_eq!(programs.len(), 1);
        assert_eq!(programs[0].get("user"), Some("www-data"));
        assert!(
            programs[0]
                .get("command")
                .is_some_and(|c| c.contains("numprocs"))
        );
        assert_eq!(programs[0].option("--site").as_deref(), Some("/s t"));
    }
}
