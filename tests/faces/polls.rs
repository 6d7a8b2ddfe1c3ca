//! Goal: who polls a stream gets what a session of it gets: the same records, in order, each once, wherever polls and servers are
//! cut. Method: the real server, killed and started again; polls of all sizes beside a session; scripts with nothing but a
//! language's own library.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::http::{self, Answer, Basic};
use crate::support::random::Random;
use crate::support::subscriber::{Next, Record};
use crate::support::waiting::wait_for_file;
use crate::support::{Folder, Program, Server, clients};

const PATIENCE: Duration = Duration::from_secs(60);
const STREAM: &str = "/services/v2/stream";
const NDJSON: &str = "application/x-ndjson";

fn rows(from: u64, to: u64) -> Vec<Value> {
    let row = |id: u64| json!({"op": "INSERT", "table": "app.t", "key": ["id"], "after": {"id": id, "x": "é\u{85}\u{2028}\n"}});
    let ids: Vec<u64> = (from..=to).collect();
    let transactions = ids.chunks(3).map(
        |ids| json!({"xid": format!("x{}", ids[0]), "operations": ids.iter().map(|id| row(*id)).collect::<Vec<_>>()}),
    );
    transactions.collect()
}

fn server(config: Value) -> Server {
    let server = Server::start();
    server.make_trail("a1");
    let mut whole = json!({"source": {"trail": "a1"}});
    whole.as_object_mut().unwrap().extend(config.as_object().unwrap().clone());
    server.post(&format!("{STREAM}/s1"), &whole).expect(200);
    server
}

fn poll_as(server: &Server, query: &str, accept: &str) -> Answer {
    let headers = [("Authorization", server.credentials().header()), ("Accept", accept)];
    http::request(server.port(), "GET", &format!("{STREAM}/s1/records?{query}"), &headers, b"").unwrap()
}

fn poll(server: &Server, query: &str) -> Answer {
    poll_as(server, query, "application/json")
}

fn next(answer: &Answer) -> String {
    answer.header("trailcast-next").unwrap().to_owned()
}

fn caught_up(answer: &Answer) -> bool {
    answer.header("trailcast-caught-up").unwrap() == "true"
}

/// The texts of the records, as they came.
fn lines(answer: &Answer) -> Vec<String> {
    answer.text().split('\n').filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

fn ids(records: &[String]) -> Vec<u64> {
    records
        .iter()
        .map(|record| serde_json::from_str::<Value>(record).unwrap()["after"]["id"].as_u64().unwrap())
        .collect()
}

/// Everything from `begin` on, in polls of sizes by chance.
fn all(server: &Server, begin: &str, random: &mut Random) -> Vec<String> {
    let (mut begin, mut records) = (begin.to_owned(), Vec::new());
    loop {
        let limit = 1 + random.number() % 7;
        let answer = poll_as(server, &format!("begin={begin}&limit={limit}"), NDJSON).expect(200);
        let some = lines(&answer);
        assert!(some.len() as u64 <= limit);
        begin = next(&answer);
        records.extend(some);
        if caught_up(&answer) {
            return records;
        }
    }
}

/// The same of a session.
fn session(server: &Server, count: usize) -> Vec<Record> {
    let mut subscriber = server.subscribe("s1", "begin=earliest").unwrap();
    let mut records = Vec::new();
    while records.len() < count {
        let record = subscriber.expect_record(PATIENCE);
        // In an event it is the data.
        let is_row =
            [&record.json["op_type"], &record.json["data"]["op_type"]].iter().any(|op_type| **op_type == "INSERT");
        records.extend(is_row.then_some(record));
    }
    records
}

#[test]
fn polls_of_all_sizes_give_what_a_session_gives_byte_for_byte() {
    let fields = json!({"transInd": true, "opSeqno": true});
    for members in [
        json!({}),
        json!({"encoding": {"json": {"metaFields": fields}}, "trailcast": {"framing": "record", "heartbeat": 1}}),
        json!({"cloudEventsFormat": true, "trailcast": {"caughtUp": true, "drain": true}}),
        json!({"encoding": {"json": {"metaFields": {"pos": false}}}}),
    ] {
        let server = server(members.clone());
        server.put("a1", &rows(1, 40)).expect(200);
        let sent: Vec<_> = session(&server, 40).into_iter().map(|record| record.text).collect();
        for seed in 0..5 {
            let mut random = Random::new(seed);
            assert_eq!(all(&server, "earliest", &mut random), sent, "{members}");
        }
        let array: Vec<Value> = serde_json::from_str(&poll(&server, "limit=10000").expect(200).text()).unwrap();
        let parsed: Vec<Value> = sent.iter().map(|text| serde_json::from_str(text).unwrap()).collect();
        assert_eq!(array, parsed);
    }
}

#[test]
fn a_poll_goes_on_over_what_its_rules_leave_out() {
    let rules = json!([{"action": "include", "filter": {"objectNames": ["app.none"]}}]);
    let server = server(json!({ "rules": rules }));
    server.put("a1", &rows(1, 10)).expect(200);
    let answer = poll(&server, "begin=earliest").expect(200);
    assert_eq!((answer.text().as_str(), caught_up(&answer)), ("[]", true));
    let position = next(&answer);
    assert_ne!(position, "earliest", "what was passed over is not looked at again");
    let again = poll(&server, &format!("begin={position}")).expect(200);
    assert_eq!((again.text().as_str(), next(&again)), ("[]", position));
}

#[test]
fn a_poll_that_begins_now_misses_nothing_of_what_comes_after() {
    let server = server(json!({}));
    server.put("a1", &rows(1, 3)).expect(200);
    let answer = poll(&server, "begin=now").expect(200);
    assert_eq!((answer.text().as_str(), caught_up(&answer)), ("[]", true));
    server.put("a1", &rows(4, 4)).expect(200);
    let answer = poll_as(&server, &format!("begin={}", next(&answer)), NDJSON).expect(200);
    assert_eq!(ids(&lines(&answer)), [4]);
    // Nor does one of a stream whose trail comes later.
    server.post(&format!("{STREAM}/s2"), &json!({"source": {"trail": "later"}})).expect(200);
    let answer = server.get(&format!("{STREAM}/s2/records?begin=now")).expect(200);
    assert_eq!((answer.text().as_str(), next(&answer).as_str()), ("[]", "earliest"));
}

#[test]
fn a_poll_waits_for_the_first_record_and_no_longer() {
    let server = server(json!({}));
    let begin = next(&poll(&server, "begin=now").expect(200));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| poll_as(&server, &format!("begin={begin}&wait=50"), NDJSON).expect(200));
        // Once it is a session of the stream, it waits.
        server.get_until(&format!("{STREAM}/s1/info"), |info| info["sessions"][0]["state"] == "at-tail");
        server.put("a1", &rows(1, 1)).expect(200);
        assert_eq!(ids(&lines(&waiting.join().unwrap())), [1]);
    });
    server.get_until(&format!("{STREAM}/s1/info"), |info| info["statistics"]["sessions"] == 0);
    let begun = Instant::now();
    let answer = poll(&server, "begin=now&wait=1").expect(200);
    assert_eq!(answer.text(), "[]");
    assert!(begun.elapsed() >= Duration::from_secs(1), "it did not wait");
}

#[test]
fn a_server_that_stops_answers_polls_that_wait() {
    let mut server = server(json!({}));
    let (port, credentials) = (server.port(), server.credentials().clone());
    let waiting = std::thread::spawn(move || {
        let target = format!("{STREAM}/s1/records?begin=now&wait=50");
        http::request(port, "GET", &target, &[("Authorization", credentials.header())], b"").unwrap()
    });
    server.get_until(&format!("{STREAM}/s1/info"), |info| info["statistics"]["sessions"] == 1);
    assert!(server.terminate().success());
    let answer = waiting.join().unwrap().expect(200);
    assert_eq!(answer.text(), "[]");
    server.start_again();
    server.put("a1", &rows(1, 1)).expect(200);
    let answer = poll_as(&server, &format!("begin={}", next(&answer)), NDJSON).expect(200);
    assert_eq!(ids(&lines(&answer)), [1]);
}

#[test]
fn parameters_out_of_their_range_near_misses_and_other_media_types_are_refused_by_name() {
    let server = server(json!({}));
    for (query, says) in [
        ("limit=0", "limit must be a whole number from 1 to 10000"),
        ("limit=10001", "limit must be a whole number from 1 to 10000"),
        ("limit=-1", "limit must be a whole number from 1 to 10000"),
        ("limit=", "limit must be a whole number from 1 to 10000"),
        ("limit=1&limit=2", "limit stands more than once"),
        ("wait=51", "wait must be a whole number from 0 to 50"),
        ("wait=1.5", "wait must be a whole number from 0 to 50"),
        ("wait=99999999999999999999999", "wait must be a whole number from 0 to 50"),
        ("limits=5", "limits is no parameter of this path, limit is"),
        ("wiat=5", "wiat is no parameter of this path, wait is"),
        ("begni=now", "begni is no parameter of this path, begin is"),
        ("begin=yesterday", "begin must be now, earliest"),
    ] {
        let refused = poll(&server, query).expect(400);
        assert!(refused.titles().contains(says), "{query}: {refused}");
        assert!(refused.header("trailcast-next").is_none());
    }
    assert!(poll_as(&server, "", "text/html").expect(406).titles().contains("application/x-ndjson"));
    for (accept, media_type) in [("*/*", "application/json"), (NDJSON, NDJSON), ("application/json;q=0.5, */*", NDJSON)]
    {
        let answer = poll_as(&server, "", accept).expect(200);
        assert_eq!(answer.header("content-type").unwrap(), media_type, "{accept}");
        assert_eq!(answer.header("cache-control").unwrap(), "no-store");
    }
    server.get(&format!("{STREAM}/none/records")).expect(404);
}

#[test]
fn a_poll_counts_as_a_session_for_rights_caps_statistics_and_audit() {
    let server = server(json!({}));
    server.put("a1", &rows(1, 5)).expect(200);
    let user = |name: &str, role: &str, grants: Value| {
        let body = json!({"role": role, "password": "correct-horse-9", "grants": grants});
        server.post(&format!("/services/v2/users/{name}"), &body).expect(200);
        Basic::new(name, "correct-horse-9")
    };
    let (ann, bob) = (user("ann", "User", Value::Null), user("bob", "Operator", json!(["read trails=b* streams=*"])));
    let cid = user("cid", "Operator", json!(["read trails=a1 streams=s1"]));
    let as_user = |user: &Basic| {
        let target = format!("{STREAM}/s1/records?begin=earliest&limit=2");
        http::request(server.port(), "GET", &target, &[("Authorization", user.header())], b"").unwrap().status
    };
    assert_eq!([&ann, &bob, &cid].map(as_user), [403, 404, 200]);
    let token = server.post("/services/v2/tokens", &json!({"stream": "s1"})).expect(200).response();
    let token = token["token"].as_str().unwrap().to_owned();
    let target = format!("{STREAM}/s1/records?begin=earliest&access_token={token}");
    http::request(server.port(), "GET", &target, &[], b"").unwrap().expect(200);
    let info = server.get(&format!("{STREAM}/s1/info")).expect(200).response();
    assert_eq!((&info["statistics"]["sessionsOpened"], &info["statistics"]["sessions"]), (&json!(2), &json!(0)));
    assert_eq!(info["statistics"]["records"], json!(7));
    let ended = server.says_times("session-end", 2);
    assert!(ended[0].contains("cid") && ended[0].contains("s1"), "{ended:?}");
}

#[test]
fn a_user_who_is_narrowed_while_a_poll_waits_is_answered_no_records() {
    let server = server(json!({}));
    let body = json!({"role": "Operator", "password": "correct-horse-9"});
    server.post("/services/v2/users/ann", &body).expect(200);
    let ann = Basic::new("ann", "correct-horse-9");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let target = format!("{STREAM}/s1/records?begin=now&wait=50");
            http::request(server.port(), "GET", &target, &[("Authorization", ann.header())], b"").unwrap()
        });
        server.get_until(&format!("{STREAM}/s1/info"), |info| info["statistics"]["sessions"] == 1);
        server.patch("/services/v2/users/ann", &json!({"grants": ["read trails=b1"]})).expect(200);
        waiting.join().unwrap().expect(403);
    });
}

#[test]
fn a_record_that_is_larger_than_an_answer_comes_alone() {
    let server = server(json!({}));
    let row = |id: u64, bytes: usize| {
        let after = json!({"id": id, "x": "x".repeat(bytes)});
        json!({"operations": [{"op": "INSERT", "table": "app.t", "key": ["id"], "after": after}]})
    };
    server.put("a1", &[row(1, 10), row(2, 3 << 20), row(3, 600_000), row(4, 600_000)]).expect(200);
    let (mut begin, mut polls) = ("earliest".to_owned(), Vec::new());
    while polls.len() < 4 {
        let answer = poll_as(&server, &format!("begin={begin}"), NDJSON).expect(200);
        polls.push(ids(&lines(&answer)));
        begin = next(&answer);
    }
    assert_eq!(polls, [[1], [2], [3], [4]]);
}

#[test]
fn a_gap_is_an_error_that_says_where_to_go_on_and_never_a_skip() {
    let server = server(json!({"encoding": {"json": {"maxLobSize": 100, "truncateOrChunk": "fail"}}}));
    let row = |id: u64, bytes: usize| {
        let after = json!({"id": id, "x": "x".repeat(bytes)});
        json!({"operations": [{"op": "INSERT", "table": "app.t", "key": ["id"], "after": after}]})
    };
    server.put("a1", &[row(1, 10), row(2, 1_000), row(3, 10)]).expect(200);
    let answer = poll_as(&server, "begin=earliest", NDJSON).expect(200);
    assert_eq!(ids(&lines(&answer)), [1]);
    let refused = poll(&server, &format!("begin={}", next(&answer))).expect(409);
    assert_eq!(refused.json()["messages"][0]["type"], "urn:trailcast:message:record-too-large");
    let after = refused.titles().rsplit_once("go on after ").unwrap().1.trim_end_matches('.').to_owned();
    let answer = poll_as(&server, &format!("begin={after}"), NDJSON).expect(200);
    assert_eq!(ids(&lines(&answer)), [3]);
}

#[test]
fn the_python_script_gets_every_record_once_over_kills_of_the_server_and_of_itself() {
    if clients::python().is_none() {
        return;
    }
    let mut server = server(json!({}));
    let folder = Folder::new("position");
    let position = folder.path().join("position.txt");
    let url = format!("{}/services/v2/stream/s1", server.url("http"));
    let start = || {
        let mut python = clients::python().unwrap();
        python.args(["examples/python/poll.py", &url, position.to_str().unwrap()]);
        python.env("PYTHONIOENCODING", "utf-8");
        Program::start(python)
    };
    let id = |line: &str| serde_json::from_str::<Value>(line).unwrap()["after"]["id"].as_u64().unwrap();
    let mut script = start();
    for round in 0..3 {
        let (from, to) = (round * 20 + 1, round * 20 + 20);
        server.put("a1", &rows(from, to)).expect(200);
        let lines = script.lines_until(PATIENCE, |line| id(line) == to);
        assert_eq!(lines.iter().map(|line| id(line)).collect::<Vec<_>>(), (from..=to).collect::<Vec<_>>());
        // It is saved after it was printed.
        wait_for_file(&position, &position_of(&server, to));
        if round == 1 {
            script.signal("KILL");
            script = start();
        }
        server.kill();
        server.start_again();
    }
}

#[test]
fn a_loop_of_curl_in_a_shell_gets_every_record_once_over_restarts_of_the_server() {
    let mut server = server(json!({}));
    let folder = Folder::new("loop");
    let script = r#"
        next=$(cat next.txt 2>/dev/null || echo earliest)
        while :; do
            curl -sf -D headers.txt -u "$LOGIN" -H 'Accept: application/x-ndjson' \
                "$URL/records?begin=$next&wait=20&limit=7" > records.txt || { sleep 0.2; continue; }
            cat records.txt
            next=$(sed -n 's/^trailcast-next: \([^[:space:]]*\).*/\1/Ip' headers.txt) && echo "$next" > next.txt
        done
    "#;
    let start = || {
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", script]).current_dir(folder.path());
        shell.env("URL", format!("http://127.0.0.1:{}{STREAM}/s1", server.port()));
        shell.env("LOGIN", "admin:correct-horse-9");
        Program::start(shell)
    };
    let id = |line: &str| serde_json::from_str::<Value>(line).unwrap()["after"]["id"].as_u64().unwrap();
    let shell = start();
    for round in 0..3 {
        let (from, to) = (round * 20 + 1, round * 20 + 20);
        server.put("a1", &rows(from, to)).expect(200);
        let lines = shell.lines_until(PATIENCE, |line| id(line) == to);
        assert_eq!(lines.iter().map(|line| id(line)).collect::<Vec<_>>(), (from..=to).collect::<Vec<_>>());
        // The loop reads on behind these once it has said so.
        wait_for_file(&folder.path().join("next.txt"), &position_of(&server, to));
        server.kill();
        server.start_again();
    }
}

/// The position of the row with this id.
fn position_of(server: &Server, id: u64) -> String {
    let mut subscriber = server.subscribe("s1", "begin=earliest").unwrap();
    loop {
        match subscriber.next(PATIENCE) {
            Next::Record(record) if record.json["after"]["id"] == id => return record.pos().unwrap().to_owned(),
            Next::Record(_) => {}
            other => panic!("{other:?}"),
        }
    }
}
