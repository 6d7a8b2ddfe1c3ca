//! Database passwords: written, never read back.

use axum::body::Body;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::HeaderMap;
use axum::http::request::Parts;
use axum::response::IntoResponse;
use serde::Deserialize;

use super::body;
use super::caller::Caller;
use super::envelope::Envelope;
use super::messages::{ErrorAnswer, Fact, Message};
use super::routes::Face;
use super::streams::Answer;
use crate::access::Role;
use crate::limits;
use crate::record::ResourceName;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Password {
    password: String,
}

/// The two names in the path, percent-decoded and checked.
pub(super) struct Place {
    domain: ResourceName,
    alias: ResourceName,
}

impl FromRequestParts<Face> for Place {
    type Rejection = ErrorAnswer;

    async fn from_request_parts(parts: &mut Parts, face: &Face) -> Result<Self, ErrorAnswer> {
        let Path((domain, alias)) = Path::<(String, String)>::from_request_parts(parts, face)
            .await
            .map_err(|_| ErrorAnswer::new(Fact::InvalidName, "it is not UTF-8"))?;
        let name = |text: &str| ResourceName::new(text).map_err(|error| ErrorAnswer::new(Fact::InvalidName, error));
        Ok(Self { domain: name(&domain)?, alias: name(&alias)? })
    }
}

pub(super) async fn put(
    State(face): State<Face>,
    caller: Caller,
    Place { domain, alias }: Place,
    headers: HeaderMap,
    content: Body,
) -> Answer {
    caller.require(Role::Administrator)?;
    let Password { password } = body::typed(&headers, content).await?;
    if !(1..=limits::SOURCE_PASSWORD_BYTES_MAX).contains(&password.len()) {
        let range = format!("password: 1 to {} bytes", limits::SOURCE_PASSWORD_BYTES_MAX);
        return Err(ErrorAnswer::new(Fact::OutOfRange, range));
    }
    face.service.put_credential(&domain, &alias, &password).await?;
    let done = Message::new(Fact::Done, format!("The credentials {domain}/{alias} were stored"));
    Ok(Envelope::default().message(done).into_response())
}

pub(super) async fn remove(State(face): State<Face>, caller: Caller, Place { domain, alias }: Place) -> Answer {
    caller.require(Role::Administrator)?;
    if !face.service.delete_credential(&domain, &alias).await? {
        return Err(ErrorAnswer::new(Fact::NotFound, format!("credentials {domain}/{alias}")));
    }
    let done = Message::new(Fact::Done, format!("The credentials {domain}/{alias} were removed"));
    Ok(Envelope::default().message(done).into_response())
}
