//! Goal: pages of the allowed origins can use every route, error answers too, and no other page can use any. Method: the
//! requests that a browser sends, byte for byte, on every route of the document; and a real browser, where there is one.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use super::browser::OtherSite;
use super::front_page::browser_lines;
use crate::support::http::{self, Answer, Basic};
use crate::support::{Server, until};

const APP: &str = "https://app.example.com";
const TOKENS: &str = "/services/v2/tokens";

fn furnished(origin: &str) -> Server {
    let server = Server::start_with(&["--allowed-origin", origin], &[]);
    server.make_trail("events");
    server.make_stream("orders", "events");
    server
}

/// What a browser asks before a page of `origin` sends such a request.
fn preflight(server: &Server, origin: &str, path: &str, method: &str) -> Answer {
    let headers = [
        ("Origin", origin),
        ("Access-Control-Request-Method", method),
        ("Access-Control-Request-Headers", "authorization,content-type"),
    ];
    http::request(server.port(), "OPTIONS", path, &headers, b"").unwrap()
}

fn words(answer: &Answer, header: &str) -> BTreeSet<String> {
    let values = answer.headers.iter().filter(|(name, _)| name == header).map(|(_, value)| value.as_str());
    values.flat_map(|value| value.split(',')).map(|word| word.trim().to_ascii_lowercase()).collect()
}

/// That a page of the allowed origin may read this answer, and nobody's browser takes it for another's.
fn is_open(answer: &Answer, what: &str) {
    assert_eq!(answer.header("access-control-allow-origin"), Some(APP), "{what}: {answer}");
    let exposed = words(answer, "access-control-expose-headers");
    for name in ["etag", "location", "retry-after", "www-authenticate"] {
        assert!(exposed.contains(name), "{what}: {exposed:?}");
    }
    gives_nothing_away(answer, what);
}

fn gives_nothing_away(answer: &Answer, what: &str) {
    assert!(words(answer, "vary").contains("origin"), "{what}: {:?}", answer.headers);
    assert_eq!(answer.header("access-control-allow-credentials"), None, "{what}");
    assert_ne!(answer.header("access-control-allow-origin"), Some("*"), "{what}");
}

#[test]
fn before_a_request_a_browser_is_told_the_methods_of_that_route_without_a_log_in() {
    let server = furnished(APP);
    let document = server.get("/openapi.json").expect(200).json();
    for (path, item) in document["paths"].as_object().unwrap() {
        let methods = item.as_object().unwrap().keys().filter(|name| *name != "parameters").cloned();
        let methods: BTreeSet<String> = methods.collect();
        let path = http::filled_path(path, "orders");
        for method in ["GET", "POST", "PATCH", "DELETE"] {
            let answer = preflight(&server, APP, &path, method).expect(204);
            assert_eq!(words(&answer, "access-control-allow-methods"), methods, "{path}");
            assert_eq!(
                answer.header("access-control-allow-headers"),
                Some("authorization, content-type, if-none-match")
            );
            assert_eq!(answer.header("access-control-max-age"), Some("7200"));
            is_open(&answer, &path);
        }
        for origin in ["https://evil.example", "null", "https://app.example.com.evil.example", "http://app.example.com"]
        {
            let answer = preflight(&server, origin, &path, "GET").expect(403);
            assert_eq!(answer.header("access-control-allow-origin"), None, "{path} {origin}");
            assert_eq!(answer.header("access-control-allow-methods"), None, "{path} {origin}");
            gives_nothing_away(&answer, &path);
        }
        // Without a page behind it, OPTIONS is a method that no route has.
        http::request(server.port(), "OPTIONS", &path, &[], b"").unwrap().expect(405);
        http::request(server.port(), "OPTIONS", &path, &[("Origin", APP)], b"").unwrap().expect(405);
    }
    // A slip in the path: the browser lets the page see the 404.
    is_open(&preflight(&server, APP, "/services/v2/strem", "GET").expect(204), "a slip");
}

#[test]
fn an_allowed_page_may_read_every_answer_and_a_forbidden_one_none() {
    let server = furnished(APP);
    let asks = |origin: &str, method: &str, path: &str, more: &[(&str, &str)], body: &str| {
        http::request(server.port(), method, path, &[&[("Origin", origin)], more].concat(), body.as_bytes()).unwrap()
    };
    let admin = ("Authorization", server.credentials().header());
    let form = ("Content-Type", "text/csv");
    let stream = json!({"source": {"trail": "events"}}).to_string();
    let made = asks(APP, "POST", "/services/v2/stream/s2", &[admin], &stream).expect(200);
    assert!(made.header("location").unwrap().ends_with("/services/v2/stream/s2"));
    is_open(&made, "a new stream");
    let document = asks(APP, "GET", "/services/v2/stream/orders/yaml", &[admin], "").expect(200);
    is_open(&document, "a document");
    let tag = ("If-None-Match", document.header("etag").unwrap());
    is_open(&asks(APP, "GET", "/services/v2/stream/orders/yaml", &[admin, tag], "").expect(304), "304");
    is_open(&asks(APP, "GET", "/healthz", &[], "").expect(200), "healthz");
    let stranger = asks(APP, "GET", "/services/v2/stream", &[], "").expect(401);
    assert!(stranger.header("www-authenticate").is_some());
    is_open(&stranger, "401");
    is_open(&asks(APP, "GET", "/services/v2/stream/none", &[admin], "").expect(404), "404");
    is_open(&asks(APP, "GET", "/no/such/path", &[admin], "").expect(404), "404 of a path");
    is_open(&asks(APP, "DELETE", TOKENS, &[admin], "").expect(405), "405");
    is_open(&asks(APP, "POST", TOKENS, &[admin, form], "").expect(415), "415");
    is_open(&asks(APP, "POST", TOKENS, &[admin], "{").expect(400), "400");
    let wrong = Basic::new("nobody", "wrong");
    let wrong = [("Authorization", wrong.header())];
    let throttled = until(|| match asks(APP, "GET", "/services/v2/stream", &wrong, "") {
        answer if answer.status == 429 => Ok(answer),
        answer => Err(answer.to_string()),
    });
    assert!(throttled.header("retry-after").is_some());
    is_open(&throttled, "429");

    let refused = asks("https://evil.example", "GET", "/services/v2/stream", &[admin], "").expect(403);
    assert_eq!(refused.header("access-control-allow-origin"), None);
    gives_nothing_away(&refused, "a forbidden page");
    // What has no page behind it is for anybody, and still not for a cache to hand to a page.
    let plain = server.get("/services/v2/stream").expect(200);
    assert_eq!(plain.header("access-control-allow-origin"), None);
    gives_nothing_away(&plain, "no page");
}

/// The lines of the front page in a browser, in a page of another origin.
fn script(server: &Server) -> String {
    format!(
        "const log = console.log;\nlet told;\nconst record = new Promise(resolve => told = resolve);\n\
         console.log = (...records) => records.filter(one => one.pos).forEach(told);\n{}\n\
         socket.onopen = () => fetch('http://127.0.0.1:{}/healthz').then(() => log('open'));\n\
         const unknown = await fetch('http://127.0.0.1:{1}/services/v2/stream/none', {{headers: {{Authorization: 'Basic eDp5'}}}});\n\
         found({{record: await record, status: unknown.status, challenge: unknown.headers.get('www-authenticate')}});",
        browser_lines(server),
        server.port()
    )
}

#[test]
fn in_a_real_browser_a_page_of_an_allowed_origin_fetches_a_token_and_subscribes() {
    let site = OtherSite::new();
    let server = furnished(&site.origin());
    let script = script(&server);
    let found = std::thread::scope(|scope| {
        let page = scope.spawn(|| site.open(&script, Duration::from_secs(120)));
        until(|| {
            let info = server.get("/services/v2/stream/orders/info").expect(200).response();
            let there = info["statistics"]["sessions"] == 1 || page.is_finished();
            if there { Ok(()) } else { Err(info.to_string()) }
        });
        let row = json!({"op": "INSERT", "table": "app.rows", "key": ["id"], "after": {"id": 19}});
        server.put("events", &[json!({"operations": [row]})]).expect(200);
        page.join().unwrap()
    });
    let Some(found) = found else { return };
    let found: Value = serde_json::from_str(&found).unwrap();
    assert_eq!(found["record"]["after"]["id"], 19, "{found}");
    assert_eq!(found["status"], 401, "{found}");
    assert!(found["challenge"].as_str().unwrap().starts_with("Basic"), "{found}");
}

#[test]
fn in_a_real_browser_a_page_of_another_origin_gets_nothing() {
    let (site, other) = (OtherSite::new(), OtherSite::new());
    let server = furnished(&other.origin());
    let script = script(&server);
    let Some(found) = site.open(&script, Duration::from_secs(120)) else { return };
    assert!(found.contains("failed: TypeError"), "{found}");
}
