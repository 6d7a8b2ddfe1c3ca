//! Goal: an idle session costs little memory. Method: the resident memory of the real server before and after ten
//! thousand sessions of one stream, divided by their number. (What the kernel holds for a socket is not in it.)

use std::io::{Read, Write};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::support::{Folder, Server, http, skip};

const SOCKETS: usize = 10_000;
const BYTES_EACH_MAX: u64 = 12 << 10;

fn resident_bytes(pid: u32) -> u64 {
    let pages = std::fs::read_to_string(format!("/proc/{pid}/statm")).unwrap();
    let pages: u64 = pages.split(' ').nth(1).unwrap().parse().unwrap();
    pages * rustix::param::page_size() as u64
}

/// A session that has begun at the end of the stream `s1`.
pub(super) fn session(server: &Server) -> http::Connection {
    let mut stream = http::connect(server.port(), Duration::from_secs(30)).unwrap();
    let handshake = format!(
        "GET /services/v2/stream/s1?begin=now HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nAuthorization: {}\r\n\
         Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        server.port(),
        server.credentials().header()
    );
    stream.write_all(handshake.as_bytes()).unwrap();
    // The answer and the first message, which tells of the stream: from then on the session is idle.
    let mut heard = Vec::new();
    let mut bytes = [0; 4_096];
    while !heard.windows(15).any(|window| window == b"STREAM_METADATA") {
        let count = stream.read(&mut bytes).unwrap();
        assert!(count > 0, "{}", String::from_utf8_lossy(&heard));
        heard.extend_from_slice(&bytes[..count]);
    }
    stream
}

#[test]
fn ten_thousand_idle_sockets_take_at_most_12_kilobytes_each() {
    let found = getrlimit(Resource::Nofile);
    let needed = SOCKETS as u64 + 2_000;
    if found.current.is_some_and(|soft| soft < needed) {
        let raised = Rlimit { current: Some(needed), maximum: found.maximum };
        if setrlimit(Resource::Nofile, raised).is_err() {
            return skip("the limit of open files is below 12,000 (ulimit -Hn)");
        }
    }
    // All of them come from one address, which has a part of the places only unless told otherwise.
    let folder = Folder::new("idle");
    let file = folder.path().join("trailcast.toml");
    std::fs::write(&file, "[limits]\nconnectionsPerAddress = 25000").unwrap();
    let server = Server::start_with(&["--config", file.to_str().unwrap()], &[]);
    server.make_trail("a1");
    server.make_stream("s1", "a1");
    server
        .put("a1", &[serde_json::json!({"operations": [{"op": "INSERT", "table": "t", "after": {"id": 1}}]})])
        .expect(200);
    // What the first sessions leave behind (caches, threads, arenas) is not what a session costs.
    drop((0..100).map(|_| session(&server)).collect::<Vec<_>>());
    let before = resident_bytes(server.pid());
    let sessions: Vec<_> = (0..SOCKETS).map(|_| session(&server)).collect();
    let each = resident_bytes(server.pid()).saturating_sub(before) / SOCKETS as u64;
    println!("{} idle sockets take {each} bytes of memory each", sessions.len());
    assert!(each <= BYTES_EACH_MAX, "{each} bytes each, at most {BYTES_EACH_MAX}");
}
