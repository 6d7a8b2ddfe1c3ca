//! What the service refuses, as a fact: one `From` for each of its errors.
//!
//! Owns which error is which fact and when it is worth trying again. How a fact looks over a protocol (a status, a code, a
//! title) is in the one table of each face; the detail is a whole sentence, which is right in any of them.

use std::error::Error;
use std::fmt::Display;

use crate::access::NotGranted;
use crate::access::{AccessError, AccountError};
use crate::catalog::CatalogError;
use crate::catalog::cursors::CursorError;
use crate::catalog::extract::InvalidExtract;
use crate::catalog::stream::ConfigError;
use crate::delivery::end::End;
use crate::limits;
use crate::repeats::error_rarely;
use crate::service::credentials::CredentialsError;
use crate::service::documents::DocumentError;
use crate::service::extracts::ExtractError;
use crate::service::groups::GroupError;
use crate::service::puts::PutError;
use crate::service::records::RecordsError;
use crate::service::retention::ConfirmError;
use crate::service::sessions::places::NoPlace;
use crate::service::sessions::{JoinError, RefusedSession, SessionError};
use crate::service::streams::StreamError;
use crate::service::trails::TrailError;
use crate::trail::{AppendError, PartitionError, RepartitionError};

macro_rules! facts {
    ($($(#[$doc:meta])* $fact:ident: $name:literal;)*) => {
        /// What is wrong. The names are published as labels of metrics and in what faces say: they never change.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Fact {
            $($(#[$doc])* $fact,)*
        }

        impl Fact {
            /// Every fact, in the order of its declaration.
            pub const ALL: &'static [Self] = &[$(Self::$fact),*];

            /// Its name, such as `position-purged`.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$fact => $name,)*
                }
            }
        }
    };
}

facts! {
    /// A value is out of its range, or a member is unknown. The detail names it and the range.
    OutOfRange: "out-of-range";
    /// A name is out of its range.
    InvalidName: "invalid-name";
    /// The name is taken.
    Exists: "exists";
    /// There is none of that name.
    NotFound: "not-found";
    /// The state does not allow it.
    Conflict: "conflict";
    /// No credential, or one that is malformed or wrong.
    Unauthenticated: "unauthorized";
    /// The caller may not.
    Forbidden: "forbidden";
    /// Too much at once of one caller.
    Throttled: "throttled";
    /// A position that was altered or is none.
    PositionMalformed: "position-malformed";
    /// A position of another trail.
    PositionOtherTrail: "position-other-trail";
    /// A position taken under other rules.
    PositionOtherRules: "position-other-rules";
    /// A position of another life of the trail.
    PositionOtherEpoch: "position-other-epoch";
    /// A position that the trail has not reached.
    PositionBeyondEnd: "position-beyond-end";
    /// A position whose successor is no longer kept.
    PositionPurged: "position-purged";
    /// Records are missing at this place of the trail.
    Gap: "gap";
    /// The next record is larger than the stream allows.
    RecordTooLarge: "record-too-large";
    /// The trail has another writer.
    TrailBusy: "trail-busy";
    /// The trail is not served, or has stopped.
    TrailStopped: "trail-stopped";
    /// The disk has no room for what was put.
    DiskFull: "disk-full";
    /// The disk has no room for what was to be made or changed.
    NoRoom: "no-room";
    /// The server cannot serve this now.
    Unavailable: "unavailable";
    /// Something of ours failed; the log knows more.
    Internal: "internal";
}

impl Fact {
    /// Why positions are refused.
    pub const POSITIONS: [Self; 6] = [
        Self::PositionMalformed,
        Self::PositionOtherTrail,
        Self::PositionOtherRules,
        Self::PositionOtherEpoch,
        Self::PositionBeyondEnd,
        Self::PositionPurged,
    ];
}

/// Something is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Refusal {
    /// What is wrong.
    pub fact: Fact,
    /// What is wrong here, as a whole sentence without its full stop.
    pub detail: String,
    /// When to try again, in seconds, if it passes by itself.
    pub retry_after_seconds: Option<u64>,
}

impl Refusal {
    /// A refusal that does not pass by itself.
    pub fn new(fact: Fact, detail: impl Display) -> Self {
        Self { fact, detail: detail.to_string(), retry_after_seconds: None }
    }

    /// Says when to try again.
    #[must_use]
    pub fn retry_after(self, seconds: u64) -> Self {
        Self { retry_after_seconds: Some(seconds), ..self }
    }

    /// Something of ours failed. `what` goes to the caller; the cause goes to the log only.
    pub fn internal(what: &str, cause: &(dyn Error + 'static)) -> Self {
        let of_kind = format!("{what}: {cause}");
        error_rarely!(&of_kind, error = cause, "{what}");
        Self::new(Fact::Internal, what)
    }
}

impl From<AccessError> for Refusal {
    fn from(error: AccessError) -> Self {
        match &error {
            AccessError::Missing
            | AccessError::Malformed(_)
            | AccessError::Digest(_)
            | AccessError::Stale
            | AccessError::Token
            | AccessError::Expired
            | AccessError::Wrong => Self::new(Fact::Unauthenticated, error),
            AccessError::Throttled(throttled) => {
                Self::new(Fact::Throttled, throttled).retry_after(throttled.retry_after_seconds)
            }
            AccessError::Forbidden { .. }
            | AccessError::OutOfReach
            | AccessError::NotStored
            | AccessError::NotGranted(_)
            | AccessError::NoGrants => Self::new(Fact::Forbidden, error),
            AccessError::TokenGrants => Self::new(Fact::OutOfRange, format!("grants: {error}")),
            AccessError::Busy => Self::new(Fact::Throttled, error).retry_after(limits::PLACE_RETRY_SECONDS),
            AccessError::Internal(_) => Self::internal("the log-in could not be checked", &error),
        }
    }
}

impl From<NotGranted> for Refusal {
    fn from(error: NotGranted) -> Self {
        Self::new(Fact::Forbidden, error)
    }
}

impl From<AccountError> for Refusal {
    fn from(error: AccountError) -> Self {
        match error {
            AccountError::Name(_) => Self::new(Fact::InvalidName, error),
            AccountError::Password => Self::new(Fact::OutOfRange, format!("password: {error}")),
            AccountError::Missing(_) => Self::new(Fact::NotFound, error),
            AccountError::LastAdministrator(_) | AccountError::FirstUser => Self::new(Fact::Conflict, error),
            AccountError::Hash(error) => AccessError::from(error).into(),
            AccountError::Catalog(error) => error.into(),
            AccountError::NoRandomness => Self::internal("the operating system gives no random bytes", &error),
        }
    }
}

impl From<CatalogError> for Refusal {
    fn from(error: CatalogError) -> Self {
        match &error {
            CatalogError::Exists { shelf, name } => {
                Self::new(Fact::Exists, format!("{} {name} already exists", shelf.name().trim_end_matches('s')))
            }
            CatalogError::Full { .. } => Self::new(Fact::Unavailable, error),
            CatalogError::DiskFull => Self::new(Fact::NoRoom, error).retry_after(limits::DISK_RETRY_SECONDS),
            _ => Self::internal("the catalog cannot be read or written", &error),
        }
    }
}

impl From<ConfigError> for Refusal {
    fn from(error: ConfigError) -> Self {
        Self::new(Fact::OutOfRange, error)
    }
}

impl From<InvalidExtract> for Refusal {
    fn from(error: InvalidExtract) -> Self {
        Self::new(Fact::OutOfRange, error)
    }
}

impl From<StreamError> for Refusal {
    fn from(error: StreamError) -> Self {
        match error {
            StreamError::Missing(_) => Self::new(Fact::NotFound, error),
            StreamError::Exists(_) => Self::new(Fact::Exists, error),
            StreamError::HasGroups { .. } | StreamError::TellsApart { .. } => Self::new(Fact::Conflict, error),
            StreamError::Config(error) => error.into(),
            StreamError::Catalog(error) => error.into(),
            StreamError::Busy => Self::new(Fact::Unavailable, error).retry_after(limits::OFF_THREAD_RETRY_SECONDS),
            StreamError::Denied(error) => error.into(),
            StreamError::Panicked(_) => Self::new(Fact::Internal, error),
        }
    }
}

impl From<DocumentError> for Refusal {
    fn from(error: DocumentError) -> Self {
        match &error {
            DocumentError::Busy => Self::new(Fact::Unavailable, error).retry_after(limits::OFF_THREAD_RETRY_SECONDS),
            DocumentError::Panicked(_) => Self::new(Fact::Internal, error),
            DocumentError::Unwritable(_) => Self::internal("the document cannot be written", &error),
        }
    }
}

impl From<TrailError> for Refusal {
    fn from(error: TrailError) -> Self {
        match error {
            TrailError::Missing(_) => Self::new(Fact::NotFound, error),
            TrailError::Exists(_) => Self::new(Fact::Exists, error),
            TrailError::Busy { .. } => Self::new(Fact::TrailBusy, error),
            TrailError::Unserved(_) | TrailError::Leaving(_) => Self::new(Fact::TrailStopped, error),
            TrailError::Denied(error) => error.into(),
            TrailError::Panicked(_) => Self::new(Fact::Internal, error),
            TrailError::InUse { .. } => Self::new(Fact::Conflict, error),
            TrailError::TooMany(_) => Self::new(Fact::Unavailable, error),
            TrailError::Catalog(error) => error.into(),
            TrailError::Repartition(error) => error.into(),
            TrailError::Open(open) if open.is_disk_full() => {
                Self::new(Fact::NoRoom, "the disk is full").retry_after(limits::DISK_RETRY_SECONDS)
            }
            TrailError::Open(_) | TrailError::Remove { .. } => {
                Self::internal("the trail's folder cannot be used", &error)
            }
        }
    }
}

impl From<RepartitionError> for Refusal {
    fn from(error: RepartitionError) -> Self {
        match &error {
            RepartitionError::Refused(PartitionError::Missing { .. } | PartitionError::SplitAt { .. }) => {
                Self::new(Fact::OutOfRange, error)
            }
            RepartitionError::Refused(_) | RepartitionError::Captured(_) => Self::new(Fact::Conflict, error),
            RepartitionError::Append(AppendError::DiskFull) => {
                Self::new(Fact::NoRoom, error).retry_after(limits::DISK_RETRY_SECONDS)
            }
            RepartitionError::Append(_) => {
                Self::new(Fact::TrailStopped, error).retry_after(limits::PLACE_RETRY_SECONDS)
            }
            RepartitionError::Io(io) if io.kind() == std::io::ErrorKind::StorageFull => {
                Self::new(Fact::NoRoom, error).retry_after(limits::DISK_RETRY_SECONDS)
            }
            RepartitionError::Io(_) => Self::internal("the trail's description cannot be written", &error),
        }
    }
}

impl From<PutError> for Refusal {
    fn from(error: PutError) -> Self {
        match error {
            PutError::Body(error) | PutError::NoRoom(error) => Self::new(Fact::OutOfRange, error),
            PutError::Trail(error) => error.into(),
            PutError::Append(error @ AppendError::Stopped(_)) => {
                Self::new(Fact::TrailStopped, error).retry_after(limits::PLACE_RETRY_SECONDS)
            }
            PutError::Append(error @ AppendError::DiskFull) => {
                Self::new(Fact::DiskFull, error).retry_after(limits::DISK_RETRY_SECONDS)
            }
            PutError::Append(error) => Self::new(Fact::OutOfRange, error),
        }
    }
}

impl From<ExtractError> for Refusal {
    fn from(error: ExtractError) -> Self {
        match error {
            ExtractError::Missing(_) => Self::new(Fact::NotFound, error),
            ExtractError::Credentials(error) => error.into(),
            ExtractError::Denied(error) => error.into(),
            ExtractError::Exists(_) => Self::new(Fact::Exists, error),
            ExtractError::Config(error) => error.into(),
            ExtractError::Trail(error) => error.into(),
            ExtractError::LeftTrail { .. } => Self::new(Fact::TrailBusy, error),
            ExtractError::Fixed(_)
            | ExtractError::Collision(_)
            | ExtractError::Source(_)
            | ExtractError::NotReleased { .. }
            | ExtractError::NothingToLoad(_)
            | ExtractError::NothingLost(_) => Self::new(Fact::Conflict, error),
            ExtractError::TooManyChecks => {
                Self::new(Fact::Unavailable, error).retry_after(limits::SOURCE_CHECK_RETRY_SECONDS)
            }
            ExtractError::Catalog(error) => error.into(),
        }
    }
}

impl From<CredentialsError> for Refusal {
    fn from(error: CredentialsError) -> Self {
        match error {
            CredentialsError::Missing { .. } => Self::new(Fact::NotFound, error),
            CredentialsError::Denied(error) => error.into(),
            CredentialsError::Catalog(error) => error.into(),
            CredentialsError::Vault(error) => Self::internal("the password cannot be sealed or opened", &error),
        }
    }
}

impl From<ConfirmError> for Refusal {
    fn from(error: ConfirmError) -> Self {
        match error {
            ConfirmError::Denied(error) => error.into(),
            ConfirmError::Catalog(error) => error.into(),
        }
    }
}

impl From<GroupError> for Refusal {
    fn from(error: GroupError) -> Self {
        match &error {
            GroupError::Missing { .. } | GroupError::StreamGone(_) => Self::new(Fact::NotFound, error),
            GroupError::OtherTrail { .. } => Self::new(Fact::PositionOtherTrail, error),
            GroupError::OtherEpoch { .. } => Self::new(Fact::PositionOtherEpoch, error),
            GroupError::Overtaken { .. } => Self::new(Fact::PositionPurged, error),
            GroupError::NoTrail(_) | GroupError::HasMembers { .. } | GroupError::NotMember(_) => {
                Self::new(Fact::Conflict, error)
            }
            GroupError::Unserved(_) => Self::new(Fact::TrailStopped, error),
            GroupError::TooManyOfStream { .. } | GroupError::TooMany(_) => Self::new(Fact::Conflict, error),
            GroupError::Full(_) | GroupError::Cursors(CursorError::Busy) => {
                Self::new(Fact::Unavailable, error).retry_after(limits::PLACE_RETRY_SECONDS)
            }
            GroupError::Denied(_) => Self::new(Fact::Forbidden, error),
            GroupError::Cursors(CursorError::DiskFull) => {
                Self::new(Fact::NoRoom, error).retry_after(limits::DISK_RETRY_SECONDS)
            }
            GroupError::Cursors(_) => {
                Self::internal("the positions of consumer groups cannot be read or written", &error)
            }
        }
    }
}

impl From<RecordsError> for Refusal {
    fn from(error: RecordsError) -> Self {
        match error {
            RecordsError::Trail(error) => error.into(),
            RecordsError::Denied(error) => error.into(),
            RecordsError::NoPartition { .. } => Self::new(Fact::NotFound, error),
            RecordsError::OtherEpoch => Self::new(Fact::PositionOtherEpoch, error),
            RecordsError::Purged { .. } => Self::new(Fact::PositionPurged, error),
            RecordsError::BeyondEnd { .. } => Self::new(Fact::PositionBeyondEnd, error),
            RecordsError::Gap { .. } => Self::new(Fact::Gap, error),
            RecordsError::Unserved(_) | RecordsError::Read(_) | RecordsError::Malformed(_) => {
                Self::new(Fact::TrailStopped, error)
            }
            RecordsError::NoMemory | RecordsError::TooManyWait(_) => {
                Self::new(Fact::Unavailable, error).retry_after(limits::PLACE_RETRY_SECONDS)
            }
            RecordsError::Expired => Self::new(Fact::Unauthenticated, error),
            RecordsError::Withdrawn => Self::new(Fact::Forbidden, error),
        }
    }
}

impl From<JoinError> for Refusal {
    fn from(error: JoinError) -> Self {
        match error {
            JoinError::Group(error) => error.into(),
            JoinError::Session(refused) => refused.into(),
        }
    }
}

impl From<End> for Refusal {
    fn from(end: End) -> Self {
        match end {
            End::Expired => Self::new(Fact::Unauthenticated, end),
            End::Withdrawn => Self::new(Fact::Forbidden, end),
            End::Gone => Self::new(Fact::NotFound, end),
            End::Gap { .. } => Self::new(Fact::Gap, end),
            End::RecordTooLarge { .. } => Self::new(Fact::RecordTooLarge, end),
            End::Overtaken => Self::new(Fact::PositionPurged, end),
            End::Unreadable(_) | End::Uncommitted(_) => Self::new(Fact::TrailStopped, end),
            End::Reconfigured | End::NotAcknowledged(_) | End::AcknowledgedLate | End::Replaced => {
                Self::new(Fact::Conflict, end)
            }
        }
    }
}

impl From<RefusedSession> for Refusal {
    fn from(refused: RefusedSession) -> Self {
        match &refused.error {
            SessionError::OtherTrail(_) | SessionError::NoTrail(_) => Self::new(Fact::PositionOtherTrail, refused),
            SessionError::OtherRules => Self::new(Fact::PositionOtherRules, refused),
            SessionError::OtherEpoch => Self::new(Fact::PositionOtherEpoch, refused),
            SessionError::BeyondEnd { .. } => Self::new(Fact::PositionBeyondEnd, refused),
            SessionError::Purged => Self::new(Fact::PositionPurged, refused),
            SessionError::Unserved(_) | SessionError::Unreadable(_) | SessionError::Rules(_) => {
                Self::new(Fact::TrailStopped, refused)
            }
            SessionError::Denied(_) => Self::new(Fact::Forbidden, refused),
            SessionError::Full(NoPlace::User(_)) => {
                Self::new(Fact::Throttled, refused).retry_after(limits::PLACE_RETRY_SECONDS)
            }
            SessionError::Full(_) | SessionError::NoMemory => {
                Self::new(Fact::Unavailable, refused).retry_after(limits::PLACE_RETRY_SECONDS)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{ResourceName, TrailName};

    #[test]
    fn each_fact_has_a_name_of_its_own() {
        let names: std::collections::HashSet<_> = Fact::ALL.iter().map(|fact| fact.name()).collect();
        assert_eq!(names.len(), Fact::ALL.len());
    }

    #[test]
    fn a_refusal_is_a_whole_sentence() {
        let (stream, trail) = (ResourceName::new("s1").unwrap(), TrailName::new("a1").unwrap());
        let sentences = [
            (Refusal::from(StreamError::Missing(stream.clone())), "stream s1 does not exist"),
            (StreamError::Exists(stream.clone()).into(), "stream s1 already exists"),
            (TrailError::Missing(trail.clone()).into(), "trail a1 does not exist"),
            (ExtractError::Missing(stream).into(), "extract s1 does not exist"),
            (PutError::from(TrailError::Missing(trail)).into(), "trail a1 does not exist"),
            (AccountError::Missing("ann".into()).into(), "user ann does not exist"),
        ];
        for (refusal, sentence) in sentences {
            assert_eq!(refusal.to_string(), sentence);
        }
        let taken = CatalogError::Exists { shelf: crate::catalog::Shelf::Users, name: "bob".into() };
        assert_eq!(Refusal::from(taken).detail, "user bob already exists");
    }

    #[test]
    fn a_refused_position_is_told_once_what_is_wrong_and_where_the_trail_starts() {
        let told = |error| {
            let trail_start = Some("trail a1 starts at commit number 5".to_owned());
            Refusal::from(RefusedSession { error, trail_start }).detail
        };
        assert_eq!(
            told(SessionError::Purged),
            "records after the position are no longer kept; trail a1 starts at commit number 5"
        );
        assert_eq!(
            told(SessionError::BeyondEnd { ends_at: 9 }),
            "the position is beyond the end of the trail, which is commit number 9; trail a1 starts at commit number 5"
        );
    }
}
