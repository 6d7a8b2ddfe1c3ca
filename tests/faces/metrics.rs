//! Goal: the figures say what happened, and Prometheus reads them. Method: do things to a real server, then read
//! `/metrics` and `info` as a monitoring system does, the page also with Prometheus's own parser.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use trailcast::service::metrics::table::{Kind, Metric};

use crate::support::clients;
use crate::support::extract::{capture, info};
use crate::support::http::{self, Basic};
use crate::support::port::Port;
use crate::support::subscriber::Subscriber;
use crate::support::{Postgres, Server, until};

const PATIENCE: Duration = Duration::from_secs(30);

/// Every sample of a page, by its name with labels.
fn page(server: &Server) -> BTreeMap<String, f64> {
    let text = server.get("/metrics").expect(200).text();
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    samples
        .map(|line| line.rsplit_once(' ').unwrap())
        .map(|(name, value)| (name.to_owned(), value.parse().unwrap()))
        .collect()
}

/// The page once a sample of it is as wanted.
fn page_until(server: &Server, name: &str, wanted: impl Fn(f64) -> bool) -> BTreeMap<String, f64> {
    until(|| {
        let page = page(server);
        match page.get(name) {
            Some(value) if wanted(*value) => Ok(page),
            seen => Err(format!("{name} is {seen:?}\n{}", server.log_text())),
        }
    })
}

/// A sample that is there at once: it was counted before the answer that the test has.
fn sample(server: &Server, name: &str) -> Option<f64> {
    page(server).get(name).copied()
}

fn transaction(id: u64) -> Value {
    let row = json!({"id": id, "text": "x".repeat(100)});
    json!({"xid": format!("x{id}"), "operations": [{"op": "INSERT", "table": "t.rows", "key": ["id"], "after": row}]})
}

fn add_user(server: &Server, name: &str, role: &str) -> Basic {
    let body = json!({"password": "a-long-password-7", "role": role});
    server.post(&format!("/services/v2/users/{name}"), &body).expect(200);
    Basic::new(name, "a-long-password-7")
}

#[test]
fn prometheus_reads_the_page_and_finds_what_the_table_promises() {
    let Some(mut python) = clients::python_with("prometheus_client") else { return };
    let server = Server::start();
    server.make_trail("a%231");
    server.make_stream("s1", "a#1");
    server.put("a%231", &[transaction(1)]).expect(200);
    server.put("none", &[transaction(1)]).expect(404);
    server.subscribe("s1", "begin=earliest").unwrap().expect_data(PATIENCE);
    let text = server.get("/metrics").expect(200);
    assert!(text.header("content-type").unwrap().starts_with("text/plain; version=0.0.4"), "{text}");
    let command = python.arg(clients::project().join("tests/clients/read_metrics.py"));
    let mut parser = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    parser.stdin.take().unwrap().write_all(&text.body).unwrap();
    let read = parser.wait_with_output().unwrap();
    assert!(read.status.success());
    let lines = String::from_utf8(read.stdout).unwrap();
    let families: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(families.len(), Metric::ALL.len());
    for (family, metric) in families.iter().zip(Metric::ALL) {
        let row = metric.row();
        // The parser keeps the name of a counter without its ending.
        let name = if row.kind == Kind::Counter { row.name.trim_end_matches("_total") } else { row.name };
        assert_eq!((&family["name"], &family["help"]), (&json!(name), &json!(row.help)));
        assert_eq!(family["type"], row.kind.name());
        for sample in family["samples"].as_array().unwrap() {
            let labels = sample[1].as_object().unwrap().keys().filter(|label| *label != "le");
            assert!(labels.clone().all(|label| row.labels.contains(&label.as_str())), "{sample}");
            assert_eq!(labels.count(), row.labels.len(), "{sample}");
        }
    }
}

#[test]
fn a_trail_shows_what_was_appended_and_how_it_was_flushed() {
    let server = Server::start();
    server.make_trail("a1");
    for id in 1..=5 {
        server.put("a1", &[transaction(id), transaction(id + 100)]).expect(200);
    }
    server.put("a1", &[transaction(1), transaction(6)]).expect(200);
    server.request("POST", "/services/v2/trails/a1/transactions", &[], b"{\"operations\":7}").expect(400);
    // The disk is looked at soon after the start.
    let page = page_until(&server, "trailcast_disk_free_bytes", |free| free > 0.0);
    let of = |name: &str| page[&format!("trailcast_{name}{{trail=\"a1\"}}")];
    assert_eq!((of("trail_appended_transactions_total"), of("trail_appended_records_total")), (11.0, 11.0));
    assert_eq!((of("trail_first_commit"), of("trail_last_commit"), of("trail_segments")), (1.0, 11.0, 1.0));
    assert_eq!((of("trail_unflushed_bytes"), of("trail_unflushed_seconds")), (0.0, 0.0));
    assert_eq!((of("put_requests_total"), of("put_transactions_total")), (6.0, 12.0));
    assert_eq!((of("put_duplicate_transactions_total"), of("put_operations_total")), (1.0, 12.0));
    assert!(of("put_bytes_total") > 1_200.0 && of("trail_written_bytes_total") > 1_100.0);
    assert_eq!(page["trailcast_put_refused_total{reason=\"body\"}"], 1.0);
    let flushes = of("trail_flush_seconds_count");
    assert!((1.0..=11.0).contains(&flushes), "{flushes}");
    assert!(of("trail_flush_seconds_sum") > 0.0);
    assert_eq!(page["trailcast_trail_flush_seconds_bucket{trail=\"a1\",le=\"+Inf\"}"], flushes);
    assert_eq!(page["trailcast_trail_retention_removed_segments_total{trail=\"a1\",rule=\"age\"}"], 0.0);
    assert!(page["trailcast_disk_free_bytes"] <= page["trailcast_disk_size_bytes"]);
    assert!(page["process_resident_memory_bytes"] > 1e6 && page["process_open_fds"] > 3.0);
    assert_eq!(page[&format!("trailcast_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"))], 1.0);
}

#[test]
fn records_and_bytes_of_a_stream_only_grow_over_sessions_and_revisions() {
    let server = Server::start();
    server.make_trail("a1");
    server.make_stream("s1", "a1");
    server.put("a1", &[transaction(1), transaction(2)]).expect(200);
    let read_two = || {
        let mut subscriber = server.subscribe("s1", "begin=earliest").unwrap();
        subscriber.expect_data(PATIENCE);
        subscriber.expect_data(PATIENCE);
        subscriber
    };
    let mut bytes = 0.0;
    for round in 1..=3_u8 {
        let subscriber = read_two();
        let records = |records| records == f64::from(round) * 2.0;
        let page = page_until(&server, "trailcast_stream_records_total{stream=\"s1\"}", records);
        let now = page["trailcast_stream_bytes_total{stream=\"s1\"}"];
        assert!(now > bytes);
        bytes = now;
        if round == 2 {
            // The revision of the stream ends, and its sessions with it.
            server.patch("/services/v2/stream/s1", &json!({"description": "changed"})).expect(200);
            server.sample_until("trailcast_stream_sessions_ended_total{stream=\"s1\",code=\"4012\"}", |ended| {
                ended == 1.0
            });
        } else {
            subscriber.close();
        }
        server.sample_until("trailcast_stream_sessions{stream=\"s1\",state=\"at-tail\"}", |live| live == 0.0);
        assert_eq!(sample(&server, "trailcast_stream_bytes_total{stream=\"s1\"}"), Some(bytes));
    }
    assert_eq!(sample(&server, "trailcast_stream_sessions_opened_total{stream=\"s1\"}"), Some(3.0));
    assert_eq!(sample(&server, "trailcast_stream_sessions_ended_total{stream=\"s1\",code=\"1000\"}"), Some(2.0));
    server.delete("/services/v2/stream/s1").expect(200);
    server.delete("/services/v2/trails/a1").expect(200);
    let left: Vec<_> =
        page(&server).into_keys().filter(|name| name.contains("\"s1\"") || name.contains("\"a1\"")).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn requests_count_by_template_and_refusals_by_their_reason() {
    let server = Server::start();
    server.make_trail("a1");
    server.make_stream("s1", "a1");
    server.get("/services/v2/stream/s1").expect(200);
    server.get("/services/distsrvr/v2/stream/s1").expect(200);
    server.get("/services/v2/stream/none").expect(404);
    server.get("/no/such/path").expect(404);
    server.request("BREW", "/services/v2/stream/s1", &[], b"").expect(405);
    assert!(server.subscribe("s1", &format!("begin=p{}", "0".repeat(53))).is_err());
    let big = vec![b' '; (1 << 20) + 1];
    server.request("POST", "/services/v2/stream/s2", &[("Content-Type", "application/json")], &big).expect(413);
    let page = page(&server);
    let count = |method: &str, class: &str, route: &str| {
        page[&format!("trailcast_http_requests_total{{route=\"{route}\",method=\"{method}\",status=\"{class}\"}}")]
    };
    assert_eq!(count("GET", "2xx", "/services/v2/stream/{name}"), 2.0);
    assert_eq!(count("GET", "4xx", "/services/v2/stream/{name}"), 2.0);
    assert_eq!(count("GET", "4xx", "other"), 1.0);
    assert_eq!(count("other", "4xx", "/services/v2/stream/{name}"), 1.0);
    assert_eq!(page["trailcast_http_refusals_total{reason=\"not-found\"}"], 2.0);
    assert_eq!(page["trailcast_positions_refused_total{reason=\"malformed\"}"], 1.0);
    assert_eq!(page["trailcast_limit_hits_total{limit=\"body_bytes\"}"], 1.0);
    assert_eq!(page["trailcast_limit_hits_total{limit=\"connections\"}"], 0.0);
}

#[test]
fn failed_log_ins_beyond_the_limit_are_hits() {
    let server = Server::start();
    // A log-in that is remembered passes whatever a stranger tries.
    server.get("/metrics").expect(200);
    let wrong = Basic::new("admin", "wrong");
    let guess =
        || http::request(server.port(), "GET", "/metrics", &[("Authorization", wrong.header())], b"").unwrap().status;
    let answers: Vec<u16> = (0..12).map(|_| guess()).collect();
    assert_eq!((answers[0], answers[11]), (401, 429));
    let refused = answers.iter().filter(|status| **status == 429).count();
    assert_eq!(sample(&server, "trailcast_limit_hits_total{limit=\"failed_log_ins\"}"), Some(refused as f64));
}

/// The only session of the stream, once it is in this state.
fn the_session(server: &Server, state: &str) -> Value {
    let info = server.get_until("/services/v2/stream/s1/info", |info| info["sessions"][0]["state"] == state);
    info["sessions"][0].clone()
}

#[test]
fn a_stream_shows_operators_who_reads_and_how_far() {
    let server = Server::start();
    server.make_trail("a1");
    server.make_stream("s1", "a1");
    let (operator, user) = (add_user(&server, "olga", "Operator"), add_user(&server, "uwe", "User"));
    let put = server.put("a1", &(1..=3).map(transaction).collect::<Vec<_>>()).expect(200);
    let mut subscriber =
        Subscriber::connect(server.port(), "/services/v2/stream/s1?begin=earliest", Some(&operator)).unwrap();
    let last = (0..3).map(|_| subscriber.expect_data(PATIENCE)).last().unwrap();
    let see = |who: &Basic| {
        let headers = [("Authorization", who.header())];
        http::request(server.port(), "GET", "/services/v2/stream/s1/info", &headers, b"")
            .unwrap()
            .expect(200)
            .response()
    };
    let shown = until(|| {
        let shown = see(&operator);
        if shown["sessions"][0]["state"] == "at-tail" { Ok(shown) } else { Err(shown.to_string()) }
    });
    let session = &shown["sessions"][0];
    assert_eq!((&session["user"], &session["begin"]), (&json!("olga"), &json!("earliest")), "{session}");
    assert!(session["peer"].as_str().unwrap().starts_with("127.0.0.1:"), "{session}");
    assert!(session["since"].as_str().unwrap().ends_with('Z'), "{session}");
    assert_eq!((&session["state"], &session["csn"], &session["records"]), (&json!("at-tail"), &json!(3), &json!(3)));
    assert_eq!((&session["lagTransactions"], &session["lagBytes"]), (&json!(0), &json!(0)), "{session}");
    assert!(session["bytes"].as_u64().unwrap() > 300, "{session}");
    assert_eq!(session["pos"], last.pos().unwrap(), "the position that the client has");
    assert_ne!(session["pos"], put.response()["pos"]);
    // A User sees how many there are, and not who.
    let shown = see(&user);
    assert_eq!((shown["sessions"].is_null(), &shown["statistics"]["sessions"]), (true, &json!(1)), "{shown}");
    assert_eq!(shown["statistics"]["records"], 3);
}

#[test]
fn a_client_that_takes_nothing_shows_as_blocked_with_its_lag() {
    let server = Server::start();
    server.make_trail("a1");
    server.make_stream("s1", "a1");
    let row = json!({"id": 1, "text": "x".repeat(1 << 20)});
    let large = json!({"operations": [{"op": "INSERT", "table": "t.rows", "key": ["id"], "after": row}]});
    for _ in 0..30 {
        server.put("a1", std::slice::from_ref(&large)).expect(200);
    }
    let _subscriber = server.subscribe("s1", "begin=earliest").unwrap();
    server.sample_until("trailcast_stream_sessions{stream=\"s1\",state=\"blocked\"}", |live| live == 1.0);
    let session = the_session(&server, "blocked");
    let (sent, lag) = (session["csn"].as_u64().unwrap(), session["lagTransactions"].as_u64().unwrap());
    assert!(lag > 0 && sent + lag <= 30, "{session}");
    let lag_bytes = session["lagBytes"].as_u64().unwrap();
    assert!(lag_bytes >= (lag - 1) << 20 && lag_bytes < 31 << 20, "{session}");
}

#[test]
fn rules_that_match_nothing_leave_no_lag() {
    let server = Server::start();
    server.make_trail("a1");
    let rules = json!([{"action": "include", "filter": {"objectNames": ["no.such"]}}]);
    server.post("/services/v2/stream/s1", &json!({"source": {"trail": "a1"}, "rules": rules})).expect(200);
    server.put("a1", &(1..=3).map(transaction).collect::<Vec<_>>()).expect(200);
    let _subscriber = server.subscribe("s1", "begin=earliest").unwrap();
    server.sample_until("trailcast_stream_sessions{stream=\"s1\",state=\"at-tail\"}", |live| live == 1.0);
    let session = the_session(&server, "at-tail");
    assert_eq!(
        (&session["lagTransactions"], &session["lagBytes"], &session["records"]),
        (&json!(0), &json!(0), &json!(0))
    );
    assert!(session["pos"].is_null(), "{session}");
}

#[test]
fn a_scrape_of_a_thousand_streams_is_small_and_holds_nobody_up() {
    let server = Server::start();
    server.make_trail("a1");
    for number in 0..1_000 {
        server.make_stream(&format!("s{number}"), "a1");
    }
    server.get("/metrics").expect(200);
    let started = Instant::now();
    let text = server.get("/metrics").expect(200).text();
    let took = started.elapsed();
    println!("{} bytes of metrics of 1,000 streams in {took:?}", text.len());
    assert!(text.len() < 1_000 * 800, "{}", text.len());
    // Scrapers by the dozen do not keep others waiting.
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| server.get("/metrics").expect(200));
        }
        server.put("a1", &[transaction(1)]).expect(200);
    });
}

#[test]
fn a_source_shows_what_it_keeps_for_us_also_when_the_extract_has_failed() {
    let Some(postgres) = Postgres::newest() else { return };
    postgres.psql("create table public.t (id int primary key, note text)");
    let server = Server::start();
    capture(&server, &postgres, "e1", &["public.*"], "a1");
    postgres.psql("insert into t select i, md5(i::text) from generate_series(1, 100) i");
    let of = |name: &str| format!("trailcast_capture_{name}{{extract=\"e1\"}}");
    server.sample_until(&of("records_total"), |records| records == 100.0);
    server.sample_until(&of("running"), |running| running == 1.0);
    assert_eq!(sample(&server, &of("starts_total")), Some(1.0));
    server.sample_until(&of("received_bytes_total"), |bytes| bytes > 3_200.0);
    server.sample_until(&of("retained_wal_bytes"), |bytes| bytes >= 0.0);
    server.sample_until("trailcast_capture_slot_status{extract=\"e1\",status=\"reserved\"}", |is| is == 1.0);
    server.sample_until(&of("silent_seconds"), |seconds| seconds < 60.0);
    assert_eq!(info(&server, "e1")["slot"]["walStatus"], "reserved");

    // Stopped as asked, it shows nothing of its slot.
    server.patch("/services/v2/extracts/e1", &json!({"status": "stopped"})).expect(200);
    assert_eq!((sample(&server, &of("running")), sample(&server, &of("retained_wal_bytes"))), (Some(0.0), None));
    // A slot that is gone is loss: the extract fails and says so, and goes on looking.
    postgres.drop_slot("trailcast_e1");
    server.patch("/services/v2/extracts/e1", &json!({"status": "running"})).expect(200);
    server.sample_until("trailcast_capture_error{extract=\"e1\",reason=\"slot_missing\"}", |is| is == 1.0);
    server.sample_until("trailcast_capture_slot_status{extract=\"e1\",status=\"missing\"}", |is| is == 1.0);
    assert!(sample(&server, &of("lag_seconds")).is_none());
    let ready = server.readiness(503);
    assert!(ready["troubles"][0].as_str().unwrap().starts_with("extract e1 has failed: replication slot"), "{ready}");
}

#[test]
fn a_fresh_extract_never_shows_a_missing_slot() {
    let Some(postgres) = Postgres::newest() else { return };
    postgres.psql("create table public.t (id int primary key)");
    let server = Server::start();
    let body = json!({"source": postgres.source(), "tables": ["public.*"], "trail": "a1"});
    server.post("/services/v2/extracts/e1", &body).expect(200);
    crate::support::extract::info_until(&server, "e1", |info| {
        assert_ne!(info["slot"]["walStatus"], "missing", "{info}");
        info["slot"]["walStatus"] == "reserved"
    });
}

#[test]
fn an_extract_that_runs_with_less_than_asked_leaves_the_server_ready_and_is_a_warning() {
    let Some(postgres) = Postgres::newest() else { return };
    postgres.psql("create table public.t (id int primary key); create publication p1 for table public.t with (publish = 'insert')");
    let server = Server::start();
    let body = json!({"source": postgres.source(), "tables": ["public.*"], "trail": "a1", "onCoverageLost": "continue",
                      "postgresql": {"publication": "p1"}});
    server.post("/services/v2/extracts/e1", &body).expect(200);
    let ready = server.get_ready_until(|ready| ready["state"] == "degraded");
    assert_eq!((&ready["ready"], &ready["troubles"]), (&json!(true), &json!([])), "{ready}");
    let warning = ready["warnings"][0].as_str().unwrap();
    assert!(warning.starts_with("extract e1 does not capture as asked: public.t ("), "{ready}");
    let stranger = http::request(server.port(), "GET", "/readyz", &[], b"").unwrap().expect(200).json();
    assert_eq!(stranger, json!({"ready": true, "state": "degraded"}));
}

#[test]
fn readiness_names_the_trail_and_the_extract_that_do_not_work() {
    let mut server = Server::start();
    for trail in ["a1", "a2"] {
        server.make_trail(trail);
    }
    assert_eq!(server.readiness(200), json!({"ready": true, "state": "ready", "troubles": [], "warnings": []}));
    assert_eq!(server.get("/healthz").expect(200).json()["status"], "alive");
    let closed = Port::hold();
    let source = json!({"type": "postgresql", "host": "127.0.0.1", "port": closed.number(), "database": "x", "user": "x",
                        "password": "secret-9", "tls": "disable"});
    server
        .post("/services/v2/extracts/e1", &json!({"source": source, "tables": ["public.*"], "trail": "a3"}))
        .expect(200);
    server.sample_until("trailcast_capture_error{extract=\"e1\",reason=\"connection\"}", |is| is == 1.0);
    let ready = server.readiness(503);
    assert!(ready["troubles"][0].as_str().unwrap().starts_with("extract e1 is retrying: "), "{ready}");
    server.delete("/services/v2/extracts/e1").expect(200);
    server.readiness(200);
    server.kill();
    std::fs::write(server.data_dir().join("trails/a2/trail.json"), "{").unwrap();
    server.start_again();
    let ready = server.readiness(503);
    assert_eq!(ready["troubles"].as_array().unwrap().len(), 1);
    assert!(ready["troubles"][0].as_str().unwrap().contains("trail a2"), "{ready}");
    assert_eq!(sample(&server, "trailcast_trail_stopped{trail=\"a2\"}"), Some(1.0));
    server.put("a1", &[transaction(1)]).expect(200);
    server.get("/healthz").expect(200);
}
