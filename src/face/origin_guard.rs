//! Who may ask at all: the `Host` and the `Origin` of every request, and what a browser is told so that its pages may read the
//! answers (CORS: Fetch standard, section 3.3). Credentials are checked elsewhere.
//!
//! A page presents its credential itself, in `Authorization`: what a browser would add of its own (a password it
//! remembers, a certificate) is never asked for.

use axum::extract::{Request, State};
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, HOST, ORIGIN, VARY,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::hall::{Face, Hall};
use super::refusal::Refusal;
use crate::limits;

/// Headers of a request that a page may set, beside those that any page may.
const REQUEST_HEADERS: HeaderValue = HeaderValue::from_static("authorization, content-type, if-none-match");
/// Headers of an answer that a page may read, beside those that any page may.
const ANSWER_HEADERS: HeaderValue = HeaderValue::from_static(
    "accept-encoding, allow, etag, location, retry-after, trailcast-caught-up, trailcast-next, www-authenticate",
);
/// Paths that a prober of HTTP/1.0 asks for, which sends no `Host`.
const PROBES: [&str; 2] = ["/healthz", "/readyz"];

/// Refuses what comes from a page, or to a name, that is not ours; opens the answer to pages that may ask.
pub(super) async fn admit<F: Face>(State(hall): State<Hall>, request: Request, next: Next) -> Response {
    let mut response = match admitted(&hall, &request) {
        Ok(origin) => {
            let mut response = next.run(request).await;
            if let Some(origin) = origin.filter(|_| response.status() != StatusCode::SWITCHING_PROTOCOLS) {
                response.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
                response.headers_mut().insert(ACCESS_CONTROL_EXPOSE_HEADERS, ANSWER_HEADERS);
            }
            response
        }
        Err(refused) => F::Refusal::from(refused).into_response(),
    };
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        response.headers_mut().append(VARY, HeaderValue::from_static("origin"));
        response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    }
    response
}

/// The `Origin` of a request that may go on, if it has one.
fn admitted(hall: &Hall, request: &Request) -> Result<Option<HeaderValue>, Refusal> {
    let headers = request.headers();
    let (host, origin) = (only(headers, HOST)?, only(headers, ORIGIN)?);
    if host.is_none() {
        if request.version() == Version::HTTP_11 {
            return Err(Refusal::Malformed("Host is missing".into()));
        }
        // No browser asks so, and so no page that makes its name resolve to us.
        if origin.is_none() && PROBES.contains(&request.uri().path()) {
            return Ok(None);
        }
    }
    // A header that is there and is no text must not pass for one that is absent.
    let text = |value: &'_ HeaderValue| value.to_str().unwrap_or_default().to_owned();
    hall.origins.check(host.map(text).as_deref(), origin.map(text).as_deref())?;
    Ok(origin.cloned())
}

/// A header that stands once or not at all.
fn only(headers: &HeaderMap, name: HeaderName) -> Result<Option<&HeaderValue>, Refusal> {
    let mut values = headers.get_all(&name).iter();
    match (values.next(), values.next()) {
        (value, None) => Ok(value),
        (_, Some(_)) => {
            let name = if name == HOST { "Host" } else { "Origin" };
            Err(Refusal::Malformed(format!("{name} stands more than once")))
        }
    }
}

/// What is answered where a path has only these `methods` (`GET, POST`) and the request has another one: a browser that asks
/// before its page does is told them.
pub(super) fn other_method<F: Face>(request: &Request, methods: &str) -> Response {
    if is_preflight(request) {
        return preflight(methods);
    }
    F::Refusal::from(Refusal::Method { allowed: methods.to_owned() }).into_response()
}

/// What is answered where there is nothing. A browser is let through to that answer.
pub(super) fn nothing_here<F: Face>(request: &Request) -> Response {
    if is_preflight(request) {
        return preflight("GET, POST, PUT, PATCH, DELETE");
    }
    F::Refusal::from(Refusal::Path).into_response()
}

/// Whether a browser asks for a page of another origin what that page may ask. Only those of origins that may ask at all come
/// here.
fn is_preflight(request: &Request) -> bool {
    let headers = request.headers();
    request.method() == Method::OPTIONS
        && headers.contains_key(ORIGIN)
        && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

fn preflight(methods: &str) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    if let Ok(methods) = HeaderValue::from_str(methods) {
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, methods);
    }
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS);
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from(limits::CROSS_ORIGIN_SECONDS));
    response
}
