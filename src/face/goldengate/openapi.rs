//! The OpenAPI document of the REST routes, kept by hand beside this file.

use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::Response;

use super::caller::Caller;
use super::streams::Answer;
use crate::access::Role;

/// The document.
pub(super) const DOCUMENT: &str = include_str!("openapi.json");

pub(super) async fn document(caller: Caller) -> Answer {
    caller.require(Role::User)?;
    let mut response = Response::new(axum::body::Body::from(DOCUMENT));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}
