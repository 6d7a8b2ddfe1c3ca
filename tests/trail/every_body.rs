//! Rows, rows of initial loads, statements and messages read back as they were written, from the start and from every position;
//! and what a trail was told of initial loads and of prepared transactions is known again after any reopening and power cut.
//!
//! Method: a random script on a disk that forgets what was not synced, and in a log of messages that answers late, with the
//! smallest segments, so that transactions span several of them and every note comes to stand in a head. The model is what the
//! appender was told.

use std::sync::Arc;

use proptest::prelude::*;

use crate::trail::memory_disk::MemoryDisk;
#[cfg(feature = "fault-injection")]
use crate::trail::message_log::MemoryLog;
use crate::trail::stores::TestStore;
use crate::trail::workload::{appender, clock, create, folder, open};
use trailcast::codec::image::{Cell, ImageWriter};
use trailcast::record::{
    Column, JsonKind, LoadLeft, LoadProgress, Message, MessageHeader, Operation, Position, PreparedTransaction,
    SourcePosition, TableName, Timestamp, TransactionHead,
};
use trailcast::trail::maintenance::repair::repair;
use trailcast::trail::{AppendError, Appender, Begin, Body, Entry, Fill, Note, Row, RowParts, Told, Trail};

/// What a record holds, as it was written and as it is read.
#[derive(Debug, Clone, PartialEq)]
enum Held {
    Row { loaded: bool, value: String },
    Ddl { statement: String },
    Message { key: Option<Vec<u8>>, headers: Vec<(String, Vec<u8>)>, value: Vec<u8> },
}

#[derive(Debug, Clone)]
enum Step {
    /// A transaction, with what it says of a load behind its records.
    Commit {
        records: Vec<Held>,
        load: Option<Option<LoadProgress>>,
        wait: bool,
    },
    Abort {
        records: Vec<Held>,
        load: Option<Option<LoadProgress>>,
    },
    Load(Option<LoadProgress>),
    Prepared(Vec<PreparedTransaction>),
    Reopen,
    Crash(Vec<u32>),
}

fn table(number: usize) -> TableName {
    TableName::from_parts(&["shop", &format!("t{number}")]).unwrap()
}

fn any_held() -> impl Strategy<Value = Held> {
    let bytes = || prop_oneof![4 => 0..60_usize, 1 => 900..2_500_usize].prop_map(|length| vec![b'\xFF'; length]);
    let headers = proptest::collection::vec(("[a-z]{0,5}", bytes()), 0..3);
    prop_oneof![
        2 => (any::<bool>(), 0..900_usize).prop_map(|(loaded, width)| Held::Row { loaded, value: "v".repeat(width) }),
        1 => "\\PC{1,20}".prop_map(|statement| Held::Ddl { statement }),
        2 => (proptest::option::of(bytes()), headers, bytes())
            .prop_map(|(key, headers, value)| Held::Message { key, headers, value }),
    ]
}

fn any_progress() -> impl Strategy<Value = Option<LoadProgress>> {
    let left = prop_oneof![2 => "\\[[0-9]{0,9}\\]".prop_map(LoadLeft::Behind), 1 => Just(LoadLeft::Nothing)];
    let progress = (0..4_usize, left, any::<u64>(), "[0-9A-F]{0,9}")
        .prop_map(|(number, left, rows, at)| LoadProgress { table: table(number), left, rows, at: SourcePosition(at) });
    proptest::option::weighted(0.9, progress)
}

fn any_prepared() -> impl Strategy<Value = Vec<PreparedTransaction>> {
    let one = ("[a-z]{1,40}", any::<u32>()).prop_map(|(xid, hash)| PreparedTransaction {
        xid,
        begins_at: SourcePosition(format!("0/{hash:X}")),
        prepared_at: SourcePosition(format!("1/{hash:X}")),
        prepared_ts: Timestamp::from_micros(i64::from(hash)),
        hash,
    });
    proptest::collection::vec(one, 0..6)
}

fn any_step() -> impl Strategy<Value = Step> {
    let records = || proptest::collection::vec(any_held(), 1..12);
    let load = || proptest::option::of(any_progress());
    prop_oneof![
        8 => (records(), load(), any::<bool>()).prop_map(|(records, load, wait)| Step::Commit { records, load, wait }),
        1 => (records(), load()).prop_map(|(records, load)| Step::Abort { records, load }),
        2 => any_progress().prop_map(Step::Load),
        2 => any_prepared().prop_map(Step::Prepared),
        1 => Just(Step::Reopen),
        1 => proptest::collection::vec(any::<u32>(), 16).prop_map(Step::Crash),
    ]
}

/// What a trail knows of its source beside the changes.
#[derive(Debug, Clone, Default, PartialEq)]
struct Known {
    loads: Vec<LoadProgress>,
    prepared: Vec<PreparedTransaction>,
}

impl Known {
    fn load(&mut self, said: Option<&LoadProgress>) {
        let Some(progress) = said else { return self.loads.clear() };
        match self.loads.iter_mut().find(|known| known.table == progress.table) {
            Some(known) => *known = progress.clone(),
            None => self.loads.push(progress.clone()),
        }
    }

    fn of(appender: &Appender) -> Self {
        Self { loads: appender.loads().to_vec(), prepared: appender.prepared().to_vec() }
    }
}

/// A transaction or a note that was written.
#[derive(Debug, Clone)]
struct Written {
    /// The last record so far.
    after: Option<Position>,
    /// The records, of a transaction.
    records: Vec<Held>,
    /// What is known from here on.
    known: Known,
}

async fn write(appender: &mut Appender, number: u64, records: &[Held], load: &Option<Option<LoadProgress>>) {
    let xid = format!("x{number}");
    let commit_ts = Timestamp::from_micros(number as i64);
    appender.begin(&TransactionHead { xid, commit_ts, source: SourcePosition(format!("0/{number:X}")) }).unwrap();
    for (at, record) in records.iter().enumerate() {
        match record {
            Held::Row { loaded, value } => {
                let kind = JsonKind::String;
                let column = Column { name: "c".into(), kind, sql_type: String::new(), nullable: false, key: true };
                let schema = appender.schema(&table(at % 3), &[column]).unwrap();
                let row = RowParts { loaded: *loaded, ..RowParts::of(Operation::Insert, false, true) };
                let write = |out: &mut Vec<u8>| {
                    ImageWriter::new(out).json(format!("\"{value}\"").as_bytes());
                    Ok::<_, ()>(())
                };
                assert_eq!(appender.write_row(&schema, row, write).unwrap(), Ok(at as u32));
                // What nothing came of leaves nothing behind.
                let nothing = appender.write_row(&schema, row, |out| {
                    out.extend_from_slice(b"half an image");
                    Err("no")
                });
                assert_eq!(nothing.unwrap(), Err("no"));
            }
            Held::Ddl { statement } => assert_eq!(appender.ddl(&table(0), statement).unwrap(), at as u32),
            Held::Message { key, headers, value } => {
                let headers = headers.iter().map(|(name, value)| MessageHeader { name, value }).collect();
                let message = Message { key: key.as_deref(), headers, value };
                assert_eq!(appender.message(0, &message).unwrap(), at as u32);
            }
        }
        if number.is_multiple_of(2) {
            appender.hand_over().await.unwrap();
        }
    }
    if let Some(said) = load {
        appender.note_load(said.as_ref()).unwrap();
    }
}

/// The transactions that a reader gives from there on.
async fn read(trail: &Trail, begin: Begin) -> Result<Vec<Vec<Held>>, String> {
    let mut reader = trail.read(begin).await.map_err(|error| error.to_string())?;
    let mut all: Vec<Vec<Held>> = Vec::new();
    while reader.fill().await.map_err(|error| error.to_string())? == Fill::Filled {
        while let Some(entry) = reader.next().map_err(|error| error.to_string())? {
            match entry {
                Entry::Begin(_) => all.push(Vec::new()),
                Entry::Record(record) => {
                    let held = match record.body().map_err(|error| error.to_string())? {
                        Body::Row(row) => {
                            let Some(Ok(Cell::Json(json))) = row.after.unwrap().cells().next() else { panic!() };
                            Held::Row { loaded: record.is_loaded(), value: json.trim_matches('"').to_owned() }
                        }
                        Body::Ddl { table: of, statement } => {
                            assert_eq!(of, table(0));
                            Held::Ddl { statement: statement.to_owned() }
                        }
                        Body::Message(message) => {
                            assert!(record.row().is_err(), "a message is no row");
                            assert_eq!(record.schema.unwrap().table.to_string(), "messages.t1");
                            let headers = message.headers.iter();
                            Held::Message {
                                key: message.key.map(<[u8]>::to_vec),
                                headers: headers.map(|one| (one.name.to_owned(), one.value.to_vec())).collect(),
                                value: message.value.to_vec(),
                            }
                        }
                    };
                    all.last_mut().ok_or("a record alone")?.push(held);
                }
                Entry::Commit(_) => {}
                Entry::Gap(gap) => return Err(gap.to_string()),
            }
        }
    }
    Ok(all)
}

/// Sees to it that the trail holds what was written up to its durable end and knows what was said there; returns how much of
/// what was written that is.
async fn check(trail: &Trail, written: &[Written], acknowledged: usize, appender: &Appender) -> Result<usize, String> {
    let durable = trail.durable().borrow().commit;
    let commit = |written: &Written| written.after.map_or(0, |after| after.commit);
    let known = Known::of(appender);
    let matches = |at: &usize| {
        let (last, expected) = match at.checked_sub(1).map(|at| &written[at]) {
            Some(last) => (commit(last), last.known.clone()),
            None => (0, Known::default()),
        };
        last == durable && expected == known
    };
    let Some(kept) = (acknowledged..=written.len()).rev().find(matches) else {
        return Err(format!("{known:?} is known at {durable}, which nothing from {acknowledged} on has left"));
    };
    let transactions: Vec<&Written> = written[..kept].iter().filter(|written| !written.records.is_empty()).collect();
    let all: Vec<Vec<Held>> = transactions.iter().map(|written| written.records.clone()).collect();
    let seen = read(trail, Begin::Earliest).await?;
    if seen != all {
        return Err(format!("read {seen:?} where {all:?} was written"));
    }
    for (at, written) in transactions.iter().enumerate() {
        let behind = read(trail, Begin::After(written.after.unwrap())).await?;
        if behind != all[at + 1..] {
            return Err(format!("after {:?} read {behind:?}", written.after));
        }
    }
    let bad = trail.verify().map_err(|error| error.to_string())?.into_iter().find_map(|report| report.bad);
    bad.map_or(Ok(kept), |bad| Err(format!("{bad:?}")))
}

async fn run<S: TestStore>(steps: &[Step]) -> Result<(), String> {
    let mut store = S::default();
    let mut trail = store.create(4 << 10);
    let mut written: Vec<Written> = Vec::new();
    let mut acknowledged = 0;
    let mut writing = appender(&trail).await;
    for (number, step) in (1..).zip(steps) {
        let before = written.last();
        let mut next = Written {
            after: before.and_then(|before| before.after),
            records: Vec::new(),
            known: before.map(|before| before.known.clone()).unwrap_or_default(),
        };
        match step {
            Step::Commit { records, load, wait } => {
                write(&mut writing, number, records, load).await;
                let after = writing.commit().map_err(|error| error.to_string())?;
                (next.after, next.records) = (Some(after), records.clone());
                if let Some(said) = load {
                    next.known.load(said.as_ref());
                }
                written.push(next);
                writing.hand_over().await.map_err(|error| error.to_string())?;
                if *wait {
                    writing.wait_durable(after.commit).await.map_err(|error| error.to_string())?;
                    acknowledged = written.len();
                }
            }
            Step::Abort { records, load } => {
                write(&mut writing, number, records, load).await;
                writing.abort().await.map_err(|error| error.to_string())?;
            }
            Step::Load(said) => {
                writing.note_load(said.as_ref()).map_err(|error| error.to_string())?;
                next.known.load(said.as_ref());
                written.push(next);
            }
            Step::Prepared(prepared) => {
                writing.note_prepared(prepared).map_err(|error| error.to_string())?;
                next.known.prepared.clone_from(prepared);
                written.push(next);
            }
            Step::Reopen | Step::Crash(_) => {
                if let Step::Crash(rolls) = step {
                    let mut at = 0;
                    let after = store.crash(&mut |sides| {
                        at += 1;
                        rolls[at % rolls.len()] as usize % sides
                    });
                    drop(writing);
                    store = after;
                } else {
                    writing.close().await.map_err(|error| error.to_string())?;
                    acknowledged = written.len();
                }
                trail = store.open().map_err(|error| error.to_string())?;
                writing = appender(&trail).await;
                let kept = check(&trail, &written, acknowledged, &writing).await?;
                written.truncate(kept);
                acknowledged = kept;
            }
        }
    }
    writing.close().await.map_err(|error| error.to_string())?;
    trail = store.open().map_err(|error| error.to_string())?;
    let writing = appender(&trail).await;
    check(&trail, &written, written.len(), &writing).await.map(drop)
}

fn in_runtime<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_written_reads_back_and_what_was_said_of_the_source_is_known_again(
        steps in proptest::collection::vec(any_step(), 1..40),
    ) {
        prop_assert_eq!(in_runtime(run::<MemoryDisk>(&steps)), Ok(()));
    }
}

#[cfg(feature = "fault-injection")]
proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_written_to_a_log_of_messages_reads_back(steps in proptest::collection::vec(any_step(), 1..40)) {
        prop_assert_eq!(in_runtime(run::<MemoryLog>(&steps)), Ok(()));
    }
}

#[test]
fn what_a_load_has_said_in_a_transaction_that_spans_segments_counts_with_its_commit_alone() {
    let progress = |rows| {
        let left = LoadLeft::Behind(format!("[{rows}]"));
        Some(LoadProgress { table: table(1), left, rows, at: SourcePosition("0/1".into()) })
    };
    let rows = || vec![Held::Row { loaded: true, value: "v".repeat(700) }; 20];
    let commit = |rows_loaded| Step::Commit { records: rows(), load: Some(progress(rows_loaded)), wait: true };
    let abort = Step::Abort { records: rows(), load: Some(progress(99)) };
    let ended = Step::Commit { records: rows(), load: Some(None), wait: true };
    let crash = || Step::Crash(vec![0; 16]);
    let steps = [commit(20), crash(), abort, commit(40), Step::Reopen, commit(60), crash(), ended, crash()];
    assert_eq!(in_runtime(run::<MemoryDisk>(&steps)), Ok(()));
}

#[test]
fn notes_are_told_in_their_places_to_whoever_asks_for_them() {
    in_runtime(async {
        let disk = MemoryDisk::default();
        let trail = create(Arc::new(disk), &folder(), 1 << 20);
        let mut writing = appender(&trail).await;
        let held = vec![Held::Ddl { statement: "alter".into() }];
        writing.identify("who").unwrap();
        writing.note_prepared(&[]).unwrap();
        write(&mut writing, 1, &held, &Some(None)).await;
        writing.commit().unwrap();
        writing.progress(&SourcePosition("9".into())).unwrap();
        writing.close().await.unwrap();
        let mut reader = trail.read(Begin::Earliest).await.unwrap();
        let mut told = Vec::new();
        while reader.fill().await.unwrap() == Fill::Filled {
            while let Some(next) = reader.next_told().unwrap() {
                told.push(match next {
                    Told::Entry(Entry::Begin(_)) => "begin".to_owned(),
                    Told::Entry(Entry::Record(_)) => "record".to_owned(),
                    Told::Entry(Entry::Commit(_)) => "commit".to_owned(),
                    Told::Entry(Entry::Gap(_)) => "gap".to_owned(),
                    Told::Note(Note::Source { identity, at }) => format!("{identity} at {at}"),
                    Told::Note(note) => format!("{note:?}"),
                });
            }
        }
        assert_eq!(told, ["who at ", "Prepared([])", "begin", "record", "Load(None)", "commit", "who at 9"]);
    });
}

#[test]
fn a_record_goes_into_a_partition_that_there_is() {
    in_runtime(async {
        let trail = create(Arc::new(MemoryDisk::default()), &folder(), 1 << 20);
        let mut writing = appender(&trail).await;
        let message = Message { value: b"1", ..Message::default() };
        assert!(matches!(writing.message(0, &message), Err(AppendError::OutOfTurn(_))));
        write(&mut writing, 1, &[], &None).await;
        let refused = writing.message(1, &message).unwrap_err();
        assert_eq!(refused.to_string(), "partition 1 does not exist: the trail has 1, and the first is 0");
        assert_eq!(writing.message(0, &message).unwrap(), 0);
        let schema = writing.schema(&table(0), &[]).unwrap();
        let row = Row { operation: Operation::Truncate, before: None, after: None, tokens: None };
        assert_eq!(writing.row(&schema, row).unwrap(), 1);
    });
}

#[test]
fn a_repair_keeps_messages_and_what_is_known_of_the_source_outside_the_damage() {
    in_runtime(async {
        let disk = MemoryDisk::default();
        let trail = create(Arc::new(disk.clone()), &folder(), 4 << 10);
        let mut writing = appender(&trail).await;
        let message = |number: u64| Held::Message {
            key: Some(vec![number as u8]),
            headers: vec![("h".into(), vec![0xFF; 3])],
            value: vec![number as u8; 400],
        };
        let progress = |rows| LoadProgress {
            table: table(1),
            left: LoadLeft::Nothing,
            rows,
            at: SourcePosition(format!("{rows}")),
        };
        for number in 1..=40 {
            write(&mut writing, number, &[message(number)], &Some(Some(progress(number)))).await;
            let after = writing.commit().unwrap();
            writing.hand_over().await.unwrap();
            writing.wait_durable(after.commit).await.unwrap();
        }
        writing.close().await.unwrap();
        drop(trail);
        let second = folder().join("0000000000000002.seg");
        disk.tamper(&second, |bytes| {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0x55;
        });
        repair(&folder(), Arc::new(disk.clone()), clock()).unwrap();
        let trail = open(Arc::new(disk.clone()), &folder()).unwrap();
        let mut reader = trail.read(Begin::Earliest).await.unwrap();
        let mut kept = Vec::new();
        while reader.fill().await.unwrap() == Fill::Filled {
            if let Some(Entry::Record(record)) = reader.next().unwrap() {
                let Body::Message(message) = record.body().unwrap() else { panic!("no message") };
                kept.push(u64::from(message.key.unwrap()[0]));
            }
        }
        assert!(kept.len() >= 38 && kept.first() == Some(&1) && kept.last() == Some(&40), "{kept:?}");
        let writing = appender(&trail).await;
        assert_eq!(writing.loads(), [progress(40)]);
    });
}
