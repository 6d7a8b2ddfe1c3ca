//! What somebody has still to read is kept, up to a cap, whatever the other limits say; and not a segment more.
//!
//! Method: a trail of many segments, a floor at each of its positions, limits that would take everything. What is left begins
//! where the floor needs it, and a reader goes on from there without a record missing.

use crate::trail::memory_disk::MemoryDisk;
#[cfg(feature = "fault-injection")]
use crate::trail::message_log::MemoryLog;
use crate::trail::stores::TestStore;
use crate::trail::workload::{Seen, Transaction, appender, drain, expected};
use trailcast::record::{Epoch, Position};
use trailcast::trail::{Begin, Floor, Retention, SeekError, Trail};

const TRANSACTIONS: u64 = 60;

async fn filled<S: TestStore>() -> (S, Trail, Vec<(Position, Seen)>) {
    let store = S::default();
    let trail = store.create(4 << 10);
    let mut writing = appender(&trail).await;
    let mut written = Vec::new();
    for number in 1..=TRANSACTIONS {
        // Some larger than a segment.
        let transaction =
            Transaction { number, rows: 1 + number as u32 % 3, width: if number % 9 == 0 { 2_500 } else { 200 } };
        transaction.write(&mut writing, number % 2 == 0).await;
        let position = writing.commit().unwrap();
        written.push((position, expected(position.commit, &transaction)));
        writing.hand_over().await.unwrap();
    }
    writing.close().await.unwrap();
    (store, trail, written)
}

/// As little as may be kept, but for a floor.
fn nothing_but(position: Position, bytes_max: u64) -> Retention {
    Retention { age_seconds: None, bytes: Some(0), floor: Some(Floor { position, bytes_max }) }
}

async fn is_kept<S: TestStore>() {
    let (store, trail, written) = filled::<S>().await;
    assert!(trail.status().segments > 10);
    for (at, (position, seen)) in written.iter().enumerate() {
        for from in [*position, Position::behind(trail.epoch(), position.commit)] {
            trail.retain(&nothing_but(from, u64::MAX)).unwrap();
            let mut reader = trail.read(Begin::After(from)).await.unwrap_or_else(|error| panic!("{seen:?}: {error}"));
            let behind: Vec<Seen> = written[at + 1..].iter().map(|(_, seen)| seen.clone()).collect();
            assert_eq!(drain(&mut reader).await.unwrap(), behind);
            // Not a segment more than it takes: with the next one taken, the place would be gone.
            let first_needed = from.commit + u64::from(from.is_behind());
            let before = trail.status();
            assert!(before.first_commit <= first_needed);
            let reopened = store.open().unwrap().status();
            assert_eq!((reopened.first_commit, reopened.last_commit), (before.first_commit, TRANSACTIONS));
        }
    }
    assert!(trail.status().segments <= 3, "{:?}", trail.status());
}

#[tokio::test]
async fn what_somebody_still_needs_is_kept_to_the_segment() {
    is_kept::<MemoryDisk>().await;
    #[cfg(feature = "fault-injection")]
    is_kept::<MemoryLog>().await;
}

#[tokio::test]
async fn a_floor_keeps_no_more_than_its_cap() {
    let (_, trail, written) = filled::<MemoryDisk>().await;
    let (first, bytes) = (written[0].0, trail.bytes());
    trail.retain(&nothing_but(first, bytes)).unwrap();
    assert_eq!(trail.status().first_commit, 1);
    trail.retain(&nothing_but(first, bytes / 3)).unwrap();
    let left = trail.status();
    assert!(left.first_commit > 1 && left.segments > 2, "{left:?}");
    let gone = trail.read(Begin::After(first)).await.err();
    assert_eq!(gone, Some(SeekError::Purged { starts_at: left.first_commit }));
    // The disk's share goes before any floor.
    trail.remove_oldest().unwrap();
    assert!(trail.status().first_commit >= left.first_commit && trail.status().segments < left.segments);
    let other = Position { epoch: Epoch(first.epoch.0 ^ 1), commit: left.first_commit, ..first };
    trail.retain(&nothing_but(other, u64::MAX)).unwrap();
    assert!(trail.status().segments <= 2, "a position of another epoch holds nothing: {:?}", trail.status());
}
