//! Goal: whoever opens the server's address in a browser is told what it is, where things are and how to subscribe, and nothing
//! that is not for strangers. Method: the page as a browser asks for it; its lines are run as they stand there.

use std::process::Command;
use std::time::Duration;

use base64::Engine;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::http::{self, Answer};
use crate::support::{Program, Server, clients, process, skip};

const BROWSER: (&str, &str) = ("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8");
const PATIENCE: Duration = Duration::from_secs(60);

fn get(server: &Server, headers: &[(&str, &str)]) -> Answer {
    http::request(server.port(), "GET", "/", headers, b"").unwrap()
}

/// What stands between two marks of the page.
fn between<'a>(page: &'a str, start: &str, end: &str) -> &'a str {
    page.split_once(start)
        .and_then(|(_, rest)| rest.split_once(end))
        .map_or_else(|| panic!("no {start}"), |(text, _)| text)
}

/// The lines below a heading, for one stream and one user.
fn lines_below(server: &Server, heading: &str) -> String {
    let page = get(server, &[BROWSER]).expect(200).text();
    let below = page.split_once(&format!("<h3>{heading}</h3>")).unwrap().1;
    let text = between(below, "<pre><code>", "</code></pre>");
    let text = text.replace("&quot;", "\"").replace("&gt;", ">").replace("&lt;", "<").replace("&amp;", "&");
    let (user, password) = (crate::support::server::USER, crate::support::server::PASSWORD);
    text.replace("NAME", "orders")
        .replace("PASSWORD", password)
        .replace("curl -u USER", &format!("curl -u {user}:{password}"))
        .replace("USER", user)
}

fn furnished(arguments: &[&str]) -> Server {
    let server = Server::start_with(arguments, &[]);
    server.make_trail("events");
    server.make_stream("orders", "events");
    server
}

fn put(server: &Server, id: u64) {
    let row = json!({"op": "INSERT", "table": "app.rows", "key": ["id"], "after": {"id": id, "text": "of the page"}});
    server.put("events", &[json!({"operations": [row]})]).expect(200);
}

#[test]
fn a_browser_gets_a_page_with_this_servers_own_addresses_and_no_names() {
    let server = furnished(&[]);
    let answer = get(&server, &[BROWSER]).expect(200);
    assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"));
    let (page, port) = (answer.text(), server.port());
    for path in ["/services/v2/stream", "/openapi.json", "/healthz", "/readyz"] {
        assert!(page.contains(&format!("<a href=\"http://127.0.0.1:{port}{path}\">")), "{path}: {page}");
    }
    assert!(page.contains(&format!("ws://127.0.0.1:{port}/services/v2/stream/NAME?begin=now")), "{page}");
    for name in ["orders", "events", "admin", server.data_dir().to_str().unwrap()] {
        assert!(!page.contains(name), "{name} is not for strangers");
    }
    // Who is logged in is told no more.
    assert_eq!(server.request("GET", "/", &[BROWSER], b"").text(), page);

    let policy = answer.header("content-security-policy").unwrap();
    let style = between(&page, "<style>", "</style>");
    let hash = base64::engine::general_purpose::STANDARD.encode(Sha256::digest(style));
    assert!(
        policy.starts_with("default-src 'none'; ") && policy.contains(&format!("style-src 'sha256-{hash}'")),
        "{policy}"
    );
    assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"), "{policy}");
    assert!(!page.contains("<script") && !page.contains(" style=") && !page.contains("onclick"), "{page}");
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(answer.header("x-frame-options"), Some("DENY"));
    assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let vary: Vec<_> =
        answer.headers.iter().filter(|(name, _)| name == "vary").map(|(_, value)| value.as_str()).collect();
    assert_eq!(vary, ["accept", "origin"]);

    let server = furnished(&["--public-url", "https://streams.example.com"]);
    let page = get(&server, &[BROWSER]).expect(200).text();
    assert!(
        page.contains("wss://streams.example.com/services/v2/stream/NAME") && !page.contains("127.0.0.1"),
        "{page}"
    );
}

#[test]
fn programs_get_the_same_addresses_in_json_as_the_document_says() {
    let server = Server::start();
    let mut schema = server.get("/openapi.json").expect(200).json();
    schema["$ref"] = "#/components/schemas/Server".into();
    let schema = jsonschema::draft202012::new(&schema).unwrap();
    for accept in [None, Some("*/*"), Some("application/json"), Some("application/json, text/html")] {
        let headers: Vec<_> = accept.map(|accept| ("Accept", accept)).into_iter().collect();
        let answer = get(&server, &headers).expect(200);
        assert_eq!(answer.header("content-type"), Some("application/json"), "{accept:?}");
        let response = answer.response();
        assert!(schema.is_valid(&response), "{answer}");
        assert_eq!(response["streams"], format!("http://127.0.0.1:{}/services/v2/stream", server.port()));
    }
    get(&server, &[("Accept", "image/png")]).expect(406);
    assert_eq!(http::request(server.port(), "POST", "/", &[], b"").unwrap().expect(405).header("allow"), Some("GET"));
}

#[test]
fn its_curl_lines_work_as_they_stand_there() {
    if Command::new("curl").arg("--version").output().is_err() {
        return skip("no curl");
    }
    let server = furnished(&[]);
    let lines = lines_below(&server, "curl").replace("\\\n", " ");
    let lines: Vec<&str> = lines.lines().collect();
    let [list, token, subscribe] = lines[..] else { panic!("{lines:?}") };
    let run = |line: &str| -> Value {
        serde_json::from_str(&process::output(Command::new("sh").args(["-c", line]))).unwrap()
    };
    assert_eq!(run(list)["response"]["items"][0]["name"], "orders");
    assert_eq!(run(token)["response"]["stream"], "orders");
    let mut shell = process::tied_command("sh", "KILL", None);
    shell.args(["-c", &format!("{} | LC_ALL=C stdbuf -o0 tr -c '[:print:]' '\\n'", subscribe.trim())]);
    let subscriber = Program::start(shell);
    server.get_until("/services/v2/stream/orders/info", |info| info["statistics"]["sessions"] == 1);
    put(&server, 17);
    let seen = subscriber.lines_until(PATIENCE, |line| line.contains("of the page"));
    assert!(seen.last().unwrap().contains("\"id\":17"), "{seen:?}");
}

#[test]
fn its_python_lines_work_as_they_stand_there() {
    let Some(mut python) = clients::python() else { return };
    let server = furnished(&[]);
    python.args(["-c", &lines_below(&server, "Python")]);
    let subscriber = Program::start(python);
    server.get_until("/services/v2/stream/orders/info", |info| info["statistics"]["sessions"] == 1);
    put(&server, 18);
    let seen = subscriber.lines_until(PATIENCE, |line| line.contains("of the page"));
    assert!(seen.last().unwrap().contains("'id': 18"), "{seen:?}");
}

/// The lines for a browser, for who runs them in one.
pub fn browser_lines(server: &Server) -> String {
    lines_below(server, "A browser")
}
