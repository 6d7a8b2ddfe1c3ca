//! Goal: the pump's promises on real sockets. Method: loopback TCP, a WebSocket client of another make, short timings.

use std::collections::VecDeque;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_tungstenite::WebSocketStream;
use tungstenite::protocol::{Message, Role};

use super::*;
use crate::codec::ws_frame::{HEADER_ROOM, finish_message};
use crate::listen::feed::{Fed, Feed};

/// Gives what it holds, then waits for ever, or ends.
struct Scripted {
    batches: VecDeque<Vec<Bytes>>,
    end: Option<(CloseCode, String)>,
}

impl Feed for Scripted {
    async fn next(&mut self) -> Fed {
        match (self.batches.pop_front(), self.end.take()) {
            (Some(batch), end) => {
                self.end = end;
                Fed::Messages(batch)
            }
            (None, Some((code, reason))) => Fed::End { code, reason },
            (None, None) => std::future::pending().await,
        }
    }
}

/// Gives the same message for ever.
struct Endless(Bytes);

impl Feed for Endless {
    async fn next(&mut self) -> Fed {
        Fed::Messages(vec![self.0.clone()])
    }
}

/// The same, told whether memory is short.
struct InACrowd(Bytes, watch::Receiver<bool>);

impl Feed for InACrowd {
    async fn next(&mut self) -> Fed {
        Fed::Messages(vec![self.0.clone()])
    }

    fn memory_short(&mut self) -> Option<watch::Receiver<bool>> {
        Some(self.1.clone())
    }
}

/// The same, cut short when told.
struct CutShort(Bytes, watch::Receiver<bool>);

impl Feed for CutShort {
    async fn next(&mut self) -> Fed {
        Fed::Messages(vec![self.0.clone()])
    }

    async fn cut_short(&mut self) -> Fed {
        self.1.wait_for(|cut| *cut).await.unwrap();
        Fed::End { code: CloseCode::WITHDRAWN, reason: "rights withdrawn".into() }
    }
}

/// Gives the same message for ever, and says goodbye.
struct Polite(Bytes);

impl Feed for Polite {
    async fn next(&mut self) -> Fed {
        Fed::Messages(vec![self.0.clone()])
    }

    fn farewell(&mut self) -> Option<Bytes> {
        Some(message("goodbye"))
    }
}

fn message(text: &str) -> Bytes {
    let mut bytes = vec![0; HEADER_ROOM];
    bytes.extend_from_slice(text.as_bytes());
    finish_message(&mut bytes, 0);
    bytes.into()
}

fn idle() -> Scripted {
    Scripted { batches: VecDeque::new(), end: None }
}

struct Running {
    client: TcpStream,
    pump: JoinHandle<PumpEnd>,
    shutdown: watch::Sender<bool>,
}

async fn start(feed: impl Feed + 'static, timings: PumpTimings) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (socket, _) = listener.accept().await.unwrap();
    let (shutdown, stopping) = watch::channel(false);
    let pump = tokio::spawn(async move { run(socket, Bytes::new(), feed, stopping, Arc::default(), timings).await });
    Running { client, pump, shutdown }
}

async fn websocket(client: TcpStream) -> WebSocketStream<TcpStream> {
    WebSocketStream::from_raw_socket(client, Role::Client, None).await
}

async fn next(socket: &mut WebSocketStream<TcpStream>) -> Option<Result<Message, tungstenite::Error>> {
    let receive = poll_fn(|context| futures_poll(socket, context));
    tokio::time::timeout(Duration::from_secs(20), receive).await.unwrap()
}

fn futures_poll(
    socket: &mut WebSocketStream<TcpStream>,
    context: &mut Context<'_>,
) -> Poll<Option<Result<Message, tungstenite::Error>>> {
    futures_core::Stream::poll_next(Pin::new(socket), context)
}

async fn close_code(socket: &mut WebSocketStream<TcpStream>) -> (CloseCode, String) {
    loop {
        match next(socket).await {
            Some(Ok(Message::Close(Some(frame)))) => return (u16::from(frame.code).into(), frame.reason.to_string()),
            Some(Ok(_)) => {}
            other => panic!("no close frame but {other:?}"),
        }
    }
}

#[tokio::test]
async fn messages_of_every_size_arrive_whole_and_in_order() {
    let sizes = [0, 1, 125, 126, 65_535, 65_536, 2 << 20, 3];
    let texts: Vec<String> = sizes.iter().map(|size| "ab".repeat(size / 2 + 1)[..*size].to_owned()).collect();
    let framed: Vec<Bytes> = texts.iter().map(|text| message(text)).collect();
    let sent: usize = framed.iter().map(Bytes::len).sum();
    let batches = VecDeque::from([framed[..3].to_vec(), framed[3..].to_vec()]);
    let feed = Scripted { batches, end: Some((CloseCode::GONE, "gone".into())) };
    let running = start(feed, PumpTimings::default()).await;
    let mut socket = websocket(running.client).await;
    for text in texts {
        let Message::Text(received) = next(&mut socket).await.unwrap().unwrap() else { panic!("no text") };
        assert!(received.as_str() == text, "a message of {} bytes differs", text.len());
    }
    assert_eq!(close_code(&mut socket).await, (CloseCode::GONE, "gone".into()));
    assert!(next(&mut socket).await.is_none(), "the close is clean");
    drop(socket);
    let end = running.pump.await.unwrap();
    assert_eq!(end, PumpEnd { reason: EndReason::FeedEnded { code: CloseCode::GONE }, bytes_sent: sent as u64 });
}

#[tokio::test]
async fn a_ping_is_answered_while_data_flows() {
    let running = start(Endless(message(&"x".repeat(100_000))), PumpTimings::default()).await;
    let mut socket = websocket(running.client).await;
    next(&mut socket).await.unwrap().unwrap();
    // A masked ping of 2 bytes, mask zero; written beside the library so that it leaves at once.
    socket.get_mut().write_all(b"\x89\x82\0\0\0\0hi").await.unwrap();
    loop {
        if let Message::Pong(payload) = next(&mut socket).await.unwrap().unwrap() {
            assert_eq!(&payload[..], b"hi");
            break;
        }
    }
    socket.get_mut().write_all(b"\x88\x82\0\0\0\0\x03\xe8").await.unwrap();
    assert_eq!(close_code(&mut socket).await.0, CloseCode::NORMAL);
    assert!(next(&mut socket).await.is_none());
    drop(socket);
    assert_eq!(running.pump.await.unwrap().reason, EndReason::ClientClosed { code: CloseCode::NORMAL });
}

#[tokio::test]
async fn the_clients_close_is_answered_and_its_data_ignored() {
    let running = start(idle(), PumpTimings::default()).await;
    let mut client = running.client;
    client.write_all(b"\x81\x82\0\0\0\0hi\x88\x82\0\0\0\0\x03\xe8").await.unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer, [0x88, 2, 0x03, 0xe8]);
    drop(client);
    assert_eq!(
        running.pump.await.unwrap(),
        PumpEnd { reason: EndReason::ClientClosed { code: CloseCode::NORMAL }, bytes_sent: 0 }
    );
}

#[tokio::test]
async fn a_silent_client_is_pinged_and_closed_with_4004() {
    let timings =
        PumpTimings { ping: Duration::from_millis(30), close: Duration::from_millis(50), ..Default::default() };
    let running = start(idle(), timings).await;
    let mut client = running.client;
    let mut heard = Vec::new();
    client.read_to_end(&mut heard).await.unwrap();
    assert_eq!(heard[..6], [0x89, 0, 0x89, 0, 0x88, 2 + 18]);
    assert_eq!(heard[6..8], CloseCode::SILENT.number().to_be_bytes());
    assert_eq!(running.pump.await.unwrap().reason, EndReason::Silent);
}

#[tokio::test]
async fn a_client_that_answers_pings_stays() {
    let timings = PumpTimings { ping: Duration::from_millis(20), ..Default::default() };
    let running = start(idle(), timings).await;
    let mut client = running.client;
    for _ in 0..8 {
        let mut ping = [0; 2];
        client.read_exact(&mut ping).await.unwrap();
        assert_eq!(ping, [0x89, 0]);
        client.write_all(b"\x8a\x80\0\0\0\0").await.unwrap();
    }
    assert!(!running.pump.is_finished());
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_dropped_as_slow() {
    let timings =
        PumpTimings { slow: Duration::from_millis(100), close: Duration::from_millis(50), ..Default::default() };
    let running = start(Endless(message(&"x".repeat(1 << 20))), timings).await;
    let end = tokio::time::timeout(Duration::from_secs(20), running.pump).await.unwrap().unwrap();
    assert_eq!(end.reason, EndReason::Slow);
    drop(running.client);
}

#[tokio::test]
async fn a_breach_of_the_protocol_gets_its_code_and_an_end() {
    let cases: [(&[u8], CloseCode); 4] = [
        (b"\x81\x01a", CloseCode::PROTOCOL),
        (b"\xc1\x81\0\0\0\0a", CloseCode::PROTOCOL),
        (b"\x81\x81\0\0\0\0\xff", CloseCode::NOT_UTF8),
        (b"\x82\xff\0\0\0\0\0\x01\0\x01\0\0\0\0", CloseCode::MESSAGE_TOO_BIG),
    ];
    for (bytes, code) in cases {
        let running = start(idle(), PumpTimings::default()).await;
        let mut client = running.client;
        client.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        assert_eq!((answer[0], &answer[2..4]), (0x88, &code.number().to_be_bytes()[..]), "{bytes:?}");
        drop(client);
        assert_eq!(running.pump.await.unwrap().reason, EndReason::Protocol { code });
    }
}

#[tokio::test]
async fn the_last_message_comes_behind_the_one_that_has_begun_and_before_the_close() {
    let text = "x".repeat(300_000);
    let running = start(Polite(message(&text)), PumpTimings::default()).await;
    let mut socket = websocket(running.client).await;
    assert_eq!(next(&mut socket).await.unwrap().unwrap().into_text().unwrap().as_str(), text);
    running.shutdown.send(true).unwrap();
    let mut last = String::new();
    loop {
        match next(&mut socket).await.unwrap().unwrap() {
            Message::Text(said) => {
                assert_ne!(last, "goodbye", "something came behind the last message");
                assert!(said.as_str() == text || said.as_str() == "goodbye", "torn");
                last = said.to_string();
            }
            Message::Close(close) => {
                assert_eq!(u16::from(close.unwrap().code), CloseCode::GOING_AWAY.number());
                break;
            }
            _ => {}
        }
    }
    assert_eq!(last, "goodbye");
    while next(&mut socket).await.is_some_and(|frame| frame.is_ok()) {}
    assert_eq!(running.pump.await.unwrap().reason, EndReason::ShuttingDown);
}

#[tokio::test]
async fn shutdown_closes_with_1001_between_messages() {
    let running = start(Endless(message(&"x".repeat(50_000))), PumpTimings::default()).await;
    let mut socket = websocket(running.client).await;
    next(&mut socket).await.unwrap().unwrap();
    running.shutdown.send(true).unwrap();
    assert_eq!(close_code(&mut socket).await.0, CloseCode::GOING_AWAY);
    assert!(next(&mut socket).await.is_none());
    drop(socket);
    assert_eq!(running.pump.await.unwrap().reason, EndReason::ShuttingDown);
}

#[tokio::test]
async fn a_client_that_vanishes_ends_the_pump() {
    let running = start(idle(), PumpTimings::default()).await;
    drop(running.client);
    assert_eq!(running.pump.await.unwrap().reason, EndReason::Disconnected);
}

#[tokio::test]
async fn a_client_that_never_answers_our_close_is_left_after_the_deadline() {
    let timings = PumpTimings { close: Duration::from_millis(50), ..Default::default() };
    let running = start(idle(), timings).await;
    running.shutdown.send(true).unwrap();
    assert_eq!(running.pump.await.unwrap().reason, EndReason::ShuttingDown);
    drop(running.client);
}

/// A client whose kernel takes next to nothing for it.
async fn start_narrow(feed: impl Feed + 'static, timings: PumpTimings) -> Running {
    start_narrower(feed, timings, None).await
}

/// The same with so little room at the server's end that what the client takes is seen at once.
async fn start_narrower(feed: impl Feed + 'static, timings: PumpTimings, send_buffer: Option<usize>) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let narrow = tokio::net::TcpSocket::new_v4().unwrap();
    narrow.set_recv_buffer_size(4_096).unwrap();
    let client = narrow.connect(listener.local_addr().unwrap()).await.unwrap();
    let (socket, _) = listener.accept().await.unwrap();
    if let Some(bytes) = send_buffer {
        socket2::SockRef::from(&socket).set_send_buffer_size(bytes).unwrap();
    }
    let (shutdown, stopping) = watch::channel(false);
    let pump = tokio::spawn(async move { run(socket, Bytes::new(), feed, stopping, Arc::default(), timings).await });
    Running { client, pump, shutdown }
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_slow_and_not_silent_although_the_kernel_holds_all_that_is_for_it() {
    let timings = PumpTimings {
        ping: Duration::from_millis(30),
        slow: Duration::from_millis(600),
        close: Duration::from_millis(50),
        ..Default::default()
    };
    let batches = || VecDeque::from([vec![message(&"x".repeat(60_000))]]);
    let begun = Instant::now();
    let running = start_narrow(Scripted { batches: batches(), end: None }, timings).await;
    let end = tokio::time::timeout(Duration::from_secs(20), running.pump).await.unwrap().unwrap();
    assert_eq!(end.reason, EndReason::Slow);
    assert_eq!(end.bytes_sent, 60_004, "the kernel took it all");
    assert!(begun.elapsed() >= timings.slow);

    // Control: where its own kernel took everything, nothing is pending, and the client is only silent.
    let running = start(Scripted { batches: VecDeque::from([vec![message("short")]]), end: None }, timings).await;
    let end = tokio::time::timeout(Duration::from_secs(20), running.pump).await.unwrap().unwrap();
    assert_eq!(end.reason, EndReason::Silent);
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_given_up_sooner_when_memory_is_short() {
    let timings = PumpTimings {
        slow: Duration::from_secs(600),
        slow_crowded: Duration::from_millis(200),
        close: Duration::from_millis(50),
        ..Default::default()
    };
    let (short, crowded) = watch::channel(false);
    let running = start_narrow(InACrowd(message(&"x".repeat(500_000)), crowded), timings).await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert!(!running.pump.is_finished(), "nobody needs what it holds");
    short.send(true).unwrap();
    let end = tokio::time::timeout(Duration::from_secs(20), running.pump).await.unwrap().unwrap();
    assert_eq!(end.reason, EndReason::Slow);
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_closed_when_its_feed_is_cut_short() {
    let timings = PumpTimings { close: Duration::from_millis(50), ..Default::default() };
    let (cut, is_cut) = watch::channel(false);
    let running = start_narrow(CutShort(message(&"x".repeat(500_000)), is_cut), timings).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!running.pump.is_finished(), "nothing has happened yet");
    cut.send(true).unwrap();
    let end = tokio::time::timeout(Duration::from_secs(20), running.pump).await.unwrap().unwrap();
    assert_eq!(end.reason, EndReason::FeedEnded { code: CloseCode::WITHDRAWN });
}

#[tokio::test]
async fn a_client_that_takes_its_messages_stays_when_memory_is_short() {
    let timings = PumpTimings { slow_crowded: Duration::from_millis(100), ..Default::default() };
    let (_short, crowded) = watch::channel(true);
    let running = start(InACrowd(message(&"x".repeat(100_000)), crowded), timings).await;
    let mut socket = websocket(running.client).await;
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(500) {
        assert!(matches!(next(&mut socket).await.unwrap().unwrap(), Message::Text(_)));
    }
    assert!(!running.pump.is_finished());
}

/// Timings for which every byte taken shows that a client is awake.
fn of_drips() -> PumpTimings {
    PumpTimings {
        slow: Duration::from_secs(600),
        slow_crowded: Duration::from_millis(200),
        slow_bytes_min: 1,
        close: Duration::from_millis(50),
        ..Default::default()
    }
}

#[tokio::test]
async fn a_client_that_drips_must_take_all_that_it_was_given_in_time_when_memory_is_short_and_only_then() {
    let timings = of_drips();
    for short in [true, false] {
        let (_short, crowded) = watch::channel(short);
        let feed = InACrowd(message(&"x".repeat(8_000_000)), crowded);
        let mut running = start_narrower(feed, timings, Some(8_192)).await;
        let begun = Instant::now();
        let mut bytes = [0; 8_192];
        while !running.pump.is_finished() && begun.elapsed() < Duration::from_secs(2) {
            let taken = running.client.read(&mut bytes).await.unwrap_or(0);
            assert!(taken > 0 || short, "the connection ended");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(running.pump.is_finished(), short, "after {:?}", begun.elapsed());
        if short {
            assert_eq!(running.pump.await.unwrap().reason, EndReason::Slow);
            assert!(begun.elapsed() >= timings.slow_crowded * limits::CROWDED_HANDOVER_FACTOR);
        }
    }
}

#[tokio::test]
async fn a_client_that_drips_has_its_time_from_when_memory_becomes_short() {
    let timings = of_drips();
    let handover = timings.slow_crowded * limits::CROWDED_HANDOVER_FACTOR;
    let (short, crowded) = watch::channel(false);
    let feed = InACrowd(message(&"x".repeat(8_000_000)), crowded);
    let mut running = start_narrower(feed, timings, Some(8_192)).await;
    let (begun, mut short_since) = (Instant::now(), None);
    let mut bytes = [0; 8_192];
    while !running.pump.is_finished() {
        let _ = running.client.read(&mut bytes).await;
        tokio::time::sleep(Duration::from_millis(10)).await;
        // By then it would be overdue, had memory been short all the time.
        if short_since.is_none() && begun.elapsed() > handover + timings.slow_crowded {
            assert!(!running.pump.is_finished());
            short_since = Some(Instant::now());
            short.send(true).unwrap();
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "it stays");
    }
    assert_eq!(running.pump.await.unwrap().reason, EndReason::Slow);
    let stayed = short_since.unwrap().elapsed();
    assert!(stayed >= handover, "closed {stayed:?} after memory became short");
}

#[tokio::test]
async fn a_client_that_takes_late_what_the_kernel_holds_stays() {
    let timings = PumpTimings { ping: Duration::from_millis(30), slow: Duration::from_secs(60), ..Default::default() };
    let batches = VecDeque::from([vec![message(&"x".repeat(60_000))]]);
    let running = start_narrow(Scripted { batches, end: None }, timings).await;
    // Ten times what a silent client gets.
    tokio::time::sleep(Duration::from_millis(900)).await;
    assert!(!running.pump.is_finished());
    let mut socket = websocket(running.client).await;
    let Message::Text(text) = next(&mut socket).await.unwrap().unwrap() else { panic!("no text") };
    assert_eq!(text.len(), 60_000);
    // From now on it answers pings by reading on.
    for _ in 0..3 {
        assert!(matches!(next(&mut socket).await.unwrap().unwrap(), Message::Ping(_)));
    }
    assert!(!running.pump.is_finished());
}

#[tokio::test]
async fn an_idle_pump_is_small() {
    let (_shutdown, stopping) = watch::channel(false);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let pump = run(client, Bytes::new(), idle(), stopping, Arc::default(), PumpTimings::default());
    let size = std::mem::size_of_val(&pump);
    println!("{size} bytes");
    assert!(size <= 2_048, "{size} bytes");
}
