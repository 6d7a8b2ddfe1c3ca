//! Goal: a crowd of clients that take nothing, or a little now and then, neither outgrows the memory for messages nor keeps it
//! from the others. Method: many streams of one trail, each with such clients on real sockets, beside one reader that
//! takes everything; the server's figures are read all the while. The same with far more memory is the control.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::json;
use socket2::{Domain, Socket, Type};

use crate::support::http::{self, Basic};
use crate::support::server::subscribe;
use crate::support::subscriber::Refused;
use crate::support::{Folder, Server};

const STREAMS: usize = 16;
const ROWS: u64 = 3_000;
const ROWS_PUT_AT_ONCE: u64 = 100;
const ROW_BYTES: usize = 8_000;
/// A tenth of it is more than what a block asks for, so it is used up before anybody goes without.
const BUDGET: u64 = 4 << 20;
/// Time in which a client must take 64 KiB.
const SLOW_SECONDS: u64 = 3;
/// What a dripping client takes each [`DRIP_EVERY`]: by the second twice what it must.
const DRIP_BYTES: usize = 11_000;
const DRIP_EVERY: Duration = Duration::from_millis(250);
const PATIENCE: Duration = Duration::from_secs(120);

/// A server whose memory for messages is so large, with a trail and the streams.
fn server(delivery_bytes: u64) -> (Server, Folder) {
    let folder = Folder::new("crowd");
    let file = folder.path().join("trailcast.toml");
    let text = format!("[limits]\nslowClientSeconds = {SLOW_SECONDS}\ndeliveryBytes = {delivery_bytes}");
    std::fs::write(&file, text).unwrap();
    let server = Server::start_with(&["--config", file.to_str().unwrap()], &[]);
    server.make_trail("a1");
    server.make_stream("healthy", "a1");
    (0..STREAMS).for_each(|number| server.make_stream(&format!("s{number}"), "a1"));
    (server, folder)
}

/// A session whose client has a small buffer of its own.
fn session(server: &Server, stream: &str) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    socket.connect(&SocketAddr::new(IpAddr::from([127, 0, 0, 1]), server.port()).into()).unwrap();
    let mut socket = TcpStream::from(socket);
    let handshake = format!(
        "GET /services/v2/stream/{stream} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nAuthorization: {}\r\n\
         Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        server.port(),
        server.credentials().header()
    );
    socket.write_all(handshake.as_bytes()).unwrap();
    let mut status = [0; 12];
    socket.read_exact(&mut status).unwrap();
    assert_eq!(&status, b"HTTP/1.1 101");
    socket
}

/// Takes a little of each now and then, until told to stop.
fn drip(mut clients: Vec<TcpStream>, stop: Arc<AtomicBool>) -> JoinHandle<()> {
    thread::spawn(move || {
        let mut bytes = [0; DRIP_BYTES];
        clients.iter().for_each(|client| client.set_nonblocking(true).unwrap());
        while !stop.load(Ordering::Relaxed) {
            for client in &mut clients {
                let mut left = DRIP_BYTES;
                while left > 0 {
                    match client.read(&mut bytes[..left]) {
                        Ok(count) if count > 0 => left -= count,
                        Err(error) if error.kind() == ErrorKind::Interrupted => {}
                        // Nothing there now, or closed.
                        _ => break,
                    }
                }
            }
            thread::sleep(DRIP_EVERY);
        }
    })
}

/// The sum of a metric's samples whose labels hold `label`.
fn metric(port: u16, credentials: &Basic, name: &str, label: &str) -> u64 {
    let headers = [("Authorization", credentials.header())];
    let text = http::request(port, "GET", "/metrics", &headers, b"").unwrap().expect(200).text();
    let samples = text.lines().filter(|line| line.starts_with(name) && line.contains(label));
    let values = samples.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    values.sum::<f64>() as u64
}

/// Looks at the memory for messages all the while; what it saw at most.
fn watch_memory(server: &Server, stop: Arc<AtomicBool>) -> (Arc<AtomicU64>, JoinHandle<()>) {
    let most = Arc::new(AtomicU64::new(0));
    let (port, credentials, seen) = (server.port(), server.credentials().clone(), most.clone());
    let watch = thread::spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            seen.fetch_max(metric(port, &credentials, "trailcast_delivery_memory_bytes ", ""), Ordering::Relaxed);
            thread::sleep(Duration::from_millis(5));
        }
    });
    (most, watch)
}

/// Reads every row of its stream, in order; how long that took.
fn healthy(server: &Server) -> JoinHandle<Duration> {
    let (port, credentials) = (server.port(), server.credentials().clone());
    let mut reader = subscribe(port, "healthy", "begin=earliest", &credentials).unwrap();
    thread::spawn(move || {
        let start = Instant::now();
        for id in 1..=ROWS {
            assert_eq!(reader.expect_data(PATIENCE).json["after"]["id"].as_u64(), Some(id));
        }
        start.elapsed()
    })
}

/// Puts all rows, on a thread of its own.
fn putting(server: &Server) -> JoinHandle<()> {
    let (port, credentials) = (server.port(), server.credentials().clone());
    let row = |id: u64| {
        json!({"operations": [{"op": "INSERT", "table": "t", "after": {"id": id, "v": "v".repeat(ROW_BYTES)}}]})
            .to_string()
    };
    thread::spawn(move || {
        let headers = [("Authorization", credentials.header()), ("Content-Type", "application/x-ndjson")];
        for first in (1..=ROWS).step_by(ROWS_PUT_AT_ONCE as usize) {
            let rows: Vec<_> = (first..first + ROWS_PUT_AT_ONCE).map(row).collect();
            let path = "/services/v2/trails/a1/transactions";
            http::request(port, "POST", path, &headers, rows.join("\n").as_bytes()).unwrap().expect(200);
        }
    })
}

/// What came of a crowd.
struct Outcome {
    memory_most: u64,
    healthy: Duration,
    /// A new session was answered with 503 for want of memory.
    refused: bool,
    /// Sessions closed with 4011.
    closed: u64,
}

/// Lets the crowd in while there is nothing to send, puts all rows, and looks until the healthy reader has them and every
/// client that takes nothing is gone.
fn run(server: &Server) -> Outcome {
    let stop = Arc::new(AtomicBool::new(false));
    let stuck: Vec<_> = (0..STREAMS).map(|number| session(server, &format!("s{number}"))).collect();
    let dripping: Vec<_> = (0..STREAMS).map(|number| session(server, &format!("s{number}"))).collect();
    let healthy = healthy(server);
    let (memory_most, watch) = watch_memory(server, stop.clone());
    let drips = drip(dripping, stop.clone());
    let start = Instant::now();
    let closed = || metric(server.port(), server.credentials(), "trailcast_stream_sessions_ended_total", "\"4011\"");
    let mut refused = false;
    // Asked for while the rows are put, too: on a slow machine the crowd may be gone by the time that the last is there.
    let puts = putting(server);
    while !puts.is_finished() || !healthy.is_finished() || closed() < STREAMS as u64 {
        assert!(start.elapsed() < PATIENCE, "{} closed with 4011, healthy: {}", closed(), healthy.is_finished());
        match server.subscribe("s0", "begin=now") {
            Err(Refused::Answer(answer)) => {
                assert_eq!(answer.status, 503, "{answer}");
                assert!(answer.titles().contains("memory for messages"), "{answer}");
                refused = true;
            }
            Err(other) => panic!("{other:?}"),
            Ok(subscriber) => drop(subscriber),
        }
        thread::sleep(Duration::from_millis(50));
    }
    puts.join().unwrap();
    let outcome = Outcome {
        healthy: healthy.join().unwrap(),
        closed: closed(),
        memory_most: memory_most.load(Ordering::Relaxed),
        refused,
    };
    stop.store(true, Ordering::Relaxed);
    watch.join().unwrap();
    drips.join().unwrap();
    drop(stuck);
    outcome
}

#[test]
fn a_crowd_of_slow_clients_stays_within_the_memory_for_messages_and_the_others_are_served() {
    let (server, _folder) = server(BUDGET);
    let Outcome { memory_most, healthy, refused, closed } = run(&server);
    println!("{memory_most} bytes at most of {BUDGET}; every row read after {healthy:?}; {closed} closed with 4011");
    assert!(memory_most <= BUDGET, "{memory_most} bytes, {BUDGET} allowed");
    assert!(memory_most > BUDGET / 2, "the crowd was too small to tell anything: {memory_most} bytes");
    assert!(refused, "a new session was taken all the while");
    // The memory is there again.
    let mut later = server.subscribe("s0", "begin=earliest").unwrap();
    assert_eq!(later.expect_data(PATIENCE).json["after"]["id"], 1);
}

#[test]
fn control_with_far_more_memory_the_same_crowd_takes_more_and_nobody_is_refused() {
    let (server, _folder) = server(BUDGET << 7);
    let Outcome { memory_most, healthy, refused, closed } = run(&server);
    println!("{memory_most} bytes at most; every row read after {healthy:?}; {closed} closed with 4011");
    assert!(memory_most > BUDGET, "{memory_most} bytes: the harness cannot see a budget passed");
    assert!(!refused, "a new session was refused");
}
