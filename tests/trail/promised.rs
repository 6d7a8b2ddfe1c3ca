//! What `mark.bin` proves to have been durable is never cut: where it is gone the trail stops and names the place, and a
//! repair leaves a gap. Where `mark.bin` itself is older, torn, lost or of another life, it proves nothing.
//!
//! The control is the same damage without the file: what the last flush group held is then taken for a torn end.

use std::path::PathBuf;
use std::sync::Arc;

use crate::trail::memory_disk::MemoryDisk;
use crate::trail::workload::{Seen, Transaction, appender, clock, create, expected, folder, open, read_all};
use trailcast::trail::maintenance::repair;
use trailcast::trail::{Begin, OpenError, Trail};

/// A trail of three acknowledged puts whose writer was killed.
struct Killed {
    disk: MemoryDisk,
    written: Vec<Seen>,
    /// Where the transactions end, from before the first.
    ends: Vec<usize>,
}

fn segment() -> PathBuf {
    folder().join("0000000000000001.seg")
}

fn mark() -> PathBuf {
    folder().join("mark.bin")
}

async fn killed() -> Killed {
    let disk = MemoryDisk::default();
    let trail = create(Arc::new(disk.clone()), &folder(), 1 << 20);
    let mut writing = appender(&trail).await;
    let (mut written, mut ends) = (Vec::new(), vec![trail.durable_end().offset() as usize]);
    for number in 1..=3 {
        let transaction = Transaction { number, rows: 2, width: 20 };
        transaction.write(&mut writing, false).await;
        let commit = writing.commit().unwrap().commit;
        writing.hand_over().await.unwrap();
        writing.wait_durable(commit).await.unwrap();
        written.push(expected(commit, &transaction));
        ends.push(trail.durable_end().offset() as usize);
    }
    Killed { disk: disk.copy(), written, ends }
}

/// Every way to lose something of the third transaction: what was done, and the bytes then.
fn losses(killed: &Killed) -> Vec<(String, Vec<u8>)> {
    let whole = &killed.disk.contents()[&segment()];
    let (from, to) = (killed.ends[2], killed.ends[3]);
    let mut losses = Vec::new();
    for at in from..to {
        let mut flipped = whole.clone();
        flipped[at] ^= 1;
        losses.push((format!("byte {at} flipped"), flipped));
        if (at - from) % 13 != 0 && at - from > 70 && to - at > 70 {
            continue;
        }
        losses.push((format!("cut to {at}"), whole[..at].to_vec()));
        let mut zeros = whole.clone();
        zeros[at..to].fill(0);
        losses.push((format!("zeros from {at}"), zeros));
    }
    // A zero that is one already.
    losses.retain(|(_, bytes)| bytes != whole);
    losses
}

#[tokio::test]
async fn an_acknowledged_put_is_not_cut_off_as_torn_whatever_became_of_its_bytes() {
    let killed = killed().await;
    for (what, bytes) in losses(&killed) {
        let disk = killed.disk.copy();
        disk.tamper(&segment(), |held| *held = bytes);
        let refused = open(Arc::new(disk.clone()), &folder()).map(|_| ()).expect_err(&what);
        let OpenError::Damaged(damage) = refused else { panic!("{what}: {refused}") };
        let at = damage.at.offset() as usize;
        assert!(at >= killed.ends[2] && at < killed.ends[3], "{what}: {damage}");
        let look = Trail::open_read_only(&folder(), Arc::new(disk.clone()), clock()).unwrap();
        assert!(look.verify().unwrap()[0].bad.is_some(), "{what}");
        let gaps = repair::repair(&folder(), Arc::new(disk.clone()), clock()).unwrap().gaps;
        // The group's own mark may be all that is damaged.
        let kept = if gaps.is_empty() { 3 } else { 2 };
        assert!(gaps.is_empty() || gaps.iter().map(|gap| (gap.first, gap.next)).eq([(3, 4)]), "{what}: {gaps:?}");
        assert!(!gaps.is_empty() || (what.contains("flipped") && at == killed.ends[2]), "{what}");
        let repaired = open(Arc::new(disk.clone()), &folder()).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(repaired.verify().unwrap().iter().all(|report| report.bad.is_none()), "{what}");
        assert_eq!(read_all(&repaired, Begin::Earliest).await.unwrap(), killed.written[..kept], "{what}");
        assert_eq!(repaired.durable().borrow().commit, 3, "{what}");
    }
}

#[tokio::test]
async fn a_mark_file_that_is_lost_torn_older_or_of_another_life_proves_nothing() {
    let killed = killed().await;
    let older = {
        let disk = MemoryDisk::default();
        let trail = create(Arc::new(disk.clone()), &folder(), 1 << 20);
        drop(trail);
        disk.contents()[&mark()].clone()
    };
    for (what, bytes) in losses(&killed) {
        let disk = killed.disk.copy();
        disk.tamper(&segment(), |held| *held = bytes);
        for became in ["lost", "torn", "short", "of another trail"] {
            let disk = disk.copy();
            match became {
                "lost" => disk.lose(&mark()),
                "torn" => disk.tamper(&mark(), |held| held[30] ^= 1),
                "short" => disk.tamper(&mark(), |held| held.truncate(20)),
                _ => disk.tamper(&mark(), |held| *held = older.clone()),
            }
            let trail = open(Arc::new(disk), &folder()).unwrap_or_else(|error| panic!("{what}, {became}: {error}"));
            assert_eq!(read_all(&trail, Begin::Earliest).await.unwrap(), killed.written[..2], "{what}, {became}");
        }
        // A copy that gets a new epoch starts from what it holds.
        let (old, new) = repair::new_epoch(&folder(), Arc::new(disk.clone())).unwrap();
        assert_ne!(old, new);
        let trail = open(Arc::new(disk), &folder()).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(read_all(&trail, Begin::Earliest).await.unwrap(), killed.written[..2], "{what}");
    }
}
