//! `/healthz` and `/readyz`, open to everybody, and `/metrics` for the role User.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::caller::Caller;
use super::messages::ErrorAnswer;
use super::routes::Face;
use super::streams::Answer;
use crate::access::Role;

/// The process answers.
pub(super) async fn alive() -> Json<serde_json::Value> {
    Json(json!({"status": "alive", "version": env!("CARGO_PKG_VERSION")}))
}

/// The server does all its work, or says what it does not.
pub(super) async fn ready(State(face): State<Face>) -> Response {
    // Not on a thread that serves sessions: a trail that is being opened again keeps whoever looks at it waiting.
    let looked = tokio::task::spawn_blocking(move || face.service.troubles()).await;
    let troubles = looked.unwrap_or_else(|error| vec![error.to_string()]);
    let status = if troubles.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({"ready": troubles.is_empty(), "troubles": troubles}))).into_response()
}

/// Figures in the text format of Prometheus.
pub(super) async fn metrics(State(face): State<Face>, caller: Caller) -> Answer {
    caller.require(Role::User)?;
    let looked = tokio::task::spawn_blocking(move || face.service.metrics()).await;
    let text = looked.map_err(|error| ErrorAnswer::internal("the figures could not be gathered", &error))?;
    Ok(([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}
