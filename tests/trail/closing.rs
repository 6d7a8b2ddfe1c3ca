//! A power cut just when a segment is closed: the file has been cut to its data, a flush of another file makes that
//! durable together with the last block, and what else was written over zeros is not.
//!
//! Method: at every cut of a file an image is taken of what would then be there; each opens, holds what was acknowledged
//! by then, and has no torn end. The control is a disk on which the flush before a cut does nothing.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::trail::memory_disk::{Event, MemoryDisk};
use crate::trail::workload::{Transaction, appender, clock, create, expected, folder, open, read_all};
use trailcast::trail::maintenance::repair;
use trailcast::trail::{Begin, Trail};

#[derive(Default)]
struct Outcome {
    images: usize,
    torn: usize,
}

/// Closes some hundred segments of several trails, and reopens these now and then; looks at the image of each cut.
async fn cut_the_power_at_each_cut(forget: bool) -> Outcome {
    let mut outcome = Outcome::default();
    for trail in 0..10 {
        write_one(forget, trail * 1_000, &mut outcome).await;
    }
    outcome
}

async fn write_one(forget: bool, first: u64, outcome: &mut Outcome) {
    let disk = MemoryDisk::default();
    if forget {
        disk.forget_syncs_before_cuts();
    }
    let acknowledged = Arc::new(AtomicUsize::new(0));
    let images = Arc::new(Mutex::new(Vec::new()));
    let (seen, taken) = (acknowledged.clone(), images.clone());
    let mut trail = create(Arc::new(disk.clone()), &folder(), 8 << 10);
    disk.watch(move |disk, event| {
        if *event == Event::Cut {
            taken.lock().unwrap().push((disk.crash_behind_another_flush(), seen.load(Ordering::SeqCst)));
        }
    });
    let mut writing = appender(&trail).await;
    let mut written = Vec::new();
    for number in first + 1..=first + 90 {
        let transaction = Transaction { number, rows: 1 + number as u32 % 4, width: number as usize * 97 % 1_500 };
        transaction.write(&mut writing, number % 5 == 0).await;
        let commit = writing.commit().unwrap().commit;
        written.push(expected(commit, &transaction));
        writing.hand_over().await.unwrap();
        writing.wait_durable(commit).await.unwrap();
        acknowledged.store(written.len(), Ordering::SeqCst);
        if number % 40 == 0 {
            writing.close().await.unwrap();
            trail = open(Arc::new(disk.clone()), &folder()).unwrap();
            writing = appender(&trail).await;
        }
        let taken = std::mem::take(&mut *images.lock().unwrap());
        for (image, acknowledged) in taken {
            outcome.images += 1;
            look_at(&image, &written, acknowledged).await;
            let has_copy =
                image.paths().iter().any(|path| path.file_name().unwrap().to_str().unwrap().starts_with("cut-"));
            outcome.torn += usize::from(has_copy);
        }
    }
}

async fn look_at(image: &MemoryDisk, written: &[crate::trail::workload::Seen], acknowledged: usize) {
    let looked_at = Trail::open_read_only(&folder(), Arc::new(image.clone()), clock()).unwrap();
    assert!(looked_at.verify().unwrap().iter().all(|report| report.bad.is_none()), "a healthy trail is called damaged");
    assert_eq!(repair::plan(&folder(), Arc::new(image.clone())).unwrap().damage, []);
    let opened = open(Arc::new(image.clone()), &folder()).unwrap();
    let seen = read_all(&opened, Begin::Earliest).await.unwrap();
    assert!(seen.len() >= acknowledged, "{acknowledged} acknowledged, {} there", seen.len());
    assert_eq!(seen, written[..seen.len()]);
}

#[tokio::test]
async fn a_power_cut_while_a_segment_is_closed_leaves_a_whole_trail() {
    let outcome = cut_the_power_at_each_cut(false).await;
    assert!(outcome.images >= 200, "only {} cuts", outcome.images);
    assert_eq!(outcome.torn, 0, "something of a closed segment was not flushed before it was cut");
}

#[tokio::test]
async fn control_a_segment_that_is_cut_before_it_is_flushed_is_seen_torn_in_the_middle() {
    // Recovery takes it for what it is, a torn end before a seal, and loses nothing that was acknowledged.
    let outcome = cut_the_power_at_each_cut(true).await;
    assert!(outcome.torn > 20, "{} torn of {}", outcome.torn, outcome.images);
}
