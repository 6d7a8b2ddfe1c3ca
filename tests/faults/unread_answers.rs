//! Goal: clients that ask for large answers and do not read them cannot take the server's memory, and cannot keep the room for
//! answers from those who read. Method: raw sockets that ask ahead for much more than the kernel holds; the same with far
//! more room is the control, in which the harness must see the answers pile up.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::support::http::{self, Answer};
use crate::support::{Folder, Server, until};

use super::connections::connect_from;

const LIST: &str = "/services/v2/stream";
/// So many make a list of 100 KB.
const STREAMS: usize = 300;
/// Far more lists than the kernel holds for one connection.
const AHEAD: usize = 150;
/// Lists of so many clients are more than half of the room.
const CLIENTS: usize = 8;
const ROOM: f64 = (1 << 20) as f64;
const GREEDY: [u8; 4] = [127, 0, 0, 2];
const GREEDIER: [u8; 4] = [127, 0, 0, 3];
const READER: [u8; 4] = [127, 0, 0, 4];

fn server(answer_bytes: u64) -> (Server, Folder) {
    let folder = Folder::new("answers");
    let file = folder.path().join("trailcast.toml");
    let stream = |at| format!("[[stream]]\nname = \"stream{at}\"\nsource.trail = \"a1\"\n");
    let streams: String = (0..STREAMS).map(stream).collect();
    // The deadline of answers, which would end it too, is far away.
    let limits = format!("[limits]\nanswerBytes = {answer_bytes}\nanswerSeconds = 3600\n");
    std::fs::write(&file, limits + &streams).unwrap();
    (Server::start_with(&["--config", file.to_str().unwrap()], &[]), folder)
}

fn request(server: &Server, path: &str, end: &str) -> String {
    let credentials = server.credentials().header();
    format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {credentials}\r\n{end}\r\n")
}

/// A client that asks for many lists and reads none.
fn reads_nothing(server: &Server, source: [u8; 4]) -> TcpStream {
    let mut stream = connect_from(source, server.port());
    stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    // The server stops reading when its answers are not taken: not all of it goes out.
    let _ = stream.write_all(request(server, LIST, "").repeat(AHEAD).as_bytes());
    stream
}

/// So many of them, all at once: the first is not given up before the last has come, however busy the machine is.
fn crowd(server: &Server, source: [u8; 4]) -> Vec<TcpStream> {
    std::thread::scope(|scope| {
        let coming: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(move || reads_nothing(server, source))).collect();
        coming.into_iter().map(|client| client.join().unwrap()).collect()
    })
}

fn reads(server: &Server, source: [u8; 4], path: &str) -> Answer {
    let mut stream = connect_from(source, server.port());
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream.write_all(request(server, path, "Connection: close\r\n").as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    http::raw_answer(&text)
}

/// The refusal of a list, once there is no room for one: clients that read nothing still have room in the kernel. Where the
/// machine is so busy that the first of them are given up before that, more of them come.
fn refused(server: &Server, source: [u8; 4], stuck: &mut Vec<TcpStream>, greedy: [u8; 4]) -> Answer {
    let refused = until(|| match reads(server, source, LIST) {
        answer if answer.status == 503 => Ok(answer),
        answer => {
            stuck.extend(crowd(server, greedy));
            Err(answer.status.to_string())
        }
    });
    assert_eq!(refused.header("retry-after"), Some("5"));
    refused
}

fn unread(server: &Server, enough: impl Fn(f64) -> bool) -> f64 {
    server.sample_until("trailcast_unread_answer_bytes", enough)
}

#[test]
fn what_clients_do_not_read_is_bounded_for_each_address_and_in_all_and_those_who_read_are_served_again() {
    let (server, _folder) = server(1 << 20);
    let size = reads(&server, READER, LIST).expect(200).body.len();
    assert!((64 << 10..256 << 10).contains(&size), "a list of {size} bytes");
    let mut stuck = crowd(&server, GREEDY);
    unread(&server, |bytes| bytes >= ROOM / 2.0);
    let of_one = refused(&server, GREEDY, &mut stuck, GREEDY);
    assert!(of_one.titles().contains("this address has not read"), "{of_one}");
    reads(&server, GREEDY, "/healthz").expect(200);
    reads(&server, READER, LIST).expect(200);
    assert!(
        server.sample_until("trailcast_limit_hits_total{limit=\"answer_memory_per_address\"}", |hits| hits >= 1.0)
            >= 1.0
    );

    stuck.extend(crowd(&server, GREEDIER));
    let of_all = refused(&server, READER, &mut stuck, GREEDIER);
    assert!(of_all.titles().contains("clients have not read"), "{of_all}");
    reads(&server, READER, "/healthz").expect(200);

    // Those who do not read are given up, without a word of the operator.
    until(|| match reads(&server, READER, LIST).status {
        200 => Ok(()),
        other => Err(other.to_string()),
    });
    let held = unread(&server, |_| true);
    assert!(held < ROOM + size as f64, "{held} bytes");
    assert!(server.sample_until("trailcast_limit_hits_total{limit=\"answer_memory\"}", |hits| hits >= 1.0) >= 1.0);
    drop(stuck);
    unread(&server, |bytes| bytes < size as f64 * 2.0);
}

#[test]
fn control_with_much_more_room_what_is_not_read_piles_up_and_nobody_is_refused() {
    let (server, _folder) = server(1 << 40);
    let stuck = [GREEDY, GREEDIER].map(|from| crowd(&server, from));
    unread(&server, |bytes| bytes > ROOM);
    for source in [GREEDY, READER] {
        reads(&server, source, LIST).expect(200);
    }
    drop(stuck);
}
