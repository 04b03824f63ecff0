//! What a worker looks at now and then: markers, files, jobs on disk, settings.

use std::time::Instant;

use crate::base::clock::now_ms;
use crate::worker::job::Job;
use crate::worker::rest::Rest;
use crate::worker::serve::{Renewal, Worker};

impl Worker<'_> {
    /// Checks for markers, jobs to retry and changed files.
    pub(super) fn look_around(&mut self, now: Instant) {
        let rest = Rest::of(&self.paths, &self.args.site);
        self.look_at = now + Rest::look_again(rest);
        let before = std::mem::replace(&mut self.rest, rest);
        if before != self.rest {
            self.log.line(Rest::line(before, self.rest));
            if self.rest.is_some() {
                self.servers.close();
                self.runtime.end(&mut self.heartbeat);
            }
            self.heartbeat.set(Rest::activity(self.rest));
            self.runtime.site.retry_at = now;
        }
        if self.runtime.site.reload_requested() {
            self.log.line("reloaded");
            self.runtime.end(&mut self.heartbeat);
            self.runtime.site.retry_at = now;
        }
        let rests = self.rest.is_some();
        if !rests && self.runtime.site.look_around(self.log) && self.runtime.is_loaded() {
            self.runtime.end(&mut self.heartbeat);
        }
        self.retries.look(&self.gate);
        self.settle_seal();
        self.renewal = match &self.binary {
            Some(binary) if binary.is_replaced() => Some(Renewal::Program),
            _ => self.settings_changed().then_some(Renewal::Settings),
        };
    }

    /// Somebody has changed something.
    pub(super) fn look_now(&mut self) {
        self.look_at = Instant::now();
        self.shared.look_at_disk();
    }

    /// Whether it uses the job servers, and what waits here, when it has no job.
    pub(super) fn serves(&self) -> bool {
        let knows = self.runtime.site.function.is_some() && self.rest.is_none();
        knows && (self.servers.is_asking() || !self.shares())
    }

    /// Takes a job that is due for a retry, if there is one.
    pub(super) fn take_due(&mut self) -> bool {
        let now = now_ms();
        if !self.retries.is_turn(now) || !self.may_take() {
            return false;
        }
        let Some((claim, record, payload)) = self.retries.claim(&self.gate, now) else {
            return false;
        };
        self.begin(Job::from_claim(claim, record, payload));
        true
    }

    /// Whether the settings of its crew changed in what concerns a member.
    fn settings_changed(&mut self) -> bool {
        let Some(adopted) = &self.adopted else {
            return false;
        };
        // What is wrong with the file is in the crew's lines of the log.
        let Ok(Some(now)) = adopted.changed() else {
            return false;
        };
        let alike = now.settings.is_alike_for_members(&adopted.settings);
        self.adopted = Some(now);
        !alike
    }

    /// Ends the time for jobs that are not sealed, or with a former key, if it is over.
    pub(super) fn settle_seal(&mut self) {
        let is_empty = self.rest.is_none() && self.servers.are_empty();
        let has_retries = self.retries.next_due().is_some();
        self.seal.settle(is_empty, has_retries, self.log);
    }
}
