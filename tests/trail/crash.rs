//! Any sequence of appends, aborts, segment changes, reopenings and power cuts reads back as a prefix of what was
//! committed, and never as less than what was acknowledged.
//!
//! Method: a random script runs against a disk that forgets what was not synced, and against a log of messages that stores and
//! answers late; after every crash the trail is opened from what survived, compared with the model, and the script goes on
//! there. The controls are a disk that lies about syncs and a log that lies in its answers: the same check must then see a loss.

use std::sync::Arc;

use proptest::prelude::*;

use crate::trail::memory_disk::MemoryDisk;
#[cfg(feature = "fault-injection")]
use crate::trail::message_log::MemoryLog;
use crate::trail::stores::TestStore;
use crate::trail::workload::{Transaction, appender, create, expected, folder, open, read_all};
use trailcast::trail::{Begin, OpenError, Trail};

#[derive(Debug, Clone)]
enum Step {
    /// Commit a transaction; wait for it or not.
    Commit { rows: u32, width: usize, piecemeal: bool, wait: bool },
    /// Begin one and take it back.
    Abort { rows: u32, width: usize, piecemeal: bool },
    /// Close and open in good order.
    Reopen,
    /// Power cut.
    Crash(Vec<u32>),
}

fn any_step() -> impl Strategy<Value = Step> {
    let size = (0_u32..6, prop_oneof![4 => 0_usize..80, 1 => 500_usize..3_000]);
    prop_oneof![
        8 => (size.clone(), any::<bool>(), any::<bool>())
            .prop_map(|((rows, width), piecemeal, wait)| Step::Commit { rows, width, piecemeal, wait }),
        2 => (size, any::<bool>()).prop_map(|((rows, width), piecemeal)| Step::Abort { rows, width, piecemeal }),
        1 => Just(Step::Reopen),
        1 => proptest::collection::vec(any::<u32>(), 16).prop_map(Step::Crash),
    ]
}

fn dice(rolls: Vec<u32>) -> impl FnMut(usize) -> usize {
    let mut at = 0;
    move |sides| {
        at += 1;
        rolls[at % rolls.len()] as usize % sides
    }
}

/// Runs a script. `Err` says what was lost or wrong.
async fn run<S: TestStore>(steps: &[Step], lying: bool) -> Result<(), String> {
    let mut store = S::default();
    if lying {
        store.lie();
    }
    let mut trail = store.create(4 << 10);
    let mut committed: Vec<Transaction> = Vec::new();
    let mut acknowledged = 0;
    let mut number = 0;
    let mut writing = appender(&trail).await;
    for step in steps {
        number += 1;
        match step {
            Step::Commit { rows, width, piecemeal, wait } => {
                let transaction = Transaction { number, rows: *rows, width: *width };
                transaction.write(&mut writing, *piecemeal).await;
                let commit = writing.commit().unwrap().commit;
                writing.hand_over().await.unwrap();
                committed.push(transaction);
                if *wait {
                    writing.wait_durable(commit).await.unwrap();
                    acknowledged = committed.len();
                }
            }
            Step::Abort { rows, width, piecemeal } => {
                Transaction { number, rows: *rows, width: *width }.write(&mut writing, *piecemeal).await;
                writing.abort().await.unwrap();
            }
            Step::Reopen => {
                writing.close().await.unwrap();
                acknowledged = committed.len();
                trail = store.open().map_err(|error| error.to_string())?;
                check(&trail, &committed, acknowledged).await?;
                writing = appender(&trail).await;
            }
            Step::Crash(rolls) => {
                let after = store.crash(&mut dice(rolls.clone()));
                drop(writing);
                store = after;
                if lying {
                    store.lie();
                }
                trail = store.open().map_err(|error| error.to_string())?;
                let survived = check(&trail, &committed, acknowledged).await?;
                committed.truncate(survived);
                acknowledged = survived;
                writing = appender(&trail).await;
            }
        }
    }
    Ok(())
}

async fn check(trail: &Trail, committed: &[Transaction], acknowledged: usize) -> Result<usize, String> {
    let durable = trail.durable().borrow().commit as usize;
    if durable < acknowledged {
        return Err(format!("{acknowledged} acknowledged, {durable} left"));
    }
    let seen = read_all(trail, Begin::Earliest).await.map_err(|error| error.to_string())?;
    let whole: Vec<_> =
        (1..).zip(committed).take(durable).map(|(commit, transaction)| expected(commit, transaction)).collect();
    let with_rows: Vec<_> = whole.into_iter().filter(|transaction| !transaction.values.is_empty()).collect();
    if seen != with_rows {
        return Err(format!("read {seen:?} where {with_rows:?} was committed"));
    }
    Ok(durable)
}

fn in_runtime<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn what_was_acknowledged_survives_and_the_rest_is_a_prefix(steps in proptest::collection::vec(any_step(), 1..40)) {
        prop_assert_eq!(in_runtime(run::<MemoryDisk>(&steps, false)), Ok(()));
    }
}

#[cfg(feature = "fault-injection")]
proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn what_was_acknowledged_survives_in_messages_too(steps in proptest::collection::vec(any_step(), 1..40)) {
        prop_assert_eq!(in_runtime(run::<MemoryLog>(&steps, false)), Ok(()));
    }
}

#[test]
fn control_a_disk_or_a_log_that_lies_is_seen_to_lose() {
    let commit = Step::Commit { rows: 3, width: 50, piecemeal: false, wait: true };
    let steps = vec![commit.clone(), commit, Step::Crash(vec![0; 16])];
    assert!(in_runtime(run::<MemoryDisk>(&steps, true)).is_err());
    #[cfg(feature = "fault-injection")]
    assert!(in_runtime(run::<MemoryLog>(&steps, true)).is_err());
}

#[test]
fn after_a_failed_flush_nothing_is_acknowledged_and_nothing_unflushed_is_served() {
    in_runtime(async {
        for failing in 1..6 {
            let disk = MemoryDisk::default();
            let trail = create(Arc::new(disk.clone()), &folder(), 4 << 10);
            let mut writing = appender(&trail).await;
            disk.fail_sync(failing);
            let mut acknowledged = Vec::new();
            for number in 1..=8 {
                let transaction = Transaction { number, rows: 2, width: 400 };
                transaction.write(&mut writing, false).await;
                let commit = writing.commit().unwrap().commit;
                if writing.hand_over().await.is_err() || writing.wait_durable(commit).await.is_err() {
                    break;
                }
                acknowledged.push(expected(commit, &transaction));
            }
            assert!(acknowledged.len() < 8, "the flush never failed");
            assert_eq!(read_all(&trail, Begin::Earliest).await.unwrap(), acknowledged);
            drop(writing);
            // While the disk still fails, the trail does not take appends again.
            assert!(matches!(trail.appender(), Err(OpenError::Io { .. })));
            disk.heal();
            let mut writing = appender(&trail).await;
            let next = Transaction { number: 100, rows: 1, width: 1 };
            next.write(&mut writing, false).await;
            let commit = writing.commit().unwrap().commit;
            writing.hand_over().await.unwrap();
            writing.wait_durable(commit).await.unwrap();
            acknowledged.push(expected(commit, &next));
            assert_eq!(read_all(&trail, Begin::Earliest).await.unwrap(), acknowledged);
            let survived = open(Arc::new(disk.crash(|_| 0)), &folder()).unwrap();
            assert_eq!(read_all(&survived, Begin::Earliest).await.unwrap(), acknowledged);
        }
    });
}

async fn what_comes_in_the_place_of_a_failure<S: TestStore>() {
    let store = S::default();
    let trail = store.create(1 << 20);
    let mut writing = appender(&trail).await;
    store.fail(1, false);
    Transaction { number: 1, rows: 1, width: 1 }.write(&mut writing, false).await;
    let lost = writing.commit().unwrap().commit;
    writing.hand_over().await.unwrap();
    let durability = writing.durability();
    while !writing.has_stopped() {
        std::thread::yield_now();
    }
    drop(writing);
    store.heal();
    let mut writing = appender(&trail).await;
    Transaction { number: 2, rows: 1, width: 1 }.write(&mut writing, false).await;
    assert_eq!(writing.commit().unwrap().commit, lost);
    writing.hand_over().await.unwrap();
    writing.wait_durable(lost).await.unwrap();
    assert!(durability.wait(lost).await.is_err(), "acknowledged, and lost");
}

#[test]
fn what_a_failed_flush_took_is_not_made_durable_by_what_comes_in_its_place() {
    in_runtime(what_comes_in_the_place_of_a_failure::<MemoryDisk>());
    #[cfg(feature = "fault-injection")]
    in_runtime(what_comes_in_the_place_of_a_failure::<MemoryLog>());
}

#[test]
fn after_a_failed_flush_of_any_kind_the_trail_opens_from_whatever_a_crash_leaves() {
    in_runtime(async {
        for failing in 1..24 {
            for (again, survive) in (1..7).flat_map(|again| [(again, 0), (again, 1), (again, usize::MAX)]) {
                let disk = MemoryDisk::default();
                let trail = create(Arc::new(disk.clone()), &folder(), 4 << 10);
                let mut writing = appender(&trail).await;
                disk.fail_sync(failing);
                let mut acknowledged = 0;
                for number in 1..=12 {
                    Transaction { number, rows: 3, width: 700 }.write(&mut writing, false).await;
                    let commit = writing.commit().unwrap().commit;
                    if writing.hand_over().await.is_err() || writing.wait_durable(commit).await.is_err() {
                        break;
                    }
                    acknowledged = commit;
                }
                drop(writing);
                // The disk works again for a while: cutting back gets this far and no further.
                disk.heal();
                disk.fail_sync(again);
                let _ = trail.appender();
                let what = format!("sync {failing} failed, then sync {again}, then {survive} changes survived");
                let survived = disk.crash(|sides| survive.min(sides - 1));
                let opened = open(Arc::new(survived), &folder()).unwrap_or_else(|error| panic!("{what}: {error}"));
                assert!(opened.durable().borrow().commit >= acknowledged, "{what}");
            }
        }
    });
}

#[test]
fn a_segment_that_retention_could_not_remove_leaves_no_hole() {
    in_runtime(async {
        let disk = MemoryDisk::default();
        let trail = create(Arc::new(disk.clone()), &folder(), 4 << 10);
        let mut writing = appender(&trail).await;
        for number in 1..=12 {
            Transaction { number, rows: 3, width: 700 }.write(&mut writing, false).await;
            writing.commit().unwrap();
        }
        writing.close().await.unwrap();
        let half = trailcast::trail::Retention { age_seconds: None, bytes: Some(trail.bytes() / 2), floor: None };
        disk.refuse_removals(true);
        assert!(trail.retain(&half).is_err());
        disk.refuse_removals(false);
        assert!(trail.retain(&half).unwrap().segments > 1);
        open(Arc::new(disk.crash(|_| 0)), &folder()).unwrap();
    });
}

#[test]
fn an_abort_that_was_given_up_can_be_done_again() {
    in_runtime(async {
        let disk = MemoryDisk::default();
        let trail = create(Arc::new(disk.clone()), &folder(), 1 << 20);
        let mut writing = appender(&trail).await;
        {
            let _standing_still = disk.stall();
            let head = Transaction { number: 1, rows: 0, width: 0 };
            head.write(&mut writing, false).await;
            let table = trailcast::record::TableName::parse("t").unwrap();
            let soon = std::time::Duration::from_millis(50);
            loop {
                writing.ddl(&table, "alter").unwrap();
                if tokio::time::timeout(soon, writing.hand_over()).await.is_err() {
                    break;
                }
            }
            assert!(tokio::time::timeout(soon, writing.abort()).await.is_err(), "the queue should be full");
        }
        writing.abort().await.unwrap();
        let next = Transaction { number: 2, rows: 1, width: 1 };
        next.write(&mut writing, false).await;
        writing.commit().unwrap();
        writing.close().await.unwrap();
        assert_eq!(read_all(&trail, Begin::Earliest).await.unwrap(), vec![expected(1, &next)]);
    });
}

#[test]
fn a_torn_end_is_cut_and_damage_below_the_mark_stops_the_trail() {
    in_runtime(async {
        let disk = MemoryDisk::default();
        let trail = create(Arc::new(disk.clone()), &folder(), 1 << 20);
        let mut writing = appender(&trail).await;
        let mut ends = Vec::new();
        for number in 1..=6 {
            Transaction { number, rows: 2, width: 20 }.write(&mut writing, false).await;
            let commit = writing.commit().unwrap().commit;
            writing.hand_over().await.unwrap();
            writing.wait_durable(commit).await.unwrap();
            ends.push(trail.durable().borrow().end.offset() as usize);
        }
        let whole = read_all(&trail, Begin::Earliest).await.unwrap();
        let segment = disk.paths().into_iter().find(|path| path.extension().is_some_and(|end| end == "seg")).unwrap();
        // Cut at every byte of the last three flush groups: whatever opens is a prefix of whole transactions.
        for length in ends[2]..=ends[5] {
            let cut = disk.crash(|_| 0);
            cut.tamper(&segment, |bytes| bytes.truncate(length));
            let opened = open(Arc::new(cut), &folder()).unwrap();
            let seen = read_all(&opened, Begin::Earliest).await.unwrap();
            let survived = ends.iter().filter(|end| **end <= length).count();
            assert_eq!(seen, whole[..survived], "cut at {length}");
        }
        // Flip every bit of the trail: a wrong record is never served; below the last mark the trail does not open.
        let last_mark_below = ends[4];
        for bit in 0..ends[5] * 8 {
            let damaged = disk.crash(|_| 0);
            damaged.tamper(&segment, |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
            match open(Arc::new(damaged), &folder()) {
                Ok(opened) => {
                    let seen = read_all(&opened, Begin::Earliest).await.unwrap();
                    assert!(bit / 8 >= last_mark_below, "damage at byte {} was not noticed", bit / 8);
                    assert_eq!(seen, whole[..seen.len()]);
                    assert!(seen.len() >= 5);
                }
                Err(OpenError::Damaged(damage)) => assert!(damage.at.offset() <= bit as u64 / 8),
                Err(other) => panic!("{other}"),
            }
        }
    });
}
