//! Which path leads where, and what is checked on every one of them.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, any, get, post};
use http_body_util::BodyExt;

use super::audit::audited;
use super::cross_origin::{admit, nothing_here, other_method};
use super::messages::{ErrorAnswer, Fact};
use super::{
    commands, credentials, document, extracts, front_page, health, metadata_catalog, openapi, query, retention, socket,
    streams, tokens, trails, users,
};
use crate::access::OriginRules;
use crate::face::requests::{RequestKind, Requests};
use crate::limits;
use crate::listen::{Connection, PumpTimings};
use crate::service::{Service, refusal};
use crate::tasks::{self, Task};

/// What every handler has at hand.
#[derive(Debug, Clone)]
pub struct Face {
    /// The service behind it.
    pub service: Arc<Service>,
    /// How requests were answered.
    pub requests: Arc<Requests>,
    /// Which origins and hosts are served.
    pub origins: Arc<OriginRules>,
    /// The configured public address, such as `https://streams.example.com`.
    pub public_url: Option<Arc<str>>,
    /// Whether the listener speaks TLS.
    pub tls: bool,
    /// Pings of streams' sockets, and the time for slow clients.
    pub sockets: PumpTimings,
}

/// Where the routes of streams stand: as this server has them, and as a GoldenGate reverse proxy shows those of its
/// distribution service, without and with the deployment's name.
const STREAM_PREFIXES: [&str; 3] = ["/services/v2", "/services/distsrvr/v2", "/services/{deployment}/distsrvr/v2"];
/// The same for what its administration service has.
const ADMINISTRATION_PREFIXES: [&str; 3] =
    ["/services/v2", "/services/adminsrvr/v2", "/services/{deployment}/adminsrvr/v2"];

/// A route's template as this server has it, without what a reverse proxy puts into it.
pub(super) fn native(template: &str) -> String {
    let route = template.replacen("/services/{deployment}/", "/services/", 1);
    let services = ["/services/distsrvr/", "/services/adminsrvr/"];
    services.into_iter().fold(route, |route, service| route.replacen(service, "/services/", 1))
}

/// All routes of the native face.
pub fn router(face: Face) -> Router {
    let mut router = Router::new();
    for prefix in STREAM_PREFIXES {
        let route = |path: &str| format!("{prefix}{path}");
        router = router
            .route(&route("/stream"), allowing("GET", get(streams::list)))
            .route(&route("/stream/{name}"), stream_route())
            .route(&route("/stream/{name}/"), stream_route())
            .route(&route("/stream/{name}/info"), allowing("GET", get(streams::info)))
            .route(&route("/stream/{name}/info/errors"), allowing("GET", get(streams::errors)))
            .route(
                &route("/stream/{name}/yaml"),
                allowing("GET, PATCH", get(document::goldengate_yaml).patch(document::replace_yaml)),
            )
            .route(&route("/metadata-catalog"), allowing("GET", get(metadata_catalog::list)))
            .route(&route("/metadata-catalog/{name}"), allowing("GET", get(metadata_catalog::describe)))
            .route(&route("/stream/{name}/asyncapi.yaml"), allowing("GET", get(document::asyncapi_yaml)))
            .route(&route("/stream/{name}/asyncapi.json"), allowing("GET", get(document::asyncapi_json)))
            .route(&route("/sources"), allowing("GET", get(commands::none_of_these)));
    }
    for prefix in ADMINISTRATION_PREFIXES {
        let route = |path: &str| format!("{prefix}{path}");
        router = router
            .route(&route("/trails"), allowing("GET", get(trails::list)))
            .route(
                &route("/trails/{name}"),
                allowing(
                    "GET, POST, PATCH, DELETE",
                    get(trails::describe).post(trails::make).patch(trails::patch).delete(trails::remove),
                ),
            )
            .route(&route("/trails/{name}/transactions"), allowing("POST", post(trails::put)))
            .route(&route("/extracts"), allowing("GET", get(extracts::list)))
            .route(
                &route("/extracts/{name}"),
                allowing(
                    "GET, POST, PATCH, DELETE",
                    get(extracts::describe).post(extracts::make).patch(extracts::patch).delete(extracts::remove),
                ),
            )
            .route(&route("/extracts/{name}/info"), allowing("GET", get(extracts::info)))
            .route(&route("/extracts/{name}/command"), allowing("POST", post(commands::command)))
            .route(&route("/extracts/{name}/info/reports/{report}"), allowing("GET", get(commands::report)))
            .route(&route("/commands/execute"), allowing("POST", post(commands::execute)))
            .route(&route("/replicats"), allowing("GET", get(commands::none_of_these)))
            .route(&route("/authorizations"), allowing("GET", get(commands::roles)))
            .route(&route("/credentials"), allowing("GET", get(credentials::domains)))
            .route(&route("/credentials/{domain}"), allowing("GET", get(credentials::aliases)))
            .route(
                &route("/credentials/{domain}/{alias}"),
                allowing(
                    "GET, POST, PUT, DELETE",
                    get(credentials::describe).post(credentials::put).put(credentials::put).delete(credentials::remove),
                ),
            );
    }
    router
        .route("/", allowing("GET", get(front_page::show)))
        .route("/services/v2/retention", allowing("GET, PATCH", get(retention::describe).patch(retention::patch)))
        .route("/services/v2/tokens", allowing("POST", post(tokens::make)))
        .route("/services/v2/users", allowing("GET", get(users::list)))
        .route(
            "/services/v2/users/{name}",
            allowing(
                "GET, POST, PATCH, DELETE",
                get(users::describe).post(users::add).patch(users::change).delete(users::remove),
            ),
        )
        .route("/metrics", allowing("GET", get(health::metrics)))
        .route("/openapi.json", allowing("GET", get(openapi::document)))
        .route("/healthz", allowing("GET", get(health::alive)))
        .route("/readyz", allowing("GET", get(health::ready)))
        .fallback(|request: Request| async move { nothing_here(&request) })
        .layer(from_fn(query::check))
        .layer(from_fn(answered))
        .layer(from_fn(held))
        .layer(from_fn_with_state(face.clone(), admit))
        .layer(from_fn_with_state(face.clone(), count))
        .layer(from_fn_with_state(face.clone(), audited))
        .layer(from_fn(answered))
        .with_state(face)
}

fn stream_route() -> MethodRouter<Face> {
    allowing(
        "GET, POST, PATCH, DELETE",
        get(socket::get_or_upgrade).post(streams::make).patch(streams::patch).delete(streams::remove),
    )
}

/// Answers every other method with 405 and the methods there are.
fn allowing(methods: &'static str, route: MethodRouter<Face>) -> MethodRouter<Face> {
    route.fallback_service(any(move |request: Request| async move { other_method(&request, methods) }))
}

/// An answer also where the program itself is at fault: innermost, so that it is counted and audited, and around that.
async fn answered(request: Request, next: Next) -> Response {
    let answer = tasks::caught(Task::Request, next.run(request)).await;
    answer.unwrap_or_else(|panicked| ErrorAnswer::new(refusal::Fact::Internal, panicked).into_response())
}

/// Counts every answer by its route's template, and what it refused.
async fn count(State(face): State<Face>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or("other", MatchedPath::as_str);
    let route = native(route);
    let route = if route == "/" { route } else { route.trim_end_matches('/').to_owned() };
    let known = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    let method = known.into_iter().find(|name| *name == request.method().as_str()).unwrap_or("other");
    let response = next.run(request).await;
    face.requests.answered(RequestKind { route, method, class: response.status().as_u16() / 100 });
    if let Some(fact) = response.extensions().get::<Fact>() {
        face.requests.refused(fact.name());
    }
    response
}

/// Answers only as much as clients may leave unread. That something was done is said in any case.
async fn held(request: Request, next: Next) -> Response {
    let (connection, must) = (request.extensions().get::<Connection>().cloned(), !request.method().is_safe());
    let response = next.run(request).await;
    let Some(connection) = connection else { return response };
    // Of a known length is what is in memory already; anything else is made while it is read.
    match response.body().size_hint().exact() {
        Some(bytes) if bytes > limits::ANSWER_BYTES_FREE as u64 => {}
        _ => return response,
    }
    let (parts, body) = response.into_parts();
    let bytes = match body.collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(error) => return ErrorAnswer::internal("the answer broke off", &error).into_response(),
    };
    match connection.hold_answer(bytes, must) {
        Ok(bytes) => Response::from_parts(parts, Body::from(bytes)),
        Err(no_room) => ErrorAnswer::from(no_room).into_response(),
    }
}
