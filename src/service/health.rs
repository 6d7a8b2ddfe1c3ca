//! How the server is doing: what `/readyz` says.

use std::collections::BTreeMap;

use super::audit::Audit;
use super::extracts::ExtractInfo;
use super::retention::RetentionPasses;
use super::trails::TrailInfo;
use crate::access::{Expiries, KeyRefresh};
use crate::capture::{RunState, Status};
use crate::limits;
use crate::log_output;
use crate::record::Timestamp;
use crate::tasks::Task;

/// What is wrong, each line naming the trail, the extract or the part of the server. Both lists are empty when all is well.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Health {
    /// Where changes do not flow: trails that are stopped or whose disk does not answer, extracts that do not capture or stand
    /// still.
    pub troubles: Vec<String>,
    /// What goes on with less than it should have.
    pub warnings: Vec<String>,
}

/// [`Health`] in a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// All is well.
    Ready,
    /// Changes flow everywhere, and something is wrong all the same.
    Degraded,
    /// Somewhere changes do not flow.
    NotReady,
}

impl Readiness {
    /// Its name in answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Degraded => "degraded",
            Self::NotReady => "not-ready",
        }
    }
}

impl Health {
    /// In a word.
    pub fn readiness(&self) -> Readiness {
        match (self.troubles.is_empty(), self.warnings.is_empty()) {
            (true, true) => Readiness::Ready,
            (true, false) => Readiness::Degraded,
            (false, _) => Readiness::NotReady,
        }
    }
}

impl Health {
    /// Adds what is wrong with trails.
    pub(super) fn of_trails(&mut self, trails: &[TrailInfo], now: Timestamp) {
        self.troubles.extend(trails.iter().filter_map(|trail| trouble_of_trail(trail, now)));
    }

    /// Adds what is wrong with extracts.
    pub(super) fn of_extracts(&mut self, extracts: &[ExtractInfo]) {
        for extract in extracts {
            let of_extract = |what: String| format!("extract {} {what}", extract.name);
            self.troubles.extend(trouble_of_extract(&extract.status.common).map(of_extract));
            self.warnings.extend(extract.status.warnings().into_iter().map(of_extract));
            self.warnings.extend(not_as_asked(&extract.coverage.degraded).map(of_extract));
        }
    }

    /// Adds what is wrong with the process: its tasks, its log.
    pub(super) fn of_process(&mut self) {
        // Trails and extracts speak for themselves.
        let tasks = Task::ALL.into_iter().filter(|task| !matches!(task, Task::TrailWriter | Task::Extract));
        let down = tasks.filter(|task| task.down() > 0);
        self.warnings.extend(down.map(|task| {
            format!("the task {} has panicked and waits to be started again; the log says where", task.name())
        }));
        if log_output::is_failing() {
            self.warnings.push("log lines cannot be written and are lost".to_owned());
        }
    }

    /// Adds what is wrong with what callers are known by: certificates, the keys of another issuer.
    pub(super) fn of_access(&mut self, expiries: &Expiries, keys: &KeyRefresh, now: Timestamp) {
        for (member, trouble) in expiries.troubles(now) {
            if trouble.expired {
                self.warnings.push(format!("a certificate of {member} {}", trouble.what));
            }
        }
        if let Some(error) = keys.figures().and_then(|figures| figures.error) {
            self.warnings.push(format!("the keys of another issuer's tokens cannot be fetched: {error}"));
        }
    }

    /// Adds that audit lines are lost.
    pub(super) fn of_audit(&mut self, audit: &Audit) {
        if audit.is_failing() {
            self.warnings.push("audit lines cannot be written to their file; they go to the log".to_owned());
        }
    }

    /// Adds that nothing is removed for its age.
    pub(super) fn of_retention(&mut self, retention: &RetentionPasses) {
        if let Some((suspension, resumes_in)) = retention.age_suspension() {
            let (step, hours) = (suspension.step_seconds, resumes_in.div_ceil(3_600));
            self.warnings.push(format!(
                "the clock was set by {step} s: segments are not removed for their age for {hours} hours more, or until the clock is confirmed"
            ));
        }
    }
}

fn trouble_of_trail(trail: &TrailInfo, now: Timestamp) -> Option<String> {
    let status = match &trail.state {
        Err(unserved) => return Some(unserved.to_string()),
        Ok((_, status)) => status,
    };
    if let Some(reason) = &status.stopped {
        return Some(format!("trail {} has stopped: {reason}", trail.name));
    }
    let stalled = status.counters.stalled_seconds(now);
    let waits = stalled >= limits::TRAIL_STALL_SECONDS;
    waits.then(|| format!("trail {} has written nothing for {stalled} s, and bytes wait", trail.name))
}

fn trouble_of_extract(status: &Status) -> Option<String> {
    let state = match status.status {
        RunState::Failed => "has failed",
        RunState::Retrying => "is retrying",
        RunState::Running => {
            let stalled = status.stalled_seconds();
            let stands = stalled >= limits::SOURCE_STALL_SECONDS;
            return stands.then(|| format!("has taken nothing for {stalled} s, and its source has gone on"));
        }
        RunState::Starting => {
            let waits = status.waits_for.as_ref().map(|wait| format!(": {}", wait.what));
            return Some(format!("is starting{}", waits.unwrap_or_default()));
        }
        RunState::Stopped => return None,
    };
    Some(format!("{state}: {}", status.last_error.as_deref().unwrap_or_default()))
}

/// Tables that do not flow as asked, and why.
fn not_as_asked(degraded: &BTreeMap<String, String>) -> Option<String> {
    let named = degraded.iter().take(limits::READINESS_TABLES_MAX).map(|(table, why)| format!("{table} ({why})"));
    let named = named.collect::<Vec<_>>().join(", ");
    let more = degraded.len().saturating_sub(limits::READINESS_TABLES_MAX);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    (!degraded.is_empty()).then(|| format!("does not capture as asked: {named}{more}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_that_do_not_flow_are_a_trouble_and_what_may_come_to_that_is_a_warning() {
        let extract = |status| Status { status, last_error: Some("no route".into()), ..Status::default() };
        let failed = trouble_of_extract(&extract(RunState::Failed));
        assert_eq!(failed.as_deref(), Some("has failed: no route"));
        assert_eq!(trouble_of_extract(&extract(RunState::Stopped)), None);
        assert_eq!(trouble_of_extract(&extract(RunState::Running)), None);
        let tables = |count| (0..count).map(|table| (format!("t{table:02}"), "not published".to_owned())).collect();
        assert_eq!(not_as_asked(&tables(0)), None);
        assert_eq!(not_as_asked(&tables(1)).unwrap(), "does not capture as asked: t00 (not published)");
        assert!(not_as_asked(&tables(23)).unwrap().ends_with("t19 (not published) and 3 more"));
        let line = || vec![String::new()];
        let health = |troubles, warnings| Health { troubles, warnings }.readiness();
        assert_eq!(health(Vec::new(), Vec::new()), Readiness::Ready);
        assert_eq!(health(Vec::new(), line()), Readiness::Degraded);
        assert_eq!(health(line(), line()), Readiness::NotReady);
    }
}
