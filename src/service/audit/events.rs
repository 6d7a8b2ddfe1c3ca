//! What audit lines tell of: changes, tried or done, and sessions; by whom.

use std::time::Duration;

use crate::access::ClientAddr;
use crate::codec::close_code::CloseCode;

/// Who does something, and from where.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Actor {
    /// The user, once known for sure.
    pub user: Option<String>,
    /// The user of this server that a refused credential names.
    pub claimed: Option<String>,
    /// How the user is known: `basic`, `digest`, `token`, `jwt`, `certificate`, `none`; `file` for the configuration file,
    /// `start` for what a server makes by itself, `offline` for who had the data folder while no server ran.
    pub auth: &'static str,
    /// The client's address.
    pub peer: Option<ClientAddr>,
}

/// A change of what the server holds, tried or done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change<'a> {
    /// What was to be done.
    pub action: Action,
    /// The path of the resource, without a query; none if the server has no such path.
    pub path: Option<&'a str>,
    /// What came of it.
    pub outcome: Outcome,
    /// How it was asked and answered.
    pub told: Told<'a>,
    /// What else is to be known of it, such as a mask that was taken away.
    pub detail: Option<&'a str>,
}

/// What was to be done to a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Made anew.
    Make,
    /// Set to what is given, whether or not it was there.
    Set,
    /// Changed in some of its members.
    Change,
    /// Deleted.
    Delete,
    /// Read.
    Read,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is done.
    Done,
    /// Whoever asks may not.
    Refused,
    /// Something else was in the way.
    Failed,
}

/// How a change was asked and answered, in the words of the protocol it came over: they stand in its line, and decide nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told<'a> {
    /// The method; `START` for what the configuration file makes.
    pub method: &'a str,
    /// The status of the answer.
    pub status: u16,
    /// The code of the answer's main message, if it refuses.
    pub code: Option<&'static str>,
}

impl Action {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Make => "make",
            Self::Set => "set",
            Self::Change => "change",
            Self::Delete => "delete",
            Self::Read => "read",
        }
    }
}

impl Outcome {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

/// A session of a stream, as its start says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditedSession {
    /// Who reads.
    pub actor: Actor,
    /// Tells this session from the others of this life of the server.
    pub number: u64,
    /// The stream.
    pub stream: String,
    /// What was asked to begin with: `now`, `earliest`, `time` or `position`; `group` of a member of a consumer group.
    pub begin: &'static str,
}

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionEnd {
    /// The close code; [`CloseCode::BROKEN`] for a connection that broke.
    pub code: CloseCode,
    /// Records sent, metadata not counted.
    pub records: u64,
    /// Bytes that the socket took.
    pub bytes: u64,
    /// How long it was open.
    pub open: Duration,
}

impl Change<'_> {
    /// Whether it was refused for who asks, or asked by nobody who is known: whatever else was wrong with it, anybody can
    /// ask so as often as he likes.
    pub(super) fn is_refused_to(&self, actor: &Actor) -> bool {
        let is_of_the_house = matches!(actor.auth, "file" | "start" | "offline");
        match self.outcome {
            Outcome::Done => false,
            Outcome::Refused => true,
            Outcome::Failed => actor.user.is_none() && !is_of_the_house,
        }
    }
}
