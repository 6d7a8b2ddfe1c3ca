//! Request bodies: size, media type, JSON.

use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::messages::{ErrorAnswer, Fact};
use crate::codec::member::{self, ConfigError};
use crate::codec::twice::member_twice;
use crate::tasks::{Panicked, Task, caught_here};

/// Reads a body of at most `bytes_max` bytes.
pub(super) async fn read(headers: &HeaderMap, body: Body, bytes_max: usize) -> Result<Bytes, ErrorAnswer> {
    check_media_type(headers)?;
    collected(headers, body, bytes_max).await
}

async fn collected(headers: &HeaderMap, body: Body, bytes_max: usize) -> Result<Bytes, ErrorAnswer> {
    check_encoding(headers)?;
    match Limited::new(body, bytes_max).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            Err(ErrorAnswer::new(Fact::TooLarge, format!("{bytes_max} bytes")))
        }
        Err(error) => Err(ErrorAnswer::new(Fact::BodyTooLate, error)),
    }
}

/// Reads the bytes of a document in YAML or JSON, whatever its media type is called: YAML has had many names.
pub(super) async fn document(headers: &HeaderMap, body: Body) -> Result<Bytes, ErrorAnswer> {
    collected(headers, body, crate::limits::CONTROL_BODY_BYTES_MAX).await
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

/// JSON by its name, or one of the types that simple clients send when they say nothing of their own.
fn check_media_type(headers: &HeaderMap) -> Result<(), ErrorAnswer> {
    let Some(given) = headers.get(CONTENT_TYPE) else { return Ok(()) };
    let given = given.to_str().unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let accepted = matches!(
        essence.as_str(),
        "" | "application/json"
            | "application/x-ndjson"
            | "application/x-www-form-urlencoded"
            | "text/plain"
            | "application/octet-stream"
    ) || essence.ends_with("+json");
    if accepted {
        return Ok(());
    }
    Err(ErrorAnswer::new(Fact::UnsupportedMediaType, "application/json, application/x-ndjson"))
}

/// Reads a control request's JSON. An empty body is an empty object.
pub(super) async fn json(headers: &HeaderMap, body: Body) -> Result<Value, ErrorAnswer> {
    let bytes = read(headers, body, crate::limits::CONTROL_BODY_BYTES_MAX).await?;
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(Value::Object(serde_json::Map::new()));
    }
    if bytes.len() <= crate::limits::CONTROL_INLINE_BYTES {
        return parsed(&bytes);
    }
    let parsed = tokio::task::spawn_blocking(move || caught_here(Task::Request, || parsed(&bytes))).await;
    parsed.unwrap_or(Err(Panicked)).unwrap_or_else(|panicked| Err(ErrorAnswer::new(Fact::Internal, panicked)))
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
