//! Tokens for one stream, for clients that cannot set headers.

use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::CACHE_CONTROL;
use axum::response::IntoResponse;
use serde::Deserialize;
use serde_json::{Value, json};

use super::body;
use super::caller::Caller;
use super::envelope::Envelope;
use super::messages::ErrorAnswer;
use super::routes::Face;
use super::streams::{self, Answer};
use super::users::grants_of;
use crate::access::Role;
use crate::limits;
use crate::record::ResourceName;
use crate::service::refusal;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NewToken {
    stream: String,
    ttl_seconds: Option<u64>,
    grants: Option<Value>,
}

pub(super) async fn make(State(face): State<Face>, caller: Caller, headers: HeaderMap, content: Body) -> Answer {
    caller.require(Role::Operator)?;
    let given: NewToken = body::typed(&headers, content).await?;
    let name = ResourceName::new(&given.stream)
        .map_err(|error| ErrorAnswer::new(refusal::Fact::InvalidName, format!("stream: {error}")))?;
    streams::find(&face, &caller, &name)?;
    let seconds = given.ttl_seconds.unwrap_or(limits::STREAM_TOKEN_SECONDS_DEFAULT);
    if !(1..=limits::STREAM_TOKEN_SECONDS_MAX).contains(&seconds) {
        let range = format!("ttlSeconds: 1 to {} seconds", limits::STREAM_TOKEN_SECONDS_MAX);
        return Err(ErrorAnswer::new(refusal::Fact::OutOfRange, range));
    }
    let grants = given.grants.as_ref().map_or(Ok(None), grants_of)?;
    let made = face.service.authenticator().stream_token(&caller.identity, name.as_str(), seconds, grants).await;
    let (token, expires) = made?;
    let response = json!({
        "$schema": "trailcast:token",
        "token": token,
        "stream": name.as_str(),
        "expires": expires.to_rfc3339(),
    });
    let mut response = Envelope::new(response).into_response();
    response.headers_mut().insert(CACHE_CONTROL, axum::http::HeaderValue::from_static("no-store"));
    Ok(response)
}
