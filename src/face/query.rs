//! What stands in a query: which parameters each route reads, and the refusal of one that is a slip of such a name.
//!
//! A parameter that nothing reads is passed over, as proxies and browsers add their own. But `?begni=now` passed over
//! would send everything from the start, and `?acces_token=` would call a stranger whoever has a token.

use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::hall::Face;
use super::refusal::Refusal;
use crate::codec::nearest::slip;

/// Refuses a parameter whose name is nearly one that the route reads.
pub(super) async fn check<F: Face>(request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    match refused(F::query_parameters(route, request.method()), request.uri().query()) {
        Some(refusal) => F::Refusal::from(refusal).into_response(),
        None => next.run(request).await,
    }
}

fn refused(known: &[&str], query: Option<&str>) -> Option<Refusal> {
    let pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    let mut unknown = pairs.map(|(name, _)| name).filter(|name| !known.contains(&name.as_ref()));
    let (name, meant) = unknown.find_map(|name| slip(&name, known).map(|meant| (name, meant)))?;
    // The name is shown, which is nearly ours; the value may be a token and is not.
    Some(Refusal::Query(format!("{} is no parameter of this path, {meant} is", name.escape_debug())))
}

/// The only value of a parameter, percent-decoded; none where it is not given.
pub fn only(query: Option<&str>, parameter: &str) -> Result<Option<String>, Refusal> {
    let pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    let mut values = pairs.filter(|(name, _)| name == parameter).map(|(_, value)| value.into_owned());
    match (values.next(), values.next()) {
        (value, None) => Ok(value),
        (_, Some(_)) => Err(Refusal::Query(format!("{parameter} stands more than once"))),
    }
}

#[cfg(test)]
mod tests {
    use super::super::hall::ACCESS_TOKEN;
    use super::*;

    fn detail(known: &[&str], query: &str) -> Option<String> {
        refused(known, Some(query)).map(|refusal| refusal.to_string())
    }

    #[test]
    fn a_slip_is_refused_where_the_name_is_read_and_nowhere_else() {
        let said = |name: &str, meant: &str| Some(format!("{name} is no parameter of this path, {meant} is"));
        let of_stream = ["begin", ACCESS_TOKEN];
        assert_eq!(detail(&of_stream, "begni=earliest"), said("begni", "begin"));
        assert_eq!(detail(&of_stream, "a=1&Begin=now"), said("Begin", "begin"));
        assert_eq!(detail(&[ACCESS_TOKEN], "acces_token=x"), said("acces_token", "access_token"));
        assert_eq!(detail(&[ACCESS_TOKEN], "begni=earliest"), None);
        assert_eq!(detail(&[], "begni=earliest"), None);
        assert_eq!(detail(&of_stream, "begin=now&access_token=x&utm_source=mail&_=17"), None);
    }

    #[test]
    fn what_is_refused_is_named_without_its_value_and_cannot_steer_a_terminal() {
        let detail = detail(&[ACCESS_TOKEN], "%1B%1Baccess-token=hush").unwrap();
        assert!(!detail.contains("hush") && !detail.contains('\u{1b}'), "{detail}");
    }

    #[test]
    fn a_parameter_stands_once() {
        assert_eq!(only(Some("begin=a%20b&x=1"), "begin").unwrap().as_deref(), Some("a b"));
        assert_eq!(only(None, "begin").unwrap(), None);
        assert!(only(Some("begin=a&begin=a"), "begin").is_err());
    }
}
