//! Why a session is refused before it begins, and where its trail starts.

use std::fmt;

use super::places::NoPlace;
use crate::access::NotGranted;
use crate::catalog::stream::ConfigError;
use crate::record::TrailName;
use crate::service::groups::GroupError;
use crate::service::trails::Unserved;
use crate::trail::{ReadError, SeekError};

/// A session is refused.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SessionError {
    /// The position is of another trail.
    #[error("the position belongs to another trail, which is {0}")]
    OtherTrail(TrailName),
    /// The position was taken under other source or rules.
    #[error(
        "the position was taken under other rules; begin with a time, or with the position that a put answered, to cross a \
         change of rules"
    )]
    OtherRules,
    /// The position is of another life of the trail, or of a trail that is not known.
    #[error(
        "the position belongs to an earlier life of the trail, before it was repaired, restored or made anew, or to a trail \
         that is not here"
    )]
    OtherEpoch,
    /// The trail has not come so far.
    #[error("the position is beyond the end of the trail, which is commit number {ends_at}")]
    BeyondEnd {
        /// Commit number of the last transaction.
        ends_at: u64,
    },
    /// Retention has removed what comes after the position.
    #[error("records after the position are no longer kept")]
    Purged,
    /// The trail is not there yet, so no position can be of it.
    #[error("the position belongs to another trail, as trail {0} does not exist yet")]
    NoTrail(String),
    /// The trail is not served.
    #[error(transparent)]
    Unserved(#[from] Unserved),
    /// The trail cannot be read.
    #[error(transparent)]
    Unreadable(ReadError),
    /// The stream's rules, which were stored by another program, cannot be used.
    #[error(transparent)]
    Rules(#[from] ConfigError),
    /// The caller may not.
    #[error(transparent)]
    Denied(#[from] NotGranted),
    /// No place is left for it.
    #[error(transparent)]
    Full(#[from] NoPlace),
    /// The memory for messages is used up by sessions that are slow to take theirs.
    #[error("the server's memory for messages is used up")]
    NoMemory,
}

impl From<SeekError> for SessionError {
    fn from(error: SeekError) -> Self {
        match error {
            SeekError::Purged { .. } => Self::Purged,
            SeekError::Beyond { ends_at } => Self::BeyondEnd { ends_at },
            SeekError::OtherEpoch | SeekError::OtherTransaction => Self::OtherEpoch,
            SeekError::Read(error) => Self::Unreadable(error),
        }
    }
}

impl SessionError {
    /// Whether it is the position that is refused, so that whoever asks must begin elsewhere.
    pub(super) fn is_of_position(&self) -> bool {
        matches!(
            self,
            Self::OtherTrail(_) | Self::OtherRules | Self::OtherEpoch | Self::BeyondEnd { .. } | Self::Purged
        )
    }
}

/// A session that is refused before it begins.
#[derive(Debug, Clone)]
pub struct RefusedSession {
    /// Why.
    pub error: SessionError,
    /// Where its trail starts, in words, for whoever must begin elsewhere.
    pub trail_start: Option<String>,
}

impl fmt::Display for RefusedSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.trail_start {
            Some(trail_start) => write!(f, "{}; {trail_start}", self.error),
            None => self.error.fmt(f),
        }
    }
}

impl std::error::Error for RefusedSession {}

/// Whoever wants to join a consumer group is refused.
#[derive(Debug, Clone, thiserror::Error)]
pub enum JoinError {
    /// For what the group is.
    #[error(transparent)]
    Group(#[from] GroupError),
    /// For where it would begin.
    #[error(transparent)]
    Session(#[from] RefusedSession),
}
