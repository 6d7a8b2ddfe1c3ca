//! Zeros behind the data of the open segment: whoever opens, looks at, copies or repairs a trail takes them for what they
//! are, and takes nothing else for them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::trail::memory_disk::MemoryDisk;
use crate::trail::workload::{Seen, Transaction, appender, clock, create, expected, folder, open, read_all};
use trailcast::trail::maintenance::{backup, repair};
use trailcast::trail::{Appender, Begin, OpenError, Trail};

fn segment(number: u64) -> PathBuf {
    folder().join(format!("{number:016}.seg"))
}

fn length(disk: &MemoryDisk, path: &Path) -> u64 {
    disk.contents()[path].len() as u64
}

/// The copies that recovery keeps of torn ends.
fn kept_copies(disk: &MemoryDisk) -> Vec<Vec<u8>> {
    let is_copy = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with("cut-");
    disk.contents().into_iter().filter(|(path, _)| is_copy(path)).map(|(_, bytes)| bytes).collect()
}

async fn put(writing: &mut Appender, transaction: &Transaction) -> Seen {
    transaction.write(writing, false).await;
    let commit = writing.commit().unwrap().commit;
    writing.hand_over().await.unwrap();
    writing.wait_durable(commit).await.unwrap();
    expected(commit, transaction)
}

/// A trail whose writer was killed.
struct Killed {
    disk: MemoryDisk,
    written: Vec<Seen>,
    /// Where its data ends.
    end: u64,
    /// Where the last transaction begins.
    last: u64,
}

async fn killed(transactions: u64) -> Killed {
    let disk = MemoryDisk::default();
    let trail = create(Arc::new(disk.clone()), &folder(), 1 << 20);
    let mut writing = appender(&trail).await;
    let (mut written, mut last) = (Vec::new(), 0);
    for number in 1..=transactions {
        last = trail.durable_end().offset();
        written.push(put(&mut writing, &Transaction { number, rows: 3, width: 200 }).await);
    }
    let end = trail.durable_end().offset();
    Killed { disk: disk.copy(), written, end, last }
}

async fn goes_on(disk: &MemoryDisk, mut written: Vec<Seen>) {
    let trail = open(Arc::new(disk.clone()), &folder()).unwrap();
    assert_eq!(read_all(&trail, Begin::Earliest).await.unwrap(), written);
    assert_eq!(trail.status().bytes, trail.durable_end().offset());
    assert_eq!(length(disk, &segment(1)), trail.durable_end().offset(), "opening cuts to the exact end");
    let mut writing = appender(&trail).await;
    written.push(put(&mut writing, &Transaction { number: 900, rows: 1, width: 5 }).await);
    let behind = disk.contents()[&segment(1)][trail.durable_end().offset() as usize..].to_vec();
    assert!(!behind.is_empty() && behind.iter().all(|byte| *byte == 0), "something stale stands behind new data");
    assert_eq!(read_all(&trail, Begin::Earliest).await.unwrap(), written);
    writing.close().await.unwrap();
    assert_eq!(length(disk, &segment(1)), trail.status().bytes, "a closed trail has no zeros");
}

#[tokio::test]
async fn zeros_that_a_killed_writer_leaves_are_no_torn_end() {
    for transactions in [1, 2, 3, 10, 40] {
        let Killed { disk, written, end, .. } = killed(transactions).await;
        let zeros = length(&disk, &segment(1)) - end;
        assert!(zeros > 0 && zeros <= end + 4_096, "{zeros} zeros behind {end} bytes");
        goes_on(&disk, written).await;
        assert_eq!(kept_copies(&disk).len(), 0);
    }
}

#[tokio::test]
async fn a_look_a_backup_and_a_repair_leave_zeros_out() {
    let Killed { disk, written, end, .. } = killed(10).await;
    let before = disk.contents();
    let look = Trail::open_read_only(&folder(), Arc::new(disk.clone()), clock()).unwrap();
    assert_eq!(look.status().bytes, end);
    let reports = look.verify().unwrap();
    assert_eq!(
        (reports.len(), reports[0].bytes, reports[0].unmarked_bytes, &reports[0].bad, reports[0].transactions),
        (1, end, 0, &None, 10)
    );
    assert_eq!(read_all(&look, Begin::Earliest).await.unwrap(), written);
    let planned = repair::plan(&folder(), Arc::new(disk.clone())).unwrap();
    assert_eq!((planned.damage, planned.gaps), (vec![], vec![]));
    assert_eq!(disk.contents(), before, "a look changes nothing");
    let to = PathBuf::from("/backup");
    let copied = backup::copy(&folder(), &to, Arc::new(disk.clone()), clock()).unwrap();
    assert_eq!((copied.bytes, copied.last_commit, copied.bad), (end, 10, None));
    assert_eq!(length(&disk, &to.join("0000000000000001.seg")), end);
}

#[tokio::test]
async fn anything_but_zeros_behind_the_data_is_a_torn_end_of_which_a_copy_is_kept() {
    let Killed { disk, written, end, last } = killed(10).await;
    let zeros = length(&disk, &segment(1)) - end;
    for at in [end, end + 1, end + zeros / 2, end + zeros - 1] {
        let torn = disk.copy();
        torn.tamper(&segment(1), |bytes| bytes[at as usize] = 9);
        let look = Trail::open_read_only(&folder(), Arc::new(torn.clone()), clock()).unwrap();
        assert_eq!((look.status().bytes, look.verify().unwrap()[0].unmarked_bytes), (at + 1, at + 1 - end));
        goes_on(&torn, written.clone()).await;
        let copies = kept_copies(&torn);
        assert_eq!(copies.iter().map(|copy| copy.len() as u64).collect::<Vec<_>>(), [at + 1 - end]);
    }
    // The last group torn, and nothing that says it was whole: the copy ends with it, without the zeros.
    let torn = disk.copy();
    torn.lose(&folder().join("mark.bin"));
    torn.tamper(&segment(1), |bytes| bytes[last as usize + 100] ^= 1);
    goes_on(&torn, written[..9].to_vec()).await;
    let copy = kept_copies(&torn).remove(0).len() as u64;
    assert!(copy <= end - last && copy + 60 > end - last - 100, "{copy} bytes of {last} to {end}");
}

#[tokio::test]
async fn zeros_where_something_was_durable_are_not_passed_over_in_silence() {
    let Killed { disk, end, last, .. } = killed(10).await;
    disk.tamper(&segment(1), |bytes| bytes[last as usize..].fill(0));
    let look = Trail::open_read_only(&folder(), Arc::new(disk.clone()), clock()).unwrap();
    let (at, _) = look.verify().unwrap()[0].bad.clone().unwrap();
    assert_eq!((look.status().bytes, at.offset()), (end, last));
    let refused = open(Arc::new(disk.clone()), &folder()).map(|_| ()).unwrap_err();
    assert!(matches!(&refused, OpenError::Damaged(damage) if damage.at.offset() == last), "{refused}");
    // Below a mark they are damage, as anything else is.
    let Killed { disk, last, .. } = killed(10).await;
    disk.tamper(&segment(1), |bytes| bytes[last as usize - 500..last as usize].fill(0));
    let refused = open(Arc::new(disk.clone()), &folder()).map(|_| ()).unwrap_err();
    assert!(matches!(refused, OpenError::Damaged(_)), "{refused}");
    let done = repair::repair(&folder(), Arc::new(disk), clock()).unwrap();
    assert_eq!(done.gaps.len(), 1, "{done:?}");
    assert!(done.damage.iter().all(|place| place.to <= last), "{:?}", done.damage);
}

/// A trail of which two segments are closed, as a crash leaves it that comes after the second one's seal and before the
/// cut to its end.
async fn sealed_and_not_cut(zeros: usize) -> (MemoryDisk, Vec<Seen>, u64) {
    for width in 100.. {
        if let Some(found) = sealed_between_transactions(zeros, width).await {
            return found;
        }
    }
    unreachable!()
}

/// None when the third segment opens inside a transaction.
async fn sealed_between_transactions(zeros: usize, width: usize) -> Option<(MemoryDisk, Vec<Seen>, u64)> {
    let disk = MemoryDisk::default();
    let trail = create(Arc::new(disk.clone()), &folder(), 4 << 10);
    let mut writing = appender(&trail).await;
    let mut written = Vec::new();
    let mut before_third = 0;
    for number in 1.. {
        let before = written.len();
        written.push(put(&mut writing, &Transaction { number, rows: 2, width }).await);
        if trail.durable_end().segment() == 3 {
            before_third = before;
            break;
        }
    }
    let disk = disk.copy();
    if disk.contents()[&segment(3)][10] & 1 == 1 {
        return None;
    }
    let sealed = length(&disk, &segment(2));
    disk.lose(&segment(3));
    for gone in ["mark.bin", "0000000000000002.idx", "0000000000000002.xid"] {
        disk.lose(&folder().join(gone));
    }
    disk.tamper(&segment(2), |bytes| bytes.resize(bytes.len() + zeros, 0));
    written.truncate(before_third);
    Some((disk, written, sealed))
}

#[tokio::test]
async fn a_crash_between_a_segments_seal_and_its_cut_leaves_a_closed_segment() {
    for zeros in [0, 1, 3, 59, 60, 1_000] {
        let (disk, mut written, sealed) = sealed_and_not_cut(zeros).await;
        let look = Trail::open_read_only(&folder(), Arc::new(disk.clone()), clock()).unwrap();
        assert!(look.verify().unwrap().iter().all(|report| report.bad.is_none()));
        assert_eq!(look.status().bytes, length(&disk, &segment(1)) + sealed);
        assert_eq!(repair::plan(&folder(), Arc::new(disk.clone())).unwrap().damage, []);
        let to = PathBuf::from("/backup");
        assert_eq!(backup::copy(&folder(), &to, Arc::new(disk.clone()), clock()).unwrap().bad, None);
        let trail = open(Arc::new(disk.clone()), &folder()).unwrap();
        assert_eq!(kept_copies(&disk).len(), 0);
        assert_eq!((length(&disk, &segment(2)), trail.status().segments), (sealed, 3));
        let closed: Vec<bool> = trail.verify().unwrap().iter().map(|report| report.closed).collect();
        assert_eq!(closed, [true, true, false]);
        let mut writing = appender(&trail).await;
        written.push(put(&mut writing, &Transaction { number: 900, rows: 1, width: 5 }).await);
        writing.close().await.unwrap();
        drop(trail);
        // The cut is durable before the segment that follows is.
        let trail = open(Arc::new(disk.crash(|_| 0)), &folder()).unwrap();
        assert_eq!(read_all(&trail, Begin::Earliest).await.unwrap(), written);
    }
}

#[tokio::test]
async fn segments_end_with_their_seal_and_zeros_never_pass_the_size_of_a_segment() {
    let disk = MemoryDisk::default();
    let trail = create(Arc::new(disk.clone()), &folder(), 16 << 10);
    let mut writing = appender(&trail).await;
    let mut written = Vec::new();
    let mut zeros_seen = 0;
    for number in 1..=120 {
        written.push(put(&mut writing, &Transaction { number, rows: 2, width: 200 }).await);
        if number % 10 == 0 {
            // In flight, and then taken back: what follows stands where that stood.
            Transaction { number: 800, rows: 20, width: 200 }.write(&mut writing, true).await;
            writing.abort().await.unwrap();
        }
        if number % 10 == 1 {
            let contents = disk.contents();
            let (mut closed, open): (Vec<_>, _) = {
                let mut segments: Vec<_> = contents
                    .iter()
                    .filter(|(path, _)| path.extension().is_some_and(|extension| extension == "seg"))
                    .map(|(_, bytes)| bytes)
                    .collect();
                let open = segments.pop().unwrap();
                (segments, open)
            };
            // What a head takes does not count.
            let head = |bytes: &[u8]| 64 + u32::from_le_bytes(bytes[12..16].try_into().unwrap()) as usize;
            let fits = |bytes: &[u8]| bytes.len() - head(bytes) <= 16 << 10;
            assert!(fits(open) && closed.iter().all(|bytes| fits(bytes)));
            let end = trail.durable_end().offset() as usize;
            assert!(open[end..].iter().all(|byte| *byte == 0), "something stale stands behind new data");
            zeros_seen += open.len() - end;
            let closed_bytes: usize = closed.drain(..).map(Vec::len).sum();
            assert_eq!(trail.status().bytes, (closed_bytes + end) as u64);
            assert_eq!(trail.bytes(), trail.status().bytes);
        }
    }
    assert!(trail.status().segments > 5 && zeros_seen > 10_000, "{zeros_seen}");
    assert_eq!(read_all(&trail, Begin::Earliest).await.unwrap(), written);
}
