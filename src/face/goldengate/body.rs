//! Request bodies: size, media type, JSON.

use std::error::Error;

use axum::body::{Body, HttpBody};
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::Semaphore;

use super::messages::{ErrorAnswer, Fact};
use crate::codec::asyncapi::{UnreadableDocument, from_json_or_yaml};
use crate::codec::member::{self, ConfigError};
use crate::codec::put::PutFormat;
use crate::codec::twice::member_twice;
use crate::limits::{self, CONTROL_BODY_BYTES_MAX};
use crate::listen::BodyError;
use crate::service::refusal;
use crate::tasks::{Panicked, Task, caught_here};

/// The media types that a route takes, as its documentation lists them.
type MediaTypes = &'static [&'static str];

/// A new resource, or what is asked for.
const JSON: MediaTypes = &["application/json"];
/// A change of a resource (RFC 7396).
const MERGE_PATCH: MediaTypes = &["application/json", "application/merge-patch+json"];
/// Transactions, one or many.
const TRANSACTIONS: MediaTypes = &["application/json", "application/x-ndjson"];
/// CloudEvents in structured mode, one or a batch.
const EVENTS: MediaTypes = &["application/cloudevents+json", "application/cloudevents-batch+json"];
/// An AsyncAPI document: YAML by its name and by those that it had before it had one, or JSON.
const DOCUMENT: MediaTypes = &[
    "application/yaml",
    "application/json",
    "application/x-yaml",
    "text/yaml",
    "text/x-yaml",
    "application/vnd.aai.asyncapi+yaml",
    "application/vnd.aai.asyncapi+json",
];
/// What clients say that were told nothing: none, curl's and `wget`'s, and that of a text in `fetch`.
const UNTOLD: MediaTypes = &["", "application/x-www-form-urlencoded", "text/plain"];

/// Reads a body of one of these media types, of at most `bytes_max` bytes.
pub(super) async fn read(
    headers: &HeaderMap,
    body: Body,
    types: MediaTypes,
    bytes_max: usize,
) -> Result<Bytes, ErrorAnswer> {
    check_media_type(headers, types)?;
    check_encoding(headers)?;
    let too_large = || ErrorAnswer::new(Fact::TooLarge, format!("{bytes_max} bytes"));
    // Before the first byte is asked for, so that whoever waits for `100 Continue` sends nothing in vain.
    if body.size_hint().lower() > bytes_max as u64 {
        return Err(too_large());
    }
    match Limited::new(body, bytes_max).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(too_large()),
        Err(error) => Err(unreadable(&*error)),
    }
}

/// What is the matter with a body that could not be read to its end.
fn unreadable(error: &(dyn Error + 'static)) -> ErrorAnswer {
    let causes = std::iter::successors(Some(error), |error: &&(dyn Error + 'static)| (*error).source());
    match causes.filter_map(|cause| cause.downcast_ref::<BodyError>()).next() {
        Some(late @ BodyError::TooLate(_)) => ErrorAnswer::new(Fact::BodyTooLate, late),
        Some(broken @ BodyError::Broken(_)) => ErrorAnswer::new(Fact::MalformedRequest, broken),
        None => ErrorAnswer::new(Fact::MalformedRequest, "its body cannot be read"),
    }
}

/// Reads a document in YAML or JSON, whichever of its names its media type has: YAML has had many. Its error is for the
/// caller to word. Off the threads that serve, and not many at a time.
pub(super) async fn document(
    headers: &HeaderMap,
    body: Body,
) -> Result<Result<Value, UnreadableDocument>, ErrorAnswer> {
    static READING: Semaphore = Semaphore::const_new(limits::DOCUMENTS_READ_AT_ONCE);
    let bytes = read(headers, body, DOCUMENT, CONTROL_BODY_BYTES_MAX).await?;
    let failed =
        |error: &(dyn std::error::Error + 'static)| ErrorAnswer::internal("the document cannot be read", error);
    let turn = READING.acquire().await.map_err(|error| failed(&error))?;
    let read = move || {
        // Kept until it is read, whether or not the caller still waits.
        let _turn = turn;
        from_json_or_yaml(&bytes)
    };
    tokio::task::spawn_blocking(read).await.map_err(|error| failed(&error))
}

/// A body is taken as it is: nothing unpacks it, so that its size is what its sender sent.
fn check_encoding(headers: &HeaderMap) -> Result<(), ErrorAnswer> {
    for given in headers.get_all(CONTENT_ENCODING) {
        let given = String::from_utf8_lossy(given.as_bytes());
        let packed = |coding: &&str| !matches!(coding.to_ascii_lowercase().as_str(), "" | "identity");
        if let Some(coding) = given.split(',').map(str::trim).find(packed) {
            let shown: String = coding.chars().take(32).collect();
            let detail = format!("Content-Encoding is {shown:?}, and only identity is taken");
            return Err(ErrorAnswer::new(Fact::UnsupportedEncoding, detail));
        }
    }
    Ok(())
}

/// A body is of a type that is read here, or of one that says nothing.
fn check_media_type(headers: &HeaderMap, types: MediaTypes) -> Result<(), ErrorAnswer> {
    for given in headers.get_all(CONTENT_TYPE) {
        // One that is no text is none of them.
        let given = given.to_str().unwrap_or("?");
        let essence = given.split(';').next().unwrap_or_default().trim();
        if !types.iter().chain(UNTOLD).any(|known| known.eq_ignore_ascii_case(essence)) {
            return Err(ErrorAnswer::new(Fact::UnsupportedMediaType, types.join(", ")));
        }
    }
    Ok(())
}

/// What the body of a put is, by its media type.
pub(super) fn put_format(headers: &HeaderMap) -> Result<PutFormat, ErrorAnswer> {
    match essence(headers).as_str() {
        "application/cloudevents+json" => return Ok(PutFormat::Event),
        "application/cloudevents-batch+json" => return Ok(PutFormat::EventBatch),
        other if other.starts_with("application/cloudevents") => {
            return Err(ErrorAnswer::new(Fact::UnsupportedMediaType, EVENT_TYPES));
        }
        _ => {}
    }
    // As one transaction without an id it would be appended again each time it is sent again.
    if BINARY_MODE.iter().any(|name| headers.contains_key(*name)) {
        let detail = format!("{EVENT_TYPES}; a CloudEvent in the headers (binary mode) is not taken");
        return Err(ErrorAnswer::new(Fact::UnsupportedMediaType, detail));
    }
    Ok(PutFormat::Transactions)
}

/// The media types that such a body may have.
pub(super) fn types_of(format: PutFormat) -> MediaTypes {
    match format {
        PutFormat::Transactions => TRANSACTIONS,
        PutFormat::Event | PutFormat::EventBatch => EVENTS,
    }
}

const EVENT_TYPES: &str = "application/cloudevents+json, application/cloudevents-batch+json";

/// Headers by which a request holds a CloudEvent in binary mode.
const BINARY_MODE: [&str; 4] = ["ce-specversion", "ce-id", "ce-source", "ce-type"];

/// The media type without its parameters, in lower case; empty if there is none.
fn essence(headers: &HeaderMap) -> String {
    let given = headers.get(CONTENT_TYPE).and_then(|given| given.to_str().ok()).unwrap_or_default();
    given.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Reads a control request's JSON. An empty body is an empty object.
pub(super) async fn json(headers: &HeaderMap, body: Body) -> Result<Value, ErrorAnswer> {
    json_of(headers, body, JSON).await
}

/// The same for a change, which may also be called by the name of a merge patch.
pub(super) async fn merge_patch(headers: &HeaderMap, body: Body) -> Result<Value, ErrorAnswer> {
    json_of(headers, body, MERGE_PATCH).await
}

async fn json_of(headers: &HeaderMap, body: Body, types: MediaTypes) -> Result<Value, ErrorAnswer> {
    let bytes = read(headers, body, types, CONTROL_BODY_BYTES_MAX).await?;
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(Value::Object(serde_json::Map::new()));
    }
    if bytes.len() <= crate::limits::CONTROL_INLINE_BYTES {
        return parsed(&bytes);
    }
    let parsed = tokio::task::spawn_blocking(move || caught_here(Task::Request, || parsed(&bytes))).await;
    parsed.unwrap_or(Err(Panicked)).unwrap_or_else(|panicked| Err(ErrorAnswer::new(refusal::Fact::Internal, panicked)))
}

fn parsed(bytes: &[u8]) -> Result<Value, ErrorAnswer> {
    let value = serde_json::from_slice(bytes).map_err(|error| {
        ErrorAnswer::new(Fact::MalformedJson, format!("line {}, column {}", error.line(), error.column()))
    })?;
    match member_twice(bytes) {
        Some(member) => Err(ConfigError::new(member, "stands twice").into()),
        None => Ok(value),
    }
}

/// Reads a control request's JSON into its type; the error names the member.
pub(super) async fn typed<T: DeserializeOwned>(headers: &HeaderMap, body: Body) -> Result<T, ErrorAnswer> {
    Ok(member::typed(&json(headers, body).await?)?)
}

/// Reads a change into its type; the error names the member.
pub(super) async fn typed_patch<T: DeserializeOwned>(headers: &HeaderMap, body: Body) -> Result<T, ErrorAnswer> {
    Ok(member::typed(&merge_patch(headers, body).await?)?)
}
