//! A trail in messages: what is changed behind its back is said to be damage, what retention takes is gone for who reads there, and
//! a trail that is deleted gives nothing more.

use crate::trail::message_log::MemoryLog;
use crate::trail::stores::TestStore;
use crate::trail::workload::{Seen, Transaction, appender, drain, expected, read_all};
use trailcast::trail::{Begin, OpenError, ReadError, Retention, SeekError, Trail};

async fn filled(transactions: u64) -> (MemoryLog, Trail, Vec<Seen>) {
    let log = MemoryLog::default();
    let trail = log.create(4 << 10);
    let mut writing = appender(&trail).await;
    let mut written = Vec::new();
    for number in 1..=transactions {
        let transaction = Transaction { number, rows: 2, width: 250 };
        transaction.write(&mut writing, false).await;
        let commit = writing.commit().unwrap().commit;
        written.push(expected(commit, &transaction));
        writing.hand_over().await.unwrap();
        writing.wait_durable(commit).await.unwrap();
    }
    writing.close().await.unwrap();
    (log, trail, written)
}

#[tokio::test]
async fn a_message_that_is_not_what_was_written_is_damage_and_never_passed_over() {
    let (log, _, written) = filled(30).await;
    let mut count = 0;
    log.tamper(|messages| count = messages.len());
    for at in 0..count {
        let damaged = log.crash(&mut |_| 0);
        let mut has_body = false;
        damaged.tamper(|messages| {
            let body = &mut messages[at].body;
            has_body = !body.is_empty();
            if let Some(byte) = body.get_mut(at % 7) {
                *byte ^= 4;
            }
        });
        let trail = match damaged.open() {
            Err(OpenError::Damaged(_)) if has_body => continue,
            opened => opened.unwrap_or_else(|error| panic!("message {at}: {error}")),
        };
        match read_all(&trail, Begin::Earliest).await {
            Ok(seen) if !has_body => assert_eq!(seen, written, "message {at}"),
            Err(SeekError::Read(ReadError::Damaged(_))) => {}
            // A length in the last flush group that is too large cannot be told from a frame whose end was not stored.
            Ok(seen) => {
                assert!(written.starts_with(&seen) && seen.len() + 1 >= written.len(), "message {at}: {seen:?}")
            }
            Err(error) => panic!("message {at}: {error}"),
        }
    }
}

#[tokio::test]
async fn what_retention_takes_is_gone_from_the_log_and_a_reader_there_is_overtaken() {
    let (log, trail, written) = filled(120).await;
    let mut slow = trail.read(Begin::Earliest).await.unwrap();
    slow.fill().await.unwrap();
    let (before, mut messages) = (trail.status(), 0);
    log.tamper(|all| messages = all.len());
    trail.retain(&Retention { bytes: Some(before.bytes / 2), ..Retention::default() }).unwrap();
    let after = trail.status();
    assert!(after.first_commit > 1 && after.segments < before.segments);
    log.tamper(|all| assert!(all.len() < messages * 2 / 3, "{} of {messages} messages are left", all.len()));
    let kept = &written[after.first_commit as usize - 1..];
    for trail in [&trail, &log.open().unwrap()] {
        assert_eq!(read_all(trail, Begin::Earliest).await.unwrap(), kept);
        assert!(trail.verify().unwrap().iter().all(|report| report.bad.is_none()));
    }
    assert_eq!(drain(&mut slow).await.unwrap_err(), SeekError::Read(ReadError::Overtaken));
    // The last segment stays, whatever the limits say.
    trail.retain(&Retention { age_seconds: Some(0), bytes: Some(0), floor: None }).unwrap();
    assert_eq!(trail.status().segments, 1);
}

#[tokio::test]
async fn a_trail_that_is_deleted_takes_and_gives_nothing() {
    let (_, trail, _) = filled(20).await;
    trail.delete(|| Ok(())).unwrap();
    assert!(trail.is_deleted() && trail.appender().is_err() && trail.delete(|| Ok(())).is_err());
    assert!(read_all(&trail, Begin::Earliest).await.is_err());
    assert_eq!(trail.retain(&Retention { bytes: Some(0), ..Retention::default() }).unwrap().segments, 0);
}
