//! Goal: the audit tells who changed what and who read which stream, all of it, once, and no secret; and nobody pushes out
//! of it what others did. Method: ask every route of `/openapi.json` as nobody, as a user and as the administrator, each time
//! from an address of its own behind a proxy that this process is, and read the files after each answer.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::http::{self, Basic};
use crate::support::{Folder, Server, until};

const PATIENCE: Duration = Duration::from_secs(30);
/// What leaves a line only when it is refused: puts, and questions that are asked by POST.
const DATA: [&str; 2] = ["/services/v2/trails/{name}/transactions", "/services/v2/extracts/{name}/command"];

/// A server whose audit goes to files, and which believes us whose request we pass on.
struct House {
    server: Server,
    file: PathBuf,
    addresses: std::cell::Cell<u32>,
    _folder: Folder,
}

impl House {
    fn new(log: &str) -> Self {
        let folder = Folder::new("audit");
        let file = folder.path().join("audit.log");
        let arguments = ["--audit-log", file.to_str().unwrap(), "--log", log, "--trusted-proxy", "127.0.0.1"];
        let server = Server::start_with(&arguments, &[]);
        Self { server, file, addresses: std::cell::Cell::new(0), _folder: folder }
    }

    /// An address that nobody has asked from.
    fn new_address(&self) -> String {
        self.addresses.set(self.addresses.get() + 1);
        std::net::Ipv4Addr::from_bits(0xC612_0000 + self.addresses.get()).to_string()
    }

    /// The text of the file of one kind of lines.
    fn text_of(&self, kind: &str) -> String {
        let path = format!("{}{kind}", self.file.display());
        let text = std::fs::read_to_string(path).unwrap();
        // A line whose end is not written yet is none.
        text.rfind('\n').map_or("", |end| &text[..=end]).to_owned()
    }

    fn lines_in(&self, kind: &str) -> Vec<Value> {
        let read = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        self.text_of(kind).lines().map(read).collect()
    }

    /// Those of every kind.
    fn lines(&self) -> Vec<Value> {
        ["", ".sessions", ".refusals"].iter().flat_map(|kind| self.lines_in(kind)).collect()
    }

    /// The lines that `act` leaves: those that are there when a change has its line that was asked for after it.
    fn lines_of<T>(&self, act: impl FnOnce(&Server) -> T) -> Vec<Value> {
        let before = self.lines();
        act(&self.server);
        let after = "/services/v2/users/after-it";
        self.server.delete(after).expect(404);
        let mut lines = self.lines();
        lines.retain(|line| line["path"] != after && !before.contains(line));
        lines
    }

    fn wait_for(&self, event: &str) -> Value {
        let found = |lines: Vec<Value>| lines.into_iter().find(|line| line["event"] == event);
        until(|| found(self.lines()).ok_or_else(|| format!("no {event}: {:?}", self.lines())))
    }
}

/// Every method and path of the document that changes something, with and without the prefix of a GoldenGate proxy.
fn changes(server: &Server) -> Vec<(String, String)> {
    let document = server.get("/openapi.json").expect(200).json();
    let mut found = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in ["post", "put", "patch", "delete"].into_iter().filter(|method| methods.get(method).is_some()) {
            found.push((method.to_uppercase(), path.clone()));
            if path.contains("/stream") {
                found.push((method.to_uppercase(), path.replace("/services/v2", "/services/distsrvr/v2")));
                found.push((method.to_uppercase(), path.replace("/services/v2", "/services/north/distsrvr/v2")));
            }
        }
    }
    assert!(found.len() > 20, "{found:?}");
    found
}

#[test]
fn every_change_leaves_one_line_whoever_asks_and_whatever_comes_of_it() {
    let house = House::new("info");
    house.server.post("/services/v2/users/reader", &json!({"role": "User", "password": "pass-word-1"})).expect(200);
    let reader = Basic::new("reader", "pass-word-1");
    let admin = house.server.credentials().clone();
    for (method, route) in changes(&house.server) {
        let path = http::filled_path(&route, "x1");
        // Who may see an extract may ask how it is doing.
        let of_reader = if route == DATA[1] { 0 } else { 403 };
        let callers =
            [(None, 401, Value::Null), (Some(&reader), of_reader, json!("reader")), (Some(&admin), 0, json!("admin"))];
        for (caller, status, user) in callers {
            let address = house.new_address();
            let mut headers = vec![("Content-Type", "application/json"), ("X-Forwarded-For", address.as_str())];
            headers.extend(caller.map(|caller| ("Authorization", caller.header())));
            let mut answered = 0;
            let lines = house.lines_of(|server| {
                let target = format!("{path}?secret=in-the-query");
                answered = http::request(server.port(), &method, &target, &headers, b"{}").unwrap().status;
            });
            assert!(status == 0 || answered == status, "{method} {path}: {answered}");
            let expected = usize::from(!(DATA.contains(&route.as_str()) && status == 0));
            assert_eq!(lines.len(), expected, "{method} {path}: {lines:?}");
            for line in lines {
                let said = [&line["event"], &line["method"], &line["path"], &line["status"], &line["user"]];
                assert_eq!(said, [&json!("change"), &json!(method), &json!(path), &json!(answered), &user]);
                assert_eq!(line["auth"], if caller.is_some() { "basic" } else { "none" });
                assert_eq!(line["peer"], address);
                assert!(line["via"].as_str().unwrap().starts_with("127.0.0.1:"), "{line}");
                let result = match answered {
                    ..=399 => "done",
                    401 | 403 => "refused",
                    _ => "failed",
                };
                assert_eq!(line["result"], result, "{line}");
                assert_eq!(line["code"].is_null(), answered < 400, "{line}");
            }
        }
    }
}

#[test]
fn reading_leaves_a_line_only_where_a_credential_is_refused() {
    let house = House::new("info");
    let get = |server: &Server, target: &str, header: Option<&str>| {
        let address = house.new_address();
        let mut headers: Vec<_> = header.map(|header| ("Authorization", header)).into_iter().collect();
        headers.push(("X-Forwarded-For", &address));
        http::request(server.port(), "GET", target, &headers, b"").unwrap().status
    };
    assert!(house.lines_of(|server| server.get("/services/v2/stream").expect(200)).is_empty());
    assert!(house.lines_of(|server| assert_eq!(get(server, "/services/v2/stream", None), 401)).is_empty());
    let wrong = Basic::new("admin", "guess");
    let lines = house.lines_of(|server| assert_eq!(get(server, "/services/v2/stream", Some(wrong.header())), 401));
    assert_eq!(lines.len(), 1);
    assert_eq!((&lines[0]["user"], &lines[0]["claimed"]), (&Value::Null, &json!("admin")));
    assert_eq!((&lines[0]["action"], &lines[0]["result"]), (&json!("read"), &json!("refused")));
    let nobody = Basic::new("my-password-in-the-wrong-field", "x");
    let lines = house.lines_of(|server| assert_eq!(get(server, "/services/v2/stream", Some(nobody.header())), 401));
    assert!(lines.len() == 1 && lines[0].get("claimed").is_none(), "{lines:?}");
}

#[test]
fn a_session_leaves_a_line_at_its_start_and_one_at_its_end() {
    let house = House::new("info");
    house.server.make_trail("a1");
    house.server.make_stream("s1", "a1");
    house.server.put("a1", &[json!({"operations": [{"op": "INSERT", "table": "t", "after": {"id": 1}}]})]).expect(200);
    let before = house.lines().len();
    let mut subscriber = house.server.subscribe("s1", "begin=earliest").unwrap();
    subscriber.expect_data(PATIENCE);
    let start = house.wait_for("session-start");
    house.server.delete("/services/v2/stream/s1").expect(200);
    while !matches!(subscriber.next(PATIENCE), crate::support::subscriber::Next::Ended(_)) {}
    let end = house.wait_for("session-end");
    for line in [&start, &end] {
        assert_eq!((&line["user"], &line["auth"]), (&json!("admin"), &json!("basic")));
        assert_eq!((&line["stream"], &line["begin"]), (&json!("s1"), &json!("earliest")));
        assert_eq!(line["session"], start["session"]);
        assert!(line["peer"].as_str().unwrap().starts_with("127.0.0.1:"));
    }
    assert_eq!((&end["closeCode"], &end["records"]), (&json!(4020), &json!(1)));
    assert!(end["bytes"].as_u64().unwrap() > 0 && end["seconds"].as_f64().unwrap() >= 0.0, "{end}");
    // Start, the deletion, end.
    assert_eq!(house.lines().len() - before, 3);
}

#[test]
fn no_secret_reaches_the_log_or_the_audit_wherever_it_stands() {
    let mut house = House::new("debug,trailcast=trace");
    let server = &house.server;
    let secret = |place: &str| format!("s3cret-{place}");
    server.post("/services/v2/users/ann", &json!({"role": "Operator", "password": secret("user")})).expect(200);
    server.patch("/services/v2/users/ann", &json!({"password": secret("user-again")})).expect(200);
    server.post("/services/v2/users/bob", &json!({"role": "King", "password": secret("bad-role")})).expect(400);
    server.post("/services/v2/credentials/d1/a1", &json!({"password": secret("credentials")})).expect(200);
    let source = json!({"type": "postgresql", "host": "127.0.0.1", "port": 1, "database": "d", "user": "u",
        "password": secret("extract")});
    let extract = json!({"source": source, "tables": ["public.*"], "trail": "e1"});
    server.post("/services/v2/extracts/e1", &extract).expect(200);
    server.post("/services/v2/extracts/e2", &json!({"source": {"password": [secret("wrong-type")]}})).expect(400);
    server.post_text("/services/v2/users/carol", "{\"password\": \"s3cret-cut").expect(400);
    server.make_trail("a1");
    server.make_stream("s1", "a1");
    let row = json!({"xid": "x", "operations": [{"op": "INSERT", "table": "t", "after": {"v": secret("row")}}]});
    server.put("a1", &[row]).expect(200);
    let bad = json!({"operations": [{"op": "FLY", "table": "t", "after": {"v": secret("bad-row")}}]});
    server.put("a1", &[bad]).expect(400);
    let token = server.post("/services/v2/tokens", &json!({"stream": "s1"})).expect(200).response()["token"].clone();
    let token = token.as_str().unwrap().to_owned();
    let asked =
        |target: &str, headers: &[(&str, &str)]| http::request(server.port(), "GET", target, headers, b"").unwrap();
    asked(&format!("/services/v2/stream/s1?access_token={token}&x={}", secret("query")), &[]).expect(200);
    asked(&format!("/services/v2/stream/s1?access_token={token}x"), &[]).expect(401);
    asked(&format!("/nothing/{}?y={}", secret("path"), secret("query-too")), &[]).expect(404);
    let wrong = Basic::new(&secret("as-name"), &secret("guess"));
    asked("/services/v2/stream", &[("Authorization", wrong.header())]).expect(401);
    asked("/services/v2/stream", &[("Authorization", &format!("Bearer {}", secret("bearer")))]).expect(401);
    asked("/services/v2/stream", &[("Cookie", &secret("cookie")), ("Origin", "https://evil.example")]).expect(403);
    let mut subscriber = server.subscribe("s1", &format!("begin=earliest&z={}", secret("socket-query"))).unwrap();
    subscriber.expect_data(PATIENCE);
    subscriber.close();
    house.wait_for("session-end");
    let log = house.server.last_words();
    let audit = ["", ".sessions", ".refusals"].map(|kind| house.text_of(kind)).concat();
    for (what, text) in [("log", log), ("audit", audit)] {
        let ours = house.server.credentials().header().trim_start_matches("Basic ").to_owned();
        for hidden in ["s3cret-", &token, &ours, wrong.header().trim_start_matches("Basic "), "correct-horse-9"] {
            let line = text.lines().find(|line| line.contains(hidden));
            assert!(line.is_none(), "{hidden:?} stands in the {what}: {line:?}");
        }
    }
    assert!(house.lines().len() > 12, "{:?}", house.lines());
    let together = house.lines_in(".refusals").into_iter().find(|line| line["event"] == "refusals");
    assert!(together.is_some(), "{:?}", house.lines_in(".refusals"));
}

/// A server whose files of audit lines are as small as they may be: 64 KiB, and one that is put aside.
fn small_house() -> House {
    let folder = Folder::new("audit");
    let file = folder.path().join("audit.log");
    let config = folder.path().join("t.toml");
    let text = format!(
        "trustedProxies = [\"127.0.0.1\"]\n[audit]\nfile = {:?}\nmaxBytes = 65536\nkeep = 1\n",
        file.to_str().unwrap()
    );
    std::fs::write(&config, text).unwrap();
    let server = Server::start_with(&["--config", config.to_str().unwrap()], &[]);
    House { server, file, addresses: std::cell::Cell::new(0), _folder: folder }
}

const FLOOD: usize = 1_500;

#[test]
fn a_flood_of_bare_posts_leaves_two_lines_and_pushes_nothing_out() {
    let mut house = small_house();
    house.server.make_trail("a1");
    for number in 0..FLOOD {
        let target = if number % 2 == 0 { "/services/v2/trails/x1" } else { "/nothing/here" };
        let status = http::request(house.server.port(), "POST", target, &[], b"").unwrap().status;
        assert!(matches!(status, 401 | 404), "{status}");
    }
    house.server.sample_until("trailcast_audit_refusals_counted_total", |count| count == FLOOD as f64 - 1.0);
    // What is counted is told when the minute is over, or the server ends.
    house.server.last_words();
    let refusals = house.lines_in(".refusals");
    assert_eq!(refusals.len(), 2, "{refusals:?}");
    assert_eq!((&refusals[0]["path"], &refusals[0]["status"]), (&json!("/services/v2/trails/x1"), &json!(401)));
    let together = &refusals[1];
    assert_eq!((&together["event"], &together["peer"]), (&json!("refusals"), &json!("127.0.0.1")));
    assert_eq!((&together["count"], &together["statuses"]), (&json!(FLOOD - 1), &json!({"401": 749, "404": 750})));
    let changes: Vec<_> = house.lines_in("").into_iter().map(|line| line["path"].clone()).collect();
    assert_eq!(changes, ["/services/v2/users/admin", "/services/v2/trails/a1"]);
}

#[test]
fn a_flood_from_everywhere_and_one_of_sessions_push_out_their_like_and_no_change() {
    let house = small_house();
    house.server.make_trail("a1");
    house.server.make_stream("s1", "a1");
    let first = house.new_address();
    let refused = |address: &str| {
        let headers = [("X-Forwarded-For", address)];
        assert_eq!(http::request(house.server.port(), "POST", "/x", &headers, b"").unwrap().status, 404);
    };
    refused(&first);
    assert!(house.text_of(".refusals").contains(&first));
    // The control: so many lines would have pushed a change out of the same file.
    for _ in 0..FLOOD {
        refused(&house.new_address());
    }
    let aside = |kind: &str| std::fs::read_to_string(format!("{}{kind}.1", house.file.display())).unwrap_or_default();
    let kept = house.text_of(".refusals") + &aside(".refusals");
    assert!(!kept.contains(&format!("\"{first}\"")), "the flood was too small to show anything");
    while aside(".sessions").is_empty() {
        house.server.subscribe("s1", "").unwrap().close();
    }
    let changes: Vec<_> = house.lines_in("").into_iter().map(|line| line["path"].clone()).collect();
    assert_eq!(changes, ["/services/v2/users/admin", "/services/v2/trails/a1", "/services/v2/stream/s1"]);
    assert!(aside("").is_empty());
}

#[test]
fn a_full_disk_of_the_audit_file_stops_nothing_and_its_lines_go_to_the_log() {
    let mut server = Server::start_with(&["--audit-log", "/dev/full"], &[]);
    server.make_trail("a1");
    server.make_stream("s1", "a1");
    server.sample_until("trailcast_audit_lines_failed_total", |lines| lines == 3.0);
    let log = server.last_words();
    assert_eq!(log.matches("audit lines cannot be written").count(), 1, "{log}");
    for path in ["/services/v2/trails/a1", "/services/v2/stream/s1"] {
        assert!(log.lines().any(|line| line.contains("audit:") && line.contains(path)), "{path}: {log}");
    }
}

#[test]
fn without_a_file_lines_go_to_the_log_even_when_it_tells_little_else() {
    let server = Server::start_with(&["--log", "error", "--log-format", "json"], &[]);
    server.make_trail("a1");
    let line = server.says("/services/v2/trails/a1");
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["target"], "audit");
    assert_eq!((&line["fields"]["user"], &line["fields"]["path"]), (&json!("admin"), &json!("/services/v2/trails/a1")));
}
