//! Why the hall turns a request away, before a room has looked at it or while one reads it. Each face words it.
//!
//! Owns what is wrong with a request as HTTP. What is wrong with what it asks for is a fact of the service.

use crate::access::OriginError;
use crate::listen::NoRoom;
use crate::service::refusal;

/// What is wrong. A face gives each of them its own status, code and text.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The service refuses it, or who calls.
    #[error("{refusal}")]
    Service {
        /// What the service says.
        refusal: refusal::Refusal,
        /// How to log in, one header line each; none where logging in would not help.
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
    /// No route has this path, or not with these names in it.
    #[error("what this path names does not exist")]
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
    #[error("a body here has at most {bytes_max} bytes")]
    TooLarge {
        /// The limit of the route.
        bytes_max: usize,
    },
    /// The body did not arrive in time.
    #[error("{0}")]
    TooLate(String),
    /// The body is not JSON from this place on.
    #[error("line {line}, column {column}")]
    Json {
        /// The line, from 1.
        line: usize,
        /// The column in it, from 1.
        column: usize,
    },
    /// Clients leave too many bytes of their answers unread.
    #[error("{0}")]
    NoRoom(NoRoom),
}

impl Refusal {
    /// A refusal by a fact of the service, with its detail.
    pub fn new(fact: refusal::Fact, detail: impl std::fmt::Display) -> Self {
        refusal::Refusal::new(fact, detail).into()
    }

    /// Something of ours failed. `what` goes to the client; the cause goes to the log only.
    pub fn failed(what: &str, cause: &(dyn std::error::Error + 'static)) -> Self {
        refusal::Refusal::internal(what, cause).into()
    }
}

/// Whatever the service refuses.
impl<E> From<E> for Refusal
where
    refusal::Refusal: From<E>,
{
    fn from(error: E) -> Self {
        Self::Service { refusal: error.into(), challenges: Vec::new() }
    }
}

impl From<OriginError> for Refusal {
    fn from(error: OriginError) -> Self {
        Self::Origin(error)
    }
}

impl From<NoRoom> for Refusal {
    fn from(no_room: NoRoom) -> Self {
        Self::NoRoom(no_room)
    }
}
