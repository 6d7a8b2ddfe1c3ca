//! Retention takes a segment while somebody looks: a reader is overtaken, a seek finds what is kept, a backup begins behind
//! it. Nobody gets an error of the disk.
//!
//! Method: trails of more segments than a process holds open, so that the files of the first ones are opened when they are
//! needed; what others do is done at the very moment when a file is removed.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::trail::memory_disk::{Event, MemoryDisk};
use crate::trail::workload::{Seen, Transaction, appender, clock, create, expected, folder, open, read_all};
use trailcast::limits::SEGMENT_FILES_OPEN_MAX;
use trailcast::record::{Position, xid_hash};
use trailcast::trail::maintenance::{backup, repair};
use trailcast::trail::{Begin, ReadError, Retention, SeekError, Trail};

/// A trail whose first segments' files are closed, and what is in it.
async fn long_trail(disk: &MemoryDisk) -> (Trail, Vec<Seen>) {
    let trail = create(Arc::new(disk.clone()), &folder(), 4 << 10);
    let mut writing = appender(&trail).await;
    let mut written = Vec::new();
    for number in 1.. {
        let transaction = Transaction { number, rows: 2, width: 1_300 };
        transaction.write(&mut writing, false).await;
        written.push(expected(writing.commit().unwrap().commit, &transaction));
        writing.hand_over().await.unwrap();
        if trail.status().segments > SEGMENT_FILES_OPEN_MAX + 40 {
            break;
        }
    }
    writing.close().await.unwrap();
    (open(Arc::new(disk.clone()), &folder()).unwrap(), written)
}

fn removes_a_segment(event: &Event) -> bool {
    matches!(event, Event::Removed(path) if path.extension().is_some_and(|end| end == "seg"))
}

/// Does something in the midst of what another thread does.
fn meanwhile<T: Send>(work: impl Future<Output = T> + Send) -> T {
    let alone = move || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work);
    std::thread::scope(|scope| scope.spawn(alone).join().unwrap())
}

#[tokio::test]
async fn who_looks_while_a_segment_is_removed_is_overtaken_or_finds_what_is_kept() {
    let disk = MemoryDisk::default();
    let (trail, written) = long_trail(&disk).await;
    let slow = Mutex::new(Some(trail.read(Begin::Earliest).await.unwrap()));
    // Reading all of it closes the file again that the slow reader has seen.
    assert_eq!(read_all(&trail, Begin::Earliest).await.unwrap(), written);
    let xid_hash = xid_hash(&written[0].xid);
    let first = Position { epoch: trail.epoch(), commit: 1, record: 0, xid_hash };
    let outcomes = Arc::new(Mutex::new(Vec::new()));
    let (seen, looked_at) = (outcomes.clone(), trail.clone());
    disk.watch(move |_, event| {
        if !removes_a_segment(event) {
            return;
        }
        meanwhile(async {
            let earliest = read_all(&looked_at, Begin::Earliest).await;
            let after = looked_at.read(Begin::After(first)).await.map(drop);
            let mut slow = slow.lock().unwrap().take().unwrap();
            seen.lock().unwrap().push((earliest, after, slow.fill_here().map(drop)));
        });
    });
    trail.remove_oldest().unwrap();
    let (earliest, after, slow) = outcomes.lock().unwrap().pop().unwrap();
    let earliest = earliest.unwrap();
    assert!(!earliest.is_empty() && earliest.len() < written.len());
    assert_eq!(earliest, written[written.len() - earliest.len()..]);
    assert_eq!(after, Err(SeekError::Purged { starts_at: earliest[0].commit }));
    assert_eq!(slow, Err(ReadError::Overtaken));
    let of_the_first = |path: &PathBuf| path.file_stem().is_some_and(|stem| stem == "0000000000000001");
    assert!(!disk.paths().iter().any(of_the_first), "{:?}", disk.paths());
}

#[tokio::test]
async fn a_look_from_another_process_is_overtaken_too() {
    let disk = MemoryDisk::default();
    let (trail, written) = long_trail(&disk).await;
    let look = Trail::open_read_only(&folder(), Arc::new(disk.clone()), clock()).unwrap();
    assert_eq!(read_all(&look, Begin::Earliest).await.unwrap(), written);
    trail.remove_oldest().unwrap();
    let overtaken = read_all(&look, Begin::Earliest).await;
    assert_eq!(overtaken, Err(SeekError::Read(ReadError::Overtaken)));
}

#[tokio::test]
async fn a_backup_leaves_out_what_retention_takes_meanwhile() {
    let disk = MemoryDisk::default();
    let (trail, written) = long_trail(&disk).await;
    let to = Path::new("/backup");
    let second = to.join("0000000000000002.seg");
    let kept = trail.clone();
    disk.watch(move |_, event| {
        if *event == Event::Made(second.clone()) {
            kept.retain(&Retention { age_seconds: None, bytes: Some(kept.bytes() / 2), floor: None }).unwrap();
        }
    });
    let copied = backup::copy(&folder(), to, Arc::new(disk.clone()), clock()).unwrap();
    assert_eq!((copied.last_commit as usize, copied.bad), (written.len(), None));
    // Files that are open are copied, removed or not.
    assert!(copied.segments >= trail.status().segments && copied.segments < written.len(), "{}", copied.segments);
    repair::new_epoch(to, Arc::new(disk.clone())).unwrap();
    let restored = read_all(&open(Arc::new(disk), to).unwrap(), Begin::Earliest).await.unwrap();
    assert_eq!(restored, written[written.len() - restored.len()..]);
    assert!(restored.len() >= read_all(&trail, Begin::Earliest).await.unwrap().len());
}

#[tokio::test]
async fn a_segment_that_retention_takes_in_the_midst_of_its_copy_leaves_nothing_in_the_backup() {
    let (disk, elsewhere) = (MemoryDisk::default(), MemoryDisk::default());
    let (trail, written) = long_trail(&disk).await;
    let (other, _) = long_trail(&elsewhere).await;
    let to = Path::new("/backup");
    let second = to.join("0000000000000002.seg");
    let kept = trail.clone();
    disk.watch(move |_, event| {
        if *event == Event::Made(second.clone()) {
            kept.retain(&Retention { age_seconds: None, bytes: Some(kept.bytes() / 2), floor: None }).unwrap();
            // Reading another trail closes the file that is being copied.
            meanwhile(async { read_all(&other, Begin::Earliest).await.unwrap() });
        }
    });
    let copied = backup::copy(&folder(), to, Arc::new(disk.clone()), clock()).unwrap();
    assert_eq!((copied.last_commit as usize, copied.bad), (written.len(), None));
    let copies = disk
        .paths()
        .iter()
        .filter(|path| path.starts_with(to) && path.extension().is_some_and(|end| end == "seg"))
        .count();
    assert_eq!(copies, copied.segments);
    repair::new_epoch(to, Arc::new(disk.clone())).unwrap();
    let restored = read_all(&open(Arc::new(disk), to).unwrap(), Begin::Earliest).await.unwrap();
    assert_eq!(restored, written[written.len() - restored.len()..]);
}
