//! Goal: bad input gets a clear answer and changes nothing. Method: a table of it over HTTP, and after each row of the
//! table a look at everything the server holds.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::http::{self, Answer, Basic};
use crate::support::subscriber::{Next, Refused};
use crate::support::{Server, Subscriber};

const STREAM: &str = "/services/v2/stream";
const TRAILS: &str = "/services/v2/trails";
const EXTRACTS: &str = "/services/v2/extracts";
const PUT: &str = "/services/v2/trails/a1/transactions";
const JSON: &[(&str, &str)] = &[("Content-Type", "application/json")];
const NDJSON: &[(&str, &str)] = &[("Content-Type", "application/x-ndjson")];
const PATIENCE: Duration = Duration::from_secs(30);

/// A server with one trail of three rows and one stream over it.
struct House {
    server: Server,
    rows: Vec<String>,
    state: Vec<String>,
}

impl House {
    fn new() -> Self {
        let server = Server::start();
        server.make_trail("a1");
        server.make_stream("s1", "a1");
        server.put("a1", &[insert("x1", 1), insert("x2", 2), insert("x3", 3)]).expect(200);
        let mut house = Self { server, rows: Vec::new(), state: Vec::new() };
        house.rows = house.read_rows(3);
        house.state = house.read_state();
        house
    }

    /// The positions of all rows in the trail; waits for `at_least` of them.
    fn read_rows(&self, at_least: usize) -> Vec<String> {
        let mut subscriber = self.server.subscribe("s1", "begin=earliest").unwrap();
        let mut rows = Vec::new();
        loop {
            let patience = if rows.len() < at_least { PATIENCE } else { Duration::from_millis(300) };
            match subscriber.next(patience) {
                Next::Record(record) => rows.extend(record.pos().map(str::to_owned)),
                Next::Quiet => return rows,
                Next::Ended(end) => panic!("{end:?}"),
            }
        }
    }

    /// The names of all resources, and of all files.
    fn read_state(&self) -> Vec<String> {
        let mut state = Vec::new();
        for collection in [STREAM, TRAILS, EXTRACTS] {
            let items = self.server.get(collection).expect(200).response()["items"].clone();
            let names = items.as_array().unwrap().iter().map(|item| format!("{collection} {}", item["name"]));
            state.extend(names);
        }
        state.push(self.server.get(&format!("{STREAM}/s1")).expect(200).response().to_string());
        list_files(self.server.data_dir(), &mut state);
        state.sort();
        state
    }

    fn nothing_changed(&self, after: &str) {
        assert_eq!(self.read_state(), self.state, "changed by {after}");
    }

    fn no_row_was_appended(&self) {
        assert_eq!(self.read_rows(self.rows.len()), self.rows);
    }
}

fn list_files(folder: &Path, list: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        list.push(entry.path().display().to_string());
        if entry.path().is_dir() {
            list_files(&entry.path(), list);
        }
    }
}

fn insert(xid: &str, id: u64) -> Value {
    json!({"xid": xid, "operations": [operation(id)]})
}

fn operation(id: u64) -> Value {
    json!({"op": "INSERT", "table": "app.t", "key": ["id"], "after": {"id": id, "name": "Zoë"}})
}

fn shortened(text: &str) -> String {
    text.chars().take(120).collect()
}

/// A refusal is 4xx, in the envelope, with an ERROR whose title says each of these.
fn is_clear(answer: &Answer, what: &str, says: &[&str]) {
    let what = shortened(what);
    assert!((400..500).contains(&answer.status), "{what}: {answer}");
    let json = answer.json();
    assert_eq!(json["$schema"], "api:standardResponse", "{what}: {answer}");
    assert_eq!(json["messages"][0]["severity"], "ERROR", "{what}: {answer}");
    let titles = answer.titles();
    assert!(!titles.is_empty() && titles.len() < 2_000, "{what}: {answer}");
    for word in says {
        assert!(titles.contains(word), "{what}: `{word}` is not in: {titles}");
    }
}

#[test]
fn names_that_are_no_names_are_refused() {
    let house = House::new();
    let long = "a".repeat(10_000);
    let body = json!({"source": {"trail": "a1"}}).to_string();
    let names = [
        "..",
        ".",
        "%2e%2e",
        "a%2Fb",
        "%2Fetc",
        "a%00b",
        "%00",
        "..%2F..%2Fx",
        "1a",
        "a%20b",
        "%C3%A9t",
        "a%FF",
        &long,
    ];
    for name in names {
        let answer = house.server.request("POST", &format!("{STREAM}/{name}"), JSON, body.as_bytes());
        is_clear(&answer, name, &["name"]);
        for method in ["GET", "DELETE"] {
            let answer = house.server.request(method, &format!("{STREAM}/{name}"), &[], b"");
            is_clear(&answer, &format!("{method} {name}"), &[]);
        }
        house.nothing_changed(name);
    }
    let long_trail = "a".repeat(65);
    for name in ["..", "%2e%2e", "a%2Fb", "%2Fetc", "a%00b", "a", "a.b", "a%20b", "%C3%A9t", "a%FF", &long_trail, &long]
    {
        let answer = house.server.request("POST", &format!("{TRAILS}/{name}"), JSON, b"{}");
        is_clear(&answer, name, &["name"]);
        let answer = house.server.request("DELETE", &format!("{TRAILS}/{name}"), &[], b"");
        is_clear(&answer, name, &[]);
        house.nothing_changed(name);
    }
    for path in
        ["/services/v2/stream/a/b/c", "/services/v2/stream/../../etc/passwd", "/nothing", "/services/v2/trails/a/b"]
    {
        is_clear(&house.server.request("POST", path, JSON, body.as_bytes()), path, &[]);
        house.nothing_changed(path);
    }
    for name in ["..", "1a", "a%2Fb", "a%00b", &long] {
        is_clear(&house.server.request("POST", &format!("{EXTRACTS}/{name}"), JSON, b"{}"), name, &["name"]);
        house.nothing_changed(name);
    }
}

#[test]
fn configurations_that_a_stream_cannot_have_are_refused_by_member() {
    let house = House::new();
    let trail = |trail: &str| json!({"source": {"trail": trail}});
    let with = |member: &str, value: Value| json!({"source": {"trail": "a1"}, member: value});
    let long = "a".repeat(10_000);
    let cases: Vec<(Value, &[&str])> = vec![
        (json!({}), &["source"]),
        (json!({"source": {}}), &["trail"]),
        (json!({"source": "a1"}), &["source"]),
        (trail(""), &["trail"]),
        (trail("a"), &["trail"]),
        (trail(".."), &["trail"]),
        (trail("../a1"), &["trail"]),
        (trail("a\u{0}b"), &["trail"]),
        (trail(&long), &["trail"]),
        (json!({"source": {"trail": "a1", "colour": 1}}), &["colour"]),
        (json!({"source": {"trail": "a1", "path": "/etc"}}), &["path"]),
        (with("colour", json!(1)), &["colour"]),
        (with("bufferSize", json!(1)), &["bufferSize", "131072", "10485760"]),
        (with("bufferSize", json!(131_071)), &["bufferSize"]),
        (with("bufferSize", json!(10_485_761)), &["bufferSize"]),
        (with("bufferSize", json!(-1)), &["bufferSize"]),
        (with("bufferSize", json!("131072")), &["bufferSize"]),
        (with("qualityOfService", json!("twice")), &["qualityOfService"]),
        (with("cloudEventsFormat", json!("yes")), &["cloudEventsFormat"]),
        (with("encoding", json!("avro")), &["encoding"]),
        (with("encoding", json!({"json": {"colour": 1}})), &["colour"]),
        (with("encoding", json!({"json": {"model": "column"}})), &["model"]),
        (with("rules", json!([])), &["rules"]),
        (with("rules", json!([{"action": "include", "filter": {"objectNames": ["a.b.c.d"]}}])), &["objectNames"]),
        (with("rules", json!([{"action": "perhaps", "filter": {"objectNames": ["a.b"]}}])), &["action"]),
    ];
    for (body, says) in &cases {
        let answer = house.server.post(&format!("{STREAM}/s2"), body);
        assert_eq!(answer.status, 400, "{}: {answer}", shortened(&body.to_string()));
        is_clear(&answer, &body.to_string(), says);
    }
    house.nothing_changed("configurations");
    let answer = house.server.post(&format!("{STREAM}/s1"), &trail("a1"));
    assert_eq!(answer.status, 409, "{answer}");
    is_clear(&answer, "a name that exists", &["s1"]);
    house.nothing_changed("a name that exists");
}

#[test]
fn text_that_is_no_json_is_refused_everywhere() {
    let house = House::new();
    let deep = "[".repeat(100_000);
    let deep_object = "{\"source\":".repeat(50_000);
    let texts: &[&[u8]] = &[
        b"",
        b"{",
        b"}",
        b"nonsense",
        b"[]",
        b"1",
        b"null",
        b"\"x\"",
        b"{\"source\":}",
        b"{\"source\":{\"trail\":\"a1\"}",
        b"{\"source\":{\"trail\":\"a1\"}} x",
        b"{'source':{'trail':'a1'}}",
        b"{\"source\":{\"trail\":\"\xFF\xFE\"}}",
        b"\0\0\0\0",
        deep.as_bytes(),
        deep_object.as_bytes(),
    ];
    for text in texts {
        for target in [format!("{STREAM}/s2"), PUT.to_owned(), format!("{EXTRACTS}/e1")] {
            let answer = house.server.request("POST", &target, JSON, text);
            is_clear(&answer, &format!("{target} {}", String::from_utf8_lossy(text)), &[]);
            assert_eq!(answer.status, 400, "{target} {}: {answer}", shortened(&String::from_utf8_lossy(text)));
        }
    }
    house.nothing_changed("no JSON");
    house.no_row_was_appended();
}

#[test]
fn a_put_with_one_bad_operation_among_a_thousand_appends_nothing() {
    let house = House::new();
    let long = "x".repeat(10_000);
    let change = |member: &str, value: Value| {
        let mut operation = operation(500);
        operation[member] = value;
        operation
    };
    let without = |member: &str| {
        let mut operation = operation(500);
        operation.as_object_mut().unwrap().remove(member);
        operation
    };
    let bad: Vec<(Value, &str)> = vec![
        (change("op", json!("UPSERTT")), "op"),
        (without("op"), "op"),
        (without("table"), "table"),
        (without("after"), "after"),
        (change("table", json!("")), "table"),
        (change("table", json!("a.b.c.d")), "table"),
        (change("table", json!(7)), "table"),
        (change("table", json!(long)), "table"),
        (change("key", json!(["no_such_column"])), "key"),
        (change("key", json!("id")), "key"),
        (change("after", json!([1, 2])), "after"),
        (change("colour", json!(1)), "colour"),
        (json!({"op": "DELETE", "table": "app.t", "key": ["id"]}), "before"),
        (json!({"op": "DDL", "table": "app.t"}), "ddl"),
        (json!(null), "operations"),
    ];
    for (bad, says) in &bad {
        let mut operations: Vec<Value> = (1..=1_000).map(|id| operation(1_000 + id)).collect();
        operations[500] = bad.clone();
        let one = json!({"xid": "the bad one", "operations": operations});
        let answer = house.server.post(PUT, &one).expect(400);
        is_clear(&answer, &bad.to_string(), &[says]);

        let mut lines: Vec<Value> = (1..=1_000).map(|id| insert(&format!("line {id}"), 1_000 + id)).collect();
        lines[499] = json!({"xid": "the bad one", "operations": [bad]});
        let body = lines.iter().map(Value::to_string).collect::<Vec<_>>().join("\n");
        let answer = house.server.request("POST", PUT, NDJSON, body.as_bytes()).expect(400);
        is_clear(&answer, &bad.to_string(), &[says, "500"]);
    }
    let whole: Vec<(Value, &str)> = vec![
        (json!({"operations": []}), "operations"),
        (json!({}), "operations"),
        (json!({"xid": long, "operations": [operation(9)]}), "xid"),
        (json!({"xid": "", "operations": [operation(9)]}), "xid"),
        (json!({"xid": 7, "operations": [operation(9)]}), "xid"),
        (json!({"colour": 7, "operations": [operation(9)]}), "colour"),
        (json!({"commitTs": "2200-01-01T00:00:00Z", "operations": [operation(9)]}), "commitTs"),
        (json!({"commitTs": "yesterday", "operations": [operation(9)]}), "commitTs"),
    ];
    for (transaction, says) in &whole {
        is_clear(&house.server.post(PUT, transaction).expect(400), &transaction.to_string(), &[says]);
    }
    is_clear(&house.server.put("no-such-trail", &[insert("y", 1)]), "a put to no trail", &["no-such-trail"]);
    house.no_row_was_appended();
    house.nothing_changed("bad puts");
    // What was refused left nothing behind, so the same ids can still be put.
    house.server.put("a1", &[insert("the bad one", 4)]).expect(200);
    assert_eq!(house.read_rows(4).len(), 4);
}

#[test]
fn a_body_that_is_packed_is_refused_by_the_name_of_its_header() {
    let house = House::new();
    for coding in ["gzip", "identity, br", "Deflate"] {
        for target in [PUT.to_owned(), format!("{STREAM}/s2"), format!("{EXTRACTS}/e1")] {
            let headers = [JSON[0], ("Content-Encoding", coding)];
            let answer = house.server.request("POST", &target, &headers, b"\x1f\x8b\x08").expect(415);
            is_clear(&answer, coding, &["Content-Encoding", "identity"]);
        }
        let yaml = [("Content-Type", "application/yaml"), ("Content-Encoding", coding)];
        house.server.request("PATCH", &format!("{STREAM}/s1/yaml"), &yaml, b"\x1f\x8b\x08").expect(415);
    }
    house.nothing_changed("packed bodies");
    let headers = [JSON[0], ("Content-Encoding", "identity")];
    house.server.request("POST", PUT, &headers, insert("x4", 4).to_string().as_bytes()).expect(200);
}

#[test]
fn a_member_that_stands_twice_is_refused_everywhere() {
    let house = House::new();
    let twice = r#"{"source":{"trail":"a1","trail":"a2"}}"#;
    let answer = house.server.request("POST", &format!("{STREAM}/s2"), JSON, twice.as_bytes()).expect(400);
    is_clear(&answer, twice, &["source.trail: stands twice"]);
    let answer = house.server.request("PATCH", &format!("{STREAM}/s1"), JSON, twice.as_bytes()).expect(400);
    is_clear(&answer, twice, &["source.trail: stands twice"]);
    let segments = br#"{"segmentBytes":1048576,"segmentBytes":2097152}"#;
    let answer = house.server.request("POST", &format!("{TRAILS}/a2"), JSON, segments).expect(400);
    is_clear(&answer, "segmentBytes", &["segmentBytes: stands twice"]);
    let extract = br#"{"source":{"type":"postgresql","host":"a","host":"b"},"tables":["a.b"],"trail":"a2"}"#;
    let answer = house.server.request("POST", &format!("{EXTRACTS}/e1"), JSON, extract).expect(400);
    is_clear(&answer, "an extract", &["source.host: stands twice"]);
    house.nothing_changed("members that stand twice");
}

#[test]
fn what_is_wrong_with_an_extract_is_named_by_its_member() {
    let house = House::new();
    let extract = |member: &str, value: Value| {
        let mut config = json!({
            "source": {"type": "postgresql", "host": "127.0.0.1", "port": 1, "database": "d", "user": "u"},
            "tables": ["public.*"], "trail": "a2", "status": "stopped",
        });
        let (outer, inner) = member.split_once('.').unwrap_or((member, ""));
        let place = if inner.is_empty() { &mut config[outer] } else { &mut config[outer][inner] };
        *place = value;
        config
    };
    let cases = [
        ("source.host", json!({}), "source.host: invalid type"),
        ("source.port", json!("5432"), "source.port: invalid type"),
        ("source.type", json!("oracle"), "source.type: unknown variant"),
        ("source.colour", json!(1), "colour"),
        ("source", json!({"type": "postgresql"}), "source.host: is required"),
        ("tables", json!(["public.*", 7]), "tables[1]: "),
        ("trail", json!(null), "trail: invalid type"),
        ("status", json!("asleep"), "status: unknown variant"),
    ];
    for (member, value, says) in &cases {
        let answer = house.server.post(&format!("{EXTRACTS}/e1"), &extract(member, value.clone())).expect(400);
        is_clear(&answer, member, &[says]);
        let checked = house.server.post(&format!("{EXTRACTS}/e1/check"), &extract(member, value.clone())).expect(400);
        is_clear(&checked, member, &[says]);
    }
    house.nothing_changed("extracts");
    house.server.post(&format!("{EXTRACTS}/e1"), &extract("status", json!("stopped"))).expect(200);
    let change = br#"{"source":{"port":"x"}}"#;
    let answer = house.server.request("PATCH", &format!("{EXTRACTS}/e1"), JSON, change).expect(400);
    is_clear(&answer, "a change", &["source.port: invalid type"]);
}

#[test]
fn a_refusal_says_a_thing_once() {
    let house = House::new();
    let bob = json!({"role": "User", "password": "long enough 1"});
    house.server.post("/services/v2/users/bob", &bob).expect(200);
    let answer = house.server.post("/services/v2/users/bob", &bob).expect(409);
    is_clear(&answer, "bob", &["user bob already exists."]);
    house.server.make_stream("s3", "a3");
    let Err(Refused::Answer(answer)) = house.server.subscribe("s3", &format!("begin={}", house.rows[0])) else {
        panic!("a position in no trail")
    };
    assert_eq!(answer.titles().matches("trail a3 does not exist yet").count(), 1, "{answer}");
}

#[test]
fn a_change_that_changes_nothing_closes_no_session() {
    let house = House::new();
    let mut subscriber = house.server.subscribe("s1", "begin=now").unwrap();
    for nothing in ["{}", r#"{"source":{"trail":"a1"}}"#, r#"{"rules":null}"#] {
        house.server.request("PATCH", &format!("{STREAM}/s1"), JSON, nothing.as_bytes()).expect(200);
    }
    house.server.put("a1", &[insert("x4", 4)]).expect(200);
    let next = std::iter::repeat_with(|| subscriber.next(PATIENCE)).find_map(|next| match next {
        Next::Record(record) => record.pos().map(str::to_owned),
        Next::Quiet => panic!("no record"),
        Next::Ended(end) => panic!("{end:?}"),
    });
    assert!(next.is_some());
    let change = br#"{"description":"x"}"#;
    house.server.request("PATCH", &format!("{STREAM}/s1"), JSON, change).expect(200);
    let ended = std::iter::repeat_with(|| subscriber.next(PATIENCE)).find(|next| !matches!(next, Next::Record(_)));
    assert!(matches!(&ended, Some(Next::Ended(end)) if format!("{end:?}").contains("4012")), "{ended:?}");
}

/// What the server answers when it does not upgrade.
fn refusal(house: &House, query: &str) -> Answer {
    match house.server.subscribe("s1", query) {
        Err(Refused::Answer(answer)) => answer,
        Err(Refused::Broken(error)) => panic!("{query}: {error}"),
        Ok(_) => panic!("{query} was accepted"),
    }
}

#[test]
fn a_begin_of_no_form_is_refused_before_the_upgrade() {
    let house = House::new();
    let long = format!("begin={}", "A".repeat(10_000));
    let queries = [
        "begin=now&begin=earliest",
        "begin=now&begin=now",
        "begin=",
        "begin=yesterday",
        "begin=latest",
        "begin=2026-13-01T00:00:00Z",
        "begin=2026-01-32",
        "begin=%00",
        "begin=AAAA",
        "begin=%FF",
        &long,
    ];
    for query in queries {
        let answer = refusal(&house, query);
        assert_eq!(answer.status, 400, "{}: {answer}", shortened(query));
        is_clear(&answer, query, &[]);
        // What has the letters of a position is judged as one.
        let titles = answer.titles();
        assert!(titles.contains("begin") || titles.contains("position"), "{query}: {titles}");
    }
    house.nothing_changed("begins");
}

#[test]
fn a_position_with_any_one_character_changed_is_refused() {
    const ALPHABET: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let house = House::new();
    let position = house.rows[1].clone();
    assert!(position.len() <= 54 && position.bytes().all(|byte| ALPHABET.contains(&byte)), "{position}");
    let mut subscriber: Subscriber = house.server.subscribe("s1", &format!("begin={position}")).unwrap();
    assert_eq!(subscriber.expect_data(PATIENCE).pos(), Some(house.rows[2].as_str()), "unchanged, it resumes");

    let mut changed = Vec::new();
    for at in 0..position.len() {
        let place = ALPHABET.iter().position(|byte| *byte == position.as_bytes()[at]).unwrap();
        // The neighbours differ in the lowest bit or bits, the one across in the highest; letters of the other case in none.
        let others = [1, 2, 16, 35].map(|other| ALPHABET[(place + other) % ALPHABET.len()]);
        for other in others.into_iter().chain([position.as_bytes()[at].to_ascii_uppercase()]) {
            let mut bytes = position.clone().into_bytes();
            bytes[at] = other;
            changed.push(String::from_utf8(bytes).unwrap());
        }
        let (head, tail) = position.split_at(at);
        changed.push(format!("{head}{}", &tail[1..]));
        changed.push(format!("{head}A{tail}"));
        changed.push(format!("{head}%00{}", &tail[1..]));
    }
    changed.retain(|other| *other != position);
    changed.push(format!("{position}A"));
    changed.push(position.to_uppercase());
    changed.push(format!("{position}="));
    for begin in &changed {
        let answer = refusal(&house, &format!("begin={begin}"));
        assert_eq!(answer.status, 400, "{begin}: {answer}");
        is_clear(&answer, begin, &["position"]);
    }
}

#[test]
fn strangers_are_refused_and_learn_nothing() {
    let house = House::new();
    let port = house.server.port();
    let cases: [(&str, Option<Basic>); 3] = [
        ("without credentials", None),
        ("with a wrong password", Some(Basic::new("admin", "wrong"))),
        ("of nobody", Some(Basic::new("nobody", "correct-horse-9"))),
    ];
    for (who, credentials) in &cases {
        let headers: Vec<(&str, &str)> = credentials.iter().map(|basic| ("Authorization", basic.header())).collect();
        for (method, target) in [
            ("GET", "/services/v2/stream/s1"),
            ("POST", "/services/v2/stream/s2"),
            ("DELETE", "/services/v2/trails/t1"),
        ] {
            let answer = http::request(port, method, target, &headers, b"{}").unwrap();
            assert_eq!(answer.status, 401, "{who}: {method} {target}: {answer}");
        }
        match Subscriber::connect(port, "/services/v2/stream/s1?begin=earliest", credentials.as_ref()) {
            Err(Refused::Answer(answer)) => assert_eq!(answer.status, 401, "{who}: {answer}"),
            other => panic!("{who}: {other:?}"),
        }
    }
    let foreign = [("Origin", "http://evil.example")];
    assert_eq!(house.server.request("GET", "/services/v2/stream/s1", &foreign, b"").status, 403);
    house.nothing_changed("strangers");
}
