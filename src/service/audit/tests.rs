//! What lines say and when they are there; a paper in memory takes them.

use super::*;
use crate::clock::HandClock;
use crate::codec::close_code::CloseCode;
use crate::record::Timestamp;
use std::sync::{Arc, Mutex};

/// What fails now.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
enum Trouble {
    #[default]
    None,
    Writing,
    Flushing,
}

/// Fails while told to; a `|` in its text is a flush.
#[derive(Clone, Default)]
struct Paper(Arc<Mutex<(Trouble, String)>>);

impl Write for Paper {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        let mut paper = self.0.lock().unwrap();
        if paper.0 == Trouble::Writing {
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        paper.1.push_str(std::str::from_utf8(line).unwrap());
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        let mut paper = self.0.lock().unwrap();
        if paper.0 == Trouble::Flushing {
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        paper.1.push('|');
        Ok(())
    }
}

fn audit() -> (Paper, Arc<Audit>) {
    let clock = Arc::new(HandClock::at(Timestamp::parse("2026-07-13T04:00:00Z").unwrap()));
    let (paper, audit) = (Paper::default(), Arc::new(Audit::new(clock)));
    // All on one paper; each kind of line has a writer of its own elsewhere.
    let writer = || Box::new(paper.clone());
    audit.write_to(Writers { changes: writer(), sessions: writer(), refusals: writer() });
    (paper, audit)
}

fn ann() -> Actor {
    let peer = Some("10.0.0.7:4711".parse::<std::net::SocketAddr>().unwrap().into());
    Actor { user: Some("ann".into()), auth: "basic", peer, ..Actor::default() }
}

/// Somebody at an address that nobody else has.
fn from(address: u32) -> Actor {
    let peer = std::net::SocketAddr::new(std::net::Ipv4Addr::from_bits(address).into(), 4711);
    Actor { auth: "none", peer: Some(peer.into()), ..Actor::default() }
}

const MADE: Change<'static> = Change {
    action: Action::Make,
    path: Some("/services/v2/stream/s1"),
    outcome: Outcome::Done,
    told: Told { method: "POST", status: 200, code: None },
    detail: None,
};

/// The same, refused or failed, and answered with this status.
fn not_made(outcome: Outcome, status: u16) -> Change<'static> {
    Change { outcome, told: Told { status, ..MADE.told }, ..MADE }
}

#[tokio::test]
async fn a_change_is_one_line_that_is_there_when_it_returns() {
    let (paper, audit) = audit();
    audit.change(&ann(), &MADE).await;
    let text = paper.0.lock().unwrap().1.clone();
    let line: Value = serde_json::from_str(text.strip_suffix("\n|").unwrap()).unwrap();
    let expected = json!({
        "time": line["time"], "event": "change", "user": "ann", "auth": "basic", "peer": "10.0.0.7:4711",
        "method": "POST", "action": "make", "path": "/services/v2/stream/s1", "result": "done", "status": 200,
        "code": null,
    });
    assert_eq!(line, expected);
    assert!(line["time"].as_str().unwrap().starts_with("2026-07-13T04:00:00"));
}

#[tokio::test]
async fn a_full_disk_stops_nothing_and_is_counted_and_passes() {
    let (paper, audit) = audit();
    paper.0.lock().unwrap().0 = Trouble::Writing;
    for _ in 0..3 {
        audit.change(&ann(), &MADE).await;
    }
    assert_eq!(audit.failed(), 3);
    paper.0.lock().unwrap().0 = Trouble::None;
    audit.change(&ann(), &MADE).await;
    assert_eq!((audit.failed(), paper.0.lock().unwrap().1.matches('\n').count()), (3, 1));
}

#[tokio::test]
async fn a_change_is_flushed_before_it_returns_and_neither_refusals_nor_sessions_cost_a_flush() {
    let (paper, audit) = audit();
    let flushes = || paper.0.lock().unwrap().1.matches('|').count();
    audit.change(&ann(), &MADE).await;
    audit.change(&ann(), &not_made(Outcome::Failed, 404)).await;
    assert_eq!(flushes(), 2);
    for status in [401, 403, 429] {
        audit.change(&from(u32::from(status)), &not_made(Outcome::Refused, status)).await;
    }
    audit.session_started(&AuditedSession { actor: ann(), number: 9, stream: "s1".into(), begin: "now" });
    audit.change(&from(9), &not_made(Outcome::Refused, 401)).await;
    assert_eq!((flushes(), paper.0.lock().unwrap().1.matches('\n').count()), (2, 7));
}

#[tokio::test]
async fn a_line_taken_over_is_written_as_it_was_and_a_cut_or_garbled_one_is_left_out() {
    let (paper, audit) = audit();
    let line = r#"{"time":"2020-01-01T00:00:00Z","event":"change","user":"uid 0","auth":"offline"}"#;
    assert!(audit.take_over(line.as_bytes()).await);
    assert!(audit.take_over(&line.as_bytes()[..40]).await);
    let garbled = [&line.as_bytes()[..60], b"\xff", &line.as_bytes()[61..]].concat();
    assert!(audit.take_over(&garbled).await);
    assert_eq!(paper.0.lock().unwrap().1, format!("{line}\n|"));
}

#[tokio::test]
async fn a_line_is_not_taken_over_while_it_cannot_be_written_or_flushed() {
    let (paper, audit) = audit();
    for trouble in [Trouble::Writing, Trouble::Flushing] {
        paper.0.lock().unwrap().0 = trouble;
        assert!(!audit.take_over(b"{\"event\":\"change\"}").await, "{trouble:?}");
    }
    assert_eq!(audit.failed(), 2);
    paper.0.lock().unwrap().0 = Trouble::None;
    assert!(audit.take_over(b"{\"event\":\"change\"}").await);
}

#[tokio::test]
async fn a_sessions_two_lines_have_one_number() {
    let (paper, audit) = audit();
    let session = AuditedSession { actor: ann(), number: 9, stream: "s1".into(), begin: "position" };
    audit.session_started(&session);
    let open = Duration::from_millis(1_500);
    audit.session_ended(&session, SessionEnd { code: CloseCode::SLOW, records: 3, bytes: 99, open });
    audit.flush().await;
    let text = paper.0.lock().unwrap().1.clone();
    let lines: Vec<Value> =
        text.trim_end_matches('|').lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&lines[0]["event"], &lines[1]["event"]), (&json!("session-start"), &json!("session-end")));
    assert!(lines.iter().all(|line| line["session"] == 9 && line["begin"] == "position"));
    assert_eq!((&lines[1]["closeCode"], &lines[1]["seconds"]), (&json!(4011), &json!(1.5)));
}

#[tokio::test]
async fn refusals_of_an_address_are_one_line_and_then_one_for_all_others() {
    let (paper, audit) = audit();
    for status in [401, 404, 400, 413] {
        let outcome = if status == 401 { Outcome::Refused } else { Outcome::Failed };
        audit.change(&from(7), &not_made(outcome, status)).await;
    }
    audit.change(&ann(), &not_made(Outcome::Failed, 404)).await;
    audit.tell_refusals(false);
    audit.flush().await;
    let text = paper.0.lock().unwrap().1.clone().replace('|', "");
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let events: Vec<_> = lines.iter().map(|line| (&line["event"], &line["status"])).collect();
    let (change, together) = (json!("change"), json!("refusals"));
    assert_eq!(events, [(&change, &json!(401)), (&change, &json!(404)), (&together, &Value::Null)], "{text}");
    let expected = json!({
        "time": lines[2]["time"], "event": "refusals", "user": null, "peer": "0.0.0.7", "since": lines[2]["since"],
        "seconds": lines[2]["seconds"], "count": 3, "statuses": {"400": 1, "404": 1, "413": 1}, "claimed": [],
    });
    assert_eq!((&lines[2], audit.counted_refusals()), (&expected, 3));
}

#[tokio::test]
async fn what_the_house_does_itself_is_no_refusal_though_it_fails() {
    let (paper, audit) = audit();
    for auth in ["start", "file", "offline"] {
        for _ in 0..2 {
            audit.change(&Actor { auth, ..Actor::default() }, &not_made(Outcome::Failed, 409)).await;
        }
    }
    assert_eq!((paper.0.lock().unwrap().1.matches('\n').count(), audit.counted_refusals()), (6, 0));
}
