//! `/healthz` and `/readyz`, open to everybody (who logs in hears more), and `/metrics` for the role User.

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
use crate::service::health::Readiness;
use crate::service::principal::Principal;

/// The process answers.
pub(super) async fn alive() -> Json<serde_json::Value> {
    Json(json!({"status": "alive", "version": env!("CARGO_PKG_VERSION")}))
}

/// Whether changes flow everywhere. What is wrong holds names and texts of errors, which are for those who log in.
pub(super) async fn ready(State(face): State<Face>, caller: Option<Caller>) -> Response {
    let readiness = face.service.health(Principal::House).readiness();
    let ready = readiness != Readiness::NotReady;
    let mut answer = json!({"ready": ready, "state": readiness.name()});
    if let Some(caller) = caller.filter(|caller| caller.require(Role::User).is_ok()) {
        let health = face.service.health(caller.principal());
        answer["troubles"] = json!(health.troubles);
        answer["warnings"] = json!(health.warnings);
    }
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(answer)).into_response()
}

/// Figures in the text format of Prometheus.
pub(super) async fn metrics(State(face): State<Face>, caller: Caller) -> Answer {
    caller.require(Role::User)?;
    let look = move || {
        let mut page = face.service.metrics(caller.principal());
        face.requests.sample(&mut page);
        page.text()
    };
    let looked = tokio::task::spawn_blocking(look).await;
    let text = looked.map_err(|error| ErrorAnswer::internal("the figures could not be gathered", &error))?;
    Ok(([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}
