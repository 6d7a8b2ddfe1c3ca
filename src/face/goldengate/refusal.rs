//! The service's errors as messages of the contract: one place, one code per fact.

use super::messages::{ErrorAnswer, Fact};
use crate::access::AccountError;
use crate::catalog::CatalogError;
use crate::catalog::extract::InvalidExtract;
use crate::catalog::stream::ConfigError;
use crate::limits;
use crate::service::documents::DocumentError;
use crate::service::extracts::ExtractError;
use crate::service::puts::PutError;
use crate::service::session_places::NoPlace;
use crate::service::sessions::{InvalidBegin, SessionError};
use crate::service::streams::StreamError;
use crate::service::trails::TrailError;
use crate::trail::{AppendError, SeekError};

impl From<CatalogError> for ErrorAnswer {
    fn from(error: CatalogError) -> Self {
        match &error {
            CatalogError::Exists { shelf, name } => {
                Self::new(Fact::Exists, format!("{} {name}", shelf.name().trim_end_matches('s')))
            }
            CatalogError::Full { .. } => Self::new(Fact::Unavailable, error),
            CatalogError::DiskFull => Self::new(Fact::NoRoom, error).retry_after(10),
            _ => Self::internal("the catalog cannot be read or written", &error),
        }
    }
}

impl From<ConfigError> for ErrorAnswer {
    fn from(error: ConfigError) -> Self {
        Self::new(Fact::OutOfRange, error)
    }
}

impl From<InvalidExtract> for ErrorAnswer {
    fn from(error: InvalidExtract) -> Self {
        Self::new(Fact::OutOfRange, error)
    }
}

impl From<StreamError> for ErrorAnswer {
    fn from(error: StreamError) -> Self {
        match error {
            StreamError::Missing(_) => Self::new(Fact::NotFound, error),
            StreamError::Exists(_) => Self::new(Fact::Exists, error),
            StreamError::Config(error) => error.into(),
            StreamError::Catalog(error) => error.into(),
            StreamError::Busy => Self::new(Fact::Unavailable, error).retry_after(limits::OFF_THREAD_RETRY_SECONDS),
            StreamError::Panicked(_) => Self::new(Fact::Internal, error),
        }
    }
}

impl From<DocumentError> for ErrorAnswer {
    fn from(error: DocumentError) -> Self {
        match &error {
            DocumentError::Busy => Self::new(Fact::Unavailable, error).retry_after(limits::OFF_THREAD_RETRY_SECONDS),
            DocumentError::Panicked(_) => Self::new(Fact::Internal, error),
            DocumentError::Unwritable(_) => Self::internal("the document cannot be written", &error),
        }
    }
}

impl From<TrailError> for ErrorAnswer {
    fn from(error: TrailError) -> Self {
        if let TrailError::Catalog(error) = error {
            return error.into();
        }
        match &error {
            TrailError::Missing(_) => Self::new(Fact::NotFound, error),
            TrailError::Exists(_) => Self::new(Fact::Exists, error),
            TrailError::Busy { .. } => Self::new(Fact::TrailBusy, error),
            TrailError::Stopped(_) => Self::new(Fact::TrailStopped, error),
            TrailError::InUse { .. } => Self::new(Fact::Conflict, error),
            TrailError::TooMany(_) => Self::new(Fact::Unavailable, error),
            TrailError::Catalog(_) => Self::internal("the catalog cannot be read or written", &error),
            TrailError::Open(open) if open.is_disk_full() => {
                Self::new(Fact::NoRoom, "the disk is full").retry_after(10)
            }
            TrailError::Open(_) | TrailError::Remove { .. } => {
                Self::internal("the trail's folder cannot be used", &error)
            }
        }
    }
}

impl From<PutError> for ErrorAnswer {
    fn from(error: PutError) -> Self {
        match error {
            PutError::Body(error) | PutError::NoRoom(error) => Self::new(Fact::OutOfRange, error),
            PutError::Trail(error) => error.into(),
            PutError::Append(error @ AppendError::Stopped(_)) => Self::new(Fact::TrailStopped, error).retry_after(5),
            PutError::Append(error @ AppendError::DiskFull) => Self::new(Fact::DiskFull, error).retry_after(10),
            PutError::Append(error) => Self::new(Fact::OutOfRange, error),
        }
    }
}

impl From<ExtractError> for ErrorAnswer {
    fn from(error: ExtractError) -> Self {
        match error {
            ExtractError::Missing(_) | ExtractError::Credentials { .. } => Self::new(Fact::NotFound, error),
            ExtractError::Exists(_) => Self::new(Fact::Exists, error),
            ExtractError::Config(error) => error.into(),
            ExtractError::Trail(error) => error.into(),
            ExtractError::LeftTrail { .. } => Self::new(Fact::TrailBusy, error),
            ExtractError::Fixed(what) => Self::new(Fact::Conflict, what),
            ExtractError::Collision(_) | ExtractError::Source(_) | ExtractError::NothingLost(_) => {
                Self::new(Fact::Conflict, error)
            }
            ExtractError::Catalog(error) => error.into(),
            ExtractError::Vault(error) => Self::internal("the password cannot be sealed or opened", &error),
        }
    }
}

impl From<AccountError> for ErrorAnswer {
    fn from(error: AccountError) -> Self {
        match error {
            AccountError::Name(_) => Self::new(Fact::InvalidName, error),
            AccountError::Password => Self::new(Fact::OutOfRange, format!("password: {error}")),
            AccountError::Unknown(name) => Self::new(Fact::NotFound, format!("user {name}")),
            AccountError::LastAdministrator(_) | AccountError::FirstUser => Self::new(Fact::Conflict, error),
            AccountError::Hash(error) => crate::access::AccessError::from(error).into(),
            AccountError::Catalog(error) => error.into(),
            AccountError::NoRandomness => Self::internal("no random bytes", &error),
        }
    }
}

impl From<InvalidBegin> for ErrorAnswer {
    fn from(error: InvalidBegin) -> Self {
        match error {
            InvalidBegin::Position => Self::new(Fact::PositionMalformed, format!("begin: {error}")),
            InvalidBegin::Form => Self::new(Fact::MalformedQuery, error),
        }
    }
}

/// A session's refusal; `starts_at`: where the stream's trail starts, in words.
pub(super) fn session_refused(error: SessionError, starts_at: &str) -> ErrorAnswer {
    let with_start = |fact, error: &dyn std::fmt::Display| ErrorAnswer::new(fact, format!("{error}; {starts_at}"));
    match &error {
        SessionError::OtherTrail(_) => with_start(Fact::PositionOtherTrail, &error),
        // Where its trail starts says all that there is to say of it.
        SessionError::NoTrail(_) => ErrorAnswer::new(Fact::PositionOtherTrail, starts_at),
        SessionError::OtherRules => with_start(Fact::PositionOtherRules, &error),
        SessionError::Seek(SeekError::OtherEpoch | SeekError::OtherTransaction) => {
            with_start(Fact::PositionOtherEpoch, &error)
        }
        SessionError::Seek(SeekError::Beyond { ends_at }) => {
            with_start(Fact::PositionBeyondEnd, &format!("it ends at commit number {ends_at}"))
        }
        SessionError::Seek(SeekError::Purged { .. }) => ErrorAnswer::new(Fact::PositionPurged, starts_at),
        SessionError::Seek(SeekError::Read(_)) | SessionError::TrailStopped(_) => {
            ErrorAnswer::new(Fact::TrailStopped, error)
        }
        SessionError::Full(NoPlace::User(_)) => ErrorAnswer::new(Fact::Throttled, error).retry_after(5),
        SessionError::Full(_) | SessionError::NoMemory => ErrorAnswer::new(Fact::Unavailable, error).retry_after(5),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_position_is_told_once_what_is_wrong_and_where_the_trail_starts() {
        let starts_at = "trail a1 starts at commit number 5";
        let title = |error: SessionError| {
            let answer = session_refused(error, starts_at);
            super::super::messages::Message::new(answer.fact, answer.detail).title().to_owned()
        };
        assert_eq!(
            title(SessionError::Seek(SeekError::Purged { starts_at: 5 })),
            "Records after the position are no longer kept; trail a1 starts at commit number 5."
        );
        assert_eq!(
            title(SessionError::Seek(SeekError::Beyond { ends_at: 9 })),
            "The position is beyond the end of the trail; it ends at commit number 9; trail a1 starts at commit number 5."
        );
    }
}
