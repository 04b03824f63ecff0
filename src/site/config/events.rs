//! What the walk finds, with the conditions under which it happens.

use crate::site::config::php::Trivia;
use crate::site::config::value::Value;
use crate::site::config::worker::Truth;
use crate::site::plugins::constants;
use std::fmt;
use std::ops::Range;

/// The constants that make a network.
const NETWORK: [&str; 5] = [
    "MULTISITE",
    "SUBDOMAIN_INSTALL",
    "VHOST",
    "SUNRISE",
    "DOMAIN_CURRENT_SITE",
];

/// The constants that matter here: ours, and those that make a network.
fn watched() -> impl Iterator<Item = &'static str> {
    constants().iter().copied().chain(NETWORK)
}

/// Whether a constant matters here.
pub fn is_watched(name: &str) -> bool {
    watched().any(|it| it == name)
}

/// Whether a constant matters here, or has the name of one that does in
/// another case.
pub fn resembles_watched(name: &str) -> bool {
    watched().any(|it| it.eq_ignore_ascii_case(name))
}

/// The conditions under which a line runs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Place {
    /// Runs unless one of these constants is defined by then.
    pub unless: Vec<String>,
    /// Runs if this file is there, as far as the tree says.
    pub if_file: Option<String>,
    /// In a branch, a loop or a `try` whose outcome we can't tell.
    pub branch: bool,
    /// In a function, a closure or a class.
    pub function: bool,
}

impl Place {
    pub fn sure(&self) -> bool {
        *self == Place::default()
    }
}

#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    Define {
        name: String,
        value: Value,
        value_at: Range<usize>,
    },
    /// `$gearman_servers = …`; `global` where it is `$GLOBALS[…] = …`, and
    /// `yields` where servers that are set already win.
    Servers {
        value: Value,
        value_at: Range<usize>,
        global: bool,
        yields: bool,
    },
    /// `$gearman_servers[] = …`, and whether by `$GLOBALS`.
    Push(Value, bool),
    /// `global $gearman_servers;`
    Global,
    /// Any other use that may change the list.
    Touched,
    /// `$_SERVER['HTTP_HOST'] = …`, with whether a worker gets there, and
    /// whether the value is one for it.
    Host {
        worker: Truth,
        usable: bool,
    },
    Load,
    /// A file that is included; by a path that we can tell, or not.
    Include(Option<String>),
    /// Code or definitions that cannot be read here: `eval`, computed names.
    Opaque(Opaque),
    /// `exit`, `return`, `throw`.
    Exit {
        worker: Truth,
    },
    /// The name of a constant of ours as a mere string.
    Mention(String),
    /// A text that tells a layout apart.
    Sign(String),
    Jump,
}

/// What keeps a part of the code from being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opaque {
    ComputedConstant,
    ComputedDefinition,
    ComputedVariable,
    /// `extract` and its like.
    Extract,
    Eval,
    /// `define` called by a string.
    IndirectDefine,
    UnreadableFile,
}

impl fmt::Display for Opaque {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Opaque::ComputedConstant => "a constant whose name is computed",
            Opaque::ComputedDefinition => "a definition that is computed",
            Opaque::ComputedVariable => "a variable whose name is computed",
            Opaque::Extract => "variables that are set by their names",
            Opaque::Eval => "code that is evaluated",
            Opaque::IndirectDefine => "a call of define by its name",
            Opaque::UnreadableFile => "a file that can't be read here",
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

#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    pub kind: Kind,
    pub at: usize,
    pub place: Place,
    /// The top-level statement that it stands in.
    pub top: usize,
}

/// A top-level statement.
#[derive(Debug, Clone)]
pub struct Top {
    pub at: Range<usize>,
    /// Only makes sure that `ABSPATH` is defined.
    pub abspath: bool,
    /// Declares a function or a class: what it holds runs elsewhere.
    pub declares: bool,
    /// Where its list of statements begins (a braced namespace has its own).
    pub list: usize,
}

#[derive(Debug, Default)]
pub struct Seen {
    pub events: Vec<Event>,
    pub tops: Vec<Top>,
    pub trivia: Trivia,
    pub old_grammar: bool,
}
