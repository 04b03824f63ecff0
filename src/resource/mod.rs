//! Resources: the parts of a host that can be inspected, applied and reverted.
//!
//! This file lists the kinds. To add one, write a file that implements
//! `Resource` (and `Revert`, if `remove` has something to restore), add its
//! rows here, and use it in a recipe.

pub mod admission;
pub mod boolean;
pub mod check;
mod contract;
pub mod database;
pub mod directory;
mod download;
pub mod drained;
pub mod enabled_extension;
pub mod environment;
pub mod extension;
pub mod file;
pub mod intent;
pub mod job_table;
pub mod link;
pub mod log;
pub mod originals;
pub mod package;
pub mod private;
pub mod program;
pub mod reload_php;
pub mod repository;
pub mod reread;
pub mod rules;
pub mod service;
pub mod source;
pub mod system_user;
pub mod worker_folder;

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::base::paths::VENV;
use crate::host::firewall::Firewall;

pub use contract::{
    Change, Company, Phase, Place, Resource, Revert, RevertContext, Reverted, State, Verb,
};

/// What a resource is, and which one. Code compares identities; their text is for
/// people.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ResourceId {
    /// The peers that this firewall admits to the job server.
    Admission(Firewall),
    /// An SELinux boolean.
    Boolean(String),
    /// The packages that the extension is built with, for this PHP.
    BuildPackages(String),
    Check(check::Condition),
    Database {
        name: String,
        host: String,
        port: u16,
    },
    Directory(PathBuf),
    Drained(drained::Purpose),
    /// The extension's ini files, for this PHP.
    EnabledExtension(String),
    /// The virtual environment with our own supervisor.
    Environment,
    /// The extension that is built, for this PHP.
    Extension(String),
    File(PathBuf),
    /// The table of jobs in the database of the site in this folder.
    JobTable(PathBuf),
    Link(PathBuf),
    Log(PathBuf),
    Packages,
    /// The job server's files, which others must not read.
    Private,
    /// A program group of supervisor's.
    Program(String),
    /// This wp-config.php, as the processes that serve pages have it in memory.
    WebConfig(PathBuf),
    /// The processes that serve pages with PHP.
    WebPhp,
    Repository(String),
    /// A table of firewall rules in the kernel.
    Rules(String),
    Service(String),
    User(String),
}

impl fmt::Display for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ResourceId::Admission(firewall) => write!(f, "rules of {firewall}"),
            ResourceId::Boolean(name) => write!(f, "SELinux boolean {name}"),
            ResourceId::BuildPackages(php) => {
                write!(f, "packages to build the gearman extension for {php}")
            }
            ResourceId::Check(condition) => write!(f, "check that {condition}"),
            ResourceId::Database { name, .. } => write!(f, "database {name}"),
            ResourceId::Directory(path) => write!(f, "folder {}", path.display()),
            ResourceId::Drained(purpose) => write!(f, "waiting jobs, to {purpose}"),
            ResourceId::EnabledExtension(php) => {
                write!(f, "the gearman extension in {php}")
            }
            ResourceId::Environment => write!(f, "supervisor in {VENV}"),
            ResourceId::Extension(php) => write!(f, "the gearman extension for {php}"),
            ResourceId::File(path) => write!(f, "file {}", path.display()),
            ResourceId::JobTable(dir) => {
                write!(
                    f,
                    "table of failed jobs in the database of {}",
                    dir.display()
                )
            }
            ResourceId::Link(path) => write!(f, "link {}", path.display()),
            ResourceId::Log(path) => write!(f, "log {}", path.display()),
            ResourceId::Packages => f.write_str("packages"),
            ResourceId::Private => f.write_str("access to the job server's files"),
            ResourceId::Program(group) => write!(f, "program {group}"),
            ResourceId::WebConfig(path) => {
                write!(f, "{} in the web's opcode cache", path.display())
            }
            ResourceId::WebPhp => f.write_str("the web's PHP"),
            ResourceId::Repository(name) => write!(f, "repository {name}"),
            ResourceId::Rules(table) => write!(f, "firewall rules {table}"),
            ResourceId::Service(unit) => write!(f, "service {unit}"),
            ResourceId::User(name) => write!(f, "user {name}"),
        }
    }
}

/// One row for each kind of inverse; its name on disk is the kind's in kebab
/// case.
macro_rules! inverses {
    ($($kind:ident($inverse:ty)),* $(,)?) => {
        /// What the journal records about one resource, so that remove can restore it.
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(tag = "kind", rename_all = "kebab-case")]
        pub enum Inverse {
            $($kind($inverse)),*
        }

        impl Inverse {
            /// The operations of its kind.
            pub fn kind(&self) -> &dyn Revert {
                match self {
                    $(Inverse::$kind(inverse) => inverse),*
                }
            }

            /// Combines this entry with a later one about the same resource.
            pub fn fold(self, later: Inverse) -> Inverse {
                match (self, later) {
                    $((Inverse::$kind(first), Inverse::$kind(later)) => {
                        Inverse::$kind(first.fold(later))
                    })*
                    (first, _) => first,
                }
            }
        }
    };
}

inverses! {
    Admission(admission::AdmissionInverse),
    Boolean(boolean::BooleanInverse),
    Database(database::DatabaseInverse),
    Directory(directory::DirectoryInverse),
    File(file::FileInverse),
    Intent(crate::intent::record::Recorded),
    Link(link::LinkInverse),
    Packages(package::PackagesInverse),
    Private(private::PrivateInverse),
    Program(program::ProgramInverse),
    Repository(repository::RepositoryInverse),
    Rules(rules::RulesInverse),
    Service(service::ServiceInverse),
    User(system_user::UserInverse),
}

impl Inverse {
    /// The journal has recorded logs as files since its first release.
    fn of_log(path: &Path) -> Inverse {
        Inverse::File(file::FileInverse::new(
            path.to_owned(),
            file::Edit::Log,
            None,
            None,
        ))
    }
}
