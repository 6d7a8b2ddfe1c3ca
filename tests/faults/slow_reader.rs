//! Goal: a client that takes nothing harms no other, and is told so. Method: fifty readers of one stream, one of which
//! reads nothing until the server has given it up; the others count what they get.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::json;
use socket2::{Domain, Socket, Type};

use crate::support::http::Basic;
use crate::support::server::subscribe;
use crate::support::{Folder, Server};

const READERS: usize = 50;
const ROWS: u64 = 400;
const ROW_BYTES: usize = 60_000;
const PATIENCE: Duration = Duration::from_secs(120);

/// A subscriber that has sent its handshake and reads nothing.
fn takes_nothing(server: &Server, credentials: &Basic) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    socket.connect(&SocketAddr::new(IpAddr::from([127, 0, 0, 1]), server.port()).into()).unwrap();
    let mut stream = TcpStream::from(socket);
    let handshake = format!(
        "GET /services/v2/stream/s1?begin=earliest HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nAuthorization: {}\r\n\
         Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        server.port(),
        credentials.header()
    );
    stream.write_all(handshake.as_bytes()).unwrap();
    stream
}

/// The close code among the frames behind the handshake's answer.
fn close_code(bytes: &[u8]) -> Option<u16> {
    let mut at = bytes.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    loop {
        let (first, second) = (*bytes.get(at)?, *bytes.get(at + 1)?);
        let (length, header) = match second {
            126 => (u64::from(u16::from_be_bytes(bytes.get(at + 2..at + 4)?.try_into().ok()?)), 4),
            127 => (u64::from_be_bytes(bytes.get(at + 2..at + 10)?.try_into().ok()?), 10),
            short => (u64::from(short), 2),
        };
        if first == 0x88 {
            return Some(u16::from_be_bytes(bytes.get(at + 2..at + 4)?.try_into().ok()?));
        }
        at += header + usize::try_from(length).ok()?;
    }
}

fn row(id: u64) -> serde_json::Value {
    json!({"operations": [{"op": "INSERT", "table": "t", "after": {"id": id, "v": "v".repeat(ROW_BYTES)}}]})
}

/// Reads every row in order up to `last`, and says how long that took.
fn reads_all(reader: &mut crate::support::Subscriber, from: u64, last: u64) -> Duration {
    let start = Instant::now();
    for id in from..=last {
        assert_eq!(reader.expect_data(PATIENCE).json["after"]["id"].as_u64(), Some(id));
    }
    start.elapsed()
}

fn put_all(server: &Server) {
    for first in (1..=ROWS).step_by(20) {
        let rows: Vec<_> = (first..first + 20).map(row).collect();
        server.put("a1", &rows).expect(200);
    }
}

/// Waits until the server has given the reader up, and reads what is left for it.
fn reads_once_given_up(server: &Server, mut stuck: TcpStream) -> Vec<u8> {
    let line = server.wait_for_log("closing with 4011", PATIENCE);
    assert!(line.is_some(), "the reader that takes nothing is not given up:\n{}", server.log_text());
    let mut heard = Vec::new();
    stuck.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let _ = stuck.read_to_end(&mut heard);
    heard
}

#[test]
fn one_reader_of_fifty_that_takes_nothing_is_closed_with_4011_and_the_others_get_everything() {
    let folder = Folder::new("slow");
    let file = folder.path().join("trailcast.toml");
    std::fs::write(&file, "[limits]\nslowClientSeconds = 4").unwrap();
    let mut server = Server::start_with(&["--config", file.to_str().unwrap()], &[]);
    server.make_trail("a1");
    server.make_stream("s1", "a1");
    let stuck = takes_nothing(&server, server.credentials());
    let (port, credentials) = (server.port(), server.credentials().clone());
    let readers: Vec<_> = (1..READERS)
        .map(|_| {
            let credentials = credentials.clone();
            std::thread::spawn(move || {
                let mut reader = subscribe(port, "s1", "begin=earliest", &credentials).unwrap();
                let time = reads_all(&mut reader, 1, ROWS);
                (reader, time)
            })
        })
        .collect();
    put_all(&server);
    // While the others still read: the server waits for the end of the closing handshake for five seconds only.
    let heard = reads_once_given_up(&server, stuck);
    let mut readers: Vec<_> = readers.into_iter().map(|reader| reader.join().unwrap()).collect();
    let slowest = readers.iter().map(|(_, time)| *time).max().unwrap();
    println!("{} readers have {ROWS} rows of {ROW_BYTES} bytes each, the slowest after {slowest:?}", readers.len());
    assert_eq!(close_code(&heard), Some(4011), "{} bytes were read", heard.len());
    assert!((heard.len() as u64) < ROWS * ROW_BYTES as u64, "it was sent everything although it took nothing");

    server.put("a1", &[row(ROWS + 1)]).expect(200);
    for (reader, _) in &mut readers {
        reads_all(reader, ROWS + 1, ROWS + 1);
    }
    drop(readers);
    assert_eq!(server.last_words().matches("closing with 4011").count(), 1, "another reader was closed too");
}

#[test]
fn control_without_the_rule_the_reader_that_takes_nothing_stays() {
    let folder = Folder::new("slow");
    let file = folder.path().join("trailcast.toml");
    std::fs::write(&file, "[limits]\nslowClientSeconds = 600").unwrap();
    let server = Server::start_with(&["--config", file.to_str().unwrap()], &[]);
    server.make_trail("a1");
    server.make_stream("s1", "a1");
    let stuck = takes_nothing(&server, server.credentials());
    put_all(&server);
    assert_eq!(server.wait_for_log("closing with 4011", Duration::from_secs(6)), None);
    drop(stuck);
}

/// Waits until the only session of the stream has messages to take and takes none.
fn wait_until_blocked(server: &Server) {
    server.get_until("/services/v2/stream/s1/info", |info| {
        let sessions = info["sessions"].as_array().unwrap();
        sessions.len() == 1 && sessions[0]["state"] == "blocked"
    });
}

/// How long it takes until the only session of the stream is gone, closed with `code`. Waited for far less long than a
/// client may take nothing.
fn time_to_end(server: &Server, code: u16) -> Duration {
    let start = Instant::now();
    let ended = format!("trailcast_stream_sessions_ended_total{{stream=\"s1\",code=\"{code}\"}}");
    server.sample_until(&ended, |ended| ended == 1.0);
    start.elapsed()
}

#[test]
fn a_reader_that_takes_nothing_is_ended_at_once_when_its_rights_or_its_trail_are_gone() {
    type Act = fn(&Server);
    let acts: [(&str, u16, Act); 3] = [
        ("user deleted", 4001, |server| drop(server.delete("/services/v2/users/ann").expect(200))),
        ("new password", 4001, |server| {
            let password = json!({"password": "another-one-9"});
            server.patch("/services/v2/users/ann", &password).expect(200);
        }),
        ("trail deleted", 4020, |server| drop(server.delete("/services/v2/trails/a1").expect(200))),
    ];
    for (what, code, act) in acts {
        let server = Server::start();
        server.make_trail("a1");
        server.make_stream("s1", "a1");
        server.post("/services/v2/users/ann", &json!({"role": "Operator", "password": "pass-word-1"})).expect(200);
        put_all(&server);
        let stuck = takes_nothing(&server, &Basic::new("ann", "pass-word-1"));
        wait_until_blocked(&server);
        act(&server);
        let time = time_to_end(&server, code);
        println!("{what}: the session was gone after {time:?}");
        drop(stuck);
    }
}
