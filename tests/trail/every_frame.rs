//! Any sequence of transactions with and without a hash, gaps in what was captured, changes of shape, progress, aborts,
//! reopenings and power cuts reads back as it was written, from the start and from every position given out.
//!
//! Method: a random script on a disk that forgets what was not synced, and in a log of messages that answers late, with the smallest segments, so that everything comes to
//! stand at the end of a segment, at the start of one, and in a head. The model is what the appender was told.

use std::sync::Arc;

use proptest::prelude::*;

use crate::trail::memory_disk::MemoryDisk;
#[cfg(feature = "fault-injection")]
use crate::trail::message_log::MemoryLog;
use crate::trail::stores::TestStore;
use crate::trail::workload::{Seen, Transaction, appender, create, expected, folder, open};
use trailcast::codec::image::Cell;
use trailcast::record::{Position, SourcePosition, TableName, Timestamp};
use trailcast::trail::{Appender, Begin, Entry, Fill, Gap, Missing, SourceMark, Trail};

#[derive(Debug, Clone)]
enum Step {
    /// A transaction of so many rows, with a hash or not.
    Commit {
        rows: u32,
        width: usize,
        hash: Option<u32>,
        wait: bool,
    },
    /// A gap that names so many tables, waited for or not.
    Gap {
        tables: usize,
        wait: bool,
    },
    /// A transaction that is taken back.
    Abort {
        rows: u32,
    },
    Progress,
    Reopen,
    Crash(Vec<u32>),
}

fn any_step() -> impl Strategy<Value = Step> {
    let commit = (1_u32..6, prop_oneof![4 => 0_usize..80, 1 => 500_usize..2_000], any::<Option<u32>>(), any::<bool>());
    prop_oneof![
        8 => commit.prop_map(|(rows, width, hash, wait)| Step::Commit { rows, width, hash, wait }),
        4 => (0_usize..60, any::<bool>()).prop_map(|(tables, wait)| Step::Gap { tables, wait }),
        1 => (0_u32..4).prop_map(|rows| Step::Abort { rows }),
        1 => Just(Step::Progress),
        1 => Just(Step::Reopen),
        1 => proptest::collection::vec(any::<u32>(), 16).prop_map(Step::Crash),
    ]
}

/// Something that a reader gives, and the position behind it.
#[derive(Debug, Clone, PartialEq)]
enum Told {
    Transaction(Seen),
    Gap(Gap),
}

struct Written {
    after: Position,
    told: Told,
    /// What the trail knows of the source's last transaction from here on.
    mark: Option<SourceMark>,
}

fn missing(number: u64, tables: usize) -> Missing {
    let table = |at: usize| TableName::parse(&format!("shop.table_with_a_long_name_{at}")).unwrap();
    Missing { tables: (0..tables).map(table).collect(), from: format!("0/{number:X}"), to: format!("1/{number:X}") }
}

/// Everything that a reader gives from there on.
async fn read(trail: &Trail, begin: Begin) -> Result<Vec<Told>, String> {
    let mut reader = trail.read(begin).await.map_err(|error| error.to_string())?;
    let mut all = Vec::new();
    while reader.fill().await.map_err(|error| error.to_string())? == Fill::Filled {
        while let Some(entry) = reader.next().map_err(|error| error.to_string())? {
            match entry {
                Entry::Begin(transaction) => all.push(Told::Transaction(Seen {
                    commit: transaction.commit,
                    xid: transaction.head.xid.clone(),
                    column: String::new(),
                    values: Vec::new(),
                })),
                Entry::Record(record) => {
                    let Some(Told::Transaction(seen)) = all.last_mut() else { return Err("a record alone".into()) };
                    seen.column.clone_from(&record.schema.unwrap().columns[0].name);
                    match record.row().unwrap().after.unwrap().cells().next().unwrap().unwrap() {
                        Cell::Json(text) => seen.values.push(text.to_owned()),
                        other => return Err(format!("{other:?}")),
                    }
                }
                Entry::Gap(gap) => all.push(Told::Gap(gap)),
                Entry::Commit(_) => {}
            }
        }
    }
    Ok(all)
}

/// Sees to it that the trail holds what was written up to its durable end; returns how much of it that is.
async fn check(trail: &Trail, written: &[Written], acknowledged: usize, marks: &Appender) -> Result<usize, String> {
    let durable = trail.durable().borrow().commit;
    let kept: Vec<&Written> = written.iter().take_while(|written| written.after.commit <= durable).collect();
    if kept.len() < acknowledged {
        return Err(format!("{acknowledged} acknowledged, {} left", kept.len()));
    }
    let all: Vec<Told> = kept.iter().map(|written| written.told.clone()).collect();
    let seen = read(trail, Begin::Earliest).await?;
    if seen != all {
        return Err(format!("read {seen:?} where {all:?} was written"));
    }
    for (at, written) in kept.iter().enumerate() {
        let behind = read(trail, Begin::After(written.after)).await?;
        if behind != all[at + 1..] {
            return Err(format!("after {:?} read {behind:?} where {:?} was written", written.after, &all[at + 1..]));
        }
    }
    let mark = kept.last().and_then(|written| written.mark.as_ref());
    if marks.source_mark() != mark {
        return Err(format!("{:?} is known of the source's last transaction, not {mark:?}", marks.source_mark()));
    }
    let bad = trail.verify().map_err(|error| error.to_string())?.into_iter().find_map(|report| report.bad);
    bad.map_or(Ok(kept.len()), |bad| Err(format!("{bad:?}")))
}

async fn run<S: TestStore>(steps: &[Step]) -> Result<(), String> {
    let mut store = S::default();
    let mut trail = store.create(4 << 10);
    let mut written: Vec<Written> = Vec::new();
    let mut acknowledged = 0;
    let mut writing = appender(&trail).await;
    for (number, step) in (1..).zip(steps) {
        match step {
            Step::Commit { rows, width, hash, wait } => {
                let transaction = Transaction { number, rows: *rows, width: *width };
                transaction.write(&mut writing, number % 2 == 0).await;
                let after = match hash {
                    Some(hash) => writing.commit_with_hash(*hash),
                    None => writing.commit(),
                };
                let after = after.map_err(|error| error.to_string())?;
                let told = Told::Transaction(expected(after.commit, &transaction));
                let mark = match hash {
                    Some(hash) => Some(SourceMark {
                        source: SourcePosition(format!("0/{number:X}")),
                        xid: transaction.xid(),
                        commit_ts: transaction.time(),
                        hash: *hash,
                    }),
                    None => written.last().and_then(|written| written.mark.clone()),
                };
                written.push(Written { after, told, mark });
                writing.hand_over().await.map_err(|error| error.to_string())?;
                if *wait {
                    writing.wait_durable(after.commit).await.map_err(|error| error.to_string())?;
                    acknowledged = written.len();
                }
            }
            Step::Gap { tables, wait } => {
                let missing = missing(number, *tables);
                let after = writing.gap(&missing).map_err(|error| error.to_string())?;
                let gap = Gap { first: after.commit, next: after.commit + 1, missing: Some(Arc::new(missing)) };
                let mark = written.last().and_then(|written| written.mark.clone());
                written.push(Written { after, told: Told::Gap(gap), mark });
                writing.hand_over().await.map_err(|error| error.to_string())?;
                if *wait {
                    writing.wait_durable(after.commit).await.map_err(|error| error.to_string())?;
                    acknowledged = written.len();
                }
            }
            Step::Abort { rows } => {
                Transaction { number, rows: *rows, width: 300 }.write(&mut writing, number % 2 == 0).await;
                writing.abort().await.map_err(|error| error.to_string())?;
            }
            Step::Progress => {
                writing.progress(&SourcePosition(format!("P/{number:X}"))).map_err(|error| error.to_string())?;
                writing.hand_over().await.map_err(|error| error.to_string())?;
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
    // Whoever has had the trail open all along sees the same, once all is durable.
    if let Some(last) = written.last() {
        writing.wait_durable(last.after.commit).await.map_err(|error| error.to_string())?;
    }
    check(&trail, &written, written.len(), &writing).await.map(drop)
}

fn in_runtime<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_written_reads_back_the_same_from_everywhere(steps in proptest::collection::vec(any_step(), 1..40)) {
        prop_assert_eq!(in_runtime(run::<MemoryDisk>(&steps)), Ok(()));
    }
}

#[cfg(feature = "fault-injection")]
proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_written_to_messages_reads_back_the_same(steps in proptest::collection::vec(any_step(), 1..40)) {
        prop_assert_eq!(in_runtime(run::<MemoryLog>(&steps)), Ok(()));
    }
}

#[test]
fn each_of_several_gaps_in_a_row_is_met_and_resumed_behind_also_where_nothing_follows() {
    let gap = Step::Gap { tables: 3, wait: true };
    let commit = Step::Commit { rows: 2, width: 20, hash: Some(7), wait: true };
    let crash = Step::Crash(vec![0; 16]);
    let mut steps = vec![commit.clone(), gap.clone(), gap.clone(), gap.clone(), crash.clone()];
    steps.extend([gap.clone(), commit, crash.clone(), gap.clone(), gap, crash]);
    assert_eq!(in_runtime(run::<MemoryDisk>(&steps)), Ok(()));
    // Of segments that hold nothing else.
    let large = Step::Gap { tables: 59, wait: true };
    let many = std::iter::repeat_n(large, 12).chain([Step::Reopen]).collect::<Vec<_>>();
    assert_eq!(in_runtime(run::<MemoryDisk>(&many)), Ok(()));
}

#[test]
fn a_gap_of_more_tables_than_one_frame_names_is_several() {
    in_runtime(async {
        let disk = MemoryDisk::default();
        let trail = create(Arc::new(disk), &folder(), 1 << 20);
        let mut writing = appender(&trail).await;
        let max = trailcast::limits::GAP_TABLES_MAX;
        let whole = missing(1, 2 * max + 1);
        let after = writing.gap(&whole).unwrap();
        writing.close().await.unwrap();
        assert_eq!(after.commit, 3);
        let mut tables = Vec::new();
        for told in read(&trail, Begin::Earliest).await.unwrap() {
            let Told::Gap(Gap { missing: Some(missing), .. }) = told else { panic!("{told:?}") };
            assert!(missing.tables.len() <= max && missing.from == whole.from && missing.to == whole.to);
            tables.extend(missing.tables.iter().cloned());
        }
        assert_eq!(tables, whole.tables);
        assert_eq!(read(&trail, Begin::After(after)).await.unwrap(), []);
    });
}

#[test]
fn a_mark_beside_a_position_outlives_reopening_from_every_segment() {
    in_runtime(async {
        let disk = MemoryDisk::default();
        let mut trail = create(Arc::new(disk.clone()), &folder(), 4 << 10);
        for number in 1..=120 {
            let mut writing = appender(&trail).await;
            let source = SourcePosition(format!("0/{number:X}"));
            let (xid, commit_ts) = (format!("{number}"), Timestamp::from_micros(i64::from(number)));
            let mark = SourceMark { source, xid, commit_ts, hash: number };
            let position = SourcePosition(format!("1/{number:X}"));
            writing.progress_after(&mark, &position).unwrap();
            writing.close().await.unwrap();
            trail = open(Arc::new(disk.clone()), &folder()).unwrap();
            let writing = appender(&trail).await;
            assert_eq!((writing.source_mark(), writing.source_position()), (Some(&mark), Some(&position)));
            writing.close().await.unwrap();
        }
        assert_eq!(read(&trail, Begin::Earliest).await.unwrap(), []);
        let reports = trail.verify().unwrap();
        assert!(reports.len() > 1 && reports.iter().all(|report| report.bad.is_none()), "{reports:?}");
    });
}

#[test]
fn a_position_of_a_gap_that_is_none_is_refused() {
    in_runtime(async {
        let disk = MemoryDisk::default();
        let trail = create(Arc::new(disk), &folder(), 1 << 20);
        let mut writing = appender(&trail).await;
        let gap = writing.gap(&missing(1, 2)).unwrap();
        let transaction = Transaction { number: 2, rows: 1, width: 1 };
        transaction.write(&mut writing, false).await;
        let committed = writing.commit().unwrap();
        let last = writing.gap(&missing(3, 2)).unwrap();
        writing.close().await.unwrap();
        for none in [
            Position { record: u32::MAX, xid_hash: 0, ..committed },
            Position { record: 0, ..gap },
            Position { record: 0, ..last },
            Position { xid_hash: 1, ..gap },
        ] {
            assert!(read(&trail, Begin::After(none)).await.is_err(), "{none:?}");
        }
        assert_eq!(read(&trail, Begin::After(gap)).await.unwrap().len(), 2);
        assert!(writing_inside_is_refused(&trail).await);
    });
}

#[test]
fn a_repair_keeps_every_gap_in_what_was_captured_that_damage_did_not_hit() {
    in_runtime(async {
        let disk = MemoryDisk::default();
        let trail = create(Arc::new(disk.clone()), &folder(), 4 << 10);
        let mut writing = appender(&trail).await;
        let mut written = std::collections::BTreeMap::new();
        for number in 1..=24 {
            if number % 3 == 0 {
                let missing = missing(number, 20);
                let after = writing.gap(&missing).unwrap();
                let gap = Gap { first: after.commit, next: after.commit + 1, missing: Some(Arc::new(missing)) };
                written.insert(after.commit, Told::Gap(gap));
            }
            let transaction = Transaction { number, rows: 1 + number as u32 % 3, width: 150 };
            transaction.write(&mut writing, false).await;
            let after = writing.commit_with_hash(number as u32).unwrap();
            written.insert(after.commit, Told::Transaction(expected(after.commit, &transaction)));
            writing.hand_over().await.unwrap();
            writing.wait_durable(after.commit).await.unwrap();
        }
        writing.close().await.unwrap();
        let whole = disk.copy();
        for (path, bytes) in whole.contents() {
            if path.extension().is_none_or(|end| end != "seg") {
                continue;
            }
            for at in (5..bytes.len()).step_by(211) {
                let damaged = whole.copy();
                damaged.tamper(&path, |bytes| bytes[at] ^= 0x10);
                let what = format!("byte {at} of {}", path.display());
                let disk: Arc<dyn trailcast::trail::local::disk::Disk> = Arc::new(damaged);
                let done = trailcast::trail::maintenance::repair::repair(
                    &folder(),
                    disk.clone(),
                    crate::trail::workload::clock(),
                );
                done.unwrap_or_else(|error| panic!("{what}: {error}"));
                let trail = open(disk, &folder()).unwrap_or_else(|error| panic!("{what}: {error}"));
                assert!(trail.verify().unwrap().iter().all(|report| report.bad.is_none()), "{what}");
                let mut next = 1;
                let mut lost = 0;
                for told in read(&trail, Begin::Earliest).await.unwrap_or_else(|error| panic!("{what}: {error}")) {
                    let (first, following) = match &told {
                        Told::Transaction(seen) => (seen.commit, seen.commit + 1),
                        Told::Gap(gap) => (gap.first, gap.next),
                    };
                    assert_eq!(first, next, "{what}");
                    match &told {
                        Told::Gap(Gap { missing: None, .. }) => lost += following - first,
                        told => assert_eq!(Some(told), written.get(&first), "{what}"),
                    }
                    next = following;
                }
                assert_eq!(next, 1 + written.len() as u64, "{what}");
                // A flipped byte takes what it lies in, and no more than what shares a transaction or a shape with it.
                assert!(lost <= 12, "{what}: {lost} lost");
            }
        }
    });
}

async fn writing_inside_is_refused(trail: &Trail) -> bool {
    let mut writing = appender(trail).await;
    Transaction { number: 9, rows: 0, width: 0 }.write(&mut writing, false).await;
    writing.gap(&missing(9, 1)).is_err()
}
