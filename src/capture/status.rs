//! What every extract shows of itself, whatever its source: whether it runs, how far it is, what went wrong last.
//!
//! Owns the rules of that status, such as a fault that stays in sight until its place is behind. What only one product shows
//! stands beside it, in the product's folder.

use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use tokio::sync::Notify;

use super::error::CONNECTION;
use super::snapshot::status::LoadStatus;
use super::wait::Wait;

/// Whether an extract runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RunState {
    /// Connecting for the first time.
    #[default]
    Starting,
    /// Changes flow, or would.
    Running,
    /// A passing fault; trying again.
    Retrying,
    /// Stopped as asked.
    Stopped,
    /// Stopped, and a person has to look.
    Failed,
}

/// The part of `extracts/{name}/info` that every extract has.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Whether it runs.
    pub status: RunState,
    /// The source's position up to which the trail holds everything durably.
    pub position: Option<String>,
    /// Bytes of the source's log between what it has sent or announced and `position`.
    pub lag_bytes: Option<u64>,
    /// By the source's clock, the age of the transaction that is coming in, in seconds; 0 between transactions.
    pub lag_seconds: Option<f64>,
    /// The last fault, kept until changes flow again.
    pub last_error: Option<String>,
    /// Which kind of fault that is: one of a fixed list, for metrics.
    pub last_error_reason: Option<&'static str>,
    /// Transactions appended since the start.
    pub transactions: u64,
    /// Records of these transactions.
    pub records: u64,
    /// Bytes of changes received since the start.
    pub received_bytes: u64,
    /// Bytes kept of transactions that the source has sent before their end, in memory and on the disk.
    pub held_bytes: u64,
    /// Times the source was tried again since the start.
    pub retries: u64,
    /// Times that changes began to flow since the start.
    pub starts: u64,
    /// What the source waits for before it can begin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<Wait>,
    /// How its initial loads are doing; none if there have been none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<LoadStatus>,
    /// When the trail last took something from the source, or had taken everything.
    #[serde(skip)]
    pub moved: Option<tokio::time::Instant>,
    /// When the source was last heard.
    #[serde(skip)]
    pub heard: Option<tokio::time::Instant>,
    /// The place in the source's log up to which the trail must come before the last fault is over.
    #[serde(skip)]
    pub stuck_before: Option<u64>,
    /// That fault and its kind: another one on the way there does not hide it for good.
    #[serde(skip)]
    pub stuck_fault: Option<(String, &'static str)>,
}

impl Status {
    /// Changes begin to flow, or would.
    pub(crate) fn flows(&mut self) {
        self.runs();
        self.starts += 1;
        self.moved = Some(tokio::time::Instant::now());
    }

    /// Notes how far the trail holds the source, and what the source has beyond that.
    pub(crate) fn reached(&mut self, position: String, lag_bytes: u64) {
        if lag_bytes == 0 || self.position.as_ref() != Some(&position) {
            self.moved = Some(tokio::time::Instant::now());
        }
        self.position = Some(position);
        self.lag_bytes = Some(lag_bytes);
    }

    /// Changes flow, or would. A fault at one place of the source stays in sight until that place is behind.
    pub(crate) fn runs(&mut self) {
        if self.stuck_before.is_some() {
            self.status = RunState::Retrying;
            if let Some((error, reason)) = self.stuck_fault.clone() {
                (self.last_error, self.last_error_reason) = (Some(error), Some(reason));
            }
            return;
        }
        self.status = RunState::Running;
        self.last_error = None;
        self.last_error_reason = None;
    }

    /// The trail holds everything before this place of the source's log.
    pub(crate) fn passed(&mut self, place: u64) {
        if self.stuck_before.is_some_and(|stuck| place >= stuck) {
            (self.stuck_before, self.stuck_fault) = (None, None);
            self.runs();
        }
    }

    /// Another attempt begins.
    pub(crate) fn starts(&mut self) {
        self.status = if self.stuck_before.is_some() { RunState::Retrying } else { RunState::Starting };
    }

    /// For how many seconds the trail has stood still although the source's log has gone on.
    pub fn stalled_seconds(&self) -> u64 {
        let behind = self.status == RunState::Running && self.lag_bytes.is_some_and(|bytes| bytes > 0);
        self.moved.filter(|_| behind).map_or(0, |moved| moved.elapsed().as_secs())
    }

    /// Notes what went wrong; `reason` is of a fixed list.
    pub(crate) fn failed(&mut self, state: RunState, error: String, reason: &'static str) {
        self.status = state;
        if self.stuck_before.is_some() && reason != CONNECTION {
            self.stuck_fault = Some((error.clone(), reason));
        }
        self.last_error = Some(error);
        self.last_error_reason = Some(reason);
    }
}

/// A [`Status`] that the run loop writes and REST reads.
#[derive(Debug, Clone, Default)]
pub struct SharedStatus {
    status: Arc<Mutex<Status>>,
    look: Arc<Notify>,
}

impl SharedStatus {
    /// The status now.
    pub fn snapshot(&self) -> Status {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes it. `change` must be short.
    pub fn update(&self, change: impl FnOnce(&mut Status)) {
        change(&mut self.status.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Something has changed at the source: whoever looks at it now and then looks now.
    pub(crate) fn look_now(&self) {
        self.look.notify_one();
    }

    /// Waits until somebody says [`Self::look_now`].
    pub(crate) async fn asked_to_look(&self) {
        self.look.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Duration, advance};

    use super::*;

    #[test]
    fn a_fault_at_one_place_stays_in_sight_until_the_place_is_behind() {
        let mut status = Status { stuck_before: Some(100), ..Status::default() };
        status.failed(RunState::Failed, "too large".into(), "trail");
        let shown = |status: &Status| (status.status, status.last_error.is_some(), status.last_error_reason);
        status.starts();
        assert_eq!(shown(&status), (RunState::Retrying, true, Some("trail")));
        status.runs();
        status.passed(99);
        assert_eq!(shown(&status), (RunState::Retrying, true, Some("trail")));
        status.failed(RunState::Retrying, "connection lost".into(), "connection");
        assert_eq!(shown(&status), (RunState::Retrying, true, Some("connection")));
        status.runs();
        assert_eq!(shown(&status), (RunState::Retrying, true, Some("trail")));
        status.passed(100);
        assert_eq!(shown(&status), (RunState::Running, false, None));
        status.starts();
        assert_eq!(status.status, RunState::Starting);
        // Any other fault is over when changes flow again.
        status.failed(RunState::Retrying, "connection lost".into(), "connection");
        status.runs();
        assert_eq!(shown(&status), (RunState::Running, false, None));
    }

    #[tokio::test(start_paused = true)]
    async fn a_trail_that_stands_still_while_its_source_goes_on_is_seen() {
        let mut status = Status { status: RunState::Running, ..Status::default() };
        let minute = Duration::from_secs(60);
        status.reached("0/1".into(), 0);
        advance(minute).await;
        assert_eq!(status.stalled_seconds(), 0);
        status.reached("0/1".into(), 10);
        assert_eq!(status.stalled_seconds(), 60);
        advance(minute).await;
        status.reached("0/1".into(), 20);
        assert_eq!(status.stalled_seconds(), 120);
        status.reached("0/2".into(), 19);
        assert_eq!(status.stalled_seconds(), 0);
    }
}
