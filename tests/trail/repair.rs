//! Repair: whatever is damaged, what is provably whole stays, what is missing is marked where it was, nothing wrong is ever
//! served, and an interruption at any point is finished by the next repair.
//!
//! Method: a trail in a memory of small segments, with transactions that span them, is damaged in one way after another; each
//! time the repaired trail is compared with the model of what had been committed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::trail::memory_disk::MemoryDisk;
use crate::trail::workload::{Seen, Transaction, appender, clock, create, expected, folder, open};
use trailcast::codec::image::Cell;
use trailcast::record::{LoadLeft, LoadProgress, Position, SourcePosition, TableName, xid_hash};
use trailcast::trail::maintenance::repair::{self, Repair};
use trailcast::trail::{Begin, Entry, Fill, Gap, OpenError, SeekError, Trail};

/// Transactions of a trail and where the trail lies.
struct Sample {
    disk: MemoryDisk,
    written: Vec<Transaction>,
    epoch: trailcast::record::Epoch,
}

async fn sample(transactions: u64, closed: bool) -> Sample {
    let disk = MemoryDisk::default();
    let trail = create(Arc::new(disk.clone()), &folder(), 4 << 10);
    let mut writing = appender(&trail).await;
    let mut written = Vec::new();
    for number in 1..=transactions {
        // Every ninth spans several segments.
        let rows = if number % 9 == 0 { 30 } else { 1 + number as u32 % 4 };
        let transaction = Transaction { number, rows, width: 20 + number as usize * 37 % 300 };
        transaction.write(&mut writing, number % 2 == 0).await;
        let commit = writing.commit().unwrap().commit;
        writing.hand_over().await.unwrap();
        writing.wait_durable(commit).await.unwrap();
        written.push(transaction);
    }
    if closed {
        writing.close().await.unwrap();
    }
    Sample { disk: disk.copy(), written, epoch: trail.epoch() }
}

fn segment(number: u64) -> PathBuf {
    folder().join(format!("{number:016}.seg"))
}

fn repaired(disk: &MemoryDisk) -> Result<Repair, OpenError> {
    repair::repair(&folder(), Arc::new(disk.clone()), clock())
}

/// Everything that a reader gives, gaps included.
async fn read(trail: &Trail, begin: Begin) -> Result<(Vec<Seen>, Vec<Gap>), SeekError> {
    let mut reader = trail.read(begin).await?;
    let (mut seen, mut gaps): (Vec<Seen>, Vec<Gap>) = (Vec::new(), Vec::new());
    while reader.fill().await? == Fill::Filled {
        while let Some(entry) = reader.next()? {
            match entry {
                Entry::Begin(transaction) => seen.push(Seen {
                    commit: transaction.commit,
                    xid: transaction.head.xid.clone(),
                    column: String::new(),
                    values: Vec::new(),
                }),
                Entry::Record(record) => {
                    let transaction = record.transaction;
                    if seen.last().is_none_or(|last| last.commit != transaction.commit) {
                        let (commit, xid) = (transaction.commit, transaction.head.xid.clone());
                        seen.push(Seen { commit, xid, column: String::new(), values: Vec::new() });
                    }
                    let last = seen.last_mut().unwrap();
                    last.column = record.schema.unwrap().columns[0].name.clone();
                    match record.row().unwrap().after.unwrap().cells().next().unwrap().unwrap() {
                        Cell::Json(text) => last.values.push(text.to_owned()),
                        other => panic!("{other:?}"),
                    }
                }
                Entry::Gap(gap) => gaps.push(gap),
                Entry::Commit(_) => {}
            }
        }
    }
    Ok((seen, gaps))
}

/// Repairs, and holds the outcome against what was written. Returns the commit numbers that are lost.
async fn repair_and_check(sample: &Sample, disk: &MemoryDisk, what: &str) -> BTreeSet<u64> {
    let done = repaired(disk).unwrap_or_else(|error| panic!("{what}: {error}"));
    let lost = check(sample, disk, &done.gaps, what).await;
    assert_ne!(done.new_epoch, Some(sample.epoch), "{what}");
    assert_eq!(done.new_epoch.is_some(), !done.damage.is_empty(), "{what}");
    let again = repaired(disk).unwrap();
    assert!(again.damage.is_empty() && again.new_epoch.is_none(), "{what}: {again:?}");
    lost
}

async fn check(sample: &Sample, disk: &MemoryDisk, gaps: &[Gap], what: &str) -> BTreeSet<u64> {
    let trail = open(Arc::new(disk.clone()), &folder()).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(trail.verify().unwrap().iter().all(|report| report.bad.is_none()), "{what}");
    let (seen, served) = read(&trail, Begin::Earliest).await.unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(served, gaps, "{what}");
    let whole: Vec<Seen> = (1..).zip(&sample.written).map(|(commit, written)| expected(commit, written)).collect();
    let missing: BTreeSet<u64> = gaps.iter().flat_map(|gap| gap.first..gap.next).collect();
    let kept: Vec<_> = whole.into_iter().filter(|seen| !missing.contains(&seen.commit)).collect();
    let counted = gaps.iter().all(|gap| gap.first < gap.next);
    if counted {
        assert_eq!(
            seen.iter().map(|seen| seen.commit).collect::<Vec<_>>(),
            kept.iter().map(|seen| seen.commit).collect::<Vec<_>>(),
            "{what}"
        );
        assert_eq!(seen, kept, "{what}");
    } else {
        assert!(seen.iter().all(|seen| kept.contains(seen)), "{what}");
    }
    // What is kept of the transaction ids is remembered, and appending goes on behind everything.
    let mut writing = appender(&trail).await;
    for seen in &seen {
        assert_eq!(writing.find_xid(&seen.xid).map(|found| found.commit), Some(seen.commit), "{what}");
    }
    let next = Transaction { number: 1_000, rows: 2, width: 10 };
    next.write(&mut writing, false).await;
    let commit = writing.commit().unwrap().commit;
    assert!(seen.last().is_none_or(|last| last.commit < commit), "{what}");
    writing.close().await.unwrap();
    let mut longer = seen;
    longer.push(expected(commit, &next));
    assert_eq!(read(&trail, Begin::Earliest).await.unwrap().0, longer, "{what}");
    missing
}

fn in_runtime<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

fn segments(disk: &MemoryDisk) -> Vec<PathBuf> {
    disk.paths().into_iter().filter(|path| path.extension().is_some_and(|end| end == "seg")).collect()
}

#[test]
fn a_trail_with_any_byte_damaged_is_repaired_and_loses_what_the_byte_belonged_to_and_no_more() {
    in_runtime(async {
        let sample = sample(22, true).await;
        let paths = segments(&sample.disk);
        assert!(paths.len() > 6, "{paths:?}");
        for path in &paths {
            let length = sample.disk.contents()[path].len();
            for at in (0..length).step_by(37).chain([length - 1]) {
                let disk = sample.disk.copy();
                disk.tamper(path, |bytes| bytes[at] ^= 0x10);
                let what = format!("byte {at} of {}", path.display());
                let lost = repair_and_check(&sample, &disk, &what).await;
                // A shape takes with it the rows of its table, up to the next segment's head, which repeats it.
                assert!(lost.len() <= 8, "{what}: {lost:?}");
                let damaged_head = at < 64;
                assert!(!damaged_head || lost.is_empty() || lost.len() < 8, "{what}: {lost:?}");
            }
        }
    });
}

#[test]
fn a_missing_segment_wherever_it_was_leaves_one_gap() {
    in_runtime(async {
        let sample = sample(40, true).await;
        let paths = segments(&sample.disk);
        for (at, path) in paths.iter().enumerate() {
            let disk = sample.disk.copy();
            disk.lose(path);
            let what = format!("{} missing", path.display());
            if at == 0 {
                // Retention takes the first ones in good order.
                assert!(repaired(&disk).unwrap().damage.is_empty(), "{what}");
                continue;
            }
            let refused = open(Arc::new(disk.clone()), &folder()).map(|_| ()).unwrap_err();
            let OpenError::Damaged(damage) = refused else { panic!("{what}: {refused}") };
            assert_eq!((damage.at.segment(), damage.at.offset()), (at as u64 + 1, 0), "{what}");
            assert!(damage.what.contains("missing"), "{damage}");
            repair_and_check(&sample, &disk, &what).await;
        }
    });
}

#[test]
fn a_trail_that_lost_all_its_segments_does_not_open_empty_and_is_repaired_to_a_gap() {
    in_runtime(async {
        for keeps_mark_file in [true, false] {
            let sample = sample(12, true).await;
            let disk = sample.disk.copy();
            for path in disk.paths() {
                let keeps = path.ends_with("trail.json") || (keeps_mark_file && path.ends_with("mark.bin"));
                if !keeps {
                    disk.lose(&path);
                }
            }
            let refused = open(Arc::new(disk.clone()), &folder()).map(|_| ()).unwrap_err();
            assert!(refused.to_string().contains("all its segments are missing"), "{refused}");
            let done = repaired(&disk).unwrap();
            assert_eq!(done.gaps.len(), 1);
            let trail = open(Arc::new(disk.clone()), &folder()).unwrap();
            assert_ne!(trail.epoch(), sample.epoch);
            assert_eq!(read(&trail, Begin::Earliest).await.unwrap(), (vec![], done.gaps));
            if keeps_mark_file {
                assert_eq!(done.next_commit, 13);
            }
            let mut writing = appender(&trail).await;
            Transaction { number: 1, rows: 1, width: 1 }.write(&mut writing, false).await;
            assert_eq!(writing.commit().unwrap().commit, done.next_commit);
            writing.close().await.unwrap();
        }
    });
}

#[test]
fn a_segment_cut_short_or_damaged_at_two_places_is_repaired() {
    in_runtime(async {
        let sample = sample(40, true).await;
        for number in 1..=segments(&sample.disk).len() as u64 - 1 {
            let length = sample.disk.contents()[&segment(number)].len();
            for keep in [0, 10, 64, 200, length / 2, length - 61, length - 60, length - 1] {
                let disk = sample.disk.copy();
                disk.tamper(&segment(number), |bytes| bytes.truncate(keep));
                repair_and_check(&sample, &disk, &format!("segment {number} cut to {keep}")).await;
            }
            let disk = sample.disk.copy();
            disk.tamper(&segment(number), |bytes| {
                bytes[length / 3] ^= 1;
                bytes[2 * length / 3] ^= 1;
            });
            disk.tamper(&segment(number + 1), |bytes| bytes[100] ^= 1);
            repair_and_check(&sample, &disk, &format!("segments {number} and the next damaged")).await;
        }
    });
}

#[test]
fn damage_below_the_mark_of_the_open_segment_keeps_what_follows_it_and_a_torn_end_is_no_damage() {
    in_runtime(async {
        let sample = sample(8, false).await;
        let last = segments(&sample.disk).pop().unwrap();
        let length = sample.disk.contents()[&last].len();
        let disk = sample.disk.copy();
        disk.tamper(&last, |bytes| bytes.extend_from_slice(&[7; 100]));
        assert!(repaired(&disk).unwrap().damage.is_empty());
        assert!(open(Arc::new(disk), &folder()).is_ok());
        let mut damaged = 0;
        for at in 64..length {
            let disk = sample.disk.copy();
            disk.tamper(&last, |bytes| bytes[at] ^= 1);
            let opens = open(Arc::new(disk.copy()), &folder()).is_ok();
            assert_eq!(repaired(&disk.copy()).unwrap().damage.is_empty(), opens, "byte {at}");
            if !opens {
                damaged += 1;
                repair_and_check(&sample, &disk, &format!("byte {at}")).await;
            }
        }
        assert!(damaged > 0);
    });
}

#[test]
fn positions_of_before_a_repair_are_refused_and_a_gaps_position_goes_on_behind_it() {
    in_runtime(async {
        let sample = sample(40, true).await;
        let disk = sample.disk.copy();
        disk.lose(&segment(4));
        let done = repaired(&disk).unwrap();
        let [gap] = &done.gaps[..] else { panic!("{done:?}") };
        let trail = open(Arc::new(disk), &folder()).unwrap();
        let xid = xid_hash(&sample.written[0].xid());
        let old = Position { epoch: sample.epoch, commit: 1, record: 0, xid_hash: xid };
        assert_eq!(trail.read(Begin::After(old)).await.err(), Some(SeekError::OtherEpoch));
        // The same record in the new epoch: all behind it, and the gap.
        let new = Position { epoch: trail.epoch(), ..old };
        let (seen, gaps) = read(&trail, Begin::After(new)).await.unwrap();
        assert_eq!((gaps, seen.last().unwrap().commit), (vec![gap.clone()], 40));
        // The gap's own position: what is behind it, and nothing of it again.
        let behind = gap.position(trail.epoch());
        let (seen, gaps) = read(&trail, Begin::After(behind)).await.unwrap();
        assert_eq!((gaps, seen[0].commit, seen.len() as u64), (vec![], gap.next, 41 - gap.next));
        // Of a position that no gap has nothing is served.
        let none = Position { commit: gap.next, ..behind };
        assert_eq!(trail.read(Begin::After(none)).await.err(), Some(SeekError::OtherTransaction));
        // A time among the missing ones tells of the gap, a later one does not.
        let among = sample.written[gap.first as usize - 1].time();
        assert_eq!(read(&trail, Begin::Time(among)).await.unwrap().1, vec![gap.clone()]);
        let (seen, gaps) = read(&trail, Begin::Time(sample.written[gap.next as usize].time())).await.unwrap();
        assert_eq!((gaps, seen[0].commit), (vec![], gap.next + 1));
    });
}

#[test]
fn a_dry_run_tells_the_same_and_changes_nothing() {
    in_runtime(async {
        let sample = sample(40, true).await;
        let disk = sample.disk.copy();
        disk.tamper(&segment(3), |bytes| bytes[1_000] ^= 1);
        let before = disk.contents();
        let planned = repair::plan(&folder(), Arc::new(disk.clone())).unwrap();
        assert_eq!(disk.contents(), before);
        assert_eq!(planned.new_epoch, None);
        let done = repaired(&disk).unwrap();
        assert_eq!((planned.damage, planned.gaps, planned.segments), (done.damage, done.gaps, done.segments));
        let aside = done.kept_in.unwrap();
        assert_eq!(disk.contents()[&aside.join(segment(3).file_name().unwrap())], before[&segment(3)]);
    });
}

#[test]
fn a_whole_trail_is_left_as_it_is() {
    in_runtime(async {
        let sample = sample(12, true).await;
        let before = sample.disk.contents();
        let done = repaired(&sample.disk).unwrap();
        assert!(done.damage.is_empty() && done.gaps.is_empty() && done.new_epoch.is_none());
        assert_eq!(sample.disk.contents(), before);
    });
}

#[test]
fn a_repair_interrupted_anywhere_is_finished_by_the_next() {
    in_runtime(async {
        let sample = sample(30, true).await;
        let damaged = sample.disk.copy();
        damaged.tamper(&segment(2), |bytes| bytes[500] ^= 1);
        damaged.lose(&segment(4));
        let gaps = repair::plan(&folder(), Arc::new(damaged.copy())).unwrap().gaps;
        let mut interrupted = 0;
        let mut decided = 0;
        for failing in 1.. {
            for survive in [0, 1, 2, 3, 5, usize::MAX] {
                let disk = damaged.copy();
                disk.fail_sync(failing);
                let outcome = repaired(&disk);
                if outcome.is_ok() {
                    assert!(interrupted > 10 && decided > 3, "{interrupted} {decided}");
                    return;
                }
                interrupted += 1;
                let disk = disk.crash(|sides| survive.min(sides - 1));
                let what = format!("sync {failing} failed, {survive} changes survived");
                // In between it says so, or is as it was, or is done; it is never open in part.
                match open(Arc::new(disk.clone()), &folder()) {
                    Err(OpenError::RepairInterrupted { .. }) => decided += 1,
                    Err(OpenError::Damaged(_)) => {}
                    Err(other) => panic!("{what}: {other}"),
                    Ok(trail) => assert_eq!(read(&trail, Begin::Earliest).await.unwrap().1, gaps, "{what}"),
                }
                repaired(&disk).unwrap_or_else(|error| panic!("{what}: {error}"));
                check(&sample, &disk, &gaps, &what).await;
            }
        }
    });
}

#[test]
fn a_new_epoch_refuses_old_positions_and_keeps_everything_else() {
    in_runtime(async {
        let sample = sample(20, true).await;
        let disk = sample.disk.copy();
        for _ in 0..3 {
            let (old, new) = repair::new_epoch(&folder(), Arc::new(disk.clone())).unwrap();
            assert_ne!(old, new);
            let trail = open(Arc::new(disk.clone()), &folder()).unwrap();
            assert_eq!(trail.epoch(), new);
            let xid_hash = xid_hash(&sample.written[2].xid());
            let position = Position { epoch: old, commit: 3, record: 0, xid_hash };
            assert_eq!(trail.read(Begin::After(position)).await.err(), Some(SeekError::OtherEpoch));
            let position = Position { epoch: new, ..position };
            assert_eq!(read(&trail, Begin::After(position)).await.unwrap().0.last().unwrap().commit, 20);
        }
        // Segments of a stranger are still noticed.
        let other = create(Arc::new(MemoryDisk::default()), Path::new("/trails/other"), 4 << 10);
        assert_ne!(other.epoch(), sample.epoch);
        check(&sample, &disk, &[], "a new epoch").await;
    });
}

#[test]
fn a_capture_trails_coordinate_survives_and_is_never_older_than_a_transaction_that_is_kept() {
    in_runtime(async {
        let sample = sample(30, true).await;
        let last = segments(&sample.disk).len() as u64;
        for (lost, coordinate) in [(3, 30), (last, 0)] {
            let disk = sample.disk.copy();
            disk.lose(&segment(lost));
            let done = repaired(&disk).unwrap();
            // How many flush groups there are, and so where the last segment begins, is not the same each time: it may hold
            // no transaction, and then nothing is lost with it.
            let Some(source) = done.source.clone() else {
                assert!(lost == last && done.gaps.is_empty() && done.next_commit == 31, "{done:?}");
                continue;
            };
            let source = source.0;
            let number = u64::from_str_radix(source.trim_start_matches("0/"), 16).unwrap();
            let trail = open(Arc::new(disk.clone()), &folder()).unwrap();
            let (seen, _) = read(&trail, Begin::Earliest).await.unwrap();
            assert_eq!(number, seen.last().unwrap().commit);
            assert!(coordinate == 0 || number == coordinate);
            assert_eq!(appender(&trail).await.source_position().unwrap().0, source);
        }
    });
}

#[test]
fn what_a_lost_transaction_said_of_an_initial_load_is_lost_with_its_rows() {
    in_runtime(async {
        let disk = MemoryDisk::default();
        let trail = create(Arc::new(disk.clone()), &folder(), 4 << 10);
        let mut writing = appender(&trail).await;
        let progress = |rows| LoadProgress {
            table: TableName::parse("shop.orders").unwrap(),
            left: LoadLeft::Behind(format!("[{rows}]")),
            rows,
            at: SourcePosition("0/1".into()),
        };
        // The last one spans several segments, and no head behind it repeats what it says.
        for number in 1..=3 {
            let rows = if number == 3 { 30 } else { 2 };
            Transaction { number, rows, width: 400 }.write(&mut writing, false).await;
            writing.note_load(Some(&progress(number))).unwrap();
            let commit = writing.commit().unwrap().commit;
            writing.hand_over().await.unwrap();
            writing.wait_durable(commit).await.unwrap();
        }
        drop(writing);
        let mut lost = 0;
        for path in segments(&disk) {
            for at in (0..disk.contents()[&path].len()).step_by(97) {
                let damaged = disk.copy();
                damaged.tamper(&path, |bytes| bytes[at] ^= 0x10);
                let done = repaired(&damaged).unwrap();
                let trail = open(Arc::new(damaged.clone()), &folder()).unwrap();
                let told = appender(&trail).await.loads().to_vec();
                let has_last = done.next_commit == 4 && !done.gaps.iter().any(|gap| (gap.first..gap.next).contains(&3));
                assert!(has_last || !told.contains(&progress(3)), "byte {at} of {}: {told:?} {done:?}", path.display());
                lost += u32::from(!has_last);
            }
        }
        assert!(lost > 100, "{lost}");
    });
}
