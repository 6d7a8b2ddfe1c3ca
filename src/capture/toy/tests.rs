//! Goal: whatever a source sends and wherever it or the program dies, the trail holds each committed transaction once, whole
//! and in the order of commits. Method: a log in memory whose server dies between any two messages, sends again, mixes
//! transactions and rolls some back; what the trail holds in the end is compared with the log. Each rule of capture is then
//! broken, and the same comparison must see it.

use std::sync::Arc;

use proptest::prelude::*;
use tempfile::TempDir;
use tokio::sync::watch;

use super::log::{Event, Log, Sends, part_of};
use super::{Broken, Death, Source};
use crate::capture::error::{CaptureError, Fault};
use crate::capture::extract_status::SharedStatus;
use crate::capture::run::Capture;
use crate::capture::source;
use crate::capture::{RunState, SharedCoverage, SharedLoads, status};
use crate::clock::SystemClock;
use crate::codec::image::Cell;
use crate::record::{Operation, ResourceName, TrailName};
use crate::trail::local::disk::SystemDisk;
use crate::trail::{Appender, Begin, Body, Entry, Fill, OpenError, Trail, TrailOptions, Writer};

/// Transactions as a trail holds them: id and changes.
type Transactions = Vec<(String, Vec<String>)>;

/// What became of a trail.
#[derive(Debug, PartialEq)]
enum Outcome {
    Right,
    Wrong { holds: Transactions },
    Refused(String),
}

struct Rig {
    trail: Trail,
    _folder: TempDir,
}

impl Rig {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (name, writer) = (TrailName::new("t1").unwrap(), Writer::Extract(ResourceName::new("e1").unwrap()));
        let (disk, clock) = (Arc::new(SystemDisk), Arc::new(SystemClock));
        let place = folder.path().join("t1");
        let trail = Trail::create(&place, name, writer, &TrailOptions::default(), disk, clock).unwrap();
        Self { trail, _folder: folder }
    }

    /// The writing end; the one before may still be letting go of it.
    async fn appender(&self) -> Appender {
        loop {
            match self.trail.appender_async().await {
                Ok(appender) => return appender,
                Err(OpenError::WriterTaken { .. }) => tokio::task::yield_now().await,
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Sessions, one after the other, until one comes to the end of the log.
    async fn capture(&self, source: &Source) -> Outcome {
        let (_stop, mut shutdown) = watch::channel(false);
        let status = status::SharedStatus::default();
        let mut appender = self.appender().await;
        loop {
            let of_program = source.next_death().is_some_and(|death| death.of_program);
            match source.session(&mut appender, &status, &mut shutdown).await {
                Ok(()) => break,
                Err(Fault::Passing(_)) if of_program => {
                    drop(appender);
                    appender = self.appender().await;
                }
                Err(Fault::Passing(_)) => {}
                Err(fault) => return Outcome::Refused(fault.to_string()),
            }
        }
        appender.close().await.unwrap();
        let holds = self.holds().await;
        if holds == source.log(|log| log.committed()) { Outcome::Right } else { Outcome::Wrong { holds } }
    }

    async fn holds(&self) -> Transactions {
        let mut reader = self.trail.read(Begin::Earliest).await.unwrap();
        let mut holds = Vec::new();
        while reader.fill().await.unwrap() != Fill::AtMark {
            match reader.next().unwrap() {
                Some(Entry::Begin(transaction)) => holds.push((transaction.head.xid.clone(), Vec::new())),
                Some(Entry::Record(record)) if record.operation == Operation::Ddl => {
                    let Body::Ddl { statement, .. } = record.body().unwrap() else { panic!("no statement") };
                    holds.last_mut().unwrap().1.push(statement.to_owned());
                }
                Some(Entry::Record(record)) => {
                    let cell = record.row().unwrap().after.unwrap().cells().next().unwrap().unwrap();
                    let Cell::Json(value) = cell else { panic!("{cell:?}") };
                    // Each row carries the schema that it was read by, whatever came in between.
                    let is_even = value.parse::<u32>().unwrap().is_multiple_of(2);
                    assert_eq!(record.schema.unwrap().columns[0].nullable, is_even);
                    holds.last_mut().unwrap().1.push(value.to_owned());
                }
                Some(Entry::Commit(_) | Entry::Gap(_)) | None => {}
            }
        }
        holds
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

fn captured(log: &Log, sends: Sends, rhythm: usize, deaths: &[Death], broken: Broken) -> Outcome {
    let source = Source::new(log.clone(), sends, rhythm, deaths, broken);
    runtime().block_on(Rig::new().capture(&source))
}

const fn row(xid: u32, value: u32) -> Event {
    Event::Row { xid, value }
}

/// Two transactions that are mixed, one that is rolled back and one of which a part is, some of which nothing is captured, statements
/// with rows and without, and a gap.
fn a_log() -> Log {
    Log::new(vec![
        row(1, 1),
        row(2, 2),
        row(1, 3),
        Event::Ddl { xid: 2 },
        Event::Commit { xid: 2 },
        row(3, 4),
        Event::Commit { xid: 1 },
        row(3, 6),
        row(7, 61),
        row(7, 71),
        Event::Abort { xid: 3 },
        Event::AbortPart { xid: 7, part: part_of(61) },
        row(7, 81),
        row(4, 5),
        Event::Commit { xid: 4 },
        Event::Loss,
        row(5, 7),
        row(5, 8),
        row(6, 9),
        Event::Commit { xid: 5 },
        Event::Commit { xid: 7 },
        row(8, 10),
        Event::Commit { xid: 8 },
        Event::Ddl { xid: 9 },
        Event::Commit { xid: 9 },
        Event::Ddl { xid: 6 },
        Event::Commit { xid: 6 },
    ])
}

/// Every place at which one session, or two in a row, may end.
fn all_deaths() -> Vec<Vec<Death>> {
    let mut all = vec![Vec::new()];
    for messages in 0..60 {
        for of_program in [false, true] {
            all.push(vec![Death { messages, of_program }]);
            all.push(vec![Death { messages, of_program }, Death { messages: 3, of_program: !of_program }]);
        }
    }
    all
}

/// The first outcome that is not right, over every death and rhythm.
fn first_wrong(sends: Sends, broken: Broken) -> Option<(Vec<Death>, usize, Outcome)> {
    let log = a_log();
    for deaths in all_deaths() {
        for rhythm in [1, 4, usize::MAX] {
            let outcome = captured(&log, sends, rhythm, &deaths, broken);
            if outcome != Outcome::Right {
                return Some((deaths, rhythm, outcome));
            }
        }
    }
    None
}

#[test]
fn whole_transactions_come_once_wherever_the_source_or_the_program_dies() {
    assert_eq!(first_wrong(Sends::Whole, Broken::Nothing).map(|wrong| format!("{wrong:?}")), None);
}

#[test]
fn transactions_in_pieces_come_once_wherever_the_source_or_the_program_dies() {
    assert_eq!(first_wrong(Sends::Pieces, Broken::Nothing).map(|wrong| format!("{wrong:?}")), None);
}

#[test]
fn confirming_before_it_is_durable_is_seen_to_lose() {
    for sends in [Sends::Whole, Sends::Pieces] {
        let Some((_, _, Outcome::Wrong { holds })) = first_wrong(sends, Broken::ConfirmsEarly) else {
            panic!("{sends:?}")
        };
        assert!(holds.len() < a_log().committed().len(), "{holds:?}");
    }
}

#[test]
fn forgetting_what_was_taken_is_seen_to_double() {
    for sends in [Sends::Whole, Sends::Pieces] {
        let wrong = first_wrong(sends, Broken::ForgetsWhatItTook);
        let Some((_, _, Outcome::Wrong { holds })) = wrong else { panic!("{sends:?}: {wrong:?}") };
        let twice = |(xid, _): &(String, Vec<String>)| holds.iter().filter(|(other, _)| other == xid).count() > 1;
        assert!(holds.iter().any(twice), "{holds:?}");
    }
}

#[test]
fn keeping_half_a_transaction_is_seen() {
    assert!(first_wrong(Sends::Whole, Broken::KeepsHalves).is_some());
}

/// A log whose first transaction was captured, and another one in its place after that.
fn gone_back(broken: Broken) -> Outcome {
    let log = Log::new(vec![row(1, 1), Event::Commit { xid: 1 }, row(2, 2), Event::Commit { xid: 2 }]);
    let source = Source::new(log, Sends::Whole, 1, &[Death { messages: usize::MAX, of_program: false }], broken);
    let rig = Rig::new();
    runtime().block_on(async {
        let (_stop, mut shutdown) = watch::channel(false);
        let status = status::SharedStatus::default();
        let mut appender = rig.appender().await;
        source.session(&mut appender, &status, &mut shutdown).await.unwrap_err();
        appender.close().await.unwrap();
        let others = [row(3, 3), Event::Commit { xid: 3 }, row(4, 4), Event::Commit { xid: 4 }];
        source.log(|log| log.go_back(2, &others));
        rig.capture(&source).await
    })
}

#[test]
fn a_source_that_went_back_is_refused_and_one_that_is_trusted_is_seen_to_lose() {
    let Outcome::Refused(said) = gone_back(Broken::Nothing) else { panic!("it was taken for the same") };
    assert!(said.contains("gone back"), "{said}");
    assert!(matches!(gone_back(Broken::TrustsSource), Outcome::Wrong { .. }));
}

#[tokio::test(start_paused = true)]
async fn the_run_loop_tries_again_until_the_log_is_in_the_trail() {
    let deaths: Vec<Death> = (0..12).map(|messages| Death { messages: messages * 3, of_program: false }).collect();
    let toy = Source::new(a_log(), Sends::Pieces, 2, &deaths, Broken::Nothing);
    let (rig, status) = (Rig::new(), SharedStatus::of_toy());
    let config = serde_json::json!({
        "source": {"type": "postgresql", "host": "h", "database": "d"}, "tables": ["toy.*"], "trail": "t1",
    });
    let name = ResourceName::new("e1").unwrap();
    let capture = Capture::new(
        name,
        serde_json::from_value(config).unwrap(),
        None,
        status.clone(),
        SharedCoverage::default(),
        SharedLoads::default(),
    );
    let mut appender = rig.appender().await;
    let (_stop, mut shutdown) = watch::channel(false);
    let source = source::Source::Toy(toy.clone(), status.common().clone());
    capture.attempts(&source, &mut appender, &mut shutdown).await.unwrap();
    appender.close().await.unwrap();
    assert_eq!(rig.holds().await, toy.log(|log| log.committed()));
    let shown = status.snapshot().common;
    assert_eq!((shown.status, shown.retries, shown.starts), (RunState::Running, 12, 13));
}

#[tokio::test]
async fn a_trail_of_another_source_is_refused() {
    let rig = Rig::new();
    let mut appender = rig.appender().await;
    appender.identify("toy/2/1//e1").unwrap();
    let source = Source::new(a_log(), Sends::Whole, 1, &[], Broken::Nothing);
    let (_stop, mut shutdown) = watch::channel(false);
    let status = status::SharedStatus::default();
    let outcome = source.session(&mut appender, &status, &mut shutdown).await;
    assert!(matches!(outcome, Err(Fault::Stop(CaptureError::OtherSource { .. }))), "{outcome:?}");
}

/// A log of up to four transactions at a time, from what each step chooses.
fn log_of(steps: &[(u8, u8, u32)]) -> Log {
    let mut open: [u32; 4] = [1, 2, 3, 4];
    let mut next = 5;
    let mut events = Vec::new();
    for (transaction, what, value) in steps {
        let xid = &mut open[usize::from(*transaction)];
        let ends = match what {
            0..=5 => None,
            6 => Some(Event::Ddl { xid: *xid }),
            7 | 8 => Some(Event::Commit { xid: *xid }),
            9 => Some(Event::Abort { xid: *xid }),
            10 => Some(Event::AbortPart { xid: *xid, part: part_of(*value) }),
            _ => Some(Event::Loss),
        };
        events.push(ends.unwrap_or(Event::Row { xid: *xid, value: *value }));
        if matches!(what, 7..=9) {
            (*xid, next) = (next, next + 1);
        }
    }
    Log::new(events)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn each_committed_transaction_is_in_the_trail_once_whole_and_in_order(
        steps in proptest::collection::vec((0..4_u8, 0..12_u8, 1..100_u32), 0..60),
        deaths in proptest::collection::vec((0..60_usize, any::<bool>()), 0..6),
        rhythm in 1..20_usize,
        in_pieces in any::<bool>(),
    ) {
        let deaths: Vec<_> =
            deaths.into_iter().map(|(messages, of_program)| Death { messages, of_program }).collect();
        let sends = if in_pieces { Sends::Pieces } else { Sends::Whole };
        prop_assert_eq!(captured(&log_of(&steps), sends, rhythm, &deaths, Broken::Nothing), Outcome::Right);
    }
}
