//! `/healthz` and `/readyz`, open to everybody (who logs in hears more), and `/metrics` for the role User.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::Call;
use super::error_answer::ErrorAnswer;
use crate::access::Role;
use crate::face::Hall;
use crate::service::health::Readiness;

/// The process answers.
#[derive(Serialize, ToSchema)]
pub(super) struct Alive {
    #[schema(pattern = "^alive$")]
    status: &'static str,
    version: &'static str,
}

/// Whether changes flow. What is wrong holds names and texts of errors, which are for those who log in.
#[derive(Serialize, ToSchema)]
#[schema(as = Readiness)]
pub(super) struct ShownReadiness {
    /// Changes flow everywhere.
    ready: bool,
    #[schema(pattern = "^(ready|degraded|not-ready)$")]
    state: &'static str,
    /// Where changes do not flow, and why; for those who log in.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    troubles: Option<Vec<String>>,
    /// What goes on with less than it should have; for those who log in.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    warnings: Option<Vec<String>>,
}

/// Whether the process answers
#[utoipa::path(get, path = "/healthz", operation_id = "alive",
    responses((status = 200, description = "The process answers", body = Alive)))]
pub(super) async fn alive() -> Json<Alive> {
    Json(Alive { status: "alive", version: env!("CARGO_PKG_VERSION") })
}

/// Whether changes flow everywhere
///
/// Open to all. Who logs in, with whatever role, hears what is wrong in `troubles` and `warnings` too.
#[utoipa::path(get, path = "/readyz", operation_id = "ready",
    responses(
        (status = 200, description = "Changes flow; in the state `degraded` something is wrong all the same",
            body = ShownReadiness),
        (status = 503, description = "Somewhere changes do not flow", body = ShownReadiness)))]
pub(super) async fn ready(State(hall): State<Hall>, call: Option<Call>) -> Response {
    let readiness = hall.service.readiness();
    let ready = readiness != Readiness::NotReady;
    let known = call.filter(|call| call.require(Role::User).is_ok());
    let health = known.map(|call| hall.service.health(call.principal()));
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let (troubles, warnings) = health.map(|health| (health.troubles, health.warnings)).unzip();
    let shown = ShownReadiness { ready, state: readiness.name(), troubles, warnings };
    (status, Json(shown)).into_response()
}

/// Figures for Prometheus
///
/// Role: User.
#[utoipa::path(get, path = "/metrics", operation_id = "metrics",
    responses((status = 200, description = "Done", body = String, content_type = "text/plain")))]
pub(super) async fn metrics(call: Call) -> Result<Response, ErrorAnswer> {
    call.require(Role::User)?;
    let look = move || {
        let mut page = call.service().metrics(call.principal());
        call.hall.requests.sample(&mut page);
        page.text()
    };
    let looked = tokio::task::spawn_blocking(look).await;
    let text = looked.map_err(|error| ErrorAnswer::internal("the figures could not be gathered", &error))?;
    Ok(([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}
