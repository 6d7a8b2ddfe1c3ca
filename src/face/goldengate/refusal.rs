//! What is refused, as an answer of this face: by the service, and by the hall before the service is asked.

use super::error_answer::ErrorAnswer;
use super::messages::Fact;
use crate::access::OriginError;
use crate::face;
use crate::limits;
use crate::listen::HandshakeError;
use crate::service::refusal::{self, Refusal};
use crate::service::sessions::InvalidBegin;

/// Whatever the service refuses.
impl<E> From<E> for ErrorAnswer
where
    Refusal: From<E>,
{
    fn from(error: E) -> Self {
        let Refusal { fact, detail, retry_after_seconds } = error.into();
        let answer = Self::new(fact, detail);
        match retry_after_seconds {
            Some(seconds) => answer.retry_after(seconds),
            None => answer,
        }
    }
}

/// Whatever the hall turns away.
impl From<face::Refusal> for ErrorAnswer {
    fn from(refusal: face::Refusal) -> Self {
        use face::Refusal as Hall;
        let fact = match refusal {
            Hall::Service { refusal, challenges } => return Self::from(refusal).challenges(challenges),
            Hall::Method { allowed } => return Self::method_not_allowed(allowed),
            Hall::TooLarge { bytes_max } => return Self::new(Fact::TooLarge, format!("{bytes_max} bytes")),
            Hall::NoRoom(no_room) => {
                let answer = Self::new(refusal::Fact::Unavailable, no_room);
                return answer.retry_after(limits::ANSWER_RETRY_SECONDS);
            }
            Hall::Path => refusal::Fact::NotFound.into(),
            Hall::Origin(OriginError::Host) => Fact::HostRefused,
            Hall::Origin(OriginError::Origin | OriginError::Malformed) => Fact::OriginRefused,
            Hall::Origin(OriginError::MalformedHost) | Hall::Malformed(_) => Fact::MalformedRequest,
            Hall::Query(_) => Fact::MalformedQuery,
            Hall::MediaType(_) => Fact::UnsupportedMediaType,
            Hall::Encoding(_) => Fact::UnsupportedEncoding,
            Hall::TooLate(_) => Fact::BodyTooLate,
            Hall::Json { .. } => Fact::MalformedJson,
        };
        Self::new(fact, refusal)
    }
}

impl From<InvalidBegin> for ErrorAnswer {
    fn from(error: InvalidBegin) -> Self {
        match error {
            InvalidBegin::Position => Self::new(refusal::Fact::PositionMalformed, format!("begin: {error}")),
            // It stands in the query.
            InvalidBegin::Form => Self::new(Fact::MalformedQuery, error),
        }
    }
}

impl From<HandshakeError> for ErrorAnswer {
    fn from(error: HandshakeError) -> Self {
        let fact = if error == HandshakeError::Version { Fact::UpgradeVersion } else { Fact::UpgradeMalformed };
        Self::new(fact, error)
    }
}
