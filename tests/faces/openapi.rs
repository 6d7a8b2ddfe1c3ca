//! Goal: what `/openapi.json` says is what is answered. Method: every operation that it describes is asked in every way that
//! this file knows to make a status, on the real server, and each answer is held against the document. An operation that is
//! described and not asked, a status that is described and not seen, and an answer that is not described all fail.
//!
//! Whoever adds a route adds a line to [`bodies`] if it takes one, and to [`House::answers_well`] or
//! [`House::answers_in_its_own_ways`]; the rest comes by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};

use serde_json::{Value, json};

use crate::support::extract::{capture, info_until};
use crate::support::http::{self, Answer, Basic};
use crate::support::openapi::{Document, Operation};
use crate::support::{Postgres, Server};

const JSON: &str = "application/json";
const MERGE: &str = "application/merge-patch+json";

/// Statuses that need a broken disk, a full server, a slow sender or a fault in the program: other tests make them, each where
/// it belongs.
const MADE_ELSEWHERE: [u16; 4] = [408, 500, 503, 507];

/// Statuses that need a database: [`a_running_extract_is_as_described`] makes them.
const MADE_WITH_A_DATABASE: [(&str, u16); 2] = [("execute", 409), ("loadTables", 200)];

/// A body: its media type and text.
type Content = (&'static str, String);

/// A body that each operation with one takes once everything is there: its media type and text.
fn bodies() -> BTreeMap<&'static str, Content> {
    let document = json!({
        "asyncapi": "3.0.0", "info": {"title": "T", "version": "1"}, "channels": {}, "operations": {},
    });
    let stream = json!({"source": {"trail": "a1"}, "description": "😀", "trailcast": {"heartbeat": 60}}).to_string();
    let password = json!({"password": "correct-horse-9"}).to_string();
    let put = json!({"operations": [{"op": "TRUNCATE", "table": "t"}]}).to_string();
    BTreeMap::from([
        ("makeStream", (JSON, stream.clone())),
        ("makeStreamWithSlash", (JSON, stream)),
        ("changeStream", (MERGE, json!({"bufferSize": 200_000}).to_string())),
        ("changeStreamWithSlash", (JSON, json!({"bufferSize": null}).to_string())),
        ("replaceStreamDocument", ("application/yaml", document.to_string())),
        ("makeTrail", (JSON, json!({"retention": {"ageSeconds": 86_400}, "segmentBytes": 1 << 20}).to_string())),
        ("changePartitions", (JSON, json!({"split": {"partition": 0, "at": null}}).to_string())),
        ("changeTrail", (MERGE, json!({"retention": {"ageSeconds": 90_000, "bytes": null}}).to_string())),
        ("putTransactions", ("application/x-ndjson", format!("{put}\n{put}"))),
        ("resetGroup", (MERGE, json!({"begin": "earliest"}).to_string())),
        ("confirmClock", (JSON, json!({"age": {"status": "running"}}).to_string())),
        ("makeExtract", (JSON, extract("captured").to_string())),
        ("checkNewExtract", (JSON, extract("checked").to_string())),
        ("changeExtract", (JSON, json!({"status": "stopped"}).to_string())),
        ("addCredentials", (JSON, password.clone())),
        ("putCredentials", (JSON, password.clone())),
        ("addUser", (JSON, json!({"role": "User", "password": "correct-horse-9"}).to_string())),
        ("changeUser", (JSON, json!({"role": "Operator"}).to_string())),
        ("askExtract", (JSON, json!({"command": "STATUS", "isReported": false}).to_string())),
        ("execute", (JSON, json!({"name": "report", "reportType": "checkpointTables"}).to_string())),
        ("loadTables", (JSON, json!({"tables": ["public.*"], "where": "id > 5"}).to_string())),
        ("changeLoad", (JSON, json!({"status": "paused"}).to_string())),
        ("makeToken", (JSON, json!({"stream": "s1", "ttlSeconds": 60}).to_string())),
    ])
}

/// An extract that does not run, so that it needs no database.
fn extract(trail: &str) -> Value {
    let source = json!({"type": "postgresql", "host": "127.0.0.1", "database": "d", "user": "u", "password": "p"});
    json!({"source": source, "tables": ["public.*"], "trail": trail, "status": "stopped"})
}

/// A name that is there for each parameter, by its name in the document's components.
fn name_of(parameter: &str) -> &'static str {
    match parameter {
        "stream" => "s1",
        "trail" => "a1",
        "extract" => "x1",
        "user" => "ann",
        "type" => "dataStream",
        "domain" => "d1",
        "alias" => "k1",
        "report" => "x1.rpt",
        "group" => "g1",
        other => panic!("no name is known for the parameter {other}"),
    }
}

struct House {
    server: Server,
    document: Document,
    raw: Value,
}

impl House {
    fn new() -> Self {
        let server = Server::start();
        let raw = server.get("/openapi.json").expect(200).json();
        Self { document: Document::new(raw.clone()), server, raw }
    }

    /// One request, whose answer has to be as described, and its body too if it was taken.
    fn ask(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let answer = http::request(self.server.port(), method, target, headers, body.as_bytes()).unwrap();
        self.document.check(method, target, &answer).unwrap_or_else(|error| panic!("{error}"));
        let media_type = headers.iter().find(|(name, _)| *name == "Content-Type");
        if let (200, Some((_, media_type))) = (answer.status, media_type) {
            let taken = self.document.check_request(method, target, media_type, body);
            taken.unwrap_or_else(|error| panic!("{error}"));
        }
        answer
    }

    /// The same as the administrator.
    fn admin(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut all = vec![("Authorization", self.server.credentials().header())];
        all.extend_from_slice(headers);
        self.ask(method, target, &all, body)
    }

    fn post(&self, target: &str, body: &Value) -> Answer {
        self.admin("POST", target, &[("Content-Type", JSON)], &body.to_string())
    }

    /// An operation's path with the names that are there, or others.
    fn target(&self, operation: &Operation, name: impl Fn(&str) -> String) -> String {
        let mut target = operation.path.clone();
        let parameters = self.raw["paths"][&operation.path]["parameters"].as_array().cloned().unwrap_or_default();
        for parameter in parameters {
            let component = parameter["$ref"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
            let placeholder =
                format!("{{{}}}", self.raw["components"]["parameters"][&component]["name"].as_str().unwrap());
            target = target.replace(&placeholder, &name(&component));
        }
        target
    }

    /// Every operation, with its target and its body's media type and text.
    fn operations(&self) -> Vec<(Operation, String, Option<Content>)> {
        let mut bodies = bodies();
        let with_body = |operation: Operation| {
            let target = self.target(&operation, |parameter| name_of(parameter).to_owned());
            let body = bodies.remove(operation.id.as_str());
            let takes_one = operation.described.get("requestBody").is_some();
            assert_eq!(body.is_some(), takes_one, "{}: add a body that it takes to `bodies`", operation.id);
            (operation, target, body)
        };
        let operations = self.document.operations().into_iter().map(with_body).collect();
        assert!(bodies.is_empty(), "no operation has the name of {:?}", bodies.keys());
        operations
    }

    /// Makes everything, and asks every operation for its success.
    fn answers_well(&self) {
        self.post("/services/v2/stream/early", &json!({"source": {"trail": "a1"}})).expect(200);
        // What makes something comes first, the rest in the document's order, and what takes something away last.
        let rank = |operation: &Operation| match operation.id.as_str() {
            "makeTrail" => 0,
            id if id.starts_with("make") || id.starts_with("add") => 1,
            // A stream with groups is not deleted.
            "deleteGroup" => 3,
            id if id.starts_with("delete") => 4,
            _ => 2,
        };
        let mut operations = self.operations();
        operations.sort_by_key(|(operation, ..)| rank(operation));
        let mut has_group = false;
        for (operation, target, body) in &operations {
            if rank(operation) >= 2 && !std::mem::replace(&mut has_group, true) {
                self.makes_group();
            }
            if rank(operation) >= 3 {
                self.makes_again(operation, target);
            } else if operation.id.ends_with("WithSlash") && rank(operation) == 1 {
                self.admin("DELETE", target, &[], "").expect(200);
            }
            let (media_type, text) = body.clone().unwrap_or_default();
            let headers: Vec<_> = body.iter().map(|_| ("Content-Type", media_type)).collect();
            let status = if operation.id == "loadTables" { 409 } else { 200 };
            self.admin(&operation.method, target, &headers, &text).expect(status);
            if operation.method == "GET" {
                self.admin("HEAD", target, &[], "").expect(200);
            }
            if let Some(service) = proxied_below(target) {
                let again = if operation.method == "GET" { 200 } else { 404 };
                if rank(operation) >= 2 && (again == 200 || rank(operation) >= 3) {
                    for before in ["/services", "/services/north"] {
                        let proxied = target.replacen("/services", &format!("{before}/{service}"), 1);
                        self.admin(&operation.method, &proxied, &[], "").expect(again);
                    }
                }
            }
        }
        self.makes_all();
    }

    /// A consumer group, which its first member makes, and which nobody is in any more.
    fn makes_group(&self) {
        drop(self.server.subscribe("s1", "group=g1").unwrap());
        self.server.get_until("/services/v2/stream/s1/groups/g1", |group| group["members"] == json!([]));
    }

    /// What an operation is about to take away, so that it is there; what hangs on it comes back with it.
    fn makes_again(&self, operation: &Operation, target: &str) {
        let maker = |other: &Operation| other.path == operation.path && matches!(other.method.as_str(), "POST");
        if operation.id == "deleteTrail" {
            self.server.delete("/services/v2/extracts/x1");
        }
        for (other, _, body) in self.operations() {
            if maker(&other) {
                let (media_type, text) = body.unwrap();
                let made = self.admin("POST", target, &[("Content-Type", media_type)], &text);
                assert!(matches!(made.status, 200 | 409), "{made}");
            }
        }
    }

    /// Makes everything that is not there.
    fn makes_all(&self) {
        let mut operations = self.operations();
        operations.sort_by_key(|(operation, ..)| operation.id != "makeTrail");
        for (operation, target, body) in operations {
            if operation.id.starts_with("make") || operation.id.starts_with("add") {
                let (media_type, text) = body.unwrap();
                let made = self.admin("POST", &target, &[("Content-Type", media_type)], &text);
                assert!(matches!(made.status, 200 | 409), "{made}");
            }
        }
        self.makes_group();
    }

    /// Asks every operation in each way in which a request may be wrong whatever it is for.
    fn refuses(&self) {
        let port = self.server.port();
        let locked = Basic::new("locked", "wrong-password");
        self.post("/services/v2/users/locked", &json!({"role": "Administrator", "password": "correct-horse-9"}))
            .expect(200);
        self.post("/services/v2/users/reader", &json!({"role": "User", "password": "correct-horse-9"})).expect(200);
        while http::request(port, "GET", "/metrics", &[("Authorization", locked.header())], b"").unwrap().status != 429
        {
        }
        let reader = Basic::new("reader", "correct-horse-9");
        for (operation, target, body) in self.operations() {
            let (media_type, text) = body.clone().unwrap_or((JSON, String::new()));
            let method = operation.method.as_str();
            let typed = ("Content-Type", media_type);
            let headers = |more: &[(&'static str, &'static str)]| -> Vec<(&'static str, &'static str)> {
                body.iter().map(|_| typed).chain(more.iter().copied()).collect()
            };
            self.ask(method, &target, &headers(&[]), &text);
            self.ask(method, &target, &headers(&[("Authorization", "Bearer nonsense")]), &text);
            let with = |credentials: &Basic| -> Answer {
                let authorization = credentials.header().to_owned();
                let mut all = vec![("Authorization", authorization.as_str())];
                all.extend(headers(&[]));
                self.ask(method, &target, &all, &text)
            };
            with(&locked);
            if operation.described["description"].as_str().is_some_and(|said| said.starts_with("Role: Admin")) {
                with(&reader).expect(403);
            }
            self.admin(method, &target, &headers(&[("Origin", "https://elsewhere.example")]), &text).expect(403);
            if method == "GET" {
                self.ask(method, &format!("{target}?access_token=a&access_token=b"), &[], "");
                self.ask(method, &format!("{target}?acces_token=a"), &[], "").expect(400);
            }
            for bad in ["%2e%2e%2f", "a%00b", "%ff", ":"] {
                let bad_target = self.target(&operation, |_| bad.to_owned());
                if bad_target != target {
                    let answer = self.admin(method, &bad_target, &headers(&[]), &text);
                    assert!(matches!(answer.status, 400 | 404), "{answer}");
                }
            }
            if operation.path.contains('{') && !makes_what_it_names(&operation) {
                let missing = self.target(&operation, |_| "missing".to_owned());
                self.admin(method, &missing, &headers(&[]), &text).expect(404);
            }
            if body.is_some() {
                self.admin(method, &target, &headers(&[]), "{").expect(400);
                self.admin(method, &target, &headers(&[("Content-Encoding", "gzip")]), &text).expect(415);
                self.admin(method, &target, &[("Content-Type", "image/png")], &text).expect(415);
                let longest = if operation.id == "putTransactions" { 64 << 20 } else { 1 << 20 };
                self.admin(method, &target, &headers(&[]), &" ".repeat(longest + 1)).expect(413);
            }
            self.admin("BREW", &target, &[], "").expect(405);
        }
    }

    /// Statuses that only some operations have.
    fn answers_in_its_own_ways(&self) {
        for target in ["/services/v2/trails/a1", "/services/v2/users/ann", "/services/v2/extracts/x1"] {
            let (_, _, body) = self
                .operations()
                .into_iter()
                .find(|(operation, to, _)| to == target && operation.method == "POST")
                .unwrap();
            self.admin("POST", target, &[("Content-Type", JSON)], &body.unwrap().1).expect(409);
        }
        for slash in ["", "/"] {
            let stream = format!("/services/v2/stream/s1{slash}");
            self.post(&stream, &json!({"source": {"trail": "a1"}})).expect(409);
            self.hand_shakes(&stream, "13").expect(101);
            self.hand_shakes(&stream, "12").expect(426);
            self.hand_shakes(&format!("{stream}?begin=yesterday"), "13").expect(400);
            let elsewhere =
                self.server.put("b1", &[json!({"operations": [{"op": "TRUNCATE", "table": "t"}]})]).expect(200);
            let begin = elsewhere.response()["pos"].as_str().unwrap().to_owned();
            self.hand_shakes(&format!("{stream}?begin={begin}"), "13").expect(409);
            self.admin("GET", &format!("/services/v2/stream/s1/records?begin={begin}"), &[], "").expect(409);
        }
        let member = self.server.subscribe("s1", "group=g1").unwrap();
        let group = "/services/v2/stream/s1/groups/g1";
        self.admin("PATCH", group, &[("Content-Type", JSON)], &json!({"begin": "now"}).to_string()).expect(409);
        for target in [group, "/services/v2/stream/s1", "/services/v2/stream/s1/"] {
            self.admin("DELETE", target, &[], "").expect(409);
        }
        self.admin("GET", group, &[], "").expect(200);
        self.admin("GET", "/services/v2/groups", &[], "").expect(200);
        drop(member);
        for document in ["yaml", "asyncapi.yaml", "asyncapi.json"] {
            let target = format!("/services/v2/stream/s1/{document}");
            let etag = self.admin("GET", &target, &[], "").expect(200).header("etag").unwrap().to_owned();
            self.admin("GET", &target, &[("If-None-Match", &etag)], "").expect(304);
        }
        self.admin("DELETE", "/services/v2/trails/captured", &[], "").expect(409);
        for status in [200, 409] {
            self.post("/services/v2/trails/a1/partitions", &json!({"split": {"partition": 0}})).expect(status);
        }
        let put = json!({"operations": [{"op": "TRUNCATE", "table": "t"}]});
        self.post("/services/v2/trails/captured/transactions", &put).expect(409);
        for (media_type, body) in [
            (JSON, put.clone()),
            ("application/cloudevents+json", self.event_example()),
            ("application/cloudevents-batch+json", json!([self.event_example()])),
            ("application/cloudevents-batch+json", json!([])),
        ] {
            let headers = [("Content-Type", media_type)];
            self.admin("POST", "/services/v2/trails/b1/transactions", &headers, &body.to_string()).expect(200);
        }
        let mut other = extract("captured");
        self.post("/services/v2/extracts/x2", &other).expect(409);
        other["trail"] = json!("another");
        other["source"]["password"] = Value::Null;
        other["source"]["credentials"] = json!({"domain": "d1", "alias": "nothing"});
        other["status"] = json!("running");
        self.post("/services/v2/extracts/x2", &other).expect(404);
        let cancelled = json!({"status": "cancelled"}).to_string();
        self.admin("PATCH", "/services/v2/extracts/x1/load", &[("Content-Type", JSON)], &cancelled).expect(409);
        self.post("/services/v2/extracts/x2/check", &other).expect(404);
        for drop_slot in ["true", "maybe"] {
            // Nothing listens where its database is said to be, so that nothing can be taken away there.
            let status = if drop_slot == "true" { 409 } else { 400 };
            self.admin("DELETE", &format!("/services/v2/extracts/x1?dropSlot={drop_slot}"), &[], "").expect(status);
        }
        let patch =
            |target: &str, body: Value| self.admin("PATCH", target, &[("Content-Type", JSON)], &body.to_string());
        patch("/services/v2/extracts/x1", json!({"trail": "another"})).expect(409);
        self.post("/services/v2/tokens", &json!({"stream": "missing"})).expect(404);
        patch("/services/v2/users/admin", json!({"role": "User"})).expect(409);
        self.commands();
        self.ask("GET", "/", &[("Accept", "text/html")], "").expect(200);
        self.ask("GET", "/", &[("Accept", "image/png")], "").expect(406);
        let records = "/services/v2/stream/s1/records";
        self.admin("GET", records, &[("Accept", "image/png")], "").expect(406);
        self.admin("GET", records, &[("Accept", "application/x-ndjson")], "").expect(200);
        self.admin("GET", &format!("{records}?limit=0"), &[], "").expect(400);
        self.admin("DELETE", "/services/v2/users/admin", &[], "").expect(409);
        for path in ["/nothing", "/services/v2", "/services/v2/stream/s1/info/nothing"] {
            self.admin("GET", path, &[], "").expect(404);
        }
        // Of a trail with transactions, and of a stream with a session, more is said.
        let _session = self.server.subscribe("s1", "begin=earliest").unwrap();
        self.admin("GET", "/services/v2/trails/b1", &[], "").expect(200);
        let info = "/services/v2/stream/s1/info";
        self.server.get_until(info, |info| info["sessions"].as_array().is_some_and(|sessions| !sessions.is_empty()));
        self.admin("GET", info, &[], "").expect(200);
        for (path, status) in [("/readyz", 200), ("/healthz", 200)] {
            self.ask("GET", path, &[], "").expect(status);
        }
    }

    /// What clients of a GoldenGate deployment tell an extract, and ask it.
    fn commands(&self) {
        for command in ["STATUS", "GETLAG", "STATS"] {
            let answer = self.post("/services/v2/extracts/x1/command", &json!({"command": command})).expect(200);
            assert_eq!(answer.response()["command"], command);
        }
        let execute = |body: Value| self.post("/services/v2/commands/execute", &body);
        execute(json!({"name": "stop", "processName": "x1", "processType": "extract", "force": true})).expect(200);
        for name in ["start", "stop"] {
            execute(json!({"name": name, "processName": "missing"})).expect(404);
        }
        for wrong in [
            json!({}),
            json!({"name": "start"}),
            json!({"name": "stop", "processName": "1x"}),
            json!({"name": "report"}),
            json!({"name": "report", "reportType": "checkpointTables", "processname": "x1"}),
        ] {
            execute(wrong.clone()).expect(400);
            let is_described =
                self.document.check_request("POST", "/services/v2/commands/execute", JSON, &wrong.to_string());
            assert!(is_described.is_err(), "{wrong} is refused, and described as taken");
        }
    }

    fn event_example(&self) -> Value {
        let content = &self.raw["paths"]["/services/v2/trails/{name}/transactions"]["post"]["requestBody"]["content"];
        content["application/cloudevents+json"]["example"].clone()
    }

    /// A handshake in some version of the protocol; the socket is dropped when it has been answered.
    fn hand_shakes(&self, target: &str, version: &str) -> Answer {
        let port = self.server.port();
        let mut stream = http::connect(port, std::time::Duration::from_secs(30)).unwrap();
        let credentials = self.server.credentials().header();
        let head = format!(
            "GET {target} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: {credentials}\r\nConnection: Upgrade\r\n\
             Upgrade: websocket\r\nSec-WebSocket-Version: {version}\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut bytes = Vec::new();
        let mut byte = [0];
        while !bytes.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
            bytes.push(byte[0]);
        }
        let head = String::from_utf8(bytes).unwrap();
        let headers: Vec<_> = head.lines().filter_map(|line| line.split_once(": ")).collect();
        let headers: Vec<_> =
            headers.into_iter().map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
        let mut answer = Answer { status: head[9..12].parse().unwrap(), headers, body: Vec::new() };
        let length = answer.header("content-length").map_or(0, |length| length.parse().unwrap());
        if answer.status != 101 {
            answer.body = vec![0; length];
            stream.read_exact(&mut answer.body).unwrap();
        }
        self.document.check("GET", target, &answer).unwrap_or_else(|error| panic!("{error}"));
        answer
    }
}

/// The service of GoldenGate below whose name a reverse proxy shows the path, if it is one of these.
fn proxied_below(target: &str) -> Option<&'static str> {
    let first = target.strip_prefix("/services/v2/")?.split('/').next()?;
    match first {
        "stream" | "metadata-catalog" | "sources" => Some("distsrvr"),
        "trails" | "extracts" | "commands" | "replicats" | "authorizations" | "credentials" => Some("adminsrvr"),
        _ => None,
    }
}

/// Whether it makes what its path names, and so needs nothing to be there.
fn makes_what_it_names(operation: &Operation) -> bool {
    let makes = ["make", "add", "put"].iter().any(|word| operation.id.starts_with(word));
    (makes && operation.id != "putTransactions") || operation.id == "checkNewExtract"
}

#[test]
fn every_operation_answers_as_it_is_described_and_in_every_way_that_is_described() {
    let house = House::new();
    house.server.make_trail("b1");
    house.answers_well();
    house.answers_in_its_own_ways();
    house.refuses();
    let mut unseen = Vec::new();
    for operation in house.document.operations() {
        let seen = house.document.seen(&operation);
        let never: BTreeSet<_> = house.document.statuses(&operation).difference(&seen).copied().collect();
        let is_made_elsewhere = |status: u16| {
            MADE_ELSEWHERE.contains(&status) || MADE_WITH_A_DATABASE.contains(&(operation.id.as_str(), status))
        };
        let never: Vec<_> = never.into_iter().filter(|status| !is_made_elsewhere(*status)).collect();
        if !never.is_empty() {
            unseen.push(format!("{} {} ({}): {never:?}", operation.method, operation.path, operation.id));
        }
    }
    assert!(unseen.is_empty(), "described, and never seen:\n{}", unseen.join("\n"));
}

#[test]
fn a_name_is_refused_where_its_pattern_says_so_and_nowhere_else() {
    let house = House::new();
    let long = |length: usize| "a".repeat(length);
    let names = [
        "a",
        "a1",
        "A-b_c.d",
        "1a",
        "_a",
        "#1",
        "$-",
        "a b",
        "a:b",
        "é1",
        "a\u{1}",
        "a\u{85}",
        "a\u{7f}",
        "a%b",
        "..a",
        "a..",
        "ann@example.com",
        "a+b",
        "a~b",
        "a\\b",
        "\"a\"",
        "😀",
    ];
    let names: Vec<String> =
        names.iter().map(|name| (*name).to_owned()).chain([32, 33, 64, 65, 256, 257].map(long)).collect();
    let mut looked_at = BTreeSet::new();
    for operation in house.document.operations() {
        let parameters = house.document.names_in(&operation.path);
        let is_last = operation.path.ends_with('}');
        if !is_last || parameters.is_empty() || !matches!(operation.method.as_str(), "GET" | "DELETE") {
            continue;
        }
        looked_at.insert(operation.path.clone());
        for name in &names {
            let escaped: String = name.bytes().map(|byte| format!("%{byte:02X}")).collect();
            let answer = house.admin(&operation.method, &house.target(&operation, |_| escaped.clone()), &[], "");
            let is_name = parameters.iter().all(|parameter| house.document.allows_name(parameter, name));
            let code = answer.json()["messages"][0]["code"].clone();
            assert_eq!(code == "OGG-27004", !is_name, "{} {name:?}: {answer}", operation.path);
        }
    }
    assert_eq!(looked_at.len(), 9, "{looked_at:?}");
}

/// What an extract says of itself while it captures needs a database.
#[test]
fn a_running_extract_is_as_described() {
    let Some(postgres) = Postgres::newest() else { return };
    let house = House::new();
    postgres.psql("create table t (id int primary key); create table n (id int)");
    capture(&house.server, &postgres, "x1", &["public.t"], "captured");
    postgres.psql("insert into t values (1)");
    info_until(&house.server, "x1", |info| info["transactions"] == 1 && !info["slot"].is_null());
    for target in ["/services/v2/extracts", "/services/v2/extracts/x1", "/services/v2/extracts/x1/info"] {
        let answer = house.admin("GET", target, &[], "").expect(200);
        assert!(answer.text().contains("walStatus"), "{answer}");
    }
    house.admin("GET", "/services/v2/trails/captured", &[], "").expect(200);
    house.post("/services/v2/extracts/x1/load", &json!({"tables": ["public.t"]})).expect(200);
    info_until(&house.server, "x1", |info| info["snapshot"]["state"] == "done");
    for target in ["/services/v2/extracts/x1/info", "/services/v2/extracts/x1/load"] {
        house.admin("GET", target, &[], "").expect(200);
    }
    let mut refused = extract("other");
    refused["source"] = postgres.source();
    refused["tables"] = json!(["public.t", "public.n"]);
    refused["status"] = json!("running");
    // Publishing public.n would have the application's own writes refused.
    house.post("/services/v2/extracts/x2", &refused).expect(409);
    refused["withoutIdentity"] = json!("skip");
    house.post("/services/v2/extracts/x2", &refused).expect(200);
    info_until(&house.server, "x2", |info| !info["publication"].is_null());
    let left_out = house.admin("GET", "/services/v2/extracts/x2", &[], "").expect(200);
    assert!(left_out.text().contains("leftOut"), "{left_out}");
    // Where that leaves no table, the extract waits for one.
    refused["tables"] = json!(["public.n"]);
    refused["trail"] = json!("third");
    house.post("/services/v2/extracts/x3", &refused).expect(200);
    info_until(&house.server, "x3", |info| info["lastErrorReason"] == "no_tables");
    let waits = house.admin("GET", "/services/v2/extracts/x3/info", &[], "").expect(200).response();
    assert_eq!(waits["status"], "retrying", "{waits}");
    // Starting by a command is refused as the change of the status is, and stopping ends the waiting.
    let execute = |name: &str, extract: &str| {
        house.post("/services/v2/commands/execute", &json!({"name": name, "processName": extract}))
    };
    refused["withoutIdentity"] = Value::Null;
    refused["trail"] = json!("fourth");
    refused["status"] = json!("stopped");
    house.post("/services/v2/extracts/x4", &refused).expect(200);
    execute("start", "x4").expect(409);
    execute("stop", "x3").expect(200);
    info_until(&house.server, "x3", |info| info["status"] == "stopped");
    execute("start", "x3").expect(200);
    info_until(&house.server, "x3", |info| info["status"] == "retrying");
    let seen = |id: &str| {
        let operation = house.document.operations().into_iter().find(|operation| operation.id == id).unwrap();
        house.document.seen(&operation)
    };
    for (id, status) in MADE_WITH_A_DATABASE {
        assert!(seen(id).contains(&status), "{id} {status}");
    }
}
