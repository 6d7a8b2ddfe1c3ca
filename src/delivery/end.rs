//! Why a session ends: a fact, for every protocol to say in its own way.

use crate::codec::close_code::{CloseCode, reason_naming};
use crate::delivery::gap::{in_brief, in_full};
use crate::trail::{Gap, MalformedRecord, ReadError};

/// Why a session ends.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum End {
    /// The stream's configuration changed.
    #[error("the stream's configuration was changed")]
    Reconfigured,
    /// The stream or its trail is gone.
    #[error("the stream or its trail does not exist any more")]
    Gone,
    /// The credential's time is over.
    #[error("the credential of the session has expired")]
    Expired,
    /// The user is gone, or may no longer read the stream.
    #[error("the user of the session is gone, or may no longer read the stream")]
    Withdrawn,
    /// A record is larger than the stream allows.
    #[error("a record has {bytes} bytes, and {member} allows {limit}; go on after {after}")]
    RecordTooLarge {
        /// The member of the configuration that sets the limit.
        member: &'static str,
        /// The record's size in bytes.
        bytes: usize,
        /// The limit in bytes.
        limit: usize,
        /// The record's position: resuming there skips it.
        after: String,
    },
    /// Something is missing here: transactions that damage took, or rows that the source did not give.
    #[error("{}; go on after {after}", in_full(gap))]
    Gap {
        /// What is missing.
        gap: Gap,
        /// The gap's position: resuming there goes on behind it.
        after: String,
    },
    /// Retention removed what the session had not read yet.
    #[error("retention removed records that the session had not read yet")]
    Overtaken,
    /// The trail cannot be read on.
    #[error("{0}")]
    Unreadable(String),
    /// What a member of a consumer group said cannot be taken: what is wrong with it.
    #[error("a member of a consumer group said what is no acknowledgement of what it was sent: {0}")]
    NotAcknowledged(&'static str),
    /// A member of a consumer group did not acknowledge what it was sent before its partitions change.
    #[error("a member of a consumer group did not acknowledge in time what it was sent before its partitions change")]
    AcknowledgedLate,
    /// Another member of the same name joined the consumer group.
    #[error("another member of the same name joined the consumer group")]
    Replaced,
    /// What a member of a consumer group acknowledged cannot be stored.
    #[error("an acknowledgement cannot be stored: {0}")]
    Uncommitted(String),
}

impl From<ReadError> for End {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Overtaken => Self::Overtaken,
            ReadError::Io { .. } | ReadError::Damaged(_) => Self::Unreadable(error.to_string()),
        }
    }
}

impl From<MalformedRecord> for End {
    fn from(error: MalformedRecord) -> Self {
        Self::Unreadable(error.to_string())
    }
}

impl End {
    /// Its close code on a WebSocket.
    pub fn close_code(&self) -> CloseCode {
        match self {
            Self::Reconfigured => CloseCode::RECONFIGURED,
            Self::Gone => CloseCode::GONE,
            Self::Expired => CloseCode::EXPIRED,
            Self::Withdrawn => CloseCode::WITHDRAWN,
            Self::RecordTooLarge { .. } => CloseCode::RECORD_TOO_LARGE,
            Self::Gap { .. } => CloseCode::GAP,
            Self::Overtaken => CloseCode::SLOW,
            Self::Unreadable(_) | Self::Uncommitted(_) => CloseCode::SERVER_FAULT,
            Self::NotAcknowledged(_) => CloseCode::NOT_ACKNOWLEDGED,
            Self::AcknowledgedLate => CloseCode::ACKNOWLEDGED_LATE,
            Self::Replaced => CloseCode::REPLACED,
        }
    }

    /// The close reason on a WebSocket: no row values, and at most what a close frame takes.
    pub fn close_reason(&self) -> String {
        match self {
            Self::RecordTooLarge { after, .. } => reason_naming(self.close_code().words(), after),
            Self::Gap { gap, after } => in_brief(gap, after),
            Self::Overtaken => "retention has overtaken the reader".to_owned(),
            Self::NotAcknowledged(what) => (*what).to_owned(),
            Self::Uncommitted(_) => "the acknowledgement cannot be stored".to_owned(),
            _ => self.close_code().words().to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::ws_frame::CLOSE_REASON_BYTES_MAX;

    #[test]
    fn an_end_of_the_trail_says_what_is_wrong_to_the_log_and_not_to_the_client() {
        let end = End::from(ReadError::Io { trail: "a1".into(), what: "no such file /secret".into() });
        assert_eq!(end.to_string(), "trail a1 cannot be read: no such file /secret");
        assert_eq!(end.close_reason(), "the trail cannot be read");
    }

    #[test]
    fn a_record_that_is_too_large_names_the_position_behind_which_to_go_on_in_a_close_frame() {
        let after = "p".repeat(64);
        let end = End::RecordTooLarge { member: "m", bytes: 2, limit: 1, after: after.clone() };
        let reason = end.close_reason();
        assert!(reason.len() <= CLOSE_REASON_BYTES_MAX);
        assert_eq!(reason, format!("record too large; go on after {after}"));
    }
}
