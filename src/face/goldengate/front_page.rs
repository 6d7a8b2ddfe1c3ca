//! What stands at `/`: a page for people who open the server's address in a browser, and the same addresses in JSON for
//! programs. It is open to all, and so it names no stream, no trail and no user.

use std::sync::LazyLock;

use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, VARY, X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use serde::Serialize;
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use super::envelope::{Envelope, Link, Relation};
use super::error_answer::ErrorAnswer;
use super::messages::Fact;
use super::schema_names::ServerName;
use crate::face::{Accepted, Address};

const PAGE: &str = include_str!("front_page.html");
const STYLE: &str = include_str!("front_page.css");

/// Nothing is loaded, run, sent or framed; only this style counts. Connections to the server itself are for who tries the page's
/// lines in the console of his browser.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = base64::engine::general_purpose::STANDARD.encode(Sha256::digest(STYLE));
    format!(
        "default-src 'none'; style-src 'sha256-{hash}'; connect-src 'self'; img-src data:; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'"
    )
});

/// Where things are on this server.
#[derive(Serialize, ToSchema)]
#[schema(as = Server)]
struct ServerAddresses {
    #[serde(rename = "$schema")]
    #[schema(inline)]
    schema: ServerName,
    #[schema(pattern = "^trailcast$")]
    name: &'static str,
    version: &'static str,
    #[schema(format = "uri")]
    streams: String,
    #[schema(format = "uri")]
    openapi: String,
    #[schema(format = "uri")]
    health: String,
    #[schema(format = "uri")]
    readiness: String,
}

/// What this server is, and where things are
///
/// Open to all. HTML for who likes that best (Accept), as browsers do; else JSON.
#[utoipa::path(get, path = "/", operation_id = "frontPage",
    responses(
        (status = 200, description = "What is here", content(
            (String = "text/html"), (Envelope<ServerAddresses> = "application/json"))),
        (status = 406, description = "Neither HTML nor JSON is wanted", body = ref("#/components/schemas/Refusal"),
            content_type = "application/json")))]
pub(super) async fn show(at: Address, headers: HeaderMap) -> Result<Response, ErrorAnswer> {
    let mut response = match preferred(&headers) {
        Some(Form::Page) => page(&at),
        Some(Form::Json) => addresses(&at),
        None => return Err(ErrorAnswer::new(Fact::NotAcceptable, "text/html and application/json")),
    };
    response.headers_mut().append(VARY, HeaderValue::from_static("accept"));
    Ok(response)
}

fn page(at: &Address) -> Response {
    let server = escaped(&at.url(""));
    let socket = server.replacen("http", "ws", 1);
    let page = PAGE
        .replace("{style}", STYLE)
        .replace("{version}", env!("CARGO_PKG_VERSION"))
        .replace("{socket}", &socket)
        // Last: what a client says of itself is not read for marks.
        .replace("{server}", &server);
    let mut response = page.into_response();
    let mut set = |name: HeaderName, value: HeaderValue| drop(response.headers_mut().insert(name, value));
    set(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    if let Ok(policy) = HeaderValue::from_str(&POLICY) {
        set(CONTENT_SECURITY_POLICY, policy);
    }
    set(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    set(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    set(HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin"));
    set(HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin"));
    // Its addresses are those that this client asked by.
    set(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn addresses(at: &Address) -> Response {
    let addresses = ServerAddresses {
        schema: ServerName,
        name: "trailcast",
        version: env!("CARGO_PKG_VERSION"),
        streams: at.url("/services/v2/stream"),
        openapi: at.url("/openapi.json"),
        health: at.url("/healthz"),
        readiness: at.url("/readyz"),
    };
    Envelope::new(addresses).link(Link::json(Relation::Itself, at.url("/"))).into_response()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Page,
    Json,
}

/// What the client likes best (RFC 9110, section 12.5.1). JSON, as everywhere here, where it likes both as much.
fn preferred(headers: &HeaderMap) -> Option<Form> {
    let accepted = Accepted::of(headers);
    let (page, json) = (accepted.quality("text/html"), accepted.quality("application/json"));
    match (page, json) {
        (0, 0) => None,
        _ if page > json => Some(Form::Page),
        _ => Some(Form::Json),
    }
}

/// Text for a page, and for the attributes in it.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::header::ACCEPT;

    fn form(accept: &str) -> Option<Form> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, accept.parse().unwrap());
        preferred(&headers)
    }

    #[test]
    fn browsers_get_the_page_and_programs_json() {
        const CHROME: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8";
        for page in [CHROME, "text/html", "TEXT/HTML", "text/*, application/json;q=0.5", "text/html;level=1;q=0.4"] {
            assert_eq!(form(page), Some(Form::Page), "{page}");
        }
        let json =
            ["*/*", "application/json", "text/html, application/json", "text/html;q=0.2, */*;q=0.3", "text/html;q=x"];
        assert_eq!(json[..4].iter().map(|json| form(json)).collect::<Vec<_>>(), [Some(Form::Json); 4]);
        assert_eq!(form(json[4]), Some(Form::Page), "a quality that is none counts as the best");
        for neither in ["image/png", "text/html;q=0", "text/html;q=0, application/*;q=0.0"] {
            assert_eq!(form(neither), None, "{neither}");
        }
        assert_eq!(preferred(&HeaderMap::new()), Some(Form::Json));
    }

    #[test]
    fn the_page_is_whole_and_nothing_that_a_client_says_becomes_markup() {
        let at = Address { secure: true, host: "<script>'\"&{style}.example:1".into(), path: String::new() };
        let body = futures_body(page(&at));
        assert!(!body.contains("<script"), "{body}");
        assert!(body.contains("https://&lt;script&gt;&#39;&quot;&amp;{style}.example:1/openapi.json"), "{body}");
        assert!(body.contains("wss://&lt;script"), "{body}");
        for mark in ["{version}", "{socket}", "{server}"] {
            assert!(!body.contains(mark), "{mark}");
        }
        assert!(PAGE.contains("<style>{style}</style>"), "the policy's hash is that of the style alone");
    }

    fn futures_body(response: Response) -> String {
        let body = axum::body::to_bytes(response.into_body(), usize::MAX);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        String::from_utf8(runtime.block_on(body).unwrap().to_vec()).unwrap()
    }
}
