//! Goal: requests that are no HTTP as it should be, or carry what a route does not take, are refused with the status that says
//! so, before anything of them is waited for. Method: bytes over raw sockets; the well-formed neighbour of each is the
//! control.

use serde_json::{Value, json};

use crate::support::http::{self, Answer};
use crate::support::{Folder, Server};

const PUT: &str = "/services/v2/trails/a1/transactions";
const ROW: &str = r#"{"operations":[{"op":"INSERT","table":"t","after":{"id":1}}]}"#;

/// Sends a request line and header lines, each to be ended.
fn answer_to(server: &Server, lines: &[&str]) -> Answer {
    http::raw_answer(&http::raw(server.port(), format!("{}\r\n\r\n", lines.join("\r\n")).as_bytes()))
}

fn says(answer: &Answer, status: u16, title: &str) {
    assert_eq!(answer.status, status, "{answer}");
    assert!(answer.titles().contains(title), "`{title}` is not in: {answer}");
}

#[test]
fn a_host_stands_once_and_is_one() {
    let server = Server::start();
    let get = |path: &str, headers: &[&str]| {
        let line = format!("GET {path} HTTP/1.1");
        answer_to(&server, &[&[line.as_str(), "Connection: close"], headers].concat())
    };
    get("/healthz", &["Host: localhost"]).expect(200);
    for path in ["/healthz", "/services/v2/stream", "/nothing"] {
        let twice = get(path, &["Host: localhost", "Host: localhost"]);
        says(&twice, 400, "Host stands more than once");
        says(&get(path, &["Host: localhost", "host: evil.example"]), 400, "Host stands more than once");
        says(&get(path, &[]), 400, "Host is missing");
        for none in ["a b", "", "localhost:x", "localhost/", "user@localhost", "\u{e9}.example"] {
            says(&get(path, &[&format!("Host: {none}")]), 400, "Host is no name");
        }
        says(&get(path, &["Host: evil.example"]), 403, "loopback");
        let origins = ["Host: localhost", "Origin: http://localhost", "Origin: http://localhost"];
        says(&get(path, &origins), 400, "Origin stands more than once");
    }
}

#[test]
fn a_prober_of_http_1_0_needs_no_host_and_anybody_else_does() {
    let server = Server::start();
    for path in ["/healthz", "/readyz"] {
        assert_eq!(answer_to(&server, &[&format!("GET {path} HTTP/1.0")]).status, 200, "{path}");
        let page = answer_to(&server, &[&format!("GET {path} HTTP/1.0"), "Origin: http://evil.example"]);
        assert_eq!(page.status, 403, "{path}: {page}");
    }
    for path in ["/", "/metrics", "/services/v2/stream", "/healthz/"] {
        says(&answer_to(&server, &[&format!("GET {path} HTTP/1.0")]), 403, "loopback");
    }
}

#[test]
fn a_loopback_listener_answers_to_the_name_that_its_proxy_is_known_by() {
    let host = "Host: streams.example.com";
    let control = Server::start();
    says(&answer_to(&control, &["GET /healthz HTTP/1.1", "Connection: close", host]), 403, "loopback");
    let server = Server::start_with(&["--public-url", "https://streams.example.com"], &[]);
    for host in [host, "Host: Streams.example.com:443"] {
        answer_to(&server, &["GET /healthz HTTP/1.1", "Connection: close", host]).expect(200);
        let page = ["GET /healthz HTTP/1.1", "Connection: close", host, "Origin: https://streams.example.com"];
        answer_to(&server, &page).expect(200);
        let other = ["GET /healthz HTTP/1.1", "Connection: close", host, "Origin: https://evil.example"];
        answer_to(&server, &other).expect(403);
    }
    let other = ["GET /healthz HTTP/1.1", "Connection: close", "Host: xstreams.example.com"];
    says(&answer_to(&server, &other), 403, "loopback");
}

/// The head of a put, with further headers.
fn put_head(server: &Server, headers: &str) -> String {
    let credentials = server.credentials().header();
    format!(
        "POST {PUT} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: {credentials}\r\n\
         Content-Type: application/json\r\n{headers}\r\n\r\n"
    )
}

#[test]
fn malformed_chunks_and_a_body_that_breaks_off_are_the_clients_fault_and_not_late() {
    let server = Server::start();
    server.make_trail("a1");
    let put = |body: &str| {
        let head = put_head(&server, "Transfer-Encoding: chunked");
        http::raw_answer(&http::raw(server.port(), format!("{head}{body}").as_bytes()))
    };
    let whole = format!("{:x}\r\n{ROW}\r\n0\r\n\r\n", ROW.len());
    assert_eq!(put(&whole).expect(200).response()["acked"], 1);
    for bad in ["zz\r\n{}\r\n0\r\n\r\n", "2\r\n{}xx0\r\n\r\n", "fffffffffffffffff\r\n{}\r\n", "-2\r\n{}\r\n0\r\n\r\n"] {
        says(&put(bad), 400, "chunked coding is malformed");
    }
    let cut = |head: &str, body: &str| {
        let mut stream = http::connect(server.port(), std::time::Duration::from_secs(30)).unwrap();
        std::io::Write::write_all(&mut stream, format!("{}{body}", put_head(&server, head)).as_bytes()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        std::io::Read::read_to_string(&mut stream, &mut answer).unwrap();
        http::raw_answer(&answer)
    };
    says(&cut("Content-Length: 100", ROW), 400, "broke off");
    says(&cut("Transfer-Encoding: chunked", "5\r\n{\"op"), 400, "broke off");
    let info = server.get("/services/v2/trails/a1").expect(200).response();
    assert_eq!(info["lastCommit"], 1, "nothing of them was appended");
}

/// Every method and path that takes a body, with the media types that the document lists.
fn body_taking(server: &Server) -> Vec<(String, String, Vec<String>)> {
    let document = server.get("/openapi.json").expect(200).json();
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let Some(content) = operation["requestBody"]["content"].as_object() else { continue };
            let path = http::filled_path(path, "a1");
            found.push((method.to_uppercase(), path, content.keys().cloned().collect()));
        }
    }
    assert!(found.len() > 12, "{found:?}");
    found
}

#[test]
fn a_body_that_is_too_large_by_its_length_is_refused_before_it_is_sent() {
    let server = Server::start();
    server.make_trail("a1");
    server.make_stream("a1", "a1");
    let credentials = server.credentials().header();
    for (method, path, _) in body_taking(&server) {
        let cap = if path.ends_with("/transactions") { 64 << 20 } else { 1 << 20 };
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {credentials}\r\nConnection: close\r\n\
             Expect: 100-continue\r\nContent-Length: {}\r\n\r\n",
            cap + 1
        );
        let mut stream = http::connect(server.port(), std::time::Duration::from_secs(30)).unwrap();
        std::io::Write::write_all(&mut stream, head.as_bytes()).unwrap();
        // Nothing of the body is sent, and the client does not end either.
        let mut first = [0; 12];
        std::io::Read::read_exact(&mut stream, &mut first).unwrap();
        assert_eq!(std::str::from_utf8(&first), Ok("HTTP/1.1 413"), "{method} {path}");
    }
    // Who is not known is told so before the body, too.
    let head = format!(
        "POST {PUT} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: 70\r\n\r\n"
    );
    assert!(http::raw(server.port(), head.as_bytes()).starts_with("HTTP/1.1 401"));
    // A body that is taken is asked for.
    let expected = put_head(&server, &format!("Expect: 100-continue\r\nContent-Length: {}", ROW.len()));
    let text = http::raw(server.port(), format!("{expected}{ROW}").as_bytes());
    assert!(text.starts_with("HTTP/1.1 100 Continue\r\n\r\n"), "{text}");
    http::raw_answer(&text).expect(200);
}

#[test]
fn who_sends_all_of_a_body_that_is_too_large_before_he_reads_sees_why_it_is_refused() {
    let server = Server::start();
    server.make_trail("a1");
    let bytes = vec![b' '; 70 << 20];
    let head = put_head(&server, &format!("Content-Length: {}", bytes.len()));
    says(&http::raw_answer(&http::raw(server.port(), &[head.as_bytes(), &bytes].concat())), 413, "67108864 bytes");
    let chunked = format!("{:x}\r\n", bytes.len());
    let head = put_head(&server, "Transfer-Encoding: chunked");
    let all = [head.as_bytes(), chunked.as_bytes(), &bytes, b"\r\n0\r\n\r\n"].concat();
    says(&http::raw_answer(&http::raw(server.port(), &all)), 413, "67108864 bytes");
}

#[test]
fn each_route_takes_the_media_types_that_the_document_lists_and_no_others() {
    const UNTOLD: [Option<&str>; 4] =
        [None, Some(""), Some("application/x-www-form-urlencoded"), Some("text/plain;charset=UTF-8")];
    const MORE: [&str; 11] = [
        "application/xml",
        "text/html",
        "text/csv",
        "application/octet-stream",
        "multipart/form-data; boundary=x",
        "application/vnd.example+json",
        "application/json-seq",
        "application/jsonx",
        "*/*",
        "json",
        "application/json, application/xml",
    ];
    let server = Server::start();
    server.make_trail("a1");
    server.make_stream("a1", "a1");
    let routes = body_taking(&server);
    let listed: std::collections::BTreeSet<&str> =
        routes.iter().flat_map(|(_, _, types)| types).map(String::as_str).collect();
    for (method, path, types) in &routes {
        let status = |media_type: Option<&str>| {
            let headers: Vec<_> = media_type.map(|given| ("Content-Type", given)).into_iter().collect();
            // No resource is made or changed by this: no route takes it.
            server.request(method, path, &headers, b"[").status
        };
        let taken = types.iter().map(String::as_str);
        for given in taken.clone().map(Some).chain(UNTOLD) {
            assert_ne!(status(given), 415, "{method} {path} with {given:?}");
        }
        for given in taken {
            let with_parameter = format!("{}; charset=utf-8", given.to_uppercase());
            assert_ne!(status(Some(&with_parameter)), 415, "{method} {path} with {with_parameter}");
        }
        let others = listed.iter().copied().filter(|other| !types.iter().any(|known| known == other));
        for given in others.chain(MORE) {
            assert_eq!(status(Some(given)), 415, "{method} {path} with {given}");
        }
    }
    let two = [("Content-Type", "application/json"), ("Content-Type", "text/csv")];
    server.request("POST", PUT, &two, ROW.as_bytes()).expect(415);
}

/// What the documented clients send: Python's `requests` and Node's `axios` name JSON, curl a form, `fetch` a text, and
/// Oracle's generated Python client a type on a GET that has no body.
#[test]
fn what_oracles_clients_and_curl_send_is_taken() {
    let server = Server::start();
    let stream = json!({"source": {"trail": "a1"}}).to_string();
    let types = [
        "application/json",
        "application/json; charset=utf-8",
        "application/x-www-form-urlencoded",
        "text/plain;charset=UTF-8",
    ];
    for (at, given) in types.into_iter().enumerate() {
        let path = format!("/services/v2/stream/s{at}");
        server.request("POST", &path, &[("Content-Type", given)], stream.as_bytes()).expect(200);
        server
            .request("GET", &format!("{path}?begin=now"), &[("Content-Type", "application/x-whatever")], b"")
            .expect(200);
        server.request("DELETE", &path, &[("Content-Type", "application/x-whatever")], b"").expect(200);
    }
    server.request("POST", "/services/v2/stream/s9", &[], stream.as_bytes()).expect(200);
    // curl itself, from a file and from its command line.
    let folder = Folder::new("curl");
    let file = folder.path().join("row.json");
    std::fs::write(&file, ROW).unwrap();
    server.make_trail("a1");
    let url = format!("{}{PUT}", server.url("http"));
    for given in [["-d", ROW], ["--data-binary", &format!("@{}", file.display())], ["--json", ROW]] {
        let curl = std::process::Command::new("curl").args(["-sS", "--fail"]).args(given).arg(&url).output().unwrap();
        let text = String::from_utf8_lossy(&curl.stdout).into_owned();
        let answer: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{given:?}: {curl:?}"));
        assert_eq!(answer["response"]["acked"], 1, "{given:?}: {text}");
    }
}
