//! Goal: the WebSocket side keeps RFC 6455. Method: the fuzzing client of the Autobahn test suite (PyPI
//! `autobahntestsuite`, which needs Python 2.7; `tests/run` installs it) against an echo on the very pump that serves
//! streams, and against a stream's own socket for the cases that need no echo.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::Request;
use axum::routing::any;
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use trailcast::codec::close_code::CloseCode;
use trailcast::codec::ws_frame::{HEADER_ROOM, write_header};
use trailcast::listen::{self, ClientMessage, Fed, Feed, Inbox, PumpTimings, ServerLimits, upgrade};

use crate::support::{Folder, Program, Server, skip};

/// Large and many messages take minutes: all of them with `--long`, the smaller half without.
const LONG_CASES: [&str; 6] = ["9.1.5", "9.1.6", "9.2.5", "9.2.6", "9.3.*", "9.4.*"];
/// Compression, which we do not offer.
const COMPRESSION: [&str; 2] = ["12.*", "13.*"];
/// Cases that wait for an echo. A socket that never speaks first and ignores messages can show the others: pings and
/// pongs, reserved bits and opcodes, broken fragments, broken UTF-8, closing.
const WAIT_FOR_ECHO: [&str; 30] = [
    "1.*", "5.3", "5.4", "5.5", "5.6", "5.7", "5.8", "5.19", "5.20", "6.1.*", "6.2.*", "6.5.*", "6.6.2", "6.6.5",
    "6.6.7", "6.6.9", "6.6.11", "6.7.*", "6.9.*", "6.11.1", "6.11.2", "6.11.3", "6.11.4", "6.22.*", "6.23.*", "7.1.1",
    "9.*", "10.*", "12.*", "13.*",
];
const PATIENCE: Duration = Duration::from_secs(1_500);

/// Sends back what its client says.
struct Echo {
    heard: mpsc::UnboundedReceiver<ClientMessage>,
    inbox: Option<Inbox>,
}

impl Echo {
    fn new() -> Self {
        let (sender, heard) = mpsc::unbounded_channel();
        let take = move |message| drop(sender.send(message));
        Self { heard, inbox: Some(Inbox { message_bytes_max: 32 << 20, take: Box::new(take) }) }
    }
}

impl Feed for Echo {
    async fn next(&mut self) -> Fed {
        match self.heard.recv().await {
            Some(message) => Fed::Messages(vec![framed(message)]),
            None => Fed::End { code: CloseCode::NORMAL, reason: String::new() },
        }
    }

    fn inbox(&mut self) -> Option<Inbox> {
        self.inbox.take()
    }
}

fn framed(message: ClientMessage) -> Bytes {
    let (opcode, bytes) = match message {
        ClientMessage::Text(bytes) => (1, bytes),
        ClientMessage::Binary(bytes) => (2, bytes),
    };
    let mut header = [0; HEADER_ROOM];
    let header = write_header(&mut header, bytes.len());
    let mut frame = [header, &bytes].concat();
    frame[0] = 0x80 | opcode;
    frame.into()
}

/// An echo server on a thread of its own, until the sender is dropped.
fn echo_server() -> (SocketAddr, watch::Sender<bool>) {
    let (stop, stopping) = watch::channel(false);
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            tell.send(listener.local_addr().unwrap()).unwrap();
            let echo = async |mut request: Request| {
                let (response, pending) = upgrade(&mut request, &[]).unwrap();
                pending.start(Echo::new(), PumpTimings::default(), drop);
                response
            };
            let router = Router::new().route("/", any(echo));
            listen::Server::new(router, ServerLimits::default(), stopping).serve(listener).await;
        });
    });
    (told.recv().unwrap(), stop)
}

/// `wstest` of the environment that `tests/run` makes.
fn wstest() -> Option<PathBuf> {
    let given = std::env::var_os("TRAILCAST_TEST_WSTEST").map(PathBuf::from);
    let path = given.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/.venv27/bin/wstest"));
    if path.exists() {
        return Some(path);
    }
    skip("the Autobahn test suite is not here (Python 2.7 with autobahntestsuite in tests/.venv27)");
    None
}

/// Runs the fuzzing client and returns how each case behaved, and how it closed.
fn fuzz(wstest: &Path, url: &str, cases: &[&str], left_out: &[&str]) -> BTreeMap<String, (String, String)> {
    let folder = Folder::new("autobahn");
    let specification = folder.path().join("client.json");
    let text = json!({
        "options": {"failByDrop": false},
        "outdir": folder.path().join("out"),
        "servers": [{"agent": "trailcast", "url": url}],
        "cases": cases,
        "exclude-cases": left_out,
        "exclude-agent-cases": {},
    });
    std::fs::write(&specification, text.to_string()).unwrap();
    let mut command = Command::new(wstest);
    command.args(["-m", "fuzzingclient", "-s"]).arg(&specification).current_dir(folder.path());
    let mut program = Program::start(command);
    let ended_well = program.ends_well(PATIENCE);
    assert!(ended_well, "wstest failed:\n{}", program.complaints());
    let index = std::fs::read_to_string(folder.path().join("out/index.json")).unwrap();
    let index: Value = serde_json::from_str(&index).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let cases = index["trailcast"].as_object().unwrap().iter();
    cases.map(|(case, result)| (case.clone(), (text(&result["behavior"]), text(&result["behaviorClose"])))).collect()
}

fn assert_none_fails(what: &str, results: &BTreeMap<String, (String, String)>, cases_min: usize) {
    let mut counts = BTreeMap::<&str, usize>::new();
    results.values().for_each(|(behavior, _)| *counts.entry(behavior).or_default() += 1);
    println!("Autobahn against {what}: {} cases: {counts:?}", results.len());
    let good = |word: &str| ["OK", "NON-STRICT", "INFORMATIONAL"].contains(&word);
    let bad: Vec<_> = results.iter().filter(|(_, (behavior, close))| !good(behavior) || !good(close)).collect();
    assert!(bad.is_empty(), "{what}: failed or closed uncleanly: {bad:?}");
    assert!(results.len() >= cases_min, "{what}: only {} cases ran", results.len());
}

#[test]
fn the_autobahn_fuzzing_client_finds_no_fault_in_an_echo_on_the_pump() {
    let Some(wstest) = wstest() else { return };
    let long = std::env::var_os("TRAILCAST_TEST_LONG").is_some();
    let mut left_out = COMPRESSION.to_vec();
    if !long {
        left_out.extend(LONG_CASES);
    }
    let (address, _stop) = echo_server();
    let start = Instant::now();
    let results = fuzz(&wstest, &format!("ws://{address}/"), &["*"], &left_out);
    println!("in {:?}", start.elapsed());
    assert_none_fails("an echo on the pump", &results, if long { 301 } else { 279 });
}

#[test]
fn the_autobahn_fuzzing_client_finds_no_fault_in_a_streams_socket() {
    let Some(wstest) = wstest() else { return };
    let server = Server::start();
    server.make_trail("a1");
    // A stream that has nothing to say, so that only the protocol is heard.
    let stream = json!({"source": {"trail": "a1"}, "encoding": {"json": {"includeStreamMetadataRecord": false}}});
    server.post("/services/v2/stream/s1", &stream).expect(200);
    let token = server.post("/services/v2/tokens", &json!({"stream": "s1"})).expect(200).response();
    let token = token["token"].as_str().unwrap_or_else(|| panic!("no token in {token}"));
    let url = format!("ws://127.0.0.1:{}/services/v2/stream/s1?access_token={token}", server.port());
    let results = fuzz(&wstest, &url, &["*"], &WAIT_FOR_ECHO);
    assert_none_fails("a stream's socket", &results, 151);
}

#[test]
fn control_a_server_that_breaks_the_protocol_is_found_out() {
    let Some(wstest) = wstest() else { return };
    // It answers the handshake and then sends a masked frame, which no server may.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut socket in listener.incoming().map_while(Result::ok) {
            use std::io::{Read, Write};
            let mut request = [0; 4_096];
            let count = socket.read(&mut request).unwrap_or(0);
            let text = String::from_utf8_lossy(&request[..count]).into_owned();
            let key = text.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).unwrap_or_default();
            let accept = tungstenite::handshake::derive_accept_key(key.trim().as_bytes());
            let head = format!(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Accept: {accept}\r\n\r\n"
            );
            let _ = socket.write_all(&[head.as_bytes(), b"\x81\x80\0\0\0\0"].concat());
            let _ = socket.read(&mut request);
        }
    });
    let results = fuzz(&wstest, &format!("ws://{address}/"), &["2.1", "2.2"], &[]);
    let failed = results.values().filter(|(behavior, _)| behavior == "FAILED").count();
    assert_eq!(failed, 2, "{results:?}");
}
