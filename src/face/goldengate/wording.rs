//! How this face words what the hall refuses.

use super::messages::{ErrorAnswer, Fact};
use crate::face::Refusal;

impl From<Refusal> for ErrorAnswer {
    fn from(refusal: Refusal) -> Self {
        let fact = match refusal {
            Refusal::Access { error, challenges } => return Self::from(error).challenges(challenges),
            Refusal::Origin(error) => return error.into(),
            Refusal::Member(error) => return error.into(),
            Refusal::NoRoom(no_room) => return no_room.into(),
            Refusal::Method { allowed } => return Self::method_not_allowed(allowed),
            Refusal::Path => return Self::new(Fact::NotFound, "what this path names"),
            Refusal::TooLarge { bytes_max } => return Self::new(Fact::TooLarge, format!("{bytes_max} bytes")),
            Refusal::Malformed(_) => Fact::MalformedRequest,
            Refusal::Query(_) => Fact::MalformedQuery,
            Refusal::Name(_) => Fact::InvalidName,
            Refusal::MediaType(_) => Fact::UnsupportedMediaType,
            Refusal::Encoding(_) => Fact::UnsupportedEncoding,
            Refusal::TooLate(_) => Fact::BodyTooLate,
            Refusal::Json { .. } => Fact::MalformedJson,
            Refusal::Failed(_) => Fact::Internal,
        };
        Self::new(fact, refusal)
    }
}
