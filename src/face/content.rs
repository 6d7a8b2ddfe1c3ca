//! What a request brings: size, media type, encoding, JSON.
//!
//! Nothing is read before a handler asks for it, so that whoever may not call sends a body in vain.

use std::convert::Infallible;
use std::error::Error;

use axum::body::{Body, HttpBody};
use axum::extract::{FromRequest, Request};
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::hall::Hall;
use super::refusal::Refusal;
use crate::codec::member::{self, ConfigError};
use crate::codec::twice::member_twice;
use crate::limits::{CONTROL_BODY_BYTES_MAX, CONTROL_INLINE_BYTES};
use crate::listen::BodyError;
use crate::service::refusal::Fact;
use crate::tasks::{Panicked, Task, caught_here};

/// The media types that a route takes, as its documentation lists them.
pub type MediaTypes = &'static [&'static str];

/// A new resource, or what is asked for.
const JSON: MediaTypes = &["application/json"];
/// A change of a resource (RFC 7396).
const MERGE_PATCH: MediaTypes = &["application/json", "application/merge-patch+json"];
/// What clients say that were told nothing: none, curl's and `wget`'s, and that of a text in `fetch`.
const UNTOLD: MediaTypes = &["", "application/x-www-form-urlencoded", "text/plain"];

/// The body of a request, still to be read, and the headers that say what it is.
#[derive(Debug)]
pub struct Content {
    /// The headers of the request.
    pub headers: HeaderMap,
    body: Body,
}

impl FromRequest<Hall> for Content {
    type Rejection = Infallible;

    async fn from_request(request: Request, _: &Hall) -> Result<Self, Infallible> {
        let (parts, body) = request.into_parts();
        Ok(Self { headers: parts.headers, body })
    }
}

impl Content {
    /// Reads a body of one of these media types, of at most `bytes_max` bytes.
    pub async fn read(self, types: MediaTypes, bytes_max: usize) -> Result<Bytes, Refusal> {
        check_media_type(&self.headers, types)?;
        check_encoding(&self.headers)?;
        // Before the first byte is asked for, so that whoever waits for `100 Continue` sends nothing in vain.
        if self.body.size_hint().lower() > bytes_max as u64 {
            return Err(Refusal::TooLarge { bytes_max });
        }
        match Limited::new(self.body, bytes_max).collect().await {
            Ok(collected) => Ok(collected.to_bytes()),
            Err(error) if error.is::<LengthLimitError>() => Err(Refusal::TooLarge { bytes_max }),
            Err(error) => Err(unreadable(&*error)),
        }
    }

    /// The media type without its parameters, in lower case; empty if there is none.
    pub fn essence(&self) -> String {
        let given = self.headers.get(CONTENT_TYPE).and_then(|given| given.to_str().ok()).unwrap_or_default();
        given.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
    }

    /// Reads a control request's JSON. An empty body is an empty object.
    pub async fn json(self) -> Result<Value, Refusal> {
        self.json_of(JSON).await
    }

    /// The same for a change, which may also be called by the name of a merge patch.
    pub async fn merge_patch(self) -> Result<Value, Refusal> {
        self.json_of(MERGE_PATCH).await
    }

    /// Reads a control request's JSON into its type; the error names the member.
    pub async fn typed<T: DeserializeOwned>(self) -> Result<T, Refusal> {
        Ok(member::typed(&self.json().await?)?)
    }

    /// Reads a change into its type; the error names the member.
    pub async fn typed_patch<T: DeserializeOwned>(self) -> Result<T, Refusal> {
        Ok(member::typed(&self.merge_patch().await?)?)
    }

    async fn json_of(self, types: MediaTypes) -> Result<Value, Refusal> {
        let bytes = self.read(types, CONTROL_BODY_BYTES_MAX).await?;
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(Value::Object(serde_json::Map::new()));
        }
        if bytes.len() <= CONTROL_INLINE_BYTES {
            return parsed(&bytes);
        }
        let parsed = tokio::task::spawn_blocking(move || caught_here(Task::Request, || parsed(&bytes))).await;
        parsed.unwrap_or(Err(Panicked)).unwrap_or_else(|panicked| Err(Refusal::new(Fact::Internal, panicked)))
    }
}

/// What is the matter with a body that could not be read to its end.
fn unreadable(error: &(dyn Error + 'static)) -> Refusal {
    let causes = std::iter::successors(Some(error), |error: &&(dyn Error + 'static)| (*error).source());
    match causes.filter_map(|cause| cause.downcast_ref::<BodyError>()).next() {
        Some(late @ BodyError::TooLate(_)) => Refusal::TooLate(late.to_string()),
        Some(broken @ BodyError::Broken(_)) => Refusal::Malformed(broken.to_string()),
        None => Refusal::Malformed("its body cannot be read".into()),
    }
}

/// A body is taken as it is: nothing unpacks it, so that its size is what its sender sent.
fn check_encoding(headers: &HeaderMap) -> Result<(), Refusal> {
    for given in headers.get_all(CONTENT_ENCODING) {
        let given = String::from_utf8_lossy(given.as_bytes());
        let packed = |coding: &&str| !matches!(coding.to_ascii_lowercase().as_str(), "" | "identity");
        if let Some(coding) = given.split(',').map(str::trim).find(packed) {
            let shown: String = coding.chars().take(32).collect();
            return Err(Refusal::Encoding(format!("Content-Encoding is {shown:?}, and only identity is taken")));
        }
    }
    Ok(())
}

/// A body is of a type that is read here, or of one that says nothing.
fn check_media_type(headers: &HeaderMap, types: MediaTypes) -> Result<(), Refusal> {
    for given in headers.get_all(CONTENT_TYPE) {
        // One that is no text is none of them.
        let given = given.to_str().unwrap_or("?");
        let essence = given.split(';').next().unwrap_or_default().trim();
        if !types.iter().chain(UNTOLD).any(|known| known.eq_ignore_ascii_case(essence)) {
            return Err(Refusal::MediaType(types.join(", ")));
        }
    }
    Ok(())
}

fn parsed(bytes: &[u8]) -> Result<Value, Refusal> {
    let value =
        serde_json::from_slice(bytes).map_err(|error| Refusal::Json { line: error.line(), column: error.column() })?;
    match member_twice(bytes) {
        Some(member) => Err(ConfigError::new(member, "stands twice").into()),
        None => Ok(value),
    }
}
