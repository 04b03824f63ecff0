//! Queue stores, where jobs wait. Everything about a kind of store is in its
//! own file.

pub mod confined;
pub mod exposed;
mod memory;
pub mod mysql;
pub mod probe;
pub mod running;
mod sqlite;

use std::fmt;
use std::io::Read;
use std::ops::Deref;
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::ValueEnum;
use clap::builder::PossibleValue;
use serde::{Deserialize, Serialize};
use toml::Table;

use crate::base::options::options;
use crate::base::problem::Problem;
use crate::gearman::options::{self, Wanted};
use crate::gearman::password::{Password, Secret};
use crate::host::Host;
use crate::host::platform::Family;
use crate::queue::mysql::{MysqlOptions, MysqlSettings, MysqlStore};

/// All kinds, in the order in which the help lists them. A new kind is a row here,
/// and a group of `StoreOptions` if it has options.
static QUEUES: [Queue; 3] = [
    Queue(&memory::Memory),
    Queue(&sqlite::Sqlite),
    Queue(&mysql::Mysql),
];

options! {
    /// The options of all kinds of store.
    pub struct StoreOptions => StoreSettings {}
    with mysql: MysqlOptions => MysqlSettings
}

/// A kind of store, independent of its options.
pub trait Kind: Sync {
    /// Its name on the command line and in the config file.
    fn name(&self) -> &'static str;
    /// The help for that name.
    fn help(&self) -> &'static str;
    /// A short description for the wizard.
    fn summary(&self) -> &'static str;
    /// gearmand's name for it, the value of `--queue-type`.
    fn queue_type(&self) -> &'static str;
    /// gearmand's options that determine where its jobs are, with their defaults.
    /// `None` if jobs are lost when gearmand stops.
    fn place(&self) -> Option<&'static [(&'static str, &'static str)]>;
    /// The store with these options. `password` is one that the user typed.
    ///
    /// # Errors
    /// If a file named by an option cannot be used.
    fn open(
        &self,
        host: &Host,
        options: &StoreOptions,
        password: Option<Password>,
    ) -> Result<Box<dyn Store>>;
    /// Only those of these options that belong to this kind.
    fn own(&self, _options: &StoreOptions) -> StoreOptions {
        StoreOptions::default()
    }
    /// Its options, from a job server that was set up by hand. `value` looks up an
    /// option of gearmand.
    fn adopt(&self, _value: &dyn Fn(&str) -> Option<String>) -> StoreOptions {
        StoreOptions::default()
    }
    /// The wizard's questions about it.
    fn questions(&self) -> &'static [Question] {
        &[]
    }
    /// How gearmand and the user pass its password, if it needs one.
    fn password(&self) -> Option<&'static PasswordSource> {
        None
    }
}

/// A store with its options.
pub trait Store: Send + Sync {
    /// gearmand's options for it, apart from `--queue-type`.
    fn wanted(&self) -> Vec<Wanted> {
        Vec::new()
    }
    /// The same for another job server whose files are in this folder; `None` if only
    /// one can have it.
    fn wanted_in(&self, _folder: &Path) -> Option<Vec<Wanted>> {
        None
    }
    /// Its effective options.
    fn options(&self) -> StoreOptions {
        StoreOptions::default()
    }
    /// A short description of its location for the wizard.
    fn label(&self) -> Option<String> {
        None
    }
    fn secret(&self) -> Option<Secret> {
        None
    }
    /// The packages that it needs and that are missing.
    fn packages(&self, _host: &Host, _family: &Family) -> Vec<String> {
        Vec::new()
    }
    /// A folder that must exist for it, owned by gearmand's user.
    fn folder(&self) -> Option<PathBuf> {
        None
    }
    /// The database, which setup creates along with its user.
    fn database(&self) -> Option<&MysqlStore> {
        None
    }
    /// Checks, before the first change, whether it can store jobs.
    ///
    /// # Errors
    /// If something has to be repaired first.
    fn check(&self, _host: &Host) -> Result<()> {
        Ok(())
    }
    /// Notes for the user before setup changes anything.
    fn notes(&self, _host: &Host) -> Vec<String> {
        Vec::new()
    }
    /// Looks for everything that prevents jobs from being stored. Needs root.
    ///
    /// # Errors
    /// If the store cannot be examined.
    fn examine(&self, host: &Host, running: &Running) -> Result<Vec<Condition>>;
}

/// A question of the wizard that sets an option.
pub struct Question {
    pub option: &'static str,
    pub text: &'static str,
    pub default: &'static str,
}

/// How gearmand and the user pass a password: never as an argument.
pub struct PasswordSource {
    /// gearmand's option for it, in gearmand's configuration file.
    pub gearmand_option: &'static str,
    /// Our option that names a file with it.
    pub file_option: &'static str,
    /// The environment variable that may contain it.
    pub variable: &'static str,
}

impl PasswordSource {
    /// The password from the file that the user named, otherwise from the environment.
    ///
    /// # Errors
    /// If the file cannot be read, or gearmand cannot use the password.
    pub fn read(&self, file: Option<&Path>) -> Result<Option<Password>> {
        /// In bytes, far more than any password. Some devices have no end.
        const MAX_SIZE: u64 = 4096;
        let Some(file) = file else {
            return Ok(match std::env::var(self.variable) {
                Ok(text) => Some(Password::new(&text)?),
                Err(_) => None,
            });
        };
        let mut text = String::new();
        let read = if file == Path::new(STDIN) {
            std::io::stdin().take(MAX_SIZE).read_to_string(&mut text)
        } else {
            std::fs::File::open(file).and_then(|it| it.take(MAX_SIZE).read_to_string(&mut text))
        };
        read.map_err(|error| {
            let what = format!("read --{} {}", self.file_option, file.display());
            Problem::usage(what, error).help("name a file that contains only the password")
        })?;
        Ok(Some(Password::new(&text)?))
    }
}

/// Means standard input in an option that names a file.
pub const STDIN: &str = "-";

/// The running gearmand; `pid` is 0 if none is running.
pub struct Running<'a> {
    pub pid: u32,
    pub args: &'a [String],
    /// The command that restarts it.
    pub restart: &'a str,
}

impl Running<'_> {
    /// The value of an option that it was started with.
    pub fn option(&self, name: &str) -> Option<String> {
        let given = options::given(&self.args.join(" "));
        let (_, value) = given.into_iter().find(|(given, _)| given == name)?;
        value
    }
}

/// A result of an examination.
pub enum Condition {
    Sound(String),
    /// Jobs can be stored, but something should be changed.
    Warning(Fault),
    /// Jobs cannot be stored.
    Fault(Fault),
    /// The store could not be examined, for this reason.
    Unchecked(String),
}

/// What is wrong, and what to do about it.
pub struct Fault {
    pub message: String,
    pub help: String,
    /// What setup does about it, if it can.
    pub repair: Option<Repair>,
}

/// How setup repairs a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Repair {
    /// It restores the owner and the mode of this folder.
    Folder(PathBuf),
    /// It restarts gearmand, once no jobs are waiting.
    Restart,
}

/// A kind of store, by its row in the table.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Queue(&'static dyn Kind);

impl Queue {
    /// All of gearmand's options for a store of this kind.
    pub fn wanted(self, store: &dyn Store) -> Vec<Wanted> {
        let mut wanted = vec![Wanted::new("queue-type", Some('q'), self.queue_type())];
        wanted.extend(store.wanted());
        wanted
    }

    /// The same for another job server whose files are in this folder.
    pub fn wanted_in(self, store: &dyn Store, folder: &Path) -> Option<Vec<Wanted>> {
        let mut wanted = vec![Wanted::new("queue-type", Some('q'), self.queue_type())];
        wanted.extend(store.wanted_in(folder)?);
        Some(wanted)
    }

    /// The kind with this name in gearmand, ignoring case.
    pub fn of_type(queue_type: &str) -> Option<Queue> {
        let mut queues = QUEUES.into_iter();
        queues.find(|queue| queue.queue_type().eq_ignore_ascii_case(queue_type))
    }

    /// Refuses options of other kinds of store.
    ///
    /// # Errors
    /// Names the options, and the kind that they are for.
    pub fn refuse_others(self, given: &StoreOptions) -> Result<()> {
        for other in QUEUES.into_iter().filter(|other| *other != self) {
            let names = names(&other.own(given));
            if names.is_empty() {
                continue;
            }
            let names = names.join(", ");
            let why = format!("the queue is '{}'", self.name());
            return Err(Problem::usage(format!("use {names}"), why)
                .help(format!("add --queue {}, or omit {names}", other.name()))
                .into());
        }
        Ok(())
    }
}

/// The names of the options that are set, as on the command line.
fn names(options: &StoreOptions) -> Vec<String> {
    // Options are plain values, so they can be converted to TOML.
    let set = Table::try_from(options).unwrap_or_default();
    set.keys().map(|name| format!("--{name}")).collect()
}

/// All kinds, the default first.
pub fn queues() -> Vec<Queue> {
    let mut queues = QUEUES.to_vec();
    queues.sort_by_key(|queue| *queue != Queue::default());
    queues
}

/// The kind that an option with this name belongs to, if it is not general.
pub fn of_option(name: &str) -> Option<Queue> {
    let mut queues = QUEUES.into_iter();
    queues.find(|queue| queue.name() == name.split('-').next().unwrap_or_default())
}

/// How passwords are passed, for all kinds that have one.
pub fn passwords() -> impl Iterator<Item = &'static PasswordSource> {
    QUEUES.iter().filter_map(|queue| queue.password())
}

/// The queue of a job server that was set up by hand. `value` looks up an option of
/// gearmand by its long and short name.
pub fn adopt(
    value: &dyn Fn(&str, Option<char>) -> Option<String>,
) -> (Option<Queue>, StoreOptions) {
    let queue = value("queue-type", Some('q')).and_then(|it| Queue::of_type(&it));
    let long = |name: &str| value(name, None);
    let options = queue.map(|queue| queue.adopt(&long));
    (queue, options.unwrap_or_default())
}

impl From<MysqlOptions> for StoreOptions {
    fn from(mysql: MysqlOptions) -> Self {
        StoreOptions { mysql }
    }
}

impl StoreOptions {
    /// Whether one of these options reads standard input.
    pub fn reads_stdin(&self) -> bool {
        self.mysql.paths().any(|path| path == Path::new(STDIN))
    }
}

impl Default for Queue {
    fn default() -> Self {
        Queue(&sqlite::Sqlite)
    }
}

impl Deref for Queue {
    type Target = dyn Kind;

    fn deref(&self) -> &Self::Target {
        self.0
    }
}

impl PartialEq for Queue {
    fn eq(&self, other: &Queue) -> bool {
        self.name() == other.name()
    }
}

impl Eq for Queue {}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl ValueEnum for Queue {
    fn value_variants<'a>() -> &'a [Self] {
        &QUEUES
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()).help(self.help()))
    }
}

impl From<Queue> for String {
    fn from(queue: Queue) -> String {
        queue.name().into()
    }
}

impl TryFrom<String> for Queue {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        <Self as ValueEnum>::from_str(&name, false)
    }
}
