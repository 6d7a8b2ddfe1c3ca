//! The transaction ids that a trail of puts remembers: whoever takes its writing end finds those of everything that was
//! appended, and of nothing else.

use std::sync::Arc;

use crate::trail::memory_disk::MemoryDisk;
use crate::trail::workload::{Transaction, appender, create, folder};

#[tokio::test]
async fn the_next_appender_remembers_what_the_one_before_appended_and_not_what_it_kept_back() {
    let trail = create(Arc::new(MemoryDisk::default()), &folder(), 4 << 10);
    let transaction = |number| Transaction { number, rows: 2, width: 300 };
    let mut appended = Vec::new();
    for life in 0..4 {
        let mut writing = appender(&trail).await;
        for (number, commit) in &appended {
            let found = writing.find_xid(&transaction(*number).xid()).map(|found| found.commit);
            assert_eq!(found, Some(*commit), "transaction {number} in life {life}");
        }
        for kept_back in (0..life).map(|life| life * 100 + 99) {
            assert_eq!(writing.find_xid(&transaction(kept_back).xid()), None, "{kept_back} never reached the trail");
        }
        for number in life * 100..life * 100 + 10 {
            transaction(number).write(&mut writing, false).await;
            appended.push((number, writing.commit().unwrap().commit));
            writing.hand_over().await.unwrap();
        }
        if life == 2 {
            writing.close().await.unwrap();
        } else {
            transaction(life * 100 + 99).write(&mut writing, false).await;
            writing.commit().unwrap();
        }
    }
}
