//! Where readers start and what they get: every position, every time, on a real disk with small segments.

use std::sync::Arc;

use crate::trail::workload::{Transaction, appender, create, drain, expected, open, read_all};
use trailcast::record::{Position, TableName, Timestamp, xid_hash};
use trailcast::trail::local::disk::SystemDisk;
use trailcast::trail::{Begin, SeekError, Trail};

async fn filled(folder: &std::path::Path, transactions: u64) -> (Trail, Vec<Transaction>) {
    let trail = create(Arc::new(SystemDisk), folder, 8 << 10);
    let mut writing = appender(&trail).await;
    let mut written = Vec::new();
    for number in 1..=transactions {
        let transaction = Transaction { number, rows: 1 + number as u32 % 5, width: number as usize * 37 % 900 };
        transaction.write(&mut writing, number % 4 == 0).await;
        writing.commit().unwrap();
        written.push(transaction);
    }
    writing.close().await.unwrap();
    (trail, written)
}

#[tokio::test]
async fn a_reader_starts_exactly_after_any_position() {
    let home = tempfile::tempdir().unwrap();
    let (trail, written) = filled(&home.path().join("t1"), 120).await;
    let reopened = open(Arc::new(SystemDisk), &home.path().join("t1")).unwrap();
    assert!(trail.status().segments > 10, "the trail should span many segments");
    for trail in [&trail, &reopened] {
        for (at, transaction) in written.iter().enumerate() {
            let commit = at as u64 + 1;
            for record in 0..transaction.rows {
                let after = Position { epoch: trail.epoch(), commit, record, xid_hash: xid_hash(&transaction.xid()) };
                let mut reader = trail.read(Begin::After(after)).await.unwrap();
                let seen = drain(&mut reader).await.unwrap();
                let mut rest = expected(commit, transaction);
                rest.values.drain(..=record as usize);
                let mut whole: Vec<_> = (commit + 1..).zip(&written[at + 1..]).map(|(c, t)| expected(c, t)).collect();
                if !rest.values.is_empty() {
                    whole.insert(0, rest);
                }
                assert_eq!(seen, whole, "after {commit}/{record}");
            }
        }
    }
}

#[tokio::test]
async fn a_reader_starts_behind_any_transaction_and_before_the_first() {
    let home = tempfile::tempdir().unwrap();
    let (trail, written) = filled(&home.path().join("t1"), 60).await;
    let reopened = open(Arc::new(SystemDisk), &home.path().join("t1")).unwrap();
    let whole =
        |from: usize| (from as u64 + 1..).zip(&written[from..]).map(|(c, t)| expected(c, t)).collect::<Vec<_>>();
    for trail in [&trail, &reopened] {
        for commit in 0..=written.len() {
            let behind = Position::behind(trail.epoch(), commit as u64);
            assert_eq!(read_all(trail, Begin::After(behind)).await.unwrap(), whole(commit), "behind {commit}");
        }
        let beyond = trail.read(Begin::After(Position::behind(trail.epoch(), 61))).await;
        assert_eq!(beyond.err(), Some(SeekError::Beyond { ends_at: 60 }));
    }
    // What is gone does not matter to whoever stands behind it.
    trail
        .retain(&trailcast::trail::Retention { age_seconds: None, bytes: Some(trail.status().bytes / 2), floor: None })
        .unwrap();
    let first = trail.status().first_commit;
    assert!(first > 2);
    let kept = read_all(&trail, Begin::After(Position::behind(trail.epoch(), first - 1))).await.unwrap();
    assert_eq!(kept, whole(first as usize - 1));
    let gone = trail.read(Begin::After(Position::behind(trail.epoch(), first - 2))).await;
    assert_eq!(gone.err(), Some(SeekError::Purged { starts_at: first }));
}

#[tokio::test]
async fn the_position_of_now_is_behind_what_is_there_and_before_what_comes() {
    let home = tempfile::tempdir().unwrap();
    for before in [0, 9] {
        let folder = home.path().join(format!("t{before}"));
        let (trail, _) = filled(&folder, before).await;
        let (mut reader, position) = trail.read_now().await.unwrap();
        assert_eq!(drain(&mut reader).await.unwrap(), vec![]);
        let next = Transaction { number: before + 1, rows: 3, width: 10 };
        let mut writing = appender(&trail).await;
        next.write(&mut writing, false).await;
        writing.commit().unwrap();
        writing.close().await.unwrap();
        assert_eq!(drain(&mut reader).await.unwrap(), vec![expected(before + 1, &next)]);
        drop((reader, trail));
        let reopened = open(Arc::new(SystemDisk), &folder).unwrap();
        assert_eq!(read_all(&reopened, Begin::After(position)).await.unwrap(), vec![expected(before + 1, &next)]);
    }
}

#[tokio::test]
async fn a_reader_starts_at_the_first_transaction_of_a_time() {
    let home = tempfile::tempdir().unwrap();
    let (trail, written) = filled(&home.path().join("t1"), 100).await;
    for micros in (0..101_000_000).step_by(777_777) {
        let time = Timestamp::from_micros(micros);
        let seen = read_all(&trail, Begin::Time(time)).await.unwrap();
        let first = written.iter().position(|transaction| transaction.time() >= time).unwrap_or(written.len());
        let whole: Vec<_> = (first as u64 + 1..).zip(&written[first..]).map(|(c, t)| expected(c, t)).collect();
        assert_eq!(seen, whole, "from {time}");
    }
}

#[tokio::test]
async fn positions_that_cannot_be_served_are_refused_with_the_reason() {
    let home = tempfile::tempdir().unwrap();
    let (trail, written) = filled(&home.path().join("t1"), 10).await;
    let good = Position { epoch: trail.epoch(), commit: 3, record: 0, xid_hash: xid_hash(&written[2].xid()) };
    let refused = async |position| trail.read(Begin::After(position)).await.err();
    assert_eq!(refused(good).await, None);
    assert_eq!(refused(Position { commit: 11, ..good }).await, Some(SeekError::Beyond { ends_at: 10 }));
    assert_eq!(refused(Position { commit: 0, ..good }).await, Some(SeekError::Purged { starts_at: 1 }));
    assert_eq!(refused(Position { commit: 4, ..good }).await, Some(SeekError::OtherTransaction));
    let epoch = trailcast::record::Epoch(good.epoch.0 ^ 1);
    assert_eq!(refused(Position { epoch, ..good }).await, Some(SeekError::OtherEpoch));
}

#[tokio::test]
async fn a_reader_at_the_end_gets_what_comes_and_never_half_a_transaction() {
    let home = tempfile::tempdir().unwrap();
    let (trail, _) = filled(&home.path().join("t1"), 5).await;
    let mut reader = trail.read(Begin::Now).await.unwrap();
    assert_eq!(drain(&mut reader).await.unwrap(), vec![]);
    let mut writing = appender(&trail).await;
    let next = Transaction { number: 6, rows: 40, width: 1_000 };
    next.write(&mut writing, true).await;
    // Handed over, larger than a segment, and not committed: nobody sees it.
    assert_eq!(drain(&mut reader).await.unwrap(), vec![]);
    writing.commit().unwrap();
    writing.hand_over().await.unwrap();
    reader.wait().await;
    assert_eq!(drain(&mut reader).await.unwrap(), vec![expected(6, &next)]);
}

#[tokio::test]
async fn a_transaction_id_is_remembered_across_reopening() {
    let home = tempfile::tempdir().unwrap();
    let (_, written) = filled(&home.path().join("t1"), 60).await;
    let trail = open(Arc::new(SystemDisk), &home.path().join("t1")).unwrap();
    let writing = appender(&trail).await;
    for (commit, transaction) in (1..).zip(&written) {
        let found = writing.find_xid(&transaction.xid()).unwrap();
        assert_eq!((found.commit, found.record), (commit, transaction.rows - 1));
    }
    assert_eq!(writing.find_xid("x61"), None);
}

/// They would push out those that somebody may ask for again.
#[tokio::test]
async fn a_transaction_that_came_without_an_id_takes_no_place_among_those_remembered() {
    let home = tempfile::tempdir().unwrap();
    let (trail, written) = filled(&home.path().join("t1"), 3).await;
    let mut writing = appender(&trail).await;
    writing.begin_unnamed(written[0].time()).unwrap();
    writing.ddl(&TableName::parse("shop.t0").unwrap(), "alter").unwrap();
    let made = writing.commit().unwrap();
    let own = format!("put-{:016x}-{}", made.epoch.0, made.commit);
    assert_eq!((made.commit, made.xid_hash), (4, xid_hash(&own)));
    assert_eq!(writing.find_xid(&own), None);
    writing.close().await.unwrap();
    drop(trail);
    let trail = open(Arc::new(SystemDisk), &home.path().join("t1")).unwrap();
    let writing = appender(&trail).await;
    assert_eq!(writing.find_xid(&own), None);
    assert_eq!(writing.find_xid(&written[2].xid()).map(|found| found.commit), Some(3));
}

#[tokio::test]
async fn retention_drops_whole_segments_oldest_first_and_never_the_last() {
    use trailcast::trail::Retention;
    let home = tempfile::tempdir().unwrap();
    let (trail, written) = filled(&home.path().join("t1"), 120).await;
    let before = trail.status();
    let mut slow = trail.read(Begin::Earliest).await.unwrap();
    assert_eq!(slow.fill().await.unwrap(), trailcast::trail::Fill::Filled);
    assert_eq!(
        trail.retain(&Retention { age_seconds: Some(60), bytes: Some(before.bytes), floor: None }).unwrap().segments,
        0
    );
    let trimmed = trail.retain(&Retention { age_seconds: None, bytes: Some(before.bytes / 2), floor: None }).unwrap();
    assert!(trimmed.segments > 0);
    let after = trail.status();
    assert_eq!(after.bytes, before.bytes - trimmed.bytes);
    // Heads do not count.
    assert!(after.bytes <= before.bytes * 2 / 3 && after.first_commit > 1);
    // What is kept is whole, also after reopening; what is gone is refused with where the trail starts.
    let reopened = open(Arc::new(SystemDisk), &home.path().join("t1")).unwrap();
    for trail in [&trail, &reopened] {
        let seen = read_all(trail, Begin::Earliest).await.unwrap();
        let first = after.first_commit;
        let whole: Vec<_> = (first..).zip(&written[first as usize - 1..]).map(|(c, t)| expected(c, t)).collect();
        assert_eq!(seen, whole);
        let gone = Position { epoch: trail.epoch(), commit: 2, record: 0, xid_hash: xid_hash(&written[1].xid()) };
        let refused = trail.read(Begin::After(gone)).await.err();
        assert_eq!(refused, Some(SeekError::Purged { starts_at: first }));
    }
    // A reader that was inside a removed segment reads it to its end, and then hears that it was overtaken.
    let overtaken = drain(&mut slow).await.unwrap_err();
    assert_eq!(overtaken, SeekError::Read(trailcast::trail::ReadError::Overtaken));
    // The last segment stays, whatever the limits say.
    trail.retain(&Retention { age_seconds: Some(0), bytes: Some(0), floor: None }).unwrap();
    assert_eq!(trail.status().segments, 1);
}
