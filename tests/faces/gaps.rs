//! Goal: clients that are not ours learn of a gap from the close code and its reason, and go on exactly behind it. Method: a
//! trail with a gap under the real server, a client that behaves as Oracle's generated Python client does, and `tail`.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::server::{PASSWORD, USER};
use crate::support::{Program, Server, clients, trail};

const PATIENCE: Duration = Duration::from_secs(120);
const TOLD: &str = "rows of public.orders may be missing; go on after ";

/// A server with the trail of [`trail::make_with_a_gap`] and streams over it: of everything, as CloudEvents, of `public.items`
/// alone.
fn server() -> Server {
    let mut server = Server::start();
    server.kill();
    trail::make_with_a_gap(&server.data_dir().join("trails/a1"));
    server.start_again();
    let items = json!([{"action": "include", "filter": {"objectNames": ["public.items"]}}]);
    for (stream, members) in [
        ("all", json!({})),
        ("events", json!({"cloudEventsFormat": true})),
        ("items", json!({ "rules": items })),
        ("skipping", json!({"qualityOfService": "atMostOnce"})),
    ] {
        let mut config = members;
        config["source"] = json!({"trail": "a1"});
        server.post(&format!("/services/v2/stream/{stream}"), &config).expect(200);
    }
    server
}

/// The row's id in a line; of an event in its data.
fn id_of(line: &str) -> Option<u64> {
    let record: Value = serde_json::from_str(line).unwrap();
    record["after"]["id"].as_u64().or(record["data"]["after"]["id"].as_u64())
}

fn ids_until(program: &Program, last: u64) -> Vec<u64> {
    let lines = program.lines_until(PATIENCE, |line| id_of(line) == Some(last));
    lines.iter().filter_map(|line| id_of(line)).collect()
}

/// The position that the words name.
fn after_of(words: &str) -> String {
    let (_, after) = words.rsplit_once(TOLD).unwrap_or_else(|| panic!("not told: {words}"));
    after.chars().take_while(|character| character.is_ascii_alphanumeric() || "-_".contains(*character)).collect()
}

fn generated_like(mut python: Command, server: &Server, stream: &str, begin: &str) -> Program {
    let url = format!("ws://127.0.0.1:{}/services/v2/stream/{stream}", server.port());
    let query = format!("begin={begin}");
    python.args(["tests/clients/generated_like.py", "goldengate", "basic", &url, &query, USER, PASSWORD]);
    Program::start(python)
}

#[test]
fn a_client_like_goldengates_in_python_is_told_and_goes_on_behind_the_gap() {
    if clients::python().is_none() {
        return;
    }
    let server = server();
    let start = |stream: &str, begin: &str| generated_like(clients::python().unwrap(), &server, stream, begin);
    for stream in ["all", "events"] {
        let mut first = start(stream, "earliest");
        assert_eq!(ids_until(&first, 2), [1, 2], "{stream}");
        assert!(!first.ends_well(PATIENCE), "it goes on over the gap");
        let words = first.last_words();
        assert!(words.contains("4014"), "{words}");
        let second = start(stream, &after_of(&words));
        assert_eq!(ids_until(&second, 4), [3, 4], "{stream}");
    }
    for (stream, ids) in [("items", vec![1, 3]), ("skipping", vec![1, 2, 3, 4])] {
        let whole = start(stream, "earliest");
        assert_eq!(ids_until(&whole, ids[ids.len() - 1]), ids, "{stream}");
    }
    let errors = |stream: &str| {
        let answer = server.get(&format!("/services/v2/stream/{stream}/info/errors")).expect(200);
        answer.response()["errors"].to_string()
    };
    for stream in ["all", "events"] {
        assert!(errors(stream).contains("rows of public.orders may be missing, from 0/15000A0"), "{}", errors(stream));
    }
    assert_eq!(errors("items"), "[]");
    assert!(errors("skipping").contains("atMostOnce"), "{}", errors("skipping"));
}

#[test]
fn tail_ends_at_a_gap_and_says_how_to_go_on() {
    let server = server();
    let tail = |arguments: &[&str]| {
        let mut command = Command::new(Server::program());
        command.args(["tail", "all", "--json"]).args(arguments).env("TRAILCAST_URL", server.url("http"));
        Program::start(command)
    };
    let mut first = tail(&[]);
    assert_eq!(ids_until(&first, 2), [1, 2]);
    assert!(!first.ends_well(PATIENCE), "it goes on over the gap");
    let words = first.last_words();
    assert!(words.contains("closed with 4014: rows of public.orders may be missing"), "{words}");
    let after = after_of(&words);
    assert!(words.contains(&format!("to go on behind it: --begin {after}")), "{words}");
    let second = tail(&["--begin", &after]);
    assert_eq!(ids_until(&second, 4), [3, 4]);
}
