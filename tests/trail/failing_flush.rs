//! Goal: whichever flush fails, no acknowledgement comes after it, and nothing is served after reopening that is not
//! flushed.
//!
//! Method: a workload of transactions, some larger than a segment, some waited for one by one and some together, runs
//! once for each of its flushes, or publishes to a log of messages, with that one failing, for good or only once. What is served is compared with what a
//! power cut at that very moment leaves.

use std::sync::Arc;

use crate::trail::memory_disk::MemoryDisk;
#[cfg(feature = "fault-injection")]
use crate::trail::message_log::MemoryLog;
use crate::trail::stores::TestStore;
use crate::trail::workload::{Seen, Transaction, appender, create, expected, folder, open, read_all};
use trailcast::trail::{Begin, OpenError, Trail};

const TRANSACTIONS: u64 = 16;
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(20);

fn transaction(number: u64) -> Transaction {
    let width = if number % 5 == 4 { 2_500 } else { 150 };
    Transaction { number, rows: 1 + (number % 3) as u32, width }
}

/// What the workload came to.
struct Run {
    /// What was acknowledged.
    acknowledged: Vec<Seen>,
    /// Whether something was refused.
    refused: bool,
}

/// Appends until something is not acknowledged; every third transaction waits for nothing until two more have come.
async fn run(trail: &Trail) -> Run {
    let mut writing = appender(trail).await;
    let mut waiting: Vec<(u64, Seen)> = Vec::new();
    let mut run = Run { acknowledged: Vec::new(), refused: false };
    for number in 1..=TRANSACTIONS {
        let next = transaction(number);
        next.write(&mut writing, false).await;
        let commit = writing.commit().unwrap().commit;
        let handed_over = writing.hand_over().await.is_ok();
        waiting.push((commit, expected(commit, &next)));
        if handed_over && number % 3 == 0 && number < TRANSACTIONS {
            continue;
        }
        for (commit, seen) in waiting.drain(..) {
            match writing.wait_durable(commit).await {
                Ok(()) if run.refused => panic!("{commit} was acknowledged after a refusal"),
                Ok(()) => run.acknowledged.push(seen),
                Err(_) => run.refused = true,
            }
        }
        if run.refused {
            return run;
        }
    }
    run.refused = writing.close().await.is_err();
    run
}

/// What a power cut at this moment leaves, of all that is not flushed nothing.
async fn after_a_power_cut<S: TestStore>(store: &S, what: &str) -> Vec<Seen> {
    let survived = store.crash(&mut |_| 0).open().unwrap_or_else(|error| panic!("{what}: {error}"));
    read_all(&survived, Begin::Earliest).await.unwrap()
}

async fn flushes_of_the_workload<S: TestStore>() -> u32 {
    let store = S::default();
    let trail = store.create(4 << 10);
    let before = store.asked();
    let run = run(&trail).await;
    assert_eq!((run.acknowledged.len() as u64, run.refused), (TRANSACTIONS, false));
    assert!(trail.status().segments > 3, "the workload closes too few segments");
    store.asked() - before
}

/// One run in which the `n`-th flush fails, for good or once.
async fn with_failing_flush<S: TestStore>(n: u32, only_once: bool) {
    let what = format!("flush {n} failed, once: {only_once}");
    let store = S::default();
    let trail = store.create(4 << 10);
    store.fail(n, only_once);
    let run = run(&trail).await;
    assert!(run.refused, "{what}: and was not noticed");
    // What was acknowledged is flushed; what is served is flushed too, and all that was acknowledged is served.
    let flushed = after_a_power_cut(&store, &what).await;
    assert!(flushed.starts_with(&run.acknowledged), "{what}: acknowledged and not flushed");
    let served = read_all(&trail, Begin::Earliest).await.unwrap();
    assert!(served.starts_with(&run.acknowledged), "{what}: acknowledged and not served");
    assert!(flushed.starts_with(&served), "{what}: served and not flushed");
    if !only_once {
        assert!(trail.appender().is_err(), "{what}: appends are taken while the disk fails");
    }
    drop(trail);
    store.heal();
    // Another process finds in the page cache what never reached the disk.
    let reopened = store.open().unwrap_or_else(|error| panic!("{what}: {error}"));
    let served = read_all(&reopened, Begin::Earliest).await.unwrap();
    assert!(served.starts_with(&run.acknowledged), "{what}: lost by reopening");
    assert_eq!(served, after_a_power_cut(&store, &what).await, "{what}: served after reopening and not flushed");
    let mut writing = appender(&reopened).await;
    let next = transaction(100);
    next.write(&mut writing, false).await;
    let commit = writing.commit().unwrap().commit;
    writing.hand_over().await.unwrap();
    writing.wait_durable(commit).await.unwrap();
    let mut whole = served;
    whole.push(expected(commit, &next));
    assert_eq!(read_all(&reopened, Begin::Earliest).await.unwrap(), whole, "{what}");
    assert_eq!(after_a_power_cut(&store, &what).await, whole, "{what}");
}

async fn whichever_fails<S: TestStore>() {
    // Group commit makes a few flushes more or fewer of the same workload: those that every run has are tried.
    let flushes = flushes_of_the_workload::<S>().await;
    assert!(flushes > 20, "{flushes}");
    for n in 1..=flushes * 3 / 4 {
        with_failing_flush::<S>(n, false).await;
        with_failing_flush::<S>(n, true).await;
    }
}

#[tokio::test]
async fn whichever_flush_fails_nothing_after_it_is_acknowledged_and_nothing_unflushed_is_served() {
    whichever_fails::<MemoryDisk>().await;
}

#[cfg(feature = "fault-injection")]
#[tokio::test]
async fn whichever_publish_is_not_answered_nothing_after_it_is_acknowledged_and_nothing_unstored_is_served() {
    whichever_fails::<MemoryLog>().await;
}

/// A writer whose publishes are not answered, then another one: what of the first one's is stored late does not come to lie in
/// what the second one writes.
#[cfg(feature = "fault-injection")]
async fn takes_over(n: u32, fences: bool) -> Result<(), String> {
    let log = MemoryLog::default();
    let trail = log.create(4 << 10);
    if !fences {
        log.store_no_fences();
    }
    let mut writing = appender(&trail).await;
    log.fail(n, false);
    Transaction { number: 1, rows: 3, width: 700 }.write(&mut writing, false).await;
    let lost = writing.commit().unwrap().commit;
    writing.hand_over().await.unwrap();
    writing.wait_durable(lost).await.unwrap_err();
    drop(writing);
    log.heal();
    let mut written = Vec::new();
    for number in 2..6 {
        let mut writing = trail.appender_async().await.map_err(|error| error.to_string())?;
        let transaction = Transaction { number, rows: 2, width: 300 };
        transaction.write(&mut writing, false).await;
        written.push(expected(writing.commit().unwrap().commit, &transaction));
        writing.close().await.map_err(|error| error.to_string())?;
    }
    let reopened = log.open().map_err(|error| error.to_string())?;
    for trail in [&trail, &reopened] {
        let seen = read_all(trail, Begin::Earliest).await.map_err(|error| error.to_string())?;
        if seen != written {
            return Err(format!("read {seen:?} where {written:?} was written"));
        }
    }
    Ok(())
}

#[cfg(feature = "fault-injection")]
#[tokio::test]
async fn what_a_writer_had_under_way_is_never_stored_behind_the_one_that_took_over_and_the_control_sees_it() {
    let mut seen = 0;
    for n in 1..5 {
        assert_eq!(takes_over(n, true).await, Ok(()), "publish {n}");
        seen += u32::from(takes_over(n, false).await.is_err());
    }
    assert!(seen > 0, "without fences nothing goes wrong: they are not what keeps it out");
}

#[tokio::test]
async fn nobody_who_looks_at_a_trail_waits_while_another_recovers_it_on_a_disk_that_hangs() {
    let disk = MemoryDisk::default();
    let trail = create(Arc::new(disk.clone()), &folder(), 1 << 20);
    disk.fail_one_sync(1);
    assert!(run(&trail).await.refused);
    let (tell, told) = std::sync::mpsc::channel();
    {
        let _hanging = disk.stall();
        // One of the two recovers and hangs; the other one hears so, and from then on recovery is under way.
        for _ in 0..2 {
            let (trail, tell) = (trail.clone(), tell.clone());
            std::thread::spawn(move || drop(tell.send(trail.appender().map(drop).map_err(|error| error.to_string()))));
        }
        let refused = told.recv_timeout(PATIENCE).expect("both wait for the disk");
        assert!(refused.as_ref().is_err_and(|error| error.contains("has a writer already")), "{refused:?}");
        let (looked, looks) = std::sync::mpsc::channel();
        let looking = trail.clone();
        std::thread::spawn(move || drop(looked.send(looking.status())));
        let status = looks.recv_timeout(PATIENCE).expect("who looks waits for the disk");
        assert!(status.stopped.is_some(), "until it is recovered it shows as stopped");
    }
    told.recv_timeout(PATIENCE).unwrap().expect("the disk works again");
    let mut writing = trail.appender_async().await.unwrap();
    assert_eq!(trail.status().stopped, None);
    transaction(1).write(&mut writing, false).await;
    writing.commit().unwrap();
    writing.close().await.unwrap();
}

#[tokio::test]
async fn control_a_flush_that_fails_in_silence_is_seen_to_lose() {
    let disk = MemoryDisk::default();
    let trail = create(Arc::new(disk.clone()), &folder(), 4 << 10);
    disk.lie_about_syncs();
    let run = run(&trail).await;
    assert!(!run.refused && !run.acknowledged.is_empty());
    let kept = match open(Arc::new(disk.crash(|_| 0)), &folder()) {
        Ok(survived) => read_all(&survived, Begin::Earliest).await.unwrap(),
        // A closed segment that is not there whole: lost too, and said so.
        Err(OpenError::Damaged(_)) => Vec::new(),
        Err(error) => panic!("{error}"),
    };
    assert!(!kept.starts_with(&run.acknowledged));
}
