//! Why the hall turns a request away, before a room has looked at it or while one reads it. Each face words it.
//!
//! Owns what is wrong with a request as HTTP, and with whoever sends it. What a room or the service refuses is theirs.

use std::error::Error;

use crate::access::{AccessError, OriginError};
use crate::codec::member::ConfigError;
use crate::listen::NoRoom;
use crate::repeats::error_rarely;

/// What is wrong. A face gives each of them its own status, code and text.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Who calls is not known, or may not do this.
    #[error("{error}")]
    Access {
        /// What is the matter with the credential.
        error: AccessError,
        /// How to log in, one header line each; none where logging in again would not help.
        challenges: Vec<String>,
    },
    /// A page of another site, or a name that is not ours.
    #[error("{0}")]
    Origin(OriginError),
    /// The request is not HTTP as it should be: which part, and what is wrong with it.
    #[error("{0}")]
    Malformed(String),
    /// The query is wrong: the parameter, and what is wrong with it.
    #[error("{0}")]
    Query(String),
    /// A name in the path is not allowed: the range.
    #[error("{0}")]
    Name(String),
    /// No route has this path.
    #[error("this path does not exist")]
    Path,
    /// The path has other methods only.
    #[error("the methods here are {allowed}")]
    Method {
        /// Those that it has, such as `GET, POST`.
        allowed: String,
    },
    /// The media type of the body is not read here: those that are.
    #[error("{0}")]
    MediaType(String),
    /// The body is packed: how, and what is taken.
    #[error("{0}")]
    Encoding(String),
    /// The body is larger than this number of bytes.
    #[error("a body has at most {bytes_max} bytes")]
    TooLarge {
        /// The limit of the route.
        bytes_max: usize,
    },
    /// The body did not arrive in time.
    #[error("{0}")]
    TooLate(String),
    /// The body is not JSON.
    #[error("line {line}, column {column}")]
    Json {
        /// The line, from 1.
        line: usize,
        /// The column in it, from 1.
        column: usize,
    },
    /// A member of the body is wrong.
    #[error("{0}")]
    Member(ConfigError),
    /// Clients leave too many bytes of their answers unread.
    #[error("{0}")]
    NoRoom(NoRoom),
    /// Something of ours failed; the log knows more.
    #[error("{0}")]
    Failed(String),
}

impl Refusal {
    /// Something of ours failed. `what` goes to the client; the cause goes to the log only.
    pub fn failed(what: &str, cause: &(dyn Error + 'static)) -> Self {
        let of_kind = format!("{what}: {cause}");
        error_rarely!(&of_kind, error = cause, "{what}");
        Self::Failed(what.to_owned())
    }
}

impl From<AccessError> for Refusal {
    fn from(error: AccessError) -> Self {
        Self::Access { error, challenges: Vec::new() }
    }
}

impl From<OriginError> for Refusal {
    fn from(error: OriginError) -> Self {
        Self::Origin(error)
    }
}

impl From<ConfigError> for Refusal {
    fn from(error: ConfigError) -> Self {
        Self::Member(error)
    }
}

impl From<NoRoom> for Refusal {
    fn from(no_room: NoRoom) -> Self {
        Self::NoRoom(no_room)
    }
}
