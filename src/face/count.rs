//! Every answer as a figure: by its route's template, its method and the class of its status, and what it refuses.

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;

use super::hall::{Face, Hall, Refused};
use crate::face::requests::RequestKind;

/// The methods that are counted by name.
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

pub(super) async fn counted<F: Face>(State(hall): State<Hall>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or("other", MatchedPath::as_str);
    let route = F::route_name(route);
    let route = if route == "/" { route } else { route.trim_end_matches('/').to_owned() };
    let method = METHODS.into_iter().find(|name| *name == request.method().as_str()).unwrap_or("other");
    let response = next.run(request).await;
    let requests = &hall.requests;
    requests.answered(RequestKind { route, method, class: response.status().as_u16() / 100 });
    if let Some(refused) = response.extensions().get::<Refused>() {
        requests.refused(refused.reason);
    }
    response
}
