//! The OpenAPI document of the REST routes, kept by hand beside this file but for the schema of a stream's configuration,
//! which the catalog has.
//!
//! What it says is what is answered: `tests/faces/openapi.rs` asks every route and holds the answers against it.

use std::sync::OnceLock;

use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::Response;
use serde_json::Value;

use super::messages::ErrorAnswer;
use super::{Answer, Call};
use crate::access::Role;
use crate::catalog::stream::config_schema;

const WRITTEN: &str = include_str!("openapi.json");

pub(super) async fn document(call: Call) -> Answer {
    static TEXT: OnceLock<String> = OnceLock::new();
    call.require(Role::User)?;
    let text = match TEXT.get() {
        Some(text) => text,
        None => {
            let made = made().map_err(|error| ErrorAnswer::internal("the document cannot be made", &error))?;
            TEXT.get_or_init(|| made)
        }
    };
    let mut response = Response::new(axum::body::Body::from(text.as_str()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

/// The document with the configuration's schema in its place. What draft 4 has in it means the same in OpenAPI 3.1, but for
/// the names of the schema and of its draft.
fn made() -> Result<String, serde_json::Error> {
    let mut document: Value = serde_json::from_str(WRITTEN)?;
    let mut schema = config_schema();
    if let Some(members) = schema.as_object_mut() {
        members.remove("id");
        members.remove("$schema");
    }
    document["components"]["schemas"]["DataStream"] = schema;
    Ok(format!("{document:#}\n"))
}
