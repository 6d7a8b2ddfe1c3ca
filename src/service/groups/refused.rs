//! Why a group is not had, made, changed or removed.

use crate::access::NotGranted;
use crate::catalog::cursors::CursorError;
use crate::delivery::group::{GroupFull, NotMember};
use crate::record::{GroupName, ResourceName, TrailName};
use crate::service::trails::Unserved;

/// Something is refused about a group.
#[derive(Debug, Clone, thiserror::Error)]
pub enum GroupError {
    /// There is none of that name.
    #[error("stream {stream} has no consumer group {group}")]
    Missing {
        /// The stream.
        stream: ResourceName,
        /// The group.
        group: GroupName,
    },
    /// Its positions are of another trail.
    #[error(
        "the positions of consumer group {group} are of {}, which stream {stream} does not read any more; {}",
        trail.as_ref().map_or_else(|| "another trail".to_owned(), |trail| format!("trail {trail}")), reset(stream, group)
    )]
    OtherTrail {
        /// The stream.
        stream: ResourceName,
        /// The group.
        group: GroupName,
        /// The trail that they are of, if the caller may see it.
        trail: Option<TrailName>,
    },
    /// Its positions are of another life of the trail.
    #[error(
        "the positions of consumer group {group} are of an earlier life of trail {trail}, before it was repaired, restored or made \
         anew; {}",
        reset(stream, group)
    )]
    OtherEpoch {
        /// The stream.
        stream: ResourceName,
        /// The group.
        group: GroupName,
        /// The trail.
        trail: TrailName,
    },
    /// Retention has removed what comes after its positions.
    #[error("records that consumer group {group} has not read are no longer kept; {}", reset(stream, group))]
    Overtaken {
        /// The stream.
        stream: ResourceName,
        /// The group.
        group: GroupName,
    },
    /// There is no trail to have positions of.
    #[error("trail {0} does not exist yet; a consumer group begins when there is one")]
    NoTrail(String),
    /// The trail is not served.
    #[error(transparent)]
    Unserved(#[from] Unserved),
    /// The stream is being deleted.
    #[error("stream {0} does not exist")]
    StreamGone(ResourceName),
    /// Members are connected.
    #[error("consumer group {group} has {members} members, who would lose their places; stop them first")]
    HasMembers {
        /// The group.
        group: GroupName,
        /// How many.
        members: usize,
    },
    /// The stream has as many as it may.
    #[error(
        "stream {stream} has {most} consumer groups already, which is the limit; remove one that is not used any more"
    )]
    TooManyOfStream {
        /// The stream.
        stream: ResourceName,
        /// The limit.
        most: usize,
    },
    /// The server has as many as it may.
    #[error("the server has {0} consumer groups already, which is the limit; remove one that is not used any more")]
    TooMany(usize),
    /// It has as many members as it may.
    #[error(transparent)]
    Full(#[from] GroupFull),
    /// Whoever asks is not in it any more.
    #[error(transparent)]
    NotMember(#[from] NotMember),
    /// The caller may not.
    #[error(transparent)]
    Denied(#[from] NotGranted),
    /// The file of positions.
    #[error(transparent)]
    Cursors(#[from] CursorError),
}

fn reset(stream: &ResourceName, group: &GroupName) -> String {
    format!("reset the group to say where it goes on (trailcast group reset {stream} {group} --begin …)")
}
