//! One file per check. The list has the order in which they are reported.

mod clock;
mod database;
mod disk;
mod drift;
mod failed_jobs;
mod files_limit;
mod fleet;
mod intent;
mod isolation;
pub mod job;
mod job_server;
mod job_server_options;
mod multisite;
mod orphans;
mod packages;
mod php_extension;
mod php_settings;
mod platform;
mod plugin;
mod port;
mod private_files;
mod program_files;
mod programs;
mod queue;
mod queue_store;
mod respawn;
mod runner;
mod salt;
mod seal;
mod selinux;
mod settings;
mod sites;
mod supervisor;
mod wordpress;
mod worker_code;
mod worker_folders;
mod worker_user;
mod workers;

use crate::doctor::Check;

pub static ALL: &[&Check] = &[
    &platform::CHECK,
    &intent::CHECK,
    &sites::CHECK,
    &packages::CHECK,
    &drift::CHECK,
    &job_server::CHECK,
    &job_server_options::CHECK,
    &port::CHECK,
    &files_limit::CHECK,
    &queue_store::CHECK,
    &private_files::CHECK,
    &isolation::CHECK,
    &queue::CHECK,
    &php_extension::CHECK,
    &php_settings::CHECK,
    &supervisor::CHECK,
    &program_files::CHECK,
    &programs::CHECK,
    &respawn::CHECK,
    &orphans::CHECK,
    &workers::CHECK,
    &worker_code::CHECK,
    &worker_user::CHECK,
    &worker_folders::CHECK,
    &runner::CHECK,
    &wordpress::CHECK,
    &plugin::CHECK,
    &settings::CHECK,
    &salt::CHECK,
    &seal::CHECK,
    &fleet::CHECK,
    &multisite::CHECK,
    &database::CHECK,
    &selinux::CHECK,
    &disk::CHECK,
    &clock::CHECK,
    &failed_jobs::CHECK,
    &job::CHECK,
];

/// The checks that can tell why a job is not run, the likeliest first.
pub static CAUSES: &[&Check] = &[
    &job_server::CHECK,
    &isolation::CHECK,
    &queue_store::CHECK,
    &disk::CHECK,
    &supervisor::CHECK,
    &programs::CHECK,
    &database::CHECK,
    &wordpress::CHECK,
    &plugin::CHECK,
    &settings::CHECK,
    &workers::CHECK,
    &worker_folders::CHECK,
    &php_extension::CHECK,
    &queue::CHECK,
    &selinux::CHECK,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_easy_to_type() {
        for (at, check) in ALL.iter().enumerate() {
            let fits = |c: char| c.is_ascii_lowercase() || c == '-';
            assert!(check.name.chars().all(fits), "{}", check.name);
            assert!(!check.describes.is_empty(), "{}", check.name);
            assert!(ALL[at + 1..].iter().all(|other| other.name != check.name));
        }
        assert_eq!(ALL[ALL.len() - 1].name, "job");
    }
}
