//! What stands in a query: which parameters each route reads, and the refusal of one that is a slip of such a name.
//!
//! A parameter that nothing reads is passed over, as proxies and browsers add their own. But `?begni=now` passed over
//! would send everything from the start, and `?acces_token=` would call a stranger whoever has a token.

use axum::extract::{MatchedPath, Request};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::messages::{ErrorAnswer, Fact};
use crate::codec::nearest::slip;

/// Where a session begins.
pub(super) const BEGIN: &str = "begin";
/// A token, for clients that cannot set headers.
pub(super) const ACCESS_TOKEN: &str = "access_token";

/// Refuses a parameter whose name is nearly one that the route reads.
pub(super) async fn check(request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    match refused(route, request.method(), request.uri().query()) {
        Some(refusal) => refusal.into_response(),
        None => next.run(request).await,
    }
}

fn refused(route: &str, method: &Method, query: Option<&str>) -> Option<ErrorAnswer> {
    let known = parameters(route, method);
    let pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    let mut unknown = pairs.map(|(name, _)| name).filter(|name| !known.contains(&name.as_ref()));
    let (name, meant) = unknown.find_map(|name| slip(&name, known).map(|meant| (name, meant)))?;
    // The name is shown, which is nearly ours; the value may be a token and is not.
    let detail = format!("{} is no parameter of this path, {meant} is", name.escape_debug());
    Some(ErrorAnswer::new(Fact::MalformedQuery, detail))
}

/// The parameters that a route reads; `route` is its template.
fn parameters(route: &str, method: &Method) -> &'static [&'static str] {
    let is_stream = route.trim_end_matches('/').ends_with("/stream/{name}");
    match *method {
        Method::GET if is_stream => &[BEGIN, ACCESS_TOKEN],
        Method::GET => &[ACCESS_TOKEN],
        _ => &[],
    }
}

/// The only value of a parameter, percent-decoded; none where it is not given.
pub(super) fn only(query: Option<&str>, parameter: &str) -> Result<Option<String>, ErrorAnswer> {
    let pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    let mut values = pairs.filter(|(name, _)| name == parameter).map(|(_, value)| value.into_owned());
    match (values.next(), values.next()) {
        (value, None) => Ok(value),
        (_, Some(_)) => Err(ErrorAnswer::new(Fact::MalformedQuery, format!("{parameter} stands more than once"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = "/services/v2/stream/{name}";

    fn detail(route: &str, method: &Method, query: &str) -> Option<String> {
        refused(route, method, Some(query)).map(|refusal| refusal.detail)
    }

    #[test]
    fn a_slip_is_refused_where_the_name_is_read_and_nowhere_else() {
        let said = |name: &str, meant: &str| Some(format!("{name} is no parameter of this path, {meant} is"));
        assert_eq!(detail(STREAM, &Method::GET, "begni=earliest"), said("begni", "begin"));
        assert_eq!(
            detail("/services/distsrvr/v2/stream/{name}/", &Method::GET, "a=1&Begin=now"),
            said("Begin", "begin")
        );
        assert_eq!(detail("/metrics", &Method::GET, "acces_token=x"), said("acces_token", "access_token"));
        assert_eq!(detail("/metrics", &Method::GET, "begni=earliest"), None);
        assert_eq!(detail(STREAM, &Method::POST, "begni=earliest"), None);
        assert_eq!(detail(STREAM, &Method::GET, "begin=now&access_token=x&utm_source=mail&_=17"), None);
    }

    #[test]
    fn what_is_refused_is_named_without_its_value_and_cannot_steer_a_terminal() {
        let detail = detail(STREAM, &Method::GET, "%1B%1Baccess-token=hush").unwrap();
        assert!(!detail.contains("hush") && !detail.contains('\u{1b}'), "{detail}");
    }

    #[test]
    fn a_parameter_stands_once() {
        assert_eq!(only(Some("begin=a%20b&x=1"), BEGIN).unwrap().as_deref(), Some("a b"));
        assert_eq!(only(None, BEGIN).unwrap(), None);
        assert!(only(Some("begin=a&begin=a"), BEGIN).is_err());
    }
}
