//! What the walk through a file finds, and the conditions under which it runs.

use crate::site::config::bounds::split;
use crate::site::config::folders::Folder;
use crate::site::config::lines::line_of;
use crate::site::config::php::Trivia;
use crate::site::config::refusal::Refusal;
use crate::site::config::truth::Truth;
use crate::site::config::value::Value;
use crate::site::plugins::constants;
use std::fmt;
use std::ops::Range;

/// Where the folder with the settings of Debian's package is, and how their names begin.
pub const OF_DEBIAN: &str = "/etc/wordpress/config-";
/// How the path of the file with Bedrock's settings ends.
pub const OF_BEDROCK: &str = "config/application.php";

/// Whether a string in a wp-config.php says that its settings are in another file.
pub fn is_sign(text: &str) -> bool {
    text == OF_DEBIAN || text.ends_with(OF_BEDROCK)
}

/// The constants that make a site a network.
const NETWORK: [&str; 5] = [
    "MULTISITE",
    "SUBDOMAIN_INSTALL",
    "VHOST",
    "SUNRISE",
    "DOMAIN_CURRENT_SITE",
];

/// The constants that matter here: our own, and those for networks.
fn watched() -> impl Iterator<Item = &'static str> {
    constants().iter().copied().chain(NETWORK)
}

/// Whether a constant matters here.
pub fn is_watched(name: &str) -> bool {
    watched().any(|it| it == name)
}

/// Whether a constant matters here, ignoring the case of its name.
pub fn resembles_watched(name: &str) -> bool {
    watched().any(|it| it.eq_ignore_ascii_case(name))
}

/// Whether a constant is one of those for networks.
pub fn of_network(name: &str) -> bool {
    NETWORK.contains(&name)
}

/// What is found in a file, with the files that it includes, is kept in several forms.
pub const MAX_EVENTS: usize = 20_000;
/// More guards around a line, and longer names in them, are branches like any other: each
/// event has a copy.
const MAX_GUARDS: usize = 8;
const MAX_GUARD: usize = 256;

/// The conditions under which a line runs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Place {
    /// Runs unless one of these constants is already defined.
    pub unless: Vec<String>,
    /// Runs only if this file exists.
    pub if_file: Option<String>,
    /// In a branch, a loop or a `try` with an unknown outcome.
    pub branch: bool,
    /// In a branch whose outcome only the environment decides on.
    pub environment: bool,
    /// In a function, a closure or a class.
    pub function: bool,
}

impl Place {
    /// Enters what runs only unless this is already defined.
    pub fn enter_unless(&mut self, name: String) {
        if self.unless.len() < MAX_GUARDS && name.len() <= MAX_GUARD {
            self.unless.push(name);
        } else {
            self.enter_branch();
        }
    }

    /// Enters what runs only if this file exists.
    pub fn enter_if_file(&mut self, path: String) {
        if self.if_file.is_none() && path.len() <= MAX_GUARD {
            self.if_file = Some(path);
        } else {
            self.enter_branch();
        }
    }

    /// Enters what runs under another condition.
    pub fn enter_branch(&mut self) {
        self.branch = true;
        self.environment = false;
    }

    /// What an `exit` or `return` here does.
    pub fn end(&self) -> End {
        match self {
            _ if self.function => End::Never,
            _ if self.sure() => End::Sure,
            // wp-load.php defines it before it includes wp-config.php.
            _ if self.unless == ["ABSPATH"] => End::Never,
            _ => End::Possible,
        }
    }

    /// Whether the line runs unconditionally.
    pub fn sure(&self) -> bool {
        *self == Place::default()
    }
}

/// Whether an `exit` or `return` ends the script or the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Sure,
    Possible,
    /// It only guards against a call without WordPress, or is in a function.
    Never,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    Define {
        name: String,
        value: Value,
        value_at: Range<usize>,
        /// By `Config::define`: it counts once `Config::apply` runs, and the last one wins.
        collected: bool,
    },
    /// `$gearman_servers = …`. `global` for `$GLOBALS[…] = …`; `yields` if it keeps
    /// servers that are already set.
    Servers {
        value: Value,
        value_at: Range<usize>,
        global: bool,
        yields: bool,
    },
    /// `$gearman_servers[] = …`, and whether through `$GLOBALS`.
    Push(Value, bool),
    /// `global $gearman_servers;`
    Global,
    /// Any other use, which may change the list.
    Touched,
    /// `$_SERVER['HTTP_HOST'] = …`, whether a worker runs it, and whether the value
    /// is of use to a worker.
    Host {
        worker: Truth,
        usable: bool,
        /// The host name, if it is a literal.
        name: Option<String>,
        /// Whether the one that there is decides on it.
        by_host: bool,
    },
    /// A definition of a constant that names a folder of WordPress's content, or
    /// another use of that name; `None` if the folder cannot be evaluated.
    Folder {
        name: String,
        folder: Option<Folder>,
        collected: bool,
    },
    /// `Config::apply()`, which defines what `Config::define` has collected.
    Apply,
    Load,
    /// An included file, with its path if that is known. `{WP_ENV}` in it stands for
    /// what only the environment knows.
    Include(Option<String>),
    /// Code or definitions that cannot be read: `eval`, computed names.
    Opaque(Opaque),
    /// `exit`, `return`, `throw`.
    Exit {
        worker: Truth,
        /// Whether the request's host name decides on it.
        by_host: bool,
        /// Whether it only ends an included file.
        returns: bool,
    },
    /// An element of an array with the name of one of our constants as its key.
    Entry {
        name: String,
        value: Value,
    },
    /// The name of one of our constants, in a string.
    Mention(String),
    /// A string that identifies a known layout.
    Sign(String),
    Jump,
}

/// Why a part of the code cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opaque {
    ComputedConstant,
    ComputedDefinition,
    ComputedVariable,
    /// `extract` and similar functions.
    Extract,
    Eval,
    /// `define` called through a string.
    IndirectDefine,
    /// With its path, or what is known of it.
    UnreadableFile(String),
}

impl fmt::Display for Opaque {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Opaque::UnreadableFile(path) => {
                return write!(f, "a file that cannot be read ({path})");
            }
            Opaque::ComputedConstant => "a constant with a computed name",
            Opaque::ComputedDefinition => "a computed definition",
            Opaque::ComputedVariable => "a variable with a computed name",
            Opaque::Extract => "variables set by extract or parse_str",
            Opaque::Eval => "evaluated code",
            Opaque::IndirectDefine => "an indirect call of define",
        })
    }
}

impl Kind {
    pub fn may_define(&self, constant: &str) -> bool {
        match self {
            Kind::Define { name, .. } => name == constant,
            Kind::Include(_) | Kind::Opaque(_) => true,
            _ => false,
        }
    }
}

/// Something that the walk found, and where.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    pub kind: Kind,
    pub at: usize,
    pub place: Place,
    /// The index of the top-level statement that contains it.
    pub top: usize,
}

/// A top-level statement.
#[derive(Debug, Clone)]
pub struct Top {
    pub at: Range<usize>,
    /// Does nothing but define `ABSPATH` if it is undefined.
    pub abspath: bool,
    /// Declares a function or a class, so its code does not run here.
    pub declares: bool,
    /// Has to come first in the file: `declare`, `namespace`.
    pub first: bool,
    /// In a namespace, in which names of constants are others.
    pub namespaced: bool,
    /// Where its list of statements begins: a braced namespace has its own list.
    pub list: usize,
    /// Names a file that the next statement includes.
    pub path: bool,
}

/// Everything that the walk found.
#[derive(Debug, Default)]
pub struct Seen {
    pub events: Vec<Event>,
    pub tops: Vec<Top>,
    pub trivia: Trivia,
    /// The class of `Config::define`, by the name that the file has for it.
    pub collector: Option<String>,
    /// Only PHP 7.4 and older accept the file.
    pub old_grammar: bool,
}

impl Seen {
    /// Refuses a file in which more was found than was kept.
    pub fn complete(self, source: &[u8]) -> Result<Seen, Refusal> {
        match self.events.get(MAX_EVENTS) {
            None => Ok(self),
            Some(event) => {
                let line = Some(line_of(source, event.at));
                Err(split(
                    line,
                    "the file has too many settings before this line",
                ))
            }
        }
    }
}
