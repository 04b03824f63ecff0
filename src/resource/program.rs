//! A program group of supervisor: loaded with its present definition, and running.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::base::paths::binary;
use crate::base::problem::Problem;
use crate::base::text::printable;
use crate::host::Host;
use crate::host::supervisor::Supervisord;
use crate::resource::file::{Edit, File};
use crate::resource::originals;
use crate::resource::{
    Change, Inverse, Phase, Resource, ResourceId, Revert, RevertContext, Reverted, State, Verb,
};
use crate::supervisor::programs;
use crate::supervisor::rpc::{ProcessInfo, SupervisorClient};

/// How long a removal waits for workers to finish their jobs.
const LONGEST_JOB: Duration = Duration::from_secs(900);

/// The group of the dashboard, which has no jobs. No site's name makes one like it.
pub const DASHBOARD: &str = "wp-gears.dashboard";

pub struct Program {
    pub group: String,
    pub ensure: Ensure,
    pub supervisor: &'static Supervisord,
    /// How long its processes may take to finish their jobs.
    pub patience: Duration,
    /// The file that defines it.
    pub defined_in: Option<ResourceId>,
}

/// The wanted state of the group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ensure {
    /// Loaded with its present definition, and running.
    Running,
    /// Loaded with the definition that was written by hand, running or not.
    Restored,
    Absent,
}

/// What to do with the group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Nothing,
    Add,
    /// Stop it and load it again: its definition or the binary changed.
    Renew,
    Start,
    Remove,
}

impl Program {
    /// A group of our workers. Stopping it may take as long as `patience`.
    pub fn new(
        group: &str,
        ensure: Ensure,
        supervisor: &'static Supervisord,
        patience: Duration,
    ) -> Self {
        Program {
            group: group.to_owned(),
            ensure,
            supervisor,
            patience,
            defined_in: None,
        }
    }

    /// A group to remove after its jobs have finished.
    pub fn removed(group: &str, supervisor: &'static Supervisord) -> Self {
        Program::new(group, Ensure::Absent, supervisor, LONGEST_JOB)
    }

    /// Restarted when this file changes.
    pub fn defined_in(self, file: &File) -> Self {
        Program {
            defined_in: Some(file.id()),
            ..self
        }
    }

    /// What happens before it ends.
    fn ends(&self) -> &'static str {
        match self.group == DASHBOARD {
            true => "",
            false => "its workers finish their jobs first",
        }
    }

    /// What is in the group, for the user.
    fn what(&self) -> &'static str {
        match self.group == DASHBOARD {
            true => "the dashboard",
            false => "the workers",
        }
    }

    fn look(&self, host: &Host, supervisor: &SupervisorClient) -> Result<(Act, String)> {
        let reread = supervisor.reread().map_err(|error| {
            Problem::new("make supervisord read its files", format!("{error:#}"))
                .help("fix the file that the message names, then run again")
        })?;
        let processes = self.processes(supervisor)?;
        if self.ensure == Ensure::Absent {
            let gone = processes.is_empty() && !reread.removed.contains(&self.group);
            return Ok(if gone {
                (Act::Nothing, String::new())
            } else {
                (Act::Remove, self.ends().into())
            });
        }
        if reread.changed.contains(&self.group) {
            return Ok((
                Act::Renew,
                match self.ends() {
                    "" => "its definition changed".into(),
                    first => format!("its definition changed; {first}"),
                },
            ));
        }
        if processes.is_empty() || reread.added.contains(&self.group) {
            return Ok((Act::Add, String::new()));
        }
        if self.ensure == Ensure::Restored {
            let ours = processes.iter().any(|process| {
                let running = host.process(process.pid);
                running.and_then(|it| it.exe).as_ref() == Some(&binary())
            });
            return Ok(match ours {
                true => (
                    Act::Renew,
                    "with its former definition; its workers finish their jobs first".into(),
                ),
                false => (Act::Nothing, String::new()),
            });
        }
        let down = processes
            .iter()
            .find(|process| !matches!(process.state.as_str(), "RUNNING" | "STARTING"));
        Ok(match down {
            Some(process) => (Act::Start, format!("{} is {}", process.name, process.state)),
            None => (Act::Nothing, String::new()),
        })
    }

    fn processes(&self, supervisor: &SupervisorClient) -> Result<Vec<ProcessInfo>> {
        let mut all = supervisor.processes()?;
        all.retain(|process| process.group == self.group);
        Ok(all)
    }

    fn wait(&self, supervisor: &SupervisorClient) -> Result<()> {
        let start = Instant::now();
        loop {
            let processes = self.processes(supervisor)?;
            if !processes.is_empty() && processes.iter().all(|p| p.state == "RUNNING") {
                return Ok(());
            }
            let bad = processes.iter().find(|p| p.state == "FATAL");
            if bad.is_some() || start.elapsed() > Duration::from_secs(20) {
                let why = match bad.or(processes.first()) {
                    Some(process) => {
                        let (name, state, error) = (&process.name, &process.state, &process.error);
                        let output = supervisor.output_tail(process, 2000).unwrap_or_default();
                        format!("{name} is {state} {error}{}", last_lines(&output))
                    }
                    None => "supervisord has no such group".into(),
                };
                return Err(
                    Problem::new(format!("start {} ({})", self.what(), self.group), why)
                        .help(format!(
                            "see '{} tail {}:* stderr'",
                            self.supervisor.control, self.group
                        ))
                        .into(),
                );
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// The last lines of its output, each on its own line.
fn last_lines(output: &str) -> String {
    let lines: Vec<&str> = output.lines().collect();
    let last = &lines[lines.len().saturating_sub(8)..];
    last.iter()
        .map(|line| format!("\n{}", printable(line)))
        .collect()
}

impl Resource for Program {
    fn id(&self) -> ResourceId {
        ResourceId::Program(self.group.clone())
    }

    fn inspect(&self, host: &Host) -> Result<State> {
        let supervisor = SupervisorClient::new(Path::new(self.supervisor.socket));
        if !supervisor.answers() {
            return Ok(match self.ensure {
                Ensure::Running => {
                    let service = ResourceId::Service(self.supervisor.unit.to_owned());
                    State::After(service, Change::new(Verb::Start))
                }
                Ensure::Restored | Ensure::Absent => State::Same,
            });
        }
        let (act, why) = self.look(host, &supervisor)?;
        let verb = match act {
            Act::Nothing => return Ok(State::Same),
            Act::Add | Act::Start => Verb::Start,
            Act::Renew => Verb::Restart,
            Act::Remove => Verb::Stop,
        };
        let mut change = Change::new(verb);
        if !why.is_empty() {
            change.details.push(why);
        }
        Ok(State::Differs(change))
    }

    fn follows(&self) -> Option<&ResourceId> {
        self.defined_in.as_ref()
    }

    fn inverses(&self, _host: &Host) -> Result<Vec<Inverse>> {
        Ok(match self.ensure {
            Ensure::Running => vec![Inverse::Program(ProgramInverse {
                group: self.group.clone(),
            })],
            Ensure::Restored | Ensure::Absent => Vec::new(),
        })
    }

    fn apply(&self, host: &Host, _watch: &dyn Fn(&str)) -> Result<()> {
        let supervisor = SupervisorClient::new(Path::new(self.supervisor.socket));
        match self.look(host, &supervisor)?.0 {
            Act::Nothing => {}
            Act::Add => supervisor.add(&self.group)?,
            Act::Renew => {
                supervisor.remove(&self.group, self.patience)?;
                supervisor.add(&self.group)?;
            }
            Act::Start => supervisor.start(&self.group).map_err(|error| {
                let what = format!("start {} ({})", self.what(), self.group);
                Problem::new(what, format!("{error:#}")).help("fix the cause, then run again")
            })?,
            Act::Remove => return supervisor.remove(&self.group, self.patience),
        }
        match self.ensure {
            Ensure::Running => self.wait(&supervisor),
            Ensure::Restored | Ensure::Absent => Ok(()),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgramInverse {
    group: String,
}

impl ProgramInverse {
    /// Whether the group was defined by hand before setup edited its section.
    fn was_defined_by_hand(&self, context: &RevertContext) -> Result<bool> {
        for inverse in &context.inverses {
            if let Inverse::File(file) = inverse
                && file.edit == Edit::Section
                && let Some(backup) = &file.act.before
                && let Some(bytes) = originals::load(context.host, &backup.sha)?
                && programs::parse(&String::from_utf8_lossy(&bytes), &file.path)
                    .iter()
                    .any(|program| program.name == self.group)
            {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl Revert for ProgramInverse {
    fn id(&self) -> ResourceId {
        ResourceId::Program(self.group.clone())
    }

    fn revert(&self, context: &RevertContext) -> Result<Reverted> {
        let ensure = match self.was_defined_by_hand(context)? {
            true => Ensure::Restored,
            false => Ensure::Absent,
        };
        let program = Program {
            ensure,
            ..Program::removed(&self.group, context.host.supervisor()?)
        };
        Ok(Reverted::by(Phase::Workers, program))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::file::FileInverse;
    use crate::resource::originals::Backup;

    #[test]
    fn a_section_written_by_hand_before_setup_is_seen_in_the_original() {
        let dir = tempfile::tempdir().unwrap();
        let host = Host::new(Some(dir.path())).unwrap();
        let section = b"[program:mine]\ncommand=/bin/x\n";
        let file = |edit| {
            let before = Backup {
                sha: originals::store(&host, section).unwrap(),
                uid: 0,
                gid: 0,
                mode: 0o644,
            };
            let path = "/etc/supervisord.conf".into();
            Inverse::File(FileInverse::new(path, edit, Some(before), None))
        };
        let by_hand = |edit, group: &str| {
            let file = file(edit);
            let context = RevertContext {
                host: &host,
                purge: false,
                lose_queued_jobs: false,
                inverses: vec![&file],
            };
            let group = group.to_owned();
            ProgramInverse { group }
                .was_defined_by_hand(&context)
                .unwrap()
        };
        assert!(by_hand(Edit::Section, "mine"));
        assert!(!by_hand(Edit::Section, "other"));
        assert!(!by_hand(Edit::Block, "mine"));
    }
}
