//! A backup taken at any moment beside a writer is a prefix of what was written, up to what was durable then. The control
//! is a plain copy of the files: it must be seen not to open.

use std::path::PathBuf;
use std::sync::Arc;

use crate::trail::memory_disk::MemoryDisk;
use crate::trail::workload::{Transaction, appender, clock, create, expected, folder, open, read_all};
use trailcast::trail::maintenance::{backup, repair};
use trailcast::trail::{Begin, OpenError};

#[tokio::test]
async fn a_backup_at_any_moment_is_what_was_durable_then() {
    let disk = MemoryDisk::default();
    let trail = create(Arc::new(disk.clone()), &folder(), 4 << 10);
    let mut writing = appender(&trail).await;
    let mut written = Vec::new();
    for number in 1..=40 {
        let transaction = Transaction { number, rows: 2 + number as u32 % 5 * 4, width: 150 };
        transaction.write(&mut writing, number % 2 == 0).await;
        if number % 7 == 0 {
            // In flight over several segments, and then taken back.
            writing.abort().await.unwrap();
        } else {
            let commit = writing.commit().unwrap().commit;
            writing.hand_over().await.unwrap();
            writing.wait_durable(commit).await.unwrap();
            written.push(expected(commit, &transaction));
        }
        Transaction { number: 500, rows: 30, width: 150 }.write(&mut writing, true).await;
        let to = PathBuf::from(format!("/backups/{number}"));
        let copied = backup::copy(&folder(), &to, Arc::new(disk.clone()), clock()).unwrap();
        assert_eq!((copied.last_commit as usize, copied.bad), (written.len(), None));
        writing.abort().await.unwrap();
        let refused = open(Arc::new(disk.clone()), &to).map(|_| ()).unwrap_err();
        assert!(matches!(refused, OpenError::Backup { .. }), "{refused}");
        repair::new_epoch(&to, Arc::new(disk.clone())).unwrap();
        let restored = open(Arc::new(disk.clone()), &to).unwrap();
        assert_ne!(restored.epoch(), trail.epoch());
        assert_eq!(read_all(&restored, Begin::Earliest).await.unwrap(), written);
    }
}

#[tokio::test]
async fn control_a_plain_copy_of_the_files_one_after_the_other_does_not_open() {
    let disk = MemoryDisk::default();
    let trail = create(Arc::new(disk.clone()), &folder(), 4 << 10);
    let mut writing = appender(&trail).await;
    let mut copies = Vec::new();
    for number in 1..=12 {
        // The open segment is copied, then goes on; the next is copied when it is there.
        copies.push(disk.contents());
        Transaction { number, rows: 3, width: 400 }.write(&mut writing, false).await;
        let commit = writing.commit().unwrap().commit;
        writing.hand_over().await.unwrap();
        writing.wait_durable(commit).await.unwrap();
    }
    let plain = disk.copy();
    let first = folder().join("0000000000000001.seg");
    let early = copies.swap_remove(1).remove(&first).unwrap();
    plain.tamper(&first, |bytes| *bytes = early);
    let refused = open(Arc::new(plain), &folder()).map(|_| ()).unwrap_err();
    assert!(refused.to_string().contains("closed segment without a valid seal"), "{refused}");
}
