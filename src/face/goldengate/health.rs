//! `/healthz` and `/readyz`, open to everybody.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::routes::Face;

/// The process answers.
pub(super) async fn alive() -> Json<serde_json::Value> {
    Json(json!({"status": "alive", "version": env!("CARGO_PKG_VERSION")}))
}

/// The server does all its work, or says what it does not.
pub(super) async fn ready(State(face): State<Face>) -> Response {
    let troubles = face.service.troubles();
    let status = if troubles.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({"ready": troubles.is_empty(), "troubles": troubles}))).into_response()
}
