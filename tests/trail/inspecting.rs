//! Looking inside a trail beside its writer: nothing is changed, nothing is shown that is not flushed, damage is named.

use std::sync::Arc;

use crate::trail::memory_disk::MemoryDisk;
use crate::trail::workload::{Transaction, appender, clock, create, expected, folder, read_all};
use trailcast::trail::{Begin, Trail};

#[tokio::test]
async fn a_look_beside_a_writer_shows_whole_transactions_only_and_changes_nothing() {
    let disk = MemoryDisk::default();
    let trail = create(Arc::new(disk.clone()), &folder(), 8 << 10);
    let mut writing = appender(&trail).await;
    let mut written = Vec::new();
    for number in 1..=40 {
        let transaction = Transaction { number, rows: 3, width: 300 };
        transaction.write(&mut writing, number % 3 == 0).await;
        let commit = writing.commit().unwrap().commit;
        writing.hand_over().await.unwrap();
        writing.wait_durable(commit).await.unwrap();
        written.push(expected(commit, &transaction));
        let look = Trail::open_read_only(&folder(), Arc::new(disk.clone()), clock()).unwrap();
        let seen = read_all(&look, Begin::Earliest).await.unwrap();
        assert_eq!(seen, written[..seen.len()]);
        // The mark of the last group is written with the next one: at most that group is missing.
        assert!(seen.len() + 1 >= written.len(), "{} of {}", seen.len(), written.len());
        assert!(look.verify().unwrap().iter().all(|report| report.bad.is_none()));
        assert!(look.appender().is_err());
    }
    Transaction { number: 41, rows: 60, width: 300 }.write(&mut writing, true).await;
    let look = Trail::open_read_only(&folder(), Arc::new(disk.clone()), clock()).unwrap();
    assert!(read_all(&look, Begin::Earliest).await.unwrap().len() <= written.len());
    writing.close().await.unwrap();
    let look = Trail::open_read_only(&folder(), Arc::new(disk.clone()), clock()).unwrap();
    assert_eq!(read_all(&look, Begin::Earliest).await.unwrap(), written);
}

#[tokio::test]
async fn verification_names_the_first_bad_place_of_each_segment() {
    let disk = MemoryDisk::default();
    let trail = create(Arc::new(disk.clone()), &folder(), 8 << 10);
    let mut writing = appender(&trail).await;
    for number in 1..=40 {
        Transaction { number, rows: 3, width: 300 }.write(&mut writing, false).await;
        writing.commit().unwrap();
    }
    writing.close().await.unwrap();
    let segment = disk.paths().into_iter().find(|path| path.to_str().unwrap().ends_with("2.seg")).unwrap();
    disk.tamper(&segment, |bytes| bytes[4_000] ^= 1);
    let look = Trail::open_read_only(&folder(), Arc::new(disk.clone()), clock()).unwrap();
    let reports = look.verify().unwrap();
    let bad: Vec<_> = reports.iter().filter_map(|report| report.bad.clone()).collect();
    assert_eq!(bad.len(), 1, "{reports:?}");
    assert_eq!(bad[0].0.segment(), 2);
    assert!(bad[0].0.offset() <= 4_000 && bad[0].0.offset() > 3_000, "{bad:?}");
}
