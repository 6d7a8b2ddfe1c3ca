//! Goal: nobody who asks for documents, and no rules however many, hold up those who put and subscribe. Method: the real
//! server with one thread that serves; a switch holds the long work, and everything else is answered meanwhile. The control is
//! the same server that does the work on the spot.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::http::{self, Answer};
use crate::support::{Folder, Server, process, skip, until};

const PATIENCE: Duration = Duration::from_secs(60);
const STREAM: &str = "/services/v2/stream";

/// A server with one thread that serves, whose work of this kind is held as long as the file is there.
fn held(kind: &str, file: &Path, more: &[(&str, &str)]) -> Option<Server> {
    if !cfg!(feature = "fault-injection") {
        skip("work that is held needs --features fault-injection");
        return None;
    }
    fs::write(file, "").unwrap();
    let hold = format!("{kind}:{}", file.display());
    let environment = [&[("TOKIO_WORKER_THREADS", "1"), ("TRAILCAST_TEST_HOLD", &hold)], more].concat();
    let server = Server::start_with(&[], &environment);
    server.make_trail("a1");
    server.make_stream("s1", "a1");
    Some(server)
}

fn row(id: u64) -> Value {
    json!({"operations": [{"op": "INSERT", "table": "app.t", "key": ["id"], "after": {"id": id}}]})
}

/// One put, and its record with a subscriber.
fn serves(server: &Server, id: u64) {
    http::request(server.port(), "GET", "/healthz", &[], b"").unwrap().expect(200);
    let mut subscriber = server.subscribe("s1", "begin=now").unwrap();
    server.put("a1", &[row(id)]).expect(200);
    assert_eq!(subscriber.expect_data(PATIENCE).json["after"]["id"], id);
}

/// A request from a thread of its own.
fn in_background(
    server: &Server,
    method: &'static str,
    target: String,
    body: String,
) -> std::thread::JoinHandle<Answer> {
    let (port, credentials) = (server.port(), server.credentials().clone());
    std::thread::spawn(move || {
        let headers = [("Authorization", credentials.header()), ("Content-Type", "application/json")];
        http::request(port, method, &target, &headers, body.as_bytes()).unwrap()
    })
}

/// Whether the server answers within a time in which it does a thousand times over.
fn is_alive(server: &Server) -> bool {
    let Ok(mut socket) = http::connect(server.port(), Duration::from_millis(700)) else { return false };
    http::exchange(&mut socket, server.port(), "GET", "/healthz", &[], b"").is_ok()
}

fn expression_rule(value: &str) -> Value {
    let condition = json!({"column": "id", "operator": "REGEX", "value": value});
    json!([{"action": "include", "filter": {"columnValues": [condition]}}])
}

#[test]
fn the_thread_that_serves_stays_free_while_a_document_is_built() {
    let folder = Folder::new("hold");
    let file = folder.path().join("hold");
    let Some(server) = held("document", &file, &[]) else { return };
    let asked: Vec<_> = ["yaml", "asyncapi.yaml", "asyncapi.json"]
        .map(|what| in_background(&server, "GET", format!("{STREAM}/s1/{what}"), String::new()))
        .into();
    server.sample_until("trailcast_documents_building", |building| building == 3.0);
    serves(&server, 1);
    assert!(asked.iter().all(|one| !one.is_finished()), "it was held");
    fs::remove_file(&file).unwrap();
    for one in asked {
        one.join().unwrap().expect(200);
    }
    server.sample_until("trailcast_documents_building", |building| building == 0.0);
}

#[test]
fn control_a_document_that_is_built_on_the_spot_stalls_everybody() {
    let folder = Folder::new("hold");
    let file = folder.path().join("hold");
    let Some(server) = held("document", &file, &[("TRAILCAST_TEST_ON_THE_SPOT", "1")]) else { return };
    let asked = in_background(&server, "GET", format!("{STREAM}/s1/yaml"), String::new());
    until(|| if is_alive(&server) { Err("it answers") } else { Ok(()) }.map_err(str::to_owned));
    fs::remove_file(&file).unwrap();
    asked.join().unwrap().expect(200);
    serves(&server, 1);
}

#[test]
fn the_thread_that_serves_stays_free_while_rules_are_compiled_for_a_new_stream_and_for_a_stored_one() {
    let folder = Folder::new("hold");
    let file = folder.path().join("hold");
    let Some(mut server) = held("rules", &file, &[]) else { return };
    let config = json!({"source": {"trail": "a1"}, "rules": expression_rule("^[0-9]+$")});
    let made = in_background(&server, "POST", format!("{STREAM}/s2"), config.to_string());
    server.sample_until("trailcast_rules_compiling", |compiling| compiling == 1.0);
    serves(&server, 1);
    assert!(!made.is_finished(), "it was held");
    fs::remove_file(&file).unwrap();
    made.join().unwrap().expect(200);

    assert!(server.terminate().success());
    fs::write(&file, "").unwrap();
    server.start_again();
    let (port, credentials) = (server.port(), server.credentials().clone());
    let session = std::thread::spawn(move || {
        let mut session = crate::support::server::subscribe(port, "s2", "begin=earliest", &credentials).unwrap();
        session.expect_data(PATIENCE).json["after"]["id"].as_u64()
    });
    server.sample_until("trailcast_rules_compiling", |compiling| compiling == 1.0);
    serves(&server, 2);
    assert!(!session.is_finished(), "it was held");
    fs::remove_file(&file).unwrap();
    assert_eq!(session.join().unwrap(), Some(1));
}

fn figure(server: &Server, name: &str) -> f64 {
    server.sample_until(&format!("trailcast_{name}"), |_| true)
}

fn tag(answer: &Answer) -> String {
    answer.header("etag").unwrap().to_owned()
}

#[test]
fn a_document_is_built_once_until_a_table_the_stream_or_the_document_itself_changes() {
    let server = Server::start();
    server.make_trail("a1");
    server.make_stream("s1", "a1");
    server.put("a1", &[row(1)]).expect(200);
    let get = |headers: &[(&str, &str)]| server.request("GET", &format!("{STREAM}/s1/yaml"), headers, b"");
    let asked: Vec<_> =
        (0..12).map(|_| in_background(&server, "GET", format!("{STREAM}/s1/yaml"), String::new())).collect();
    let answers: Vec<Answer> = asked.into_iter().map(|one| one.join().unwrap().expect(200)).collect();
    let first = tag(&answers[0]);
    assert!(answers.iter().all(|answer| tag(answer) == first && answer.body == answers[0].body));
    assert_eq!((figure(&server, "documents_built_total"), figure(&server, "documents_shared_total")), (1.0, 11.0));
    assert!(figure(&server, "documents_kept_bytes") > answers[0].body.len() as f64);

    // More rows of a known table are no change.
    server.put("a1", &[row(2)]).expect(200);
    assert!(get(&[("If-None-Match", &first)]).expect(304).body.is_empty());
    assert_eq!(figure(&server, "documents_built_total"), 1.0);

    let wider = json!({"op": "INSERT", "table": "app.t", "key": ["id"], "after": {"id": 3, "colour": "red"}});
    server.put("a1", &[json!({"operations": [wider]})]).expect(200);
    let with_column = get(&[("If-None-Match", &first)]).expect(200);
    assert!(with_column.text().contains("colour"));
    assert_ne!(tag(&with_column), first);
    assert_eq!(figure(&server, "documents_built_total"), 2.0);

    // Another address, another document.
    assert!(!with_column.text().contains("localhost:7777"));
    let mut socket = http::connect(server.port(), PATIENCE).unwrap();
    let authorization = server.credentials().header();
    write!(socket, "GET {STREAM}/s1/yaml HTTP/1.1\r\nHost: localhost:7777\r\nAuthorization: {authorization}\r\nConnection: close\r\n\r\n").unwrap();
    let mut elsewhere = String::new();
    socket.read_to_string(&mut elsewhere).unwrap();
    assert!(elsewhere.contains("host: localhost:7777\n"), "{elsewhere}");
    let built = figure(&server, "documents_built_total");
    assert_eq!(built, 3.0);

    server.patch(&format!("{STREAM}/s1"), &json!({"description": "of the shop"})).expect(200);
    let described = get(&[]).expect(200);
    assert!(described.text().contains("of the shop"));
    assert_eq!(figure(&server, "documents_built_total"), built + 1.0);

    let mut own: Value = server.get(&format!("{STREAM}/s1/asyncapi.json")).expect(200).json();
    for title in ["Mine", "Mine again"] {
        own["info"]["description"] = json!(title);
        server.patch(&format!("{STREAM}/s1/yaml"), &own).expect(200);
        let answer = get(&[]).expect(200);
        assert!(answer.text().contains(&format!("description: {title}\n")), "{answer}");
        get(&[("If-None-Match", &tag(&answer))]).expect(304);
    }
    let built = figure(&server, "documents_built_total");
    get(&[]).expect(200);
    assert_eq!(figure(&server, "documents_built_total"), built);

    server.delete(&format!("{STREAM}/s1")).expect(200);
    assert_eq!(figure(&server, "documents_kept_bytes"), 0.0);
}

#[test]
fn a_table_that_is_part_of_a_transaction_still_to_come_is_described_when_it_is_there() {
    let server = Server::start();
    server.make_trail("a1");
    server.make_stream("s1", "a1");
    let text = || server.get(&format!("{STREAM}/s1/yaml")).expect(200).text();
    for number in 0..20 {
        let table = format!("app.t{number}");
        let row = json!({"op": "INSERT", "table": table, "key": ["id"], "after": {"id": 1}});
        server.put("a1", &[json!({"operations": [row]})]).expect(200);
        assert!(text().contains(&format!("title: {table}\n")), "{table} was put and is not described");
    }
}

#[test]
fn rules_are_compiled_once_for_all_sessions_and_documents_of_a_revision() {
    let mut server = Server::start();
    server.make_trail("a1");
    server.put("a1", &[row(1), row(22)]).expect(200);
    let config = json!({"source": {"trail": "a1"}, "rules": expression_rule("^[0-9]{2}$")});
    server.post(&format!("{STREAM}/s1"), &config).expect(200);
    assert_eq!(figure(&server, "rules_compiled_total"), 1.0);
    assert!(figure(&server, "rules_memory_bytes") > 500.0);
    let use_them = |expected: u64| {
        for query in ["begin=earliest", "begin=earliest", "begin=earliest"] {
            let mut session = server.subscribe("s1", query).unwrap();
            assert_eq!(session.expect_data(PATIENCE).json["after"]["id"], expected);
        }
        for what in ["yaml", "asyncapi.yaml", "asyncapi.json"] {
            server.get(&format!("{STREAM}/s1/{what}")).expect(200);
        }
    };
    use_them(22);
    server.patch(&format!("{STREAM}/s1"), &json!({"description": "the same rules"})).expect(200);
    use_them(22);
    assert_eq!(figure(&server, "rules_compiled_total"), 1.0);
    server.patch(&format!("{STREAM}/s1"), &json!({"rules": expression_rule("^[0-9]$")})).expect(200);
    use_them(1);
    assert_eq!(figure(&server, "rules_compiled_total"), 2.0);
    assert!(server.terminate().success());
    server.start_again();
    assert_eq!(figure(&server, "rules_compiled_total"), 0.0);
    let use_them = || server.subscribe("s1", "begin=earliest").unwrap().expect_data(PATIENCE);
    for _ in 0..3 {
        assert_eq!(use_them().json["after"]["id"], 1);
    }
    assert_eq!(figure(&server, "rules_compiled_total"), 1.0);
}

#[test]
fn rules_that_are_too_much_altogether_are_refused_by_member_and_range_and_nothing_changes() {
    let server = Server::start();
    server.make_trail("a1");
    server.make_stream("s1", "a1");
    let conditions = |pattern: fn(usize) -> String, count: usize| -> Value {
        let condition = |number| json!({"column": "a", "operator": "REGEX", "value": pattern(number)});
        (0..count).map(condition).collect()
    };
    let of = |filter: Value| json!({"source": {"trail": "a1"}, "rules": [{"action": "include", "filter": filter}]});
    let names: Vec<String> = (0..1_024).map(|number| format!("app.t{number}")).collect();
    let twenty = vec![json!({"action": "include", "filter": {"objectNames": names}}); 20];
    let cases = [
        // 62 KB that would take half a gigabyte.
        (
            of(json!({"columnValues": conditions(|number| format!(r"\w{{18}}{number}"), 800)})),
            "rules[0].filter.columnValues[",
            "33554432",
        ),
        (
            of(json!({"columnValues": conditions(|number| "a".repeat(100) + &number.to_string(), 700)})),
            "rules: ",
            "65536",
        ),
        (json!({"source": {"trail": "a1"}, "rules": twenty}), "rules: ", "20000"),
        (of(json!({"partitionNames": ["*"]})), "rules[0].filter.partitionNames", "must not be given"),
    ];
    let before = process::memory_kib(server.pid(), "VmHWM");
    for (config, member, range) in cases {
        let refused = [server.post(&format!("{STREAM}/s2"), &config), server.patch(&format!("{STREAM}/s1"), &config)];
        for answer in refused {
            let title = answer.titles();
            assert!(
                answer.status == 400 && title.contains(member) && title.contains(range),
                "{member} {range}: {answer}"
            );
        }
    }
    let grown = process::memory_kib(server.pid(), "VmHWM") - before;
    println!("{grown} KiB more for rules that are refused");
    assert!(grown < 256 << 10, "{grown} KiB more");
    server.get(&format!("{STREAM}/s2")).expect(404);
    assert!(server.get(&format!("{STREAM}/s1")).expect(200).response().get("rules").is_none());
    // What honest people have passes: names by the thousand, and a thousand expressions.
    server.post(&format!("{STREAM}/s2"), &of(json!({"objectNames": names}))).expect(200);
    let thousand = of(json!({"columnValues": conditions(|number| format!("^customer-{number}-[0-9]+$"), 1_000)}));
    server.post(&format!("{STREAM}/s3"), &thousand).expect(200);
    server.post(&format!("{STREAM}/s2"), &of(json!({"partitionNames": ["*"]}))).expect(409);
}

/// Makes a stream over tables with many columns.
fn wide_tables(server: &Server, tables: usize, columns: usize) {
    server.make_trail("wide");
    server.make_stream("wide", "wide");
    for table in 0..tables {
        let mut after: Value = (0..columns)
            .map(|column| (format!("column_{column}"), json!(column)))
            .collect::<serde_json::Map<_, _>>()
            .into();
        after["id"] = json!(1);
        let row = json!({"op": "INSERT", "table": format!("app.table_{table}"), "key": ["id"], "after": after});
        server.put("wide", &[json!({"operations": [row]})]).expect(200);
    }
}

#[test]
fn forty_clients_that_do_not_read_their_document_hold_one_copy_of_it() {
    let server = Server::start();
    wide_tables(&server, 40, 100);
    let target = format!("{STREAM}/wide/asyncapi.json");
    let kib = server.get(&target).expect(200).body.len() as u64 / 1024;
    assert!(kib > 1_000, "{kib} KiB");
    let before = process::memory_kib(server.pid(), "VmRSS");
    let unread: Vec<_> = (0..40)
        .map(|_| {
            let mut socket = http::connect(server.port(), PATIENCE).unwrap();
            let authorization = server.credentials().header();
            write!(
                socket,
                "GET {target} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nAuthorization: {authorization}\r\n\r\n",
                server.port()
            )
            .unwrap();
            socket
        })
        .collect();
    let route = "route=\"/services/v2/stream/{name}/asyncapi.json\",method=\"GET\",status=\"2xx\"";
    server.sample_until(&format!("trailcast_http_requests_total{{{route}}}"), |answered| answered == 41.0);
    let grown = process::memory_kib(server.pid(), "VmRSS").saturating_sub(before);
    println!("a document of {kib} KiB, unread by {}: {grown} KiB more", unread.len());
    assert_eq!(figure(&server, "documents_built_total"), 1.0);
    assert!(grown < 10 * kib, "{grown} KiB more for forty who do not read {kib} KiB");
}
