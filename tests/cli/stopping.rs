//! Goal: SIGTERM ends the server in order and within ten seconds, whatever hangs on it. Method: hang everything on it that
//! could hold it, send the signal, and look at the exit status, the clock, the close codes and the trail.

use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::subscriber::{Ended, Next};
use crate::support::{Postgres, Server, extract, http};

const PATIENCE: Duration = Duration::from_secs(60);
const STOPS_WITHIN: Duration = Duration::from_secs(10);

fn row(id: u64, text: &str) -> Value {
    json!({"operations": [{"op": "INSERT", "table": "app.t", "key": ["id"], "after": {"id": id, "v": text}}]})
}

/// Ends the server by SIGTERM; it must be a success, and in time.
fn stop(server: &mut Server) {
    let asked = Instant::now();
    let status = server.terminate();
    let took = asked.elapsed();
    assert!(status.success(), "{status}: {}", server.log_text());
    assert!(took < STOPS_WITHIN, "it took {took:?}: {}", server.log_text());
}

fn furnished() -> Server {
    let server = Server::start();
    server.make_trail("a1");
    server.make_stream("s1", "a1");
    server
}

/// A raw connection that has sent this much of a request.
fn half_a_request(port: u16, bytes: &[u8]) -> http::Connection {
    let mut stream = http::connect(port, PATIENCE).unwrap();
    stream.write_all(bytes).unwrap();
    stream
}

#[test]
fn sigterm_closes_sessions_with_1001_and_what_was_acknowledged_is_there_again() {
    let mut server = furnished();
    server.put("a1", &[row(1, "x")]).expect(200);
    let mut reader = server.subscribe("s1", "begin=earliest").unwrap();
    let pos = reader.expect_data(PATIENCE).pos().unwrap().to_owned();
    server.put("a1", &[row(2, "x")]).expect(200);
    let follower = std::thread::spawn(move || {
        loop {
            if let Next::Ended(end) = reader.next(PATIENCE) {
                return end;
            }
        }
    });
    let said = server.last_words();
    assert!(!said.contains("shutdown deadline") && !said.contains("not everything ended"), "something held it: {said}");
    let end = follower.join().unwrap();
    assert!(matches!(&end, Ended::Closed(1001, _)), "{end:?}");
    assert!(http::connect(server.port(), PATIENCE).is_err(), "it still listens");
    server.start_again();
    let mut reader = server.subscribe("s1", &format!("begin={pos}")).unwrap();
    assert_eq!(reader.expect_data(PATIENCE).json["after"]["id"], 2);
}

#[test]
fn sigterm_does_not_wait_for_readers_that_do_not_read_half_open_connections_or_a_put_that_does_not_come() {
    let mut server = furnished();
    let big = "v".repeat(1 << 20);
    for id in 0..24 {
        server.put("a1", &[row(id, &big)]).expect(200);
    }
    // Each takes its handshake and nothing more: the kernel's buffers fill up, and the server has output pending.
    let readers: Vec<_> = (0..4).map(|_| server.subscribe("s1", "begin=earliest").unwrap()).collect();
    let port = server.port();
    let authorization = server.credentials().header().to_owned();
    let silent: Vec<_> = (0..20).map(|_| half_a_request(port, b"")).collect();
    let partial: Vec<_> =
        (0..20).map(|_| half_a_request(port, b"GET /services/v2/stream HTTP/1.1\r\nHost: ")).collect();
    let head = format!(
        "POST /services/v2/trails/a1/transactions HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: {authorization}\r\n\
         Content-Type: application/json\r\nContent-Length: 1000000\r\n\r\n{{\"operations\":["
    );
    let put = half_a_request(port, head.as_bytes());
    // The server has taken all of them: it answers one that came later.
    server.get("/healthz").expect(200);
    stop(&mut server);
    drop((readers, silent, partial, put));
    server.start_again();
    let mut reader = server.subscribe("s1", "begin=earliest").unwrap();
    let ids: Vec<u64> = (0..24).map(|_| reader.expect_data(PATIENCE).json["after"]["id"].as_u64().unwrap()).collect();
    assert!(ids.into_iter().eq(0..24), "half a put left something, or a whole one is gone");
}

#[test]
fn a_put_that_is_under_way_at_sigterm_is_answered_and_kept() {
    let mut server = furnished();
    let port = server.port();
    let body = row(7, &"v".repeat(1 << 20)).to_string();
    let (early, late) = body.split_at(body.len() / 2);
    let head = format!(
        "POST /services/v2/trails/a1/transactions HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: {}\r\n\
         Content-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{early}",
        server.credentials().header(),
        body.len()
    );
    let mut put = half_a_request(port, head.as_bytes());
    server.get("/healthz").expect(200);
    let late = late.to_owned();
    let finisher = std::thread::spawn(move || {
        // Once the listener is gone, the server is stopping; then comes the rest.
        while http::connect(port, PATIENCE).is_ok() {
            std::thread::yield_now();
        }
        put.write_all(late.as_bytes()).unwrap();
        let mut answer = String::new();
        let _ = put.read_to_string(&mut answer);
        answer
    });
    stop(&mut server);
    let answer = finisher.join().unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"acked\":1"), "{answer}");
    server.start_again();
    let mut reader = server.subscribe("s1", "begin=earliest").unwrap();
    assert_eq!(reader.expect_data(PATIENCE).json["after"]["id"], 7);
}

#[test]
fn sigterm_ends_a_running_extract_and_nothing_is_lost_or_twice_after_the_next_start() {
    let ran = std::sync::atomic::AtomicBool::new(false);
    Postgres::on_each_major(|postgres| {
        if ran.swap(true, std::sync::atomic::Ordering::Relaxed) {
            return;
        }
        postgres.psql("create table t (id int primary key)");
        let mut server = Server::start();
        extract::capture(&server, &postgres, "e1", &["public.*"], "a1");
        server.make_stream("s1", "a1");
        let insert = |from: u32, to: u32| {
            let statements: String = (from..=to).map(|id| format!("insert into t values ({id});")).collect();
            postgres.psql(&statements);
        };
        insert(1, 200);
        let mut reader = server.subscribe("s1", "begin=earliest").unwrap();
        reader.expect_data(PATIENCE);
        insert(201, 400);
        stop(&mut server);
        insert(401, 450);
        server.start_again();
        let mut reader = server.subscribe("s1", "begin=earliest").unwrap();
        let ids: Vec<u64> =
            (0..450).map(|_| reader.expect_data(PATIENCE).json["after"]["id"].as_u64().unwrap()).collect();
        assert!(ids.into_iter().eq(1..=450));
    });
}

#[test]
fn sighup_does_not_end_a_server_that_has_nothing_to_read_again() {
    let server = furnished();
    let done = std::process::Command::new("sh").arg("-c").arg(format!("kill -HUP {}", server.pid())).status().unwrap();
    assert!(done.success());
    for id in 0..20 {
        server.put("a1", &[row(id, "x")]).expect(200);
    }
}
