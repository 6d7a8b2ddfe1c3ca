//! How capture ends before it was asked to: faults that pass, and what needs a person.
//!
//! Owns what is the same for every kind of source. What only one product can say of itself is worded in its folder.

use std::io;

use crate::catalog::extract::InvalidExtract;
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
    /// What only a source of this product can meet, in its own words.
    #[error("{message}")]
    OfProduct {
        /// Its kind, one of a fixed list.
        reason: &'static str,
        /// What is wrong and what to do about it, in whole sentences.
        message: String,
    },
    /// The source sent what its protocol does not allow.
    #[error("malformed data from the source: {0}")]
    Malformed(String),
    /// The source holds more in transactions that have not ended than capture keeps for it.
    #[error(
        "the changes that the source has sent of transactions before their end cannot be kept: {0}. End the transactions that \
         are open at the source, make them smaller, or give them more room on the disk, then start the extract again"
    )]
    HeldTooMuch(String),
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
            Self::OtherSource { .. } => "other_source",
            Self::SourceRewound { .. } => "source_rewound",
            Self::OfProduct { reason, .. } => reason,
            Self::Malformed(_) => "malformed",
            Self::HeldTooMuch(_) => "held_too_much",
            Self::Trail(AppendError::DiskFull) => "disk_full",
            Self::Trail(_) | Self::RowRefused { .. } | Self::TrailStopped => "trail",
        }
    }
}

/// The reason of a fault that passes: the source cannot be reached, or broke off.
pub(super) const CONNECTION: &str = "connection";
/// The reason of an extract that waits for its first table.
pub(super) const NO_TABLES: &str = "no_tables";

/// How one session with a source ended before it was asked to.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
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
    pub(super) fn from_fault(fault: Fault) -> Self {
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
