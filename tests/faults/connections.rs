//! Goal: connections that are opened and not used, used slowly or used up are closed at their deadline or refused at their
//! cap, and the others are served on. Method: raw sockets against the real server with short deadlines; the same with
//! long ones is the control, in which the harness must see them stay.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use crate::support::authority::{Pair, valid_for};
use crate::support::subscriber::Refused;
use crate::support::{Folder, Server, http};

/// What a busy machine may add to a deadline.
const LATE_MAX: Duration = Duration::from_secs(15);
const DEADLINE: Duration = Duration::from_secs(2);
const EACH: usize = 1_000;
const PIPELINED: usize = 5_000;

/// A server with this text as its configuration file, and the folder that the file is in.
fn server_with(text: &str, arguments: &[&str]) -> (Server, Folder) {
    let folder = Folder::new("limits");
    let file = folder.path().join("trailcast.toml");
    std::fs::write(&file, text).unwrap();
    let mut all = vec!["--config", file.to_str().unwrap()];
    all.extend_from_slice(arguments);
    (Server::start_with(&all, &[]), folder)
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::from([127, 0, 0, 1]), port)
}

/// A connection from an address of our choice, with a small buffer for what it receives.
pub fn connect_from(source: [u8; 4], port: u16) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    socket.bind(&SocketAddr::new(IpAddr::from(source), 0).into()).unwrap();
    socket.connect(&address(port).into()).unwrap();
    socket.into()
}

/// Whether the server has closed it; what it says before that is thrown away.
fn is_closed(connection: &mut TcpStream) -> bool {
    connection.set_nonblocking(true).unwrap();
    let mut bytes = [0; 1_024];
    loop {
        match connection.read(&mut bytes) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
            Err(_) => return true,
        }
    }
}

/// Opens connections that send nothing, or a header byte by byte.
struct Idlers {
    opened: Vec<(TcpStream, Instant)>,
    drip: &'static [u8],
}

impl Idlers {
    fn open(count: usize, port: u16, drip: &'static [u8]) -> Self {
        // The time first: the server's begins no earlier.
        let open = |_| {
            let since = Instant::now();
            (TcpStream::connect(address(port)).unwrap(), since)
        };
        Self { opened: (0..count).map(open).collect(), drip }
    }

    /// Sends one byte each second until all are closed or `patience` is over; returns after which times they were.
    fn closed_after(mut self, patience: Duration) -> Vec<Duration> {
        let start = Instant::now();
        let mut next_byte = start;
        let mut bytes = self.drip.iter();
        let mut closed = Vec::new();
        while !self.opened.is_empty() && start.elapsed() < patience {
            if Instant::now() >= next_byte
                && let Some(byte) = bytes.next()
            {
                next_byte += Duration::from_secs(1);
                self.opened.iter_mut().for_each(|(connection, _)| drop(connection.write(&[*byte])));
            }
            self.opened.retain_mut(|(connection, since)| {
                let gone = is_closed(connection);
                closed.extend(gone.then(|| since.elapsed()));
                !gone
            });
            // A thousand sockets are looked at by turns; nothing tells of all of them.
            std::thread::sleep(Duration::from_millis(20));
        }
        closed
    }
}

fn assert_closed_in_time(what: &str, closed: &[Duration], count: usize) {
    assert_eq!(closed.len(), count, "{what}: not all are closed");
    let (first, last) = (closed.iter().min().unwrap(), closed.iter().max().unwrap());
    println!("{what}: {count} closed after {first:?} to {last:?}, deadline {DEADLINE:?}");
    assert!(*first >= DEADLINE, "{what}: closed after {first:?}, before the deadline");
    assert!(*last <= DEADLINE + LATE_MAX, "{what}: closed after {last:?}");
}

/// Asks again and again until told to stop; returns how often it was answered, and the longest wait.
fn normal_requests(port: u16, stop: Arc<AtomicBool>) -> std::thread::JoinHandle<(usize, Duration)> {
    std::thread::spawn(move || {
        let (mut answered, mut longest) = (0, Duration::ZERO);
        while !stop.load(Ordering::Relaxed) {
            let start = Instant::now();
            http::request(port, "GET", "/healthz", &[], b"").unwrap().expect(200);
            longest = longest.max(start.elapsed());
            answered += 1;
        }
        (answered, longest)
    })
}

const SLOW_HEADER: &[u8] = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: and so on\r\n";
/// The first byte of a TLS record of a handshake, and of its length: more never comes.
const HALF_HELLO: &[u8] = &[0x16, 0x03, 0x01];

#[test]
fn a_thousand_half_open_and_slow_header_connections_are_closed_at_the_deadline_while_normal_requests_are_answered() {
    let (server, _folder) = server_with("[limits]\nheaderSeconds = 2", &[]);
    let stop = Arc::new(AtomicBool::new(false));
    let normal = normal_requests(server.port(), stop.clone());
    let port = server.port();
    let silent = std::thread::spawn(move || Idlers::open(EACH, port, b"").closed_after(DEADLINE + LATE_MAX));
    let slow = Idlers::open(EACH, port, SLOW_HEADER).closed_after(DEADLINE + LATE_MAX);
    let silent = silent.join().unwrap();
    stop.store(true, Ordering::Relaxed);
    let (answered, longest) = normal.join().unwrap();
    println!("{answered} normal requests answered meanwhile, the longest in {longest:?}");
    assert_closed_in_time("half-open", &silent, EACH);
    assert_closed_in_time("slow header", &slow, EACH);
    assert!(answered >= 20, "{answered} answered");
}

#[test]
fn a_thousand_stuck_tls_handshakes_are_closed_at_the_deadline() {
    let folder = Folder::new("tls");
    let [certificate, key] = Pair::self_signed(&valid_for(&["localhost"])).write(folder.path());
    let arguments = ["--tls-certificate", &certificate, "--tls-key", &key];
    let (server, _folder) = server_with("[limits]\nhandshakeSeconds = 2", &arguments);
    let closed = Idlers::open(EACH, server.port(), HALF_HELLO).closed_after(DEADLINE + LATE_MAX);
    assert_closed_in_time("stuck TLS handshake", &closed, EACH);
}

#[test]
fn an_idle_connection_between_two_requests_is_closed_at_the_deadline() {
    let (server, _folder) = server_with("[limits]\nheaderSeconds = 2", &[]);
    let mut connection = http::connect(server.port(), Duration::from_secs(20)).unwrap();
    let start = Instant::now();
    connection.write_all(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").unwrap();
    let mut answer = [0; 12];
    connection.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    connection.read_to_end(&mut Vec::new()).unwrap();
    let idle = start.elapsed();
    assert!(idle >= DEADLINE && idle <= DEADLINE + LATE_MAX, "closed after {idle:?}");
}

#[test]
fn a_body_that_does_not_come_is_given_up_at_its_deadline() {
    let (server, _folder) = server_with("[limits]\nbodySeconds = 2", &[]);
    server.make_trail("a1");
    let mut connection = http::connect(server.port(), Duration::from_secs(20)).unwrap();
    let head = format!(
        "POST /services/v2/trails/a1/transactions HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {}\r\n\
         Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{{\"operations\"",
        server.credentials().header()
    );
    connection.write_all(head.as_bytes()).unwrap();
    let start = Instant::now();
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 4"), "{}", String::from_utf8_lossy(&answer));
    assert!(start.elapsed() <= DEADLINE + LATE_MAX, "after {:?}", start.elapsed());
}

/// Asks for much more than the kernel holds, in requests sent ahead of their answers, and takes nothing of it.
fn asks_much_and_takes_nothing(server: &Server) -> TcpStream {
    let mut connection = connect_from([127, 0, 0, 1], server.port());
    connection.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let credentials = server.credentials().header();
    let request = format!("GET /openapi.json HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {credentials}\r\n\r\n");
    assert!(server.get("/openapi.json").expect(200).body.len() * PIPELINED > 64 << 20, "too little is asked for");
    let requests = request.as_bytes().repeat(PIPELINED);
    // The server stops reading when its answers are not taken: not all of it goes out.
    let _ = connection.write_all(&requests);
    connection
}

/// Whether the connection was cut, which a client that reads nothing hears by an error.
fn is_cut(connection: &TcpStream) -> bool {
    connection.take_error().unwrap().is_some()
}

#[test]
fn a_client_that_asks_for_much_and_takes_nothing_is_closed_at_the_deadline_of_answers() {
    let (server, _folder) = server_with("[limits]\nanswerSeconds = 2", &[]);
    let start = Instant::now();
    let mut connections: Vec<_> = (0..4).map(|_| asks_much_and_takes_nothing(&server)).collect();
    while !connections.is_empty() {
        connections.retain(|connection| !is_cut(connection));
        assert!(start.elapsed() < DEADLINE + 2 * LATE_MAX, "still open after {:?}", start.elapsed());
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(start.elapsed() >= DEADLINE, "cut after {:?}, before the deadline", start.elapsed());
    http::request(server.port(), "GET", "/healthz", &[], b"").unwrap().expect(200);
}

#[test]
fn control_with_long_deadlines_the_same_connections_stay() {
    let (server, _folder) =
        server_with("[limits]\nheaderSeconds = 600\nanswerSeconds = 600\nhandshakeSeconds = 600", &[]);
    let taker = asks_much_and_takes_nothing(&server);
    let silent = Idlers::open(10, server.port(), b"").closed_after(2 * DEADLINE);
    assert_eq!(silent.len(), 0, "closed without a deadline");
    assert!(!is_cut(&taker), "cut without a deadline");
}

/// What a connection hears that sends one request and reads to the end, as its status code.
fn status_from(source: [u8; 4], port: u16) -> u16 {
    let mut connection = connect_from(source, port);
    connection.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let _ = connection.write_all(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n");
    let mut answer = Vec::new();
    let _ = connection.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0)
}

/// Connects until others are refused for want of places. The place of a connection that was answered before is free again in a
/// moment only, so the first try may meet it.
fn take_the_last_place(held: &mut Vec<TcpStream>, port: u16) {
    let start = Instant::now();
    loop {
        held.push(connect_from([127, 0, 0, 3], port));
        if status_from([127, 0, 0, 2], port) == 503 {
            return;
        }
        assert!(start.elapsed() < Duration::from_secs(20), "there is always another place");
    }
}

#[test]
fn one_address_has_a_cap_of_its_own_and_beyond_the_whole_all_are_refused() {
    let (server, _folder) = server_with("[limits]\nconnections = 8\nconnectionsPerAddress = 5", &[]);
    let port = server.port();
    let mut held: Vec<_> = (0..5).map(|_| connect_from([127, 0, 0, 1], port)).collect();
    assert_eq!(status_from([127, 0, 0, 1], port), 429);
    assert_eq!(status_from([127, 0, 0, 2], port), 200);
    held.extend((0..2).map(|_| connect_from([127, 0, 0, 3], port)));
    take_the_last_place(&mut held, port);
    held.clear();
    let start = Instant::now();
    while status_from([127, 0, 0, 1], port) != 200 {
        assert!(start.elapsed() < Duration::from_secs(20), "places do not come back");
    }
}

/// Half of the files that a process may open, where these are few.
const FEW_FILES: u64 = 600;
const FIT: usize = 300;

#[test]
fn where_the_limit_of_open_files_is_low_one_address_does_not_take_every_place() {
    let server = Server::start_with_files(FEW_FILES, &[]);
    let port = server.port();
    let mut held: Vec<_> = (0..FIT / 2).map(|_| connect_from([127, 0, 0, 1], port)).collect();
    assert_eq!(status_from([127, 0, 0, 1], port), 429);
    assert_eq!(status_from([127, 0, 0, 2], port), 200);
    held.extend((0..FIT / 2 - 1).map(|_| connect_from([127, 0, 0, 3], port)));
    take_the_last_place(&mut held, port);
}

#[test]
fn control_where_one_address_may_have_all_connections_it_may_have_all_that_fit() {
    let folder = Folder::new("limits");
    let file = folder.path().join("trailcast.toml");
    std::fs::write(&file, "[limits]\nconnections = 1000\nconnectionsPerAddress = 1000").unwrap();
    let server = Server::start_with_files(FEW_FILES, &["--config", file.to_str().unwrap()]);
    let mut held: Vec<_> = (0..FIT - 1).map(|_| connect_from([127, 0, 0, 1], server.port())).collect();
    assert_eq!(status_from([127, 0, 0, 1], server.port()), 200);
    held.push(connect_from([127, 0, 0, 1], server.port()));
    assert_eq!(status_from([127, 0, 0, 2], server.port()), 503);
}

#[test]
fn sessions_are_capped_in_all_per_user_and_per_stream() {
    let cases = [
        ("sessions = 2", 503, "server"),
        ("sessionsPerUser = 2", 429, "user"),
        ("sessionsPerStream = 2", 503, "stream"),
    ];
    // Of a group over one partition the second member only waits, and has a place all the same.
    for ((setting, status, whose), query) in
        cases.iter().flat_map(|case| ["begin=now", "group=g1"].map(|query| (case, query)))
    {
        let (server, _folder) = server_with(&format!("[limits]\n{setting}"), &[]);
        server.make_trail("a1");
        server.make_stream("s1", "a1");
        let first = server.subscribe("s1", query).unwrap();
        let _second = server.subscribe("s1", query).unwrap();
        match server.subscribe("s1", "begin=now") {
            Err(Refused::Answer(answer)) => {
                assert_eq!(answer.status, *status, "{setting}: {answer}");
                assert!(answer.titles().contains(&format!("the {whose} has 2 sessions")), "{setting}: {answer}");
            }
            other => panic!("{setting}: {other:?}"),
        }
        first.close();
        let start = Instant::now();
        while server.subscribe("s1", "begin=now").is_err() {
            assert!(start.elapsed() < Duration::from_secs(20), "{setting}: the place does not come back");
        }
    }
}
