//! What every kind of source has in common: how it ends, and what it shows of itself.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use tokio::sync::Notify;

use crate::catalog::extract::InvalidExtract;
use crate::limits;
use crate::trail::AppendError;

/// Capture stopped, and a person has to look.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The configuration cannot work.
    #[error("the extract's configuration is refused: {0}")]
    Configuration(#[from] InvalidExtract),
    /// The server refuses for good: a wrong password, a missing right, a missing database.
    #[error("the source refuses: {0}")]
    Refused(String),
    /// The trail belongs to another source.
    #[error("the trail was written from {trail}, this source is {source_identity}; capture does not mix two histories")]
    OtherSource {
        /// What the trail says.
        trail: String,
        /// What the source says.
        source_identity: String,
    },
    /// Publishing tables would make the source refuse its application's own writes to them.
    #[error("{}", writes_refused(tables, *whole_schemas))]
    WritesRefused {
        /// The tables.
        tables: Vec<RefusedWrites>,
        /// Whether whole schemas would be published, with tables that are made later.
        whole_schemas: bool,
    },
    /// The replication slot is gone although the trail holds changes from it.
    #[error(
        "replication slot {slot} is gone, the trail stands at {position}; changes since then are lost, \
         make a new trail or restore the slot"
    )]
    SlotMissing {
        /// The slot.
        slot: String,
        /// The trail's last position.
        position: String,
    },
    /// The source has discarded what the slot still needed.
    #[error("replication slot {slot} is invalid ({reason}); changes were discarded by the source")]
    SlotLost {
        /// The slot.
        slot: String,
        /// What the source says.
        reason: String,
    },
    /// The slot was confirmed beyond what the trail holds.
    #[error(
        "replication slot {slot} stands at {slot_position}, ahead of the trail at {position}; changes between are lost"
    )]
    SlotAhead {
        /// The slot.
        slot: String,
        /// Where it was confirmed.
        slot_position: String,
        /// The trail's last position.
        position: String,
    },
    /// The source no longer has what the trail took from it: its data is an earlier copy.
    #[error(
        "the source has gone back to an earlier state of its data: {found}; the trail stands at {position}. Nothing more \
         was taken from it or confirmed to it: start it on the data that it had, or make a new extract with another slot \
         and another trail"
    )]
    SourceRewound {
        /// What it shows instead.
        found: String,
        /// The trail's last position.
        position: String,
    },
    /// Tables that the patterns name do not flow, or did not in between.
    #[error(
        "coverage is lost: {tables}. Rows of these tables in transactions from {from} to {to} of the source's log may be \
         missing. Slot {slot} keeps the source's log meanwhile. Mend the publication where that is needed, then go on with \
         PATCH {{\"acceptGap\": true}}: the trail then gets a gap that names the tables"
    )]
    CoverageLost {
        /// Which, and why.
        tables: String,
        /// Where the range begins.
        from: String,
        /// Where it ends.
        to: String,
        /// The slot.
        slot: String,
    },
    /// The source sent what its protocol does not allow.
    #[error("malformed data from the source: {0}")]
    Malformed(String),
    /// The trail refused.
    #[error("the trail refuses: {0}")]
    Trail(#[from] AppendError),
    /// The trail does not take a row, nor will it when the row is read again.
    #[error(
        "the trail does not take a row of {table}: {error}; the extract does not come past its transaction (commit at \
         {position}) while it captures that table"
    )]
    RowRefused {
        /// The table.
        table: String,
        /// Where the source has the transaction's commit.
        position: String,
        /// Why.
        error: AppendError,
    },
    /// The trail stopped.
    #[error("the trail has stopped")]
    TrailStopped,
}

impl CaptureError {
    /// Its kind, one of a fixed list.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Configuration(_) => "configuration",
            Self::Refused(_) => "refused",
            Self::WritesRefused { .. } => "writes_refused",
            Self::OtherSource { .. } => "other_source",
            Self::SlotMissing { .. } => "slot_missing",
            Self::SlotLost { .. } => "slot_lost",
            Self::SlotAhead { .. } => "slot_ahead",
            Self::SourceRewound { .. } => "source_rewound",
            Self::CoverageLost { .. } => "coverage_lost",
            Self::Malformed(_) => "malformed",
            Self::Trail(AppendError::DiskFull) => "disk_full",
            Self::Trail(_) | Self::RowRefused { .. } | Self::TrailStopped => "trail",
        }
    }
}

/// A table on which the source refuses UPDATE and DELETE to everybody, or would, because it is published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RefusedWrites {
    /// Schema and name.
    pub table: String,
    /// What about the table does not go with being published.
    pub why: String,
    /// The statement that mends it.
    pub mend: String,
}

impl fmt::Display for RefusedWrites {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({})", self.table, self.why, self.mend)
    }
}

fn writes_refused(tables: &[RefusedWrites], whole_schemas: bool) -> String {
    let named: Vec<_> = tables.iter().take(limits::EXTRACT_NAMED_TABLES_MAX).map(ToString::to_string).collect();
    let more = tables.len().saturating_sub(named.len());
    let more = if more > 0 { format!("; and {more} more tables") } else { String::new() };
    let later = if whole_schemas {
        ". Also a table that is made later, without a replica identity, in a schema that is published as a whole, will have \
         its UPDATEs and DELETEs refused"
    } else {
        ""
    };
    format!(
        "published, these tables would have the application's own UPDATEs and DELETEs refused by PostgreSQL: {}{more}. Run \
         the statements, leave the tables out, or give withoutIdentity as \"skip\" (they are not captured) or \"insertsOnly\" \
         (only their INSERTs are){later}",
        named.join("; ")
    )
}

/// The reason of a fault that passes: the source cannot be reached, or broke off.
pub(super) const CONNECTION: &str = "connection";
/// The reason of an extract that waits for its first table.
pub(super) const NO_TABLES: &str = "no_tables";

/// How one session with a source ended before it was asked to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// Try again.
    #[error("{0}")]
    Passing(String),
    /// The source is well and has nothing to capture yet: look again.
    #[error("{0}")]
    NoTables(String),
    /// Trying again cannot help.
    #[error(transparent)]
    Stop(#[from] CaptureError),
}

impl CaptureError {
    /// What a caller that does not try again is told.
    pub(crate) fn from_fault(fault: Fault) -> Self {
        match fault {
            Fault::Passing(what) | Fault::NoTables(what) => Self::Refused(what),
            Fault::Stop(error) => error,
        }
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Passing(format!("connection to the source: {error}"))
    }
}

impl From<AppendError> for Fault {
    fn from(error: AppendError) -> Self {
        Self::Stop(CaptureError::Trail(error))
    }
}

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

/// What an extract shows of itself (`extracts/{name}/info`).
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
    /// Where the last bytes received stand.
    pub received_lsn: Option<String>,
    /// What the source was told that it need not keep.
    pub confirmed_lsn: Option<String>,
    /// Transactions appended since the start.
    pub transactions: u64,
    /// Records of these transactions.
    pub records: u64,
    /// Bytes of changes received since the start.
    pub received_bytes: u64,
    /// Times the source was tried again since the start.
    pub retries: u64,
    /// Times that changes began to flow since the start.
    pub starts: u64,
    /// What the source keeps for us, as last looked at.
    pub slot: Option<SlotStatus>,
    /// What there is to say of the publications, as last looked at.
    #[serde(skip_serializing_if = "PublicationStatus::is_empty")]
    pub publication: PublicationStatus,
    /// What the source waits for before it can begin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<Wait>,
    /// When the trail last took something from the source, or had taken everything.
    #[serde(skip)]
    pub moved: Option<tokio::time::Instant>,
    /// When the source was last heard.
    #[serde(skip)]
    pub heard: Option<tokio::time::Instant>,
    /// Where a look found the end of the source's log, if that was before what the trail had by then.
    #[serde(skip)]
    pub log_ends_early: Option<String>,
    /// The place in the source's log up to which the trail must come before the last fault is over.
    #[serde(skip)]
    pub stuck_before: Option<u64>,
    /// That fault and its kind: another one on the way there does not hide it for good.
    #[serde(skip)]
    pub stuck_fault: Option<(String, &'static str)>,
}

/// What a source keeps for an extract.
#[derive(Debug, Clone, Default, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct SlotStatus {
    /// The end of the source's log.
    #[serde(skip)]
    pub current: Option<u64>,
    /// Bytes of its log that the source keeps because of the slot.
    pub retained_wal_bytes: Option<u64>,
    /// Bytes that the source may still write before the slot is in danger; none without a limit.
    pub safe_wal_bytes: Option<u64>,
    /// `reserved`, `extended`, `unreserved`, `lost`; `missing` when there is no slot, `unknown` for what is none of these.
    pub wal_status: &'static str,
    /// Bytes that the source has spilled to its disk while it decoded large transactions.
    pub spilled_bytes: Option<u64>,
}

/// What there is to say of an extract's publications; nothing, in the best case.
#[derive(Debug, Clone, Default, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PublicationStatus {
    /// Published tables on which the source refuses the application's UPDATE and DELETE.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub refused_writes: Vec<RefusedWrites>,
    /// Tables that are not published, because their writes would be refused.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<RefusedWrites>,
    /// Tables of which only INSERTs are published.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub inserts_only: Vec<String>,
    /// Generated columns that are not published.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub columns_left_out: Vec<String>,
}

impl PublicationStatus {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What the source waits for before changes can flow.
#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Wait {
    /// In words.
    pub what: String,
    /// For how many seconds it has waited.
    pub seconds: u64,
    /// The server's process that holds it up, if it is one.
    pub pid: Option<u32>,
    /// For how many seconds that one's transaction has been open, if the source lets us know.
    pub transaction_seconds: Option<u64>,
}

impl Status {
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
