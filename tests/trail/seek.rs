//! Goal: what a seek reads does not grow with the trail, an index is only a hint, and looking never writes.
//!
//! Method: a disk that counts what is read. The same seeks are made into the middle of a trail and of one fifty times
//! larger, each after opening anew, so that nothing is in memory. How long they take is measured by
//! `cargo bench --bench seek`.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::trail::memory_disk::MemoryDisk;
use crate::trail::workload::{Transaction, appender, clock, create, expected, folder, open, read_all};
use trailcast::record::{Position, xid_hash};
use trailcast::trail::local::disk::{Disk, DiskFile};
use trailcast::trail::{Begin, Entry, ReadError, SeekError, Trail};

const SEGMENT_BYTES: u64 = 256 << 10;
/// What one read takes from a segment.
const BLOCK_BYTES: u64 = 256 << 10;
/// What lies between two entries of an index.
const INDEX_BLOCK_BYTES: u64 = 64 << 10;

/// What was asked of a disk.
#[derive(Debug, Default)]
struct Counts {
    reads: AtomicU64,
    bytes: AtomicU64,
}

/// Reads and their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Count {
    reads: u64,
    bytes: u64,
}

impl Count {
    fn largest(self, other: Self) -> Self {
        Self { reads: self.reads.max(other.reads), bytes: self.bytes.max(other.bytes) }
    }
}

/// A disk that counts.
#[derive(Debug, Clone)]
struct CountingDisk {
    disk: MemoryDisk,
    counts: Arc<Counts>,
}

impl CountingDisk {
    fn over(disk: MemoryDisk) -> Self {
        Self { disk, counts: Arc::default() }
    }

    /// What was read since the last call.
    fn take(&self) -> Count {
        let take = |count: &AtomicU64| count.swap(0, Ordering::SeqCst);
        Count { reads: take(&self.counts.reads), bytes: take(&self.counts.bytes) }
    }
}

impl Disk for CountingDisk {
    fn make_folder(&self, path: &Path) -> io::Result<()> {
        self.disk.make_folder(path)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        self.disk.list(folder)
    }

    fn open(&self, path: &Path, create: bool) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.disk.open(path, create)?;
        Ok(Arc::new(CountingFile { file, counts: self.counts.clone() }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        self.disk.remove_folder(path)
    }

    fn capacity_bytes(&self, folder: &Path) -> Option<u64> {
        self.disk.capacity_bytes(folder)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        self.disk.sync_folder(folder)
    }
}

#[derive(Debug)]
struct CountingFile {
    file: Arc<dyn DiskFile>,
    counts: Arc<Counts>,
}

impl DiskFile for CountingFile {
    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let read = self.file.read_at(buffer, offset)?;
        self.counts.reads.fetch_add(1, Ordering::SeqCst);
        self.counts.bytes.fetch_add(read as u64, Ordering::SeqCst);
        Ok(read)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }

    fn cut(&self, length: u64) -> io::Result<()> {
        self.file.cut(length)
    }
}

/// Transactions of about 8 KB; each of three tables gets a new shape with every seventh.
fn transaction(number: u64) -> Transaction {
    Transaction { number, rows: 1 + (number % 2) as u32, width: 5_400 }
}

/// A trail of so many transactions on a disk of its own.
async fn filled(transactions: u64) -> CountingDisk {
    let disk = CountingDisk::over(MemoryDisk::default());
    let trail = create(Arc::new(disk.clone()), &folder(), SEGMENT_BYTES);
    let mut writing = appender(&trail).await;
    for number in 1..=transactions {
        transaction(number).write(&mut writing, false).await;
        writing.commit().unwrap();
        writing.hand_over().await.unwrap();
    }
    writing.close().await.unwrap();
    disk
}

fn after(trail: &Trail, number: u64) -> Begin {
    let hash = xid_hash(&transaction(number).xid());
    // The last record but where there is only one: then the reader starts inside the transaction.
    Begin::After(Position { epoch: trail.epoch(), commit: number, record: 0, xid_hash: hash })
}

/// Seeks and reads up to the first record.
async fn first_record(trail: &Trail, begin: Begin) -> u64 {
    let mut reader = trail.read(begin).await.unwrap();
    loop {
        if let Some(Entry::Record(record)) = reader.next().unwrap() {
            return record.transaction.commit;
        }
        reader.fill().await.unwrap();
    }
}

/// What one seek reads at most, over many around the middle, each with nothing in memory.
async fn cold_seeks(disk: &CountingDisk, transactions: u64, begin: impl Fn(&Trail, u64) -> Begin) -> Count {
    let mut most = Count::default();
    // Enough of them to meet the ends of segments, where a reader goes on in the next.
    for number in (0..70).map(|step| transactions / 2 + step - 35) {
        let trail = open(Arc::new(disk.clone()), &folder()).unwrap();
        let begin = begin(&trail, number);
        disk.take();
        let found = first_record(&trail, begin).await;
        most = most.largest(disk.take());
        assert!(found == number || found == number + 1, "asked for {number}, got {found}");
    }
    most
}

#[tokio::test]
async fn a_seek_into_a_trail_fifty_times_larger_reads_no_more() {
    let (few, many) = (120, 6_000);
    let (small, large) = (filled(few).await, filled(many).await);
    let segments = [&small, &large].map(|disk| open(Arc::new(disk.clone()), &folder()).unwrap().status().segments);
    assert!(segments[0] >= 4 && segments[1] >= 40 * segments[0], "{segments:?}");
    let by_time = |_: &Trail, number: u64| Begin::Time(transaction(number).time());
    let in_small = [cold_seeks(&small, few, after).await, cold_seeks(&small, few, by_time).await];
    let in_large = [cold_seeks(&large, many, after).await, cold_seeks(&large, many, by_time).await];
    for (small, large) in in_small.into_iter().zip(in_large) {
        assert!(large.reads <= small.reads + 2, "{large:?} reads in the large trail, {small:?} in the small one");
        assert!(
            large.bytes <= small.bytes + INDEX_BLOCK_BYTES,
            "{large:?} in the large trail, {small:?} in the small one"
        );
        assert!(large.reads < 40 && large.bytes < 2 * BLOCK_BYTES, "{large:?}");
    }
}

#[tokio::test]
async fn opening_reads_heads_and_seals_of_closed_segments_and_nothing_between() {
    let opening = async |transactions| {
        let disk = filled(transactions).await;
        disk.take();
        let trail = open(Arc::new(disk.clone()), &folder()).unwrap();
        (disk.take(), trail.status().segments as u64)
    };
    let ((small, few), (large, many)) = (opening(600).await, opening(6_000).await);
    // Transaction ids are read of as many segments as it takes; so few as here are all remembered.
    let (ids, head_and_seal) = (40 * 28 + 100, 64 + 60);
    let grown = large.bytes.saturating_sub(small.bytes);
    let last_segment = SEGMENT_BYTES;
    assert!(grown <= (many - few) * (head_and_seal + ids) + last_segment, "{small:?} of {few}, {large:?} of {many}");
}

fn hints(disk: &CountingDisk) -> Vec<PathBuf> {
    let is_hint = |path: &PathBuf| path.extension().is_some_and(|end| end == "idx" || end == "xid");
    disk.disk.paths().into_iter().filter(is_hint).collect()
}

#[tokio::test]
async fn an_index_that_is_missing_or_damaged_is_rebuilt_once() {
    let transactions = 300;
    let disk = filled(transactions).await;
    let written = hints(&disk);
    let contents = |path: &Path| {
        let mut bytes = Vec::new();
        disk.disk.tamper(path, |stored| bytes.clone_from(stored));
        bytes
    };
    let good: Vec<Vec<u8>> = written.iter().map(|path| contents(path)).collect();
    assert!(written.len() >= 16);
    for damage in ["removed", "flipped", "cut", "of another segment"] {
        for (path, bytes) in written.iter().zip(&good) {
            match damage {
                "removed" => disk.remove(path).unwrap(),
                "flipped" => disk.disk.tamper(path, |stored| stored[bytes.len() / 2] ^= 1),
                "cut" => disk.disk.tamper(path, |stored| stored.truncate(bytes.len() - 9)),
                _ => disk.disk.tamper(path, |stored| {
                    stored.clone_from(if *bytes == good[0] { &good[2] } else { &good[0] });
                }),
            }
        }
        let trail = open(Arc::new(disk.clone()), &folder()).unwrap();
        for number in 1..transactions {
            let seen = read_all(&trail, after(&trail, number)).await.unwrap();
            let next = transaction(number + 1);
            assert!(seen.contains(&expected(number + 1, &next)), "{damage}: after {number}");
            assert_eq!(seen.len() as u64, transactions - number + u64::from(transaction(number).rows > 1), "{damage}");
        }
        let appender = appender(&trail).await;
        for number in 1..=transactions {
            assert_eq!(appender.find_xid(&transaction(number).xid()).unwrap().commit, number, "{damage}");
        }
        drop(appender);
        assert_eq!(hints(&disk), written, "{damage}");
        let again: Vec<Vec<u8>> = written.iter().map(|path| contents(path)).collect();
        assert!(again == good, "{damage}: rebuilt otherwise than written at first");
    }
}

#[tokio::test]
async fn a_seek_without_an_index_is_seen_to_read_the_whole_segment_and_the_next_one_is_not() {
    let transactions = 600;
    let disk = filled(transactions).await;
    for path in hints(&disk) {
        if path.extension().is_some_and(|end| end == "idx") {
            disk.remove(&path).unwrap();
        }
    }
    let mut costs = Vec::new();
    for _ in 0..2 {
        let trail = open(Arc::new(disk.clone()), &folder()).unwrap();
        disk.take();
        first_record(&trail, after(&trail, transactions / 2)).await;
        costs.push(disk.take().bytes);
    }
    assert!(costs[0] > costs[1] + SEGMENT_BYTES * 3 / 4, "{costs:?}");
}

#[tokio::test]
async fn a_look_from_another_process_writes_no_index() {
    let disk = filled(200).await;
    hints(&disk).iter().for_each(|path| disk.remove(path).unwrap());
    let look = Trail::open_read_only(&folder(), Arc::new(disk.clone()), clock()).unwrap();
    for number in 1..190 {
        first_record(&look, after(&look, number)).await;
    }
    assert!(hints(&disk).is_empty());
}

#[tokio::test]
async fn a_seek_by_time_names_the_damage_before_it_and_never_passes_over_it() {
    let disk = filled(200).await;
    hints(&disk).iter().for_each(|path| disk.remove(path).unwrap());
    let segment = disk.disk.paths().into_iter().find(|path| path.to_str().unwrap().ends_with("3.seg")).unwrap();
    disk.disk.tamper(&segment, |bytes| bytes[100_000] ^= 1);
    let mut trail = open(Arc::new(disk.clone()), &folder()).unwrap();
    let mut named = 0;
    for number in 1..=200 {
        match trail.read(Begin::Time(transaction(number).time())).await {
            Ok(_) => assert_eq!(first_record(&trail, Begin::Time(transaction(number).time())).await, number),
            Err(SeekError::Read(ReadError::Damaged(damage))) => {
                assert!(damage.at.segment() == 3 && damage.at.offset() <= 100_000, "{damage}");
                named += 1;
                // Damage stops the trail; opened anew it is served up to the next look at that segment.
                drop(trail);
                trail = open(Arc::new(disk.clone()), &folder()).unwrap();
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert!((20..60).contains(&named), "{named} of 200 transactions are in the damaged segment");
}
