//! Goal: deadlines, caps and drain. Method: raw bytes over loopback TCP, short limits.

use axum::Extension;
use axum::extract::Request;
use axum::routing::{any, post};
use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::Notify;

use super::*;
use crate::listen::feed::{Fed, Feed};
use crate::listen::handshake::upgrade;
use crate::listen::pump::{EndReason, PumpEnd, PumpTimings};

struct Silent;

impl Feed for Silent {
    async fn next(&mut self) -> Fed {
        std::future::pending().await
    }
}

struct Running {
    address: SocketAddr,
    server: Server,
    serving: tokio::task::JoinHandle<()>,
    shutdown: watch::Sender<bool>,
    ends: tokio::sync::mpsc::UnboundedReceiver<PumpEnd>,
    /// The slow route has been reached.
    started: Arc<Notify>,
    /// Lets the slow route answer.
    finish: Arc<Notify>,
    /// The slow route has come to its end.
    finished: Arc<Notify>,
}

async fn start(limits: ServerLimits) -> Running {
    let (ended, ends) = tokio::sync::mpsc::unbounded_channel();
    let socket = move |mut request: Request| {
        let ended = ended.clone();
        async move {
            let (response, pending) = upgrade(&mut request, &["cloudevents.json"]).unwrap();
            pending.start(Silent, PumpTimings::default(), move |end| {
                let _ = ended.send(end);
            });
            response
        }
    };
    let (started, finish, finished) = <(Arc<Notify>, Arc<Notify>, Arc<Notify>)>::default();
    let signals = (Arc::clone(&started), Arc::clone(&finish), Arc::clone(&finished));
    let slow = move || {
        let (started, finish, finished) = signals.clone();
        async move {
            started.notify_one();
            finish.notified().await;
            finished.notify_one();
            "slow"
        }
    };
    let router = Router::new()
        .route("/peer", any(|Extension(peer): Extension<PeerAddr>| async move { peer.0.ip.to_string() }))
        .route("/echo", post(|body: Result<Bytes, axum::extract::rejection::BytesRejection>| async move { body }))
        .route("/slow", any(slow))
        .route("/socket", any(socket));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (shutdown, stopping) = watch::channel(false);
    let server = Server::new(router, limits, stopping);
    let serving = tokio::spawn({
        let server = server.clone();
        async move { server.serve(listener).await }
    });
    Running { address, server, serving, shutdown, ends, started, finish, finished }
}

fn short() -> ServerLimits {
    ServerLimits {
        connections_max: 4,
        connections_per_address_max: 4,
        handshake: Duration::from_millis(150),
        header: Duration::from_millis(150),
        body: Duration::from_millis(150),
        answer: Duration::from_millis(150),
        answer_bytes: 64 << 10,
        drain: Duration::from_secs(5),
    }
}

/// Sends bytes and returns everything up to the end of the connection.
async fn exchange(address: SocketAddr, bytes: &[u8]) -> String {
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(bytes).await.unwrap();
    read_all(&mut client).await
}

async fn read_all(client: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let read = client.read_to_end(&mut answer);
    let _ = timeout(Duration::from_secs(10), read).await.expect("the connection is closed in time");
    String::from_utf8_lossy(&answer).into_owned()
}

const GET_PEER: &[u8] = b"GET /peer HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
const HANDSHAKE: &[u8] = b"GET /socket HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
    sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    sec-websocket-protocol: other, cloudevents.json\r\n\r\n";

#[test]
fn where_fewer_connections_fit_one_address_may_not_take_them_all() {
    let fit = |connections_max, connections_per_address_max, room| {
        let limits = ServerLimits { connections_max, connections_per_address_max, ..Default::default() }.fitting(room);
        (limits.connections_max, limits.connections_per_address_max, limits.answer_bytes_per_address())
    };
    let all = limits::ANSWER_BYTES_DEFAULT;
    assert_eq!(fit(25_000, 12_500, 100_000), (25_000, 12_500, all / 2));
    assert_eq!(fit(25_000, 12_500, 2_300), (2_300, 1_150, all / 2));
    assert_eq!(fit(25_000, 25_000, 2_300), (2_300, 2_300, all), "behind a proxy one address is all");
    assert_eq!(fit(1_000, 750, 100), (100, 75, all / 4 * 3), "a larger part stays one");
    assert_eq!(fit(25_000, 100, 2_300).1, 100, "a cap that leaves room for others stays");
    assert_eq!(fit(25_000, 12_500, 1), (1, 1, all));
}

#[tokio::test]
async fn a_request_is_served_and_knows_its_peer() {
    let running = start(short()).await;
    let answer = exchange(running.address, GET_PEER).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\n127.0.0.1"), "{answer}");
}

#[tokio::test]
async fn silent_half_header_and_idle_connections_are_closed_at_the_deadline() {
    let running = start(short()).await;
    for bytes in [&b""[..], b"GET /peer HTTP/1.1\r\nhost:", b"GET /peer HTTP/1.1\r\nhost: a\r\n\r\n"] {
        let answer = exchange(running.address, bytes).await;
        assert_eq!(answer.contains("127.0.0.1"), bytes.ends_with(b"\r\n\r\n"), "{answer}");
    }
}

#[tokio::test]
async fn a_body_that_does_not_come_is_given_up() {
    let running = start(short()).await;
    let head = b"POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n";
    let answer = exchange(running.address, &[head, &b"ab"[..]].concat()).await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    let answer = exchange(running.address, &[head, &b"abcde"[..]].concat()).await;
    assert!(answer.ends_with("abcde"), "{answer}");
}

#[tokio::test]
async fn beyond_the_cap_connections_are_refused_and_places_come_back() {
    let running = start(ServerLimits { header: Duration::from_secs(10), ..short() }).await;
    let mut held = Vec::new();
    for _ in 0..4 {
        let mut client = TcpStream::connect(running.address).await.unwrap();
        client.write_all(b"GET /peer HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        client.read_exact(&mut [0; 15]).await.unwrap();
        held.push(client);
    }
    assert_eq!(running.server.connections(), 4);
    let mut refused = TcpStream::connect(running.address).await.unwrap();
    assert!(read_all(&mut refused).await.starts_with("HTTP/1.1 503"));
    drop(held);
    timeout(Duration::from_secs(5), async {
        while running.server.connections() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    assert!(exchange(running.address, GET_PEER).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn an_upgraded_socket_keeps_its_place_and_shutdown_closes_it_with_1001() {
    let mut running = start(short()).await;
    let mut client = TcpStream::connect(running.address).await.unwrap();
    // A ping right behind the handshake: it may arrive in the same segment and must not be lost.
    client.write_all(&[HANDSHAKE, b"\x89\x80\0\0\0\0"].concat()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(&[0x8a, 0]) {
        let byte = client.read_u8().await.unwrap();
        answer.push(byte);
    }
    let head = String::from_utf8_lossy(&answer).to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 101") && head.contains("sec-websocket-protocol: cloudevents.json"), "{head}");
    assert_eq!(running.server.connections(), 1);
    running.shutdown.send(true).unwrap();
    let mut frame = [0; 4];
    client.read_exact(&mut frame).await.unwrap();
    assert_eq!((frame[0], &frame[2..]), (0x88, &1001u16.to_be_bytes()[..]));
    assert!(!running.serving.is_finished(), "the server waits for the socket");
    client.write_all(b"\x88\x82\0\0\0\0\x03\xe9").await.unwrap();
    read_all(&mut client).await;
    drop(client);
    assert_eq!(running.ends.recv().await.unwrap().reason, EndReason::ShuttingDown);
    running.serving.await.unwrap();
}

#[tokio::test]
async fn shutdown_lets_a_request_finish_and_takes_no_new_connection() {
    let running = start(short()).await;
    let mut client = TcpStream::connect(running.address).await.unwrap();
    client.write_all(b"GET /slow HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    running.started.notified().await;
    let idle = TcpStream::connect(running.address).await.unwrap();
    running.shutdown.send(true).unwrap();
    running.finish.notify_one();
    assert!(read_all(&mut client).await.ends_with("slow"));
    timeout(Duration::from_secs(5), running.serving).await.unwrap().unwrap();
    assert!(TcpStream::connect(running.address).await.is_err());
    drop(idle);
}

#[tokio::test]
async fn a_change_runs_to_its_end_although_its_caller_hangs_up() {
    let running = start(short()).await;
    let mut client = TcpStream::connect(running.address).await.unwrap();
    client.write_all(b"POST /slow HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    running.started.notified().await;
    drop(client);
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(running.server.connections(), 1, "what still works keeps its place");
    running.finish.notify_one();
    timeout(Duration::from_secs(5), running.finished.notified()).await.unwrap();
}

#[tokio::test]
async fn what_does_not_end_is_cut_at_the_drain_deadline() {
    let running = start(ServerLimits { drain: Duration::from_millis(50), ..short() }).await;
    let mut client = TcpStream::connect(running.address).await.unwrap();
    client.write_all(HANDSHAKE).await.unwrap();
    client.read_exact(&mut [0; 12]).await.unwrap();
    running.shutdown.send(true).unwrap();
    timeout(Duration::from_secs(3), running.serving).await.unwrap().unwrap();
}
