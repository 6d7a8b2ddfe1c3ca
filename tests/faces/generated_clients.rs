//! Goal: clients that other people's generators write from our documents get in, and read what was written. Method: build the URL
//! from the document as each family of generators does, and run clients of our own that behave as theirs do on the wire.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::server::{PASSWORD, USER};
use crate::support::{Folder, Program, Server, clients};

/// AsyncAPI's parser takes a minute of one core for a document of many tables.
const PATIENCE: Duration = Duration::from_secs(300);
/// A text that ends a line in the JavaScript of old, and what else must survive being evaluated.
const CITY: &str = "line\u{2028}paragraph\u{2029}\\ \"quoted\" `${ticks}` 日本";
const ROWS: u64 = 3;

fn server_with_rows() -> Server {
    with_rows(Server::start())
}

fn with_rows(server: Server) -> Server {
    server.make_trail("events");
    server.make_stream("orders", "events");
    let row = |id| json!({"op": "INSERT", "table": "app.orders", "key": ["id"], "after": {"id": id, "city": CITY}});
    let put = |id| json!({"xid": format!("order-{id}"), "operations": [row(id)]});
    server.put("events", &(1..=ROWS).map(put).collect::<Vec<_>>()).expect(200);
    server
}

fn document(server: &Server, stream: &str, name: &str) -> Value {
    serde_yaml::from_str(&server.get(&format!("/services/v2/stream/{stream}/{name}")).expect(200).text()).unwrap()
}

/// `ws://HOST/PATH` as GoldenGate's template makes it: the server's host, the channel's address.
fn goldengate_url(document: &Value) -> String {
    let server = &document["servers"]["trailcast"];
    let address = document["channels"]["records"]["address"].as_str().unwrap();
    format!("{}://{}{address}", server["protocol"].as_str().unwrap(), server["host"].as_str().unwrap())
}

/// `ws://USER:PASSWORD@HOST/PATH` as AsyncAPI's templates make it, from the server alone, with what people put before it.
fn asyncapi_url(document: &Value, user: &str) -> String {
    let server = &document["servers"]["trailcast"];
    let text = |member: &str| server[member].as_str().unwrap();
    format!("{}://{user}{}{}", text("protocol"), text("host"), text("pathname"))
}

/// `begin=…` with the default that the prompt of GoldenGate's clients offers; they ask for each property there is.
fn default_query(document: &Value) -> String {
    let properties = document["channels"]["records"]["bindings"]["ws"]["query"]["properties"].as_object().unwrap();
    let pair = |(name, property): (&String, &Value)| format!("{name}={}", property["default"].as_str().unwrap());
    properties.iter().map(pair).collect::<Vec<_>>().join("&")
}

/// The rows come whole, and resuming after the first gives the others.
fn reads_the_rows(start: impl Fn(&str) -> Program, query: &str) {
    let read = |query: &str| {
        let mut rows = Vec::new();
        start(query).lines_until(PATIENCE, |line| {
            let record: Value = serde_json::from_str(line).unwrap();
            if record["op_type"] == "INSERT" {
                rows.push(record);
            }
            rows.last().is_some_and(|row| row["after"]["id"] == ROWS)
        });
        rows
    };
    let rows = read(query);
    assert_eq!(rows.len() as u64, ROWS, "{rows:?}");
    assert!(rows.iter().all(|row| row["after"]["city"] == CITY), "{rows:?}");
    let resumed = read(&format!("begin={}", rows[0]["pos"].as_str().unwrap()));
    assert_eq!(resumed, rows[1..]);
}

#[test]
fn a_client_like_goldengates_in_python_reuses_the_header_of_its_first_request() {
    if clients::python().is_none() {
        return;
    }
    let server = server_with_rows();
    let document = document(&server, "orders", "yaml");
    let url = goldengate_url(&document);
    let start = |query: &str| {
        let mut python = clients::python().unwrap();
        python.args(["tests/clients/generated_like.py", "goldengate", "basic", &url, query, USER, PASSWORD]);
        let program = Program::start(python);
        program.wait_for_complaint("asked first: 200", PATIENCE);
        program
    };
    reads_the_rows(start, &default_query(&document));
}

#[test]
fn pythons_websockets_closes_with_1009_at_a_row_beyond_its_limit_and_info_errors_says_where_and_what_helps() {
    if clients::python().is_none() {
        return;
    }
    let server = server_with_rows();
    let big =
        json!({"op": "INSERT", "table": "app.orders", "key": ["id"], "after": {"id": 4, "city": "x".repeat(1 << 20)}});
    server.put("events", &[json!({"operations": [big]})]).expect(200);
    let last = json!({"op": "INSERT", "table": "app.orders", "key": ["id"], "after": {"id": 5, "city": "y"}});
    server.put("events", &[json!({"operations": [last]})]).expect(200);
    let url = goldengate_url(&document(&server, "orders", "yaml"));
    let start = |query: &str| {
        let mut python = clients::python().unwrap();
        python.args(["tests/clients/generated_like.py", "goldengate", "basic", &url, query, USER, PASSWORD]);
        Program::start(python)
    };
    start("begin=earliest").wait_for_complaint("1009", PATIENCE);
    let path = "/services/v2/stream/orders/info/errors";
    let said = server.get_until(path, |seen| seen["errors"].to_string().contains("1009"));
    let said =
        said["errors"].as_array().unwrap().iter().find_map(|error| error.as_str().filter(|e| e.contains("1009")));
    let said = said.unwrap();
    assert!(said.contains("max_size=None") && said.contains("maxRecordSize"), "{said}");
    // The position that it names is that of the row: behind it comes the last one.
    let after = said.rsplit(' ').next().unwrap();
    let mut behind = server.subscribe("orders", &format!("begin={after}")).unwrap();
    assert_eq!(behind.expect_data(PATIENCE).json["after"]["id"], 5);
    // What it advises helps: the same client then reads to the end.
    let limit = json!({"encoding": {"json": {"maxRecordSize": 1_000_000}}});
    server.patch("/services/v2/stream/orders", &limit).expect(200);
    let lines = start("begin=earliest").lines_until(PATIENCE, |line| line.contains("\"id\": 5"));
    assert!(lines.iter().any(|line| line.contains("\"truncated\": [\"city\"]")));
}

#[test]
fn a_client_like_goldengates_in_javascript_evaluates_what_it_is_sent() {
    let Some((_, folder)) = clients::node("tests/clients/generated_like.mjs") else { return };
    let server = server_with_rows();
    let document = document(&server, "orders", "yaml");
    let url = goldengate_url(&document);
    let start = |query: &str| {
        let arguments = ["goldengate", "basic", &url, query, USER, PASSWORD];
        Program::start(node(&folder, "generated_like.mjs", &arguments))
    };
    reads_the_rows(start, &default_query(&document));
}

/// A server with the digest on. It is on from the first start, so the administrator's hash for it is kept.
fn digest_server_with_rows() -> Server {
    with_rows(Server::start_with(&["--digest"], &[]))
}

#[test]
fn a_client_like_goldengates_in_python_reuses_a_digest_made_for_the_path_without_the_query() {
    if clients::python().is_none() {
        return;
    }
    let server = digest_server_with_rows();
    let document = document(&server, "orders", "yaml");
    let url = goldengate_url(&document);
    let start = |query: &str| {
        let mut python = clients::python().unwrap();
        python.args(["tests/clients/generated_like.py", "goldengate", "digest", &url, query, USER, PASSWORD]);
        let program = Program::start(python);
        program.wait_for_complaint("asked first: 200", PATIENCE);
        program
    };
    reads_the_rows(start, &default_query(&document));
}

#[test]
fn a_client_like_goldengates_in_javascript_understands_our_challenges_joined_into_one() {
    let Some((_, folder)) = clients::node("tests/clients/generated_like.mjs") else { return };
    let server = digest_server_with_rows();
    let document = document(&server, "orders", "yaml");
    let url = goldengate_url(&document);
    let start = |query: &str| {
        let arguments = ["goldengate", "digest", &url, query, USER, PASSWORD];
        Program::start(node(&folder, "generated_like.mjs", &arguments))
    };
    reads_the_rows(start, &default_query(&document));
}

#[test]
fn a_client_like_asyncapis_in_python_comes_with_a_token_and_the_servers_own_origin() {
    if clients::python().is_none() {
        return;
    }
    let server = server_with_rows();
    let url = asyncapi_url(&document(&server, "orders", "asyncapi.yaml"), "");
    let made = server.post("/services/v2/tokens", &json!({"stream": "orders"})).expect(200).response();
    let token = made["token"].as_str().unwrap();
    let start = |query: &str| {
        let mut python = clients::python().unwrap();
        python.args(["tests/clients/generated_like.py", "asyncapi", "token", &url, query, token]);
        Program::start(python)
    };
    reads_the_rows(start, "begin=earliest");
}

#[test]
fn a_client_like_asyncapis_in_javascript_has_its_credentials_in_the_url() {
    let Some((_, folder)) = clients::node("tests/clients/generated_like.mjs") else { return };
    let server = server_with_rows();
    let document = document(&server, "orders", "asyncapi.yaml");
    let url = asyncapi_url(&document, &format!("{USER}:{PASSWORD}@"));
    let start = |query: &str| Program::start(node(&folder, "generated_like.mjs", &["asyncapi", "url", &url, query]));
    reads_the_rows(start, "begin=earliest");
}

fn node(folder: &Folder, script: &str, arguments: &[&str]) -> Command {
    let mut node = Command::new("node");
    node.arg(folder.path().join(script)).args(arguments);
    node
}

/// What documents are validated for: the default, renames in the row model, events, rules, and many tables with names
/// that are keywords somewhere.
fn configurations() -> Vec<(&'static str, Value)> {
    let source = json!({"trail": "events"});
    let renames = json!({"model": "row", "staticFields": {"shop": "x"}, "operationStrings": {"INSERT": "I"},
        "metaFields": {"qualifiedTable": "tbl", "opType": "kind", "opTs": "when", "pos": "position", "csn": true, "tokens": true}});
    let filter = json!({"objectNames": ["app.*"], "columnValues": [{"column": "id", "operator": "GT", "value": 1}]});
    vec![
        ("default", json!({"source": source})),
        ("renamed", json!({"source": source, "encoding": {"json": renames}})),
        ("events", json!({"source": source, "cloudEventsFormat": true, "trailcast": {"heartbeat": 5}})),
        ("ruled", json!({"source": source, "rules": [{"action": "include", "filter": filter}]})),
        ("tables", json!({"source": {"trail": "many"}, "description": "say \"hi\"\n*/ ${x}"})),
    ]
}

fn put_many_tables(server: &Server) {
    server.make_trail("many");
    let row =
        json!({"id": 1, "class": 1, "type": "x", "日本": 1, "none": null, "my col": true, "9lives": 1.5, "$id": "q"});
    let named = ["public.class", "public.def", "public.Order", "public.order", "public.\"日本\"", "x.object", "a.b"];
    let tables = named.map(str::to_owned).into_iter().chain((0..60).map(|number| format!("app.t{number}")));
    let insert = |table| json!({"op": "INSERT", "table": table, "key": ["id"], "after": row});
    let operations: Vec<_> = tables.map(insert).collect();
    server.put("many", &[json!({"xid": "1", "operations": operations})]).expect(200);
}

#[test]
fn asyncapis_own_parser_finds_neither_error_nor_warning_in_our_documents() {
    let Some((mut node, folder)) = clients::node("tests/clients/validate_asyncapi.mjs") else { return };
    if !folder.path().join("node_modules/@asyncapi/parser").exists() {
        crate::support::skip("no @asyncapi/parser in tests/clients/node_modules (tests/run installs it)");
        return;
    }
    let server = server_with_rows();
    put_many_tables(&server);
    let mut documents = 0;
    for (stream, config) in configurations() {
        server.post(&format!("/services/v2/stream/{stream}"), &config).expect(200);
        for name in ["yaml", "asyncapi.yaml", "asyncapi.json"] {
            let text = server.get(&format!("/services/v2/stream/{stream}/{name}")).expect(200).text();
            let file = folder.path().join(format!("{stream}.{name}"));
            std::fs::write(&file, text).unwrap();
            node.arg(file);
            documents += 1;
        }
    }
    let mut parser = Program::start(node);
    let mut valid = 0;
    let lines = parser.lines_until(PATIENCE, |line| {
        valid += u64::from(line.contains(": 1 operation"));
        valid == documents
    });
    assert!(lines.iter().all(|line| !line.contains(": error ") && !line.contains(": warning ")), "{lines:#?}");
    assert!(parser.ends_well(PATIENCE));
}
