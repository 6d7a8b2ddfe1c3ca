//! Goal: what clients do who are not let in, or who say what nobody asked for, does not stay in memory. Method: the
//! resident memory of the real server before and after wrong log-ins, and sessions whose clients begin messages and do not end
//! them. In the control each log-in takes memory of its own, and the harness must see it stay.
//! The long form, beside another build, is `benches/compare/run --against PROGRAM --only memory`.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use super::idle::session;
use crate::support::http::{self, Basic, exchange};
use crate::support::process::memory_kib;
use crate::support::waiting::PATIENCE;
use crate::support::{Server, skip, until};

const LOG_INS: usize = 100;
/// Log-ins at once: more than hashes are computed at once, so that some wait.
const AT_ONCE: usize = 8;
/// What may stay of a hundred log-ins, in KiB: less than what one of them is computed in.
const STAYS_KIB_MAX: u64 = 16 << 10;
/// What they may take while they are checked: two at once, each 19 MiB.
const TAKES_KIB_MAX: u64 = STAYS_KIB_MAX + 2 * (19 << 10);

const MESSAGE_BYTES: u16 = 60_000;
/// Messages of that size that are begun and not ended and fit into 8 MiB.
const MESSAGES_MAX: usize = (8 << 20) / MESSAGE_BYTES as usize;

/// A connection from an address of our choice of this machine.
fn connect_from(source: [u8; 4], port: u16) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::new(IpAddr::from(source), 0).into()).unwrap();
    socket.connect(&SocketAddr::new(IpAddr::from([127, 0, 0, 1]), port).into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Log-ins with wrong passwords, no user and no address so often that it is throttled; what stays of them in memory and what
/// they took at most, in KiB.
fn wrong_log_ins(server: &Server) -> (u64, u64) {
    let before = memory_kib(server.pid(), "VmRSS");
    std::thread::scope(|scope| {
        for first in 0..AT_ONCE {
            scope.spawn(move || {
                for number in (first..LOG_INS).step_by(AT_ONCE) {
                    let mut stream = connect_from([127, 0, 1, 1 + (number / 20) as u8], server.port());
                    let credentials = Basic::new(&format!("nobody{number}"), "wrong");
                    let headers = [("Authorization", credentials.header())];
                    let answer = exchange(&mut stream, server.port(), "GET", "/services/v2/trails", &headers, b"");
                    answer.unwrap().expect(401);
                }
            });
        }
    });
    let grown = |line| memory_kib(server.pid(), line).saturating_sub(before);
    (grown("VmRSS"), grown("VmHWM"))
}

#[test]
fn a_hundred_wrong_log_ins_leave_next_to_nothing_in_memory() {
    let server = Server::start();
    let (stays, takes) = wrong_log_ins(&server);
    println!("{LOG_INS} wrong log-ins: {stays} KiB stay, {takes} were taken at most");
    assert!(stays <= STAYS_KIB_MAX, "{stays} KiB stay, at most {STAYS_KIB_MAX}");
    assert!(takes <= TAKES_KIB_MAX, "{takes} KiB were taken, at most {TAKES_KIB_MAX}");
}

#[test]
fn control_log_ins_that_take_memory_of_their_own_are_seen_to_leave_it_behind() {
    if !cfg!(target_env = "gnu") {
        return skip("what stays of memory that is freed is this C library's");
    }
    let server = Server::start_with(&[], &[("TRAILCAST_TEST_HASH_MEMORY", "kept")]);
    let (stays, _) = wrong_log_ins(&server);
    assert!(stays > STAYS_KIB_MAX, "only {stays} KiB stay: the harness would not see a leak");
}

/// Sends the first part of a long message, said to go on, and a ping; returns the code that the session is closed with, or
/// none once the ping is answered.
fn begin_message(client: &mut http::Connection) -> Option<u16> {
    let mut bytes = vec![0x01, 0xfe];
    bytes.extend_from_slice(&MESSAGE_BYTES.to_be_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.resize(bytes.len() + usize::from(MESSAGE_BYTES), b'a');
    // A session that is closed for it may be gone before all is sent.
    let _ = client.write_all(&bytes);
    ping(client)
}

/// Ends the message that was begun; else as [`begin_message`].
fn end_message(client: &mut http::Connection) -> Option<u16> {
    client.write_all(&[0x80, 0x80, 0, 0, 0, 0]).unwrap();
    ping(client)
}

fn ping(client: &mut http::Connection) -> Option<u16> {
    let _ = client.write_all(&[0x89, 0x80, 0, 0, 0, 0]);
    loop {
        let mut head = [0; 2];
        client.read_exact(&mut head).unwrap();
        let mut payload = vec![0; usize::from(head[1])];
        client.read_exact(&mut payload).unwrap();
        match head[0] {
            0x8a => return None,
            0x88 => return Some(u16::from_be_bytes([payload[0], payload[1]])),
            // The server's own pings.
            _ => {}
        }
    }
}

#[test]
fn messages_that_clients_begin_and_do_not_end_share_a_bounded_memory() {
    let server = Server::start();
    server.make_trail("a1");
    server.make_stream("s1", "a1");
    let mut sessions: Vec<_> = (0..MESSAGES_MAX).map(|_| session(&server)).collect();
    for client in &mut sessions {
        client.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        assert_eq!(begin_message(client), None);
    }
    for _ in 0..3 {
        assert_eq!(begin_message(&mut session(&server)), Some(1008));
    }
    server.sample_until("trailcast_limit_hits_total{limit=\"client_messages\"}", |hits| hits == 3.0);
    // Whoever says nothing, or little, is not concerned.
    let mut quiet = session(&server);
    assert_eq!(ping(&mut quiet), None);
    // Who ends a message makes room for one other, and so does who goes.
    assert_eq!(end_message(&mut sessions[0]), None);
    assert_eq!(begin_message(&mut quiet), None);
    assert_eq!(begin_message(&mut session(&server)), Some(1008));
    drop(sessions.pop());
    // When the server notices that a client has gone is its own affair.
    until(|| {
        let closed = begin_message(&mut session(&server));
        closed.map_or(Ok(()), |code| Err(format!("the place of a session that has gone is not free: {code}")))
    });
}
