//! What is refused, as an answer of this face: by the service, and before the service is asked.

use super::messages::{ErrorAnswer, Fact};
use crate::access::OriginError;
use crate::limits;
use crate::listen::{HandshakeError, NoRoom};
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

impl From<InvalidBegin> for ErrorAnswer {
    fn from(error: InvalidBegin) -> Self {
        match error {
            InvalidBegin::Position => Self::new(refusal::Fact::PositionMalformed, format!("begin: {error}")),
            // It stands in the query.
            InvalidBegin::Form => Self::new(Fact::MalformedQuery, error),
        }
    }
}

impl From<OriginError> for ErrorAnswer {
    fn from(error: OriginError) -> Self {
        let fact = match error {
            OriginError::Host => Fact::HostRefused,
            OriginError::MalformedHost => Fact::MalformedRequest,
            OriginError::Origin | OriginError::Malformed => Fact::OriginRefused,
        };
        Self::new(fact, error)
    }
}

impl From<NoRoom> for ErrorAnswer {
    fn from(no_room: NoRoom) -> Self {
        Self::new(refusal::Fact::Unavailable, no_room).retry_after(limits::ANSWER_RETRY_SECONDS)
    }
}

impl From<HandshakeError> for ErrorAnswer {
    fn from(error: HandshakeError) -> Self {
        let fact = if error == HandshakeError::Version { Fact::UpgradeVersion } else { Fact::UpgradeMalformed };
        Self::new(fact, error)
    }
}
