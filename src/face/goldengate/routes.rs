//! Which path leads where.

use axum::Router;
use axum::extract::Request;
use axum::routing::{MethodRouter, any, get, post};

use super::proxied::{ADMINISTRATION_PREFIXES, STREAM_PREFIXES};
use super::{
    GoldenGate, commands, credentials, document, extracts, front_page, health, metadata_catalog, openapi, retention,
    socket, streams, tokens, trails, users,
};
use crate::face::{Hall, other_method};

/// All routes of the native face.
pub(super) fn routes() -> Router<Hall> {
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
}

fn stream_route() -> MethodRouter<Hall> {
    allowing(
        "GET, POST, PATCH, DELETE",
        get(socket::get_or_upgrade).post(streams::make).patch(streams::patch).delete(streams::remove),
    )
}

/// Answers every other method with 405 and the methods there are.
fn allowing(methods: &'static str, route: MethodRouter<Hall>) -> MethodRouter<Hall> {
    route.fallback_service(any(move |request: Request| async move { other_method::<GoldenGate>(&request, methods) }))
}
