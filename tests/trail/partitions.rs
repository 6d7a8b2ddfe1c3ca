//! Goal: a reader of some partitions gets exactly their records, whatever is known of where they lie; and nothing is ever written to a
//! partition behind the commit that closed it, whatever fails when it is closed.
//!
//! Method: random transactions over partitions that are split and merged meanwhile, in small segments, read narrowed and whole and
//! compared; then a change of partitions with each of its flushes failing, and a power cut behind it.

use std::path::Path;
use std::sync::{Arc, Mutex};

use proptest::prelude::*;

use crate::trail::memory_disk::{Event, MemoryDisk};
use crate::trail::workload::{appender, clock, folder, open};
use trailcast::record::{Message, SourcePosition, Timestamp, TransactionHead};
use trailcast::record::{Position, TableName, TrailName};
use trailcast::trail::maintenance::{backup, repair};
use trailcast::trail::{
    AppendError, Appender, Begin, Body, Entry, Fill, Location, PartitionChange, Reader, RepartitionError, Trail,
    TrailOptions, Writer,
};

fn create(disk: &MemoryDisk, partitions: u16, segment_bytes: u64) -> Trail {
    let (name, options) = (TrailName::new("t1").unwrap(), TrailOptions { segment_bytes, partitions });
    Trail::create(&folder(), name, Writer::Puts, &options, Arc::new(disk.clone()), clock()).unwrap()
}

/// The partition of a statement, which is in none.
const IN_NONE: u16 = u16::MAX;

/// A record as a reader gives it: its partition, and what is in it.
type Seen = (Position, u16, String);

/// What a reader gives up to the durable end, and how many records of other partitions among it.
fn read(trail: &Trail, mut reader: Reader, wanted: &[u16]) -> (Vec<Seen>, usize) {
    let (mut seen, mut others, mut is_open) = (Vec::new(), 0, None);
    loop {
        let Some(entry) = reader.next().unwrap() else {
            if reader.fill_here().unwrap() == Fill::AtMark {
                return (seen, others);
            }
            continue;
        };
        match entry {
            Entry::Begin(transaction) => is_open = Some(transaction.commit),
            Entry::Commit(commit) => {
                // Who begins inside a transaction has not seen it begin.
                assert!(is_open.is_none_or(|open| open == commit.commit));
                is_open = None;
            }
            Entry::Record(record) => {
                let position = record.position(trail.epoch());
                match record.body().unwrap() {
                    Body::Message(_) if !wanted.contains(&record.partition) => others += 1,
                    Body::Message(message) => {
                        let text = String::from_utf8(message.value.to_vec()).unwrap();
                        seen.push((position, record.partition, text));
                    }
                    Body::Ddl { statement, .. } => seen.push((position, IN_NONE, statement.to_owned())),
                    Body::Row(_) => panic!("nobody has written a row"),
                }
            }
            Entry::Gap(_) => {}
        }
    }
}

async fn read_from(trail: &Trail, begin: Begin, wanted: &[u16], narrowed: bool) -> (Vec<Seen>, usize) {
    let mut reader = trail.read(begin).await.unwrap();
    if narrowed {
        reader.narrow_to(wanted.into());
    }
    read(trail, reader, wanted)
}

/// Appends a transaction: a message for each number, in the open partition of that number; a statement where there is none.
async fn put(appender: &mut Appender, number: usize, records: &[Option<u8>], width: usize) -> u64 {
    let (xid, commit_ts) = (format!("x{number}"), Timestamp::from_micros(number as i64));
    appender.begin(&TransactionHead { xid, commit_ts, source: SourcePosition::default() }).unwrap();
    for (at, record) in records.iter().enumerate() {
        let text = format!("{number}-{at}-{}", "v".repeat(width));
        match record {
            Some(which) => {
                let open: Vec<u16> = appender.partitions().open().map(|partition| partition.number).collect();
                let partition = open[usize::from(*which) % open.len()];
                appender.message(partition, &Message { value: text.as_bytes(), ..Message::default() }).unwrap();
            }
            None => drop(appender.ddl(&TableName::parse("t").unwrap(), &text).unwrap()),
        }
        if at % 3 == 2 {
            appender.hand_over().await.unwrap();
        }
    }
    let commit = appender.commit().unwrap().commit;
    appender.hand_over().await.unwrap();
    appender.wait_durable(commit).await.unwrap();
    commit
}

#[derive(Debug, Clone)]
enum Step {
    Put {
        records: Vec<Option<u8>>,
        width: usize,
    },
    Abort,
    Split(u8),
    Merge(u8),
    Reopen,
    /// What is known of the places is lost, or damaged.
    Forget(bool),
}

fn any_step() -> impl Strategy<Value = Step> {
    let records = proptest::collection::vec(proptest::option::weighted(0.95, any::<u8>()), 0..7);
    let width = prop_oneof![6 => 0..60_usize, 1 => 1_000..3_000_usize];
    prop_oneof![
        20 => (records, width).prop_map(|(records, width)| Step::Put { records, width }),
        1 => Just(Step::Abort),
        1 => any::<u8>().prop_map(Step::Split),
        1 => any::<u8>().prop_map(Step::Merge),
        1 => Just(Step::Reopen),
        1 => any::<bool>().prop_map(Step::Forget),
    ]
}

async fn change(appender: &mut Appender, split: bool, which: u8) {
    let open: Vec<u16> = appender.partitions().open().map(|partition| partition.number).collect();
    let at = usize::from(which) % open.len();
    let change = if split {
        PartitionChange::Split { partition: open[at], at: None }
    } else {
        PartitionChange::Merge { partition: open[at], with: open[(at + 1) % open.len()] }
    };
    match appender.change_partitions(change) {
        Ok(_) | Err(RepartitionError::Refused(_)) => {}
        Err(error) => panic!("{error}"),
    }
}

/// Every record lies in a partition that was open for its transaction.
fn check_bounds(trail: &Trail, seen: &[Seen]) -> Result<(), String> {
    let partitions = trail.partitions();
    for (position, number, text) in seen.iter().filter(|(_, number, _)| *number != IN_NONE) {
        let partition =
            partitions.get(*number).ok_or_else(|| format!("{text} is in partition {number}, which is none"))?;
        let within =
            position.commit > partition.opened && partition.closed.is_none_or(|closed| position.commit <= closed);
        if !within {
            return Err(format!("{text} of transaction {} is in {partition:?}", position.commit));
        }
    }
    Ok(())
}

fn in_runtime<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn a_reader_of_some_partitions_gets_their_records_and_every_statement(
        partitions in 1..6_u16,
        steps in proptest::collection::vec(any_step(), 1..60),
        wanted in proptest::collection::btree_set(0..9_u16, 0..3),
        from in any::<prop::sample::Index>(),
    ) {
        in_runtime(async {
            let disk = MemoryDisk::default();
            let mut trail = create(&disk, partitions, 4 << 10);
            let mut writing = appender(&trail).await;
            for (number, step) in steps.iter().enumerate() {
                match step {
                    Step::Put { records, width } => drop(put(&mut writing, number, records, *width).await),
                    Step::Abort => {
                        writing.begin_unnamed(Timestamp::from_micros(1)).unwrap();
                        let first = writing.partitions().open().next().unwrap().number;
                        writing.message(first, &Message { value: b"gone", ..Message::default() }).unwrap();
                        writing.hand_over().await.unwrap();
                        writing.abort().await.unwrap();
                    }
                    Step::Split(which) => change(&mut writing, true, *which).await,
                    Step::Merge(which) => change(&mut writing, false, *which).await,
                    Step::Reopen => {
                        writing.close().await.unwrap();
                        trail = open(Arc::new(disk.clone()), &folder()).unwrap();
                        writing = appender(&trail).await;
                    }
                    Step::Forget(damage) => {
                        for path in disk.paths().iter().filter(|path| path.extension().is_some_and(|end| end == "par")) {
                            if *damage {
                                disk.tamper(path, |bytes| bytes[20] ^= 1);
                            } else {
                                disk.lose(path);
                            }
                        }
                    }
                }
            }
            let wanted: Vec<u16> = wanted.into_iter().collect();
            let (whole, _) = read_from(&trail, Begin::Earliest, &wanted, false).await;
            let (narrowed, _) = read_from(&trail, Begin::Earliest, &wanted, true).await;
            assert_eq!(narrowed, whole);
            if !whole.is_empty() {
                let at = from.index(whole.len());
                let (rest, _) = read_from(&trail, Begin::After(whole[at].0), &wanted, true).await;
                assert_eq!(rest, whole[at + 1..]);
            }
            writing.close().await.unwrap();
            let reopened = open(Arc::new(disk.clone()), &folder()).unwrap();
            assert_eq!(reopened.partitions(), trail.partitions());
            assert_eq!(read_from(&reopened, Begin::Earliest, &wanted, true).await.0, whole);
            let all: Vec<u16> = (0..100).collect();
            let (everything, _) = read_from(&reopened, Begin::Earliest, &all, false).await;
            check_bounds(&reopened, &everything).unwrap();
        });
    }
}

async fn filled(disk: &MemoryDisk, transactions: usize) -> Trail {
    let trail = create(disk, 16, 32 << 10);
    let mut writing = appender(&trail).await;
    for number in 0..transactions {
        put(&mut writing, number, &[Some(number as u8)], 150).await;
    }
    writing.close().await.unwrap();
    trail
}

#[test]
fn a_closed_segment_gives_one_partition_without_the_others() {
    in_runtime(async {
        let disk = MemoryDisk::default();
        let trail = filled(&disk, 1_600).await;
        let kept = |disk: &MemoryDisk| {
            disk.paths().into_iter().filter(|path| path.extension().is_some_and(|end| end == "par")).count()
        };
        assert_eq!(kept(&disk), trail.status().segments - 1, "each closed segment has its list");
        let (seen, others) = read_from(&trail, Begin::Earliest, &[3], true).await;
        assert_eq!((seen.len(), others), (100, 0));
        // Who loses the lists has them again.
        for path in disk.paths().into_iter().filter(|path| path.extension().is_some_and(|end| end == "par")) {
            disk.lose(&path);
        }
        let reopened = open(Arc::new(disk.clone()), &folder()).unwrap();
        assert_eq!(read_from(&reopened, Begin::Earliest, &[3], true).await.1, 0);
        assert_eq!(kept(&disk), trail.status().segments - 1);
    });
}

#[test]
fn a_closed_partition_takes_nothing_more_and_what_is_not_durable_keeps_it_open() {
    in_runtime(async {
        let disk = MemoryDisk::default();
        let trail = create(&disk, 2, 4 << 10);
        let mut writing = appender(&trail).await;
        put(&mut writing, 1, &[Some(0)], 10).await;
        let split = PartitionChange::Split { partition: 0, at: None };
        writing.begin_unnamed(Timestamp::from_micros(1)).unwrap();
        assert!(matches!(writing.change_partitions(split), Err(RepartitionError::Append(AppendError::OutOfTurn(_)))));
        let message = Message { value: b"x", ..Message::default() };
        writing.message(0, &message).unwrap();
        writing.commit().unwrap();
        assert!(matches!(writing.change_partitions(split), Err(RepartitionError::Append(AppendError::OutOfTurn(_)))));
        writing.hand_over().await.unwrap();
        writing.wait_durable(2).await.unwrap();
        let changed = writing.change_partitions(split).unwrap();
        assert_eq!((changed.get(0).unwrap().closed, changed.get(2).unwrap().opened), (Some(2), 2));
        writing.begin_unnamed(Timestamp::from_micros(1)).unwrap();
        assert_eq!(writing.message(0, &message), Err(AppendError::ClosedPartition { partition: 0 }));
        assert_eq!(writing.message(4, &message), Err(AppendError::NoPartition { partition: 4, partitions: 4 }));
        writing.message(3, &message).unwrap();
    });
}

/// What came of a change of partitions with a flush failing.
struct Outcome {
    changed: bool,
    /// What is wrong with what a power cut left.
    wrong: Result<(), String>,
}

/// Changes partitions with the `n`-th flush failing, goes on as one does, and cuts the power. `trusting`: the one who changed them
/// goes on as if nothing had been changed, which is wrong.
async fn with_failing_flush(n: u32, for_good: bool, rolls: usize, trusting: bool) -> Outcome {
    let disk = MemoryDisk::default();
    let trail = create(&disk, 1, 4 << 10);
    let mut writing = appender(&trail).await;
    put(&mut writing, 1, &[Some(0)], 10).await;
    if for_good {
        disk.fail_sync(n);
    } else {
        disk.fail_one_sync(n);
    }
    let changed = writing.change_partitions(PartitionChange::Split { partition: 0, at: None });
    let what = format!("flush {n}, {changed:?}");
    if changed.is_err() {
        assert!(writing.has_stopped(), "{what}");
        let message = writing.begin_unnamed(Timestamp::from_micros(1));
        assert!(message.is_err(), "{what}: nothing is appended in doubt");
    }
    let next = if trusting && changed.is_err() {
        #[cfg(feature = "fault-injection")]
        writing.forget_doubt();
        Some(writing)
    } else {
        drop(writing);
        // The next one finds out, or is refused for as long as the disk fails.
        trail.appender_async().await.ok()
    };
    if let Some(mut next) = next {
        assert!(changed.is_ok() || next.partitions().all().len() == 1, "{what}: what failed was not done");
        next.begin_unnamed(Timestamp::from_micros(1)).unwrap();
        let open = next.partitions().for_hash(0);
        next.message(open, &Message { value: b"later", ..Message::default() }).unwrap();
        next.commit().unwrap();
        let _ = next.hand_over().await;
        let _ = next.wait_durable(2).await;
    }
    let after = disk.crash(|sides| rolls % sides);
    let reopened = open(Arc::new(after), &folder()).unwrap_or_else(|error| panic!("{what}: {error}"));
    let (seen, _) = read_from(&reopened, Begin::Earliest, &[0, 1, 2], false).await;
    assert!(!seen.is_empty(), "{what}");
    assert!(changed.is_err() || reopened.partitions().all().len() == 3, "{what}: what was done is there");
    Outcome {
        changed: changed.is_ok(),
        wrong: check_bounds(&reopened, &seen).map_err(|error| format!("{what}: {error}")),
    }
}

async fn with_any_flush_failing(trusting: bool) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for for_good in [false, true] {
        for n in 0..6 {
            for rolls in 0..4 {
                outcomes.push(with_failing_flush(n, for_good, rolls, trusting).await);
            }
        }
    }
    outcomes
}

#[test]
fn whichever_flush_fails_when_a_partition_is_closed_nothing_is_behind_its_close() {
    in_runtime(async {
        let outcomes = with_any_flush_failing(false).await;
        let done = outcomes.iter().filter(|outcome| outcome.changed).count();
        assert!(done > 5 && outcomes.len() - done > 10, "{done} of {} were done", outcomes.len());
        outcomes.into_iter().for_each(|outcome| outcome.wrong.unwrap());
    });
}

#[cfg(feature = "fault-injection")]
#[test]
fn control_who_goes_on_in_doubt_is_seen_to_write_behind_a_close() {
    in_runtime(async {
        let outcomes = with_any_flush_failing(true).await;
        assert!(outcomes.into_iter().any(|outcome| outcome.wrong.is_err()));
    });
}

#[test]
fn a_description_that_says_how_partitions_changed_is_none_for_a_program_that_does_not_know_such() {
    in_runtime(async {
        let disk = MemoryDisk::default();
        let trail = create(&disk, 2, 4 << 10);
        let text = |disk: &MemoryDisk| {
            let contents = disk.contents();
            serde_json::from_slice::<serde_json::Value>(&contents[&folder().join("trail.json")]).unwrap()
        };
        assert_eq!((&text(&disk)["format"], &text(&disk)["partitions"]), (&3.into(), &2.into()));
        assert!(text(&disk).get("partitionMap").is_none(), "as it has always been");
        let mut writing = appender(&trail).await;
        writing.change_partitions(PartitionChange::Merge { partition: 0, with: 1 }).unwrap();
        assert_eq!((&text(&disk)["format"], &text(&disk)["partitions"]), (&4.into(), &3.into()));
        assert_eq!(text(&disk)["partitionMap"][2]["hashes"], format!("{:032x}-{:032x}", 0, u128::MAX));
        writing.close().await.unwrap();
        disk.tamper(Path::new("/trails/t1/trail.json"), |text| {
            let broken = String::from_utf8(text.clone()).unwrap().replace("-ffff", "-efff");
            *text = broken.into_bytes();
        });
        let error = open(Arc::new(disk.clone()), &folder()).unwrap_err().to_string();
        assert!(error.contains("trail.json is unreadable: its partitions do not have each hash once"), "{error}");
    });
}

#[test]
fn a_backup_taken_while_partitions_change_has_them_as_of_its_own_end() {
    let disk = MemoryDisk::default();
    let trail = create(&disk, 1, 4 << 10);
    let mut writing = in_runtime(appender(&trail));
    in_runtime(put(&mut writing, 1, &[Some(0), Some(0)], 50));
    let writing = Mutex::new(Some(writing));
    let split = move || {
        let Some(mut writing) = writing.lock().unwrap().take() else { return };
        in_runtime(async {
            put(&mut writing, 2, &[Some(0)], 50).await;
            writing.change_partitions(PartitionChange::Split { partition: 0, at: None }).unwrap();
            put(&mut writing, 3, &[Some(0), Some(1)], 50).await;
        });
    };
    disk.watch(move |_, event| {
        if matches!(event, Event::Made(path) if path.starts_with("/backups")) {
            std::thread::scope(|scope| scope.spawn(&split).join().unwrap());
        }
    });
    let (to, shared): (_, Arc<MemoryDisk>) = (Path::new("/backups/t1"), Arc::new(disk.clone()));
    let copied = backup::copy(&folder(), to, shared.clone(), clock()).unwrap();
    assert_eq!((copied.last_commit, copied.bad), (1, None));
    assert_eq!(trail.partitions().get(0).unwrap().closed, Some(2), "it was split meanwhile");
    repair::new_epoch(to, shared.clone()).unwrap();
    let restored = open(shared, to).unwrap();
    assert_eq!(restored.partitions().get(0).unwrap().closed, Some(1));
    in_runtime(async {
        let mut writing = appender(&restored).await;
        put(&mut writing, 2, &[Some(0), Some(1)], 50).await;
        let (seen, _) = read_from(&restored, Begin::Earliest, &[0, 1, 2], false).await;
        assert_eq!(seen.len(), 4);
        check_bounds(&restored, &seen).unwrap();
    });
}

/// Each record that the reader has in its block: where it lies and what is in it.
fn taken(reader: &mut Reader) -> Vec<(Location, String)> {
    let mut seen = Vec::new();
    loop {
        let at = reader.location();
        match reader.next().unwrap() {
            None => return seen,
            Some(Entry::Record(record)) => {
                assert!(record.location >= at, "the reader stands at {at:?}, and before it lies {:?}", record.location);
                let Body::Message(message) = record.body().unwrap() else { panic!("nothing but messages was written") };
                seen.push((record.location, String::from_utf8(message.value.to_vec()).unwrap()));
            }
            Some(_) => {}
        }
    }
}

/// A reader of one partition that has left a record of its last block over takes what came since from memory, after `happens`; says
/// how many records of others it was given.
async fn with_a_piece_left_over(happens: impl AsyncFnOnce(&mut Appender)) -> usize {
    let disk = MemoryDisk::default();
    let trail = create(&disk, 16, 32 << 10);
    let mut writing = appender(&trail).await;
    for number in 0..48 {
        put(&mut writing, number, &[Some(number as u8)], 150).await;
    }
    let mut reader = trail.read(Begin::Earliest).await.unwrap();
    reader.narrow_to([3_u16].into());
    reader.fill_here().unwrap();
    while !matches!(reader.next().unwrap(), Some(Entry::Record(_))) {}
    let behind = reader.location();
    happens(&mut writing).await;
    let mut whole = trail.read(Begin::Earliest).await.unwrap();
    let mut all = Vec::new();
    while whole.fill_here().unwrap() == Fill::Filled {
        all.extend(taken(&mut whole));
    }
    let here: Vec<_> = all.into_iter().filter(|(at, _)| at.segment() == behind.segment() && *at > behind).collect();
    let (end, _) = here.last().unwrap();
    assert!(reader.take_from_memory(*end), "it is in memory");
    let seen = taken(&mut reader);
    let own = |(_, text): &&(Location, String)| text.split('-').next().unwrap().parse::<usize>().unwrap() % 16 == 3;
    let (of_its_own, expected): (Vec<_>, Vec<_>) =
        (seen.iter().filter(own).collect(), here.iter().filter(own).collect());
    assert!(expected.len() > 2);
    assert_eq!(of_its_own, expected);
    assert!(seen.iter().all(|record| here.contains(record)), "others have their own places too");
    seen.len() - expected.len()
}

#[test]
fn what_is_taken_from_memory_behind_pieces_lies_where_it_lies_also_when_the_segment_was_closed_meanwhile() {
    let others = in_runtime(with_a_piece_left_over(async |writing| {
        for number in 48..200 {
            put(writing, number, &[Some(number as u8)], 150).await;
        }
    }));
    assert!(others > 0, "where they lie is no longer in memory: everything was taken");
}
