//! remove: turns a journal into resources that restore the original state, in the
//! order of `Phase`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::base::paths::{BASE, LOGS, STATE};
use crate::host::Host;
use crate::intent::queue::WaitingJobs;
use crate::plan::journal::{History, Scope};
use crate::plan::{Item, leave, waiting};
use crate::resource::drained::Drained;
use crate::resource::file::{Edit, FileInverse};
use crate::resource::package::{PackagesInverse, is_extension};
use crate::resource::reload_php::UnloadExtension;
use crate::resource::{Inverse, Phase, Resource, ResourceId, RevertContext};

/// What remove does, and what it keeps.
#[derive(Default)]
pub struct Removal {
    pub items: Vec<Item>,
    pub left: Vec<String>,
    /// What stays in the journal, because only --purge reverts it.
    pub kept: BTreeMap<Scope, Vec<ResourceId>>,
    /// Folders in which an earlier run was interrupted.
    pub interrupted: Vec<PathBuf>,
}

/// How much to remove.
#[derive(Debug, Clone, Copy)]
pub struct Wish {
    pub purge: bool,
    pub waiting: WaitingJobs,
}

/// Adds what one journal records.
pub fn of_history(
    host: &Host,
    scope: &Scope,
    history: &History,
    wish: Wish,
    removal: &mut Removal,
) -> Result<()> {
    if let Some(site) = history.site.as_ref().filter(|site| !host.is_dir(site)) {
        removal.left.push(format!(
            "{} no longer exists; if the site moved, run 'wp-gears remove --site' with its new folder to remove what is marked there",
            site.display()
        ));
    }
    let context = RevertContext {
        host,
        purge: wish.purge,
        lose_queued_jobs: wish.waiting.lose_queued_jobs,
        inverses: history.entries.iter().map(|it| &it.inverse).collect(),
    };
    let mut steps: Vec<(Phase, Box<dyn Resource>)> = Vec::new();
    for entry in history.entries.iter().rev() {
        if entry.unfinished {
            let path = entry.inverse.kind().path();
            removal
                .interrupted
                .extend(path.and_then(Path::parent).map(Path::to_owned));
        }
        if let (Inverse::File(file), Scope::Site(name), Some(dir)) =
            (&entry.inverse, scope, &history.site)
            && file.edit == Edit::WpConfig
        {
            let switch = file.restored(host)?.0;
            steps.extend(leave::steps(host, name, dir, &switch, wish.waiting)?);
            let (table, left) = leave::job_table(host, name, dir, wish.purge)?;
            // Workers would make it again.
            steps.extend(table.map(|it| (Phase::Files, Box::new(it) as Box<dyn Resource>)));
            removal.left.extend(left);
        }
        let reverted = entry.inverse.kind().revert(&context)?;
        let stays = reverted.step.is_none() && !reverted.left.is_empty();
        if stays && !wish.purge && !is_own(entry.inverse.kind().path()) {
            let kept = removal.kept.entry(scope.clone()).or_default();
            kept.push(entry.inverse.kind().id());
        }
        steps.extend(reverted.step);
        removal.left.extend(reverted.left);
    }
    if *scope == Scope::Host
        && let Some(drained) = of_job_server(host, history, wish.waiting)?
    {
        steps.push((Phase::Drain, Box::new(drained)));
    }
    if let Scope::Owner(owner) = scope
        && host.live()
    {
        let drained = waiting::of_owner(host, owner, wish.waiting)?;
        steps.push((Phase::Drain, Box::new(drained)));
    }
    if unloads(history, wish.purge) {
        steps.push((Phase::WebPhp, Box::new(UnloadExtension)));
    }
    // A stable sort: within a phase, the last change is reverted first.
    steps.sort_by_key(|(phase, _)| *phase);
    removal
        .items
        .extend(steps.into_iter().map(|(_, resource)| Item {
            scope: scope.clone(),
            resource,
        }));
    Ok(())
}

/// Whether it is in a folder of ours, which --purge removes without a journal.
fn is_own(path: Option<&Path>) -> bool {
    path.is_some_and(|path| [BASE, LOGS].iter().any(|own| path.starts_with(own)))
}

/// Drains the queues of a job server that stops or restarts.
fn of_job_server(host: &Host, history: &History, wish: WaitingJobs) -> Result<Option<Drained>> {
    let family = host.platform()?.family;
    let mut stops = None;
    let mut options: Option<&FileInverse> = None;
    for entry in &history.entries {
        match &entry.inverse {
            Inverse::Service(service) if service.unit == family.gearmand.unit => {
                stops = Some(!service.active);
            }
            Inverse::File(file) if file.edit == Edit::Options => options = Some(file),
            _ => {}
        }
    }
    let Some(stops) = stops.filter(|_| host.live()) else {
        return Ok(None);
    };
    let options = match options.filter(|_| !stops) {
        // What is kept in it is listed when it is restored.
        Some(file) => Some(file.restored(host)?.0),
        None => None,
    };
    waiting::of_job_server(host, family, options.as_ref(), wish).map(Some)
}

/// Whether the extension is removed, packaged or built.
fn unloads(history: &History, purge: bool) -> bool {
    history.entries.iter().any(|entry| match &entry.inverse {
        Inverse::Packages(PackagesInverse { brought }) => {
            purge && brought.iter().any(|name| is_extension(name))
        }
        Inverse::File(file) => file.path.ends_with("gearman.so"),
        _ => false,
    })
}

/// Removes our own folders after everything was restored: with `purge` including
/// their contents, otherwise only if they are empty.
pub fn forget(host: &Host, purge: bool) -> Result<()> {
    host.remove_tree(Path::new(STATE))?;
    // The very first change precedes any journal.
    if let Some(above) = Path::new(BASE).parent() {
        host.tidy(above)?;
    }
    let own = ["run", "cache", "failed"].map(|name| Path::new(BASE).join(name));
    let folders = own.into_iter().chain([BASE.into(), LOGS.into()]);
    for dir in folders.filter(|dir| host.is_dir(dir)) {
        if purge {
            host.remove_tree(&dir)?;
        } else {
            host.remove_dir(&dir)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::checksum::sha256;
    use crate::plan::journal;

    /// A host with a journal of these changes, the last of them unfinished.
    fn host(acts: &[&str]) -> (tempfile::TempDir, Host) {
        let dir = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = dir.path().join(path.trim_start_matches('/'));
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        put("/etc/os-release", "ID=debian\nVERSION_ID=12\n");
        let mut journal = String::from("{\"record\":\"opened\",\"version\":1,\"at\":1}\n");
        for (number, act) in acts.iter().enumerate() {
            journal += &format!(
                "{{\"record\":\"begin\",\"number\":{number},\"at\":1,\"undo\":{{{act}}}}}\n"
            );
            if number + 1 < acts.len() {
                journal += &format!("{{\"record\":\"done\",\"number\":{number}}}\n");
            }
        }
        put(&format!("{STATE}/host.jsonl"), &journal);
        put("/var/lib/wp-gears/failed/a/1.job", "a job");
        let host = Host::new(Some(dir.path())).unwrap();
        (dir, host)
    }

    fn removal(host: &Host, purge: bool) -> Removal {
        let history = journal::read(host, &Scope::Host).unwrap().unwrap();
        let wish = Wish {
            purge,
            waiting: WaitingJobs::default(),
        };
        let mut removal = Removal::default();
        of_history(host, &Scope::Host, &history, wish, &mut removal).unwrap();
        removal
    }

    fn ids(removal: &Removal) -> Vec<String> {
        let ids = removal.items.iter();
        ids.map(|item| item.resource.id().to_string()).collect()
    }

    /// In the order of a setup.
    const ACTS: [&str; 13] = [
        r#""kind":"repository","id":"crb""#,
        r#""kind":"packages","brought":["php8.2-gearman"]"#,
        r#""kind":"directory","path":"/x","was":null"#,
        r#""kind":"service","unit":"gearman-job-server","enabled":true,"active":true"#,
        r#""kind":"directory","path":"/var/lib/wp-gears/failed/a","was":null"#,
        r#""kind":"file","path":"/x/a","edit":"whole","was":null,"will":"aa""#,
        r#""kind":"boolean","name":"b","was":false"#,
        r#""kind":"link","path":"/x/l","was":null,"will":"/y""#,
        r#""kind":"file","path":"/c","edit":"wp-config","was":null,"will":"aa""#,
        r#""kind":"file","path":"/l.log","edit":"log","was":null,"will":null"#,
        r#""kind":"service","unit":"wp-gears-supervisor","enabled":false,"active":false"#,
        r#""kind":"file","path":"/p.conf","edit":"program","was":null,"will":"aa""#,
        r#""kind":"program","group":"wp-gears-a""#,
    ];

    #[test]
    fn the_switch_is_reverted_first_and_the_rest_backwards() {
        let (_dir, host) = host(&ACTS);
        assert_eq!(
            ids(&removal(&host, true)),
            [
                "file /c",
                "file /p.conf",
                "program wp-gears-a",
                "service wp-gears-supervisor",
                "log /l.log",
                "link /x/l",
                "file /x/a",
                "service gearman-job-server",
                "SELinux boolean b",
                "folder /var/lib/wp-gears/failed/a",
                "folder /x",
                "packages",
                "repository crb",
                "the web's PHP",
            ]
        );
    }

    #[test]
    fn what_only_purge_removes_is_kept_and_listed() {
        let (_dir, host) = host(&ACTS);
        let all = ids(&removal(&host, true));
        let kept = removal(&host, false);
        let stays: Vec<&String> = all.iter().filter(|id| !ids(&kept).contains(id)).collect();
        assert_eq!(
            stays,
            [
                "log /l.log",
                "folder /var/lib/wp-gears/failed/a",
                "packages",
                "repository crb",
                "the web's PHP",
            ]
        );
        for what in ["/l.log", "failed/a", "php8.2-gearman", "crb"] {
            let listed = kept.left.iter().filter(|line| line.contains(what));
            assert_eq!(listed.count(), 1, "{what}: {:?}", kept.left);
        }
    }

    #[test]
    fn the_folder_of_an_interrupted_change_is_tidied() {
        let (_dir, host) = host(&[ACTS[7], ACTS[5]]);
        assert_eq!(removal(&host, false).interrupted, [PathBuf::from("/x")]);
    }

    #[test]
    fn a_database_that_cannot_be_queried_is_kept_and_listed() {
        let (_dir, host) = host(&[
            r#""kind":"database","server":{"host":"h","port":3306,"admin":null},"database":"d","table":"t","had_database":false,"account":null"#,
        ]);
        let removal = removal(&host, true);
        assert!(removal.items.is_empty());
        assert!(
            removal.left[0].contains("d on h:3306"),
            "{:?}",
            removal.left
        );
    }

    #[test]
    fn the_extension_that_was_built_is_unloaded_with_or_without_purge() {
        let (_dir, host) = host(&[
            r#""kind":"file","path":"/usr/lib/php/gearman.so","edit":"whole","was":null,"will":"aa""#,
        ]);
        for purge in [false, true] {
            let ids = ids(&removal(&host, purge));
            assert_eq!(ids, ["file /usr/lib/php/gearman.so", "the web's PHP"]);
        }
    }

    /// From the journal to the files: the user's edits are kept.
    #[test]
    fn files_are_restored_with_later_edits() {
        let (old, ours, theirs) = ("a=1\n", "a=2\n", "a=3\n");
        let act = |path: &str| {
            format!(
                r#""kind":"file","path":"{path}","edit":"whole","was":{{"sha":"{}","uid":0,"gid":0,"mode":420}},"will":"{}""#,
                sha256(old.as_bytes()),
                sha256(ours.as_bytes())
            )
        };
        let acts = ["/x/ours", "/x/theirs", "/x/removed", "/gone/file"].map(act);
        let (dir, host) = host(&acts.each_ref().map(String::as_str));
        let at = |path: &str| dir.path().join(path.trim_start_matches('/'));
        std::fs::create_dir_all(at("/x")).unwrap();
        std::fs::write(at("/x/ours"), ours).unwrap();
        std::fs::write(at("/x/theirs"), theirs).unwrap();
        crate::resource::originals::store(&host, old.as_bytes()).unwrap();
        let removal = removal(&host, false);
        for item in &removal.items {
            if item.resource.inspect(&host).unwrap() != crate::resource::State::Same {
                item.resource.apply(&host, &|_| {}).unwrap();
            }
        }
        let text = |path: &str| std::fs::read_to_string(at(path)).ok();
        assert_eq!(text("/x/ours").as_deref(), Some(old));
        assert_eq!(text("/x/theirs").as_deref(), Some(theirs));
        assert_eq!(text("/x/removed").as_deref(), Some(old));
        assert!(!at("/gone").exists());
        assert_eq!(removal.left.len(), 1);
        assert!(removal.left[0].starts_with("/x/theirs"));
    }
}
