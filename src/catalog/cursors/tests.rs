//! Entries over restarts, tears, damage and failures of the disk. What survives a power cut is shown in `tests/faults`.

use std::path::Path;

use super::*;
use crate::trail::local::disk::{Disk, DiskFile, SystemDisk};

fn open(folder: &Path) -> Cursors {
    Cursors::open(CursorFile::new(Arc::new(SystemDisk), folder)).unwrap()
}

fn set(key: &str, value: &str) -> Change {
    Change::set(key.into(), value.into())
}

fn file(folder: &Path) -> std::path::PathBuf {
    folder.join(CURSORS_FILE)
}

#[tokio::test]
async fn a_folder_without_positions_has_no_file_until_the_first_change() {
    let home = tempfile::tempdir().unwrap();
    let cursors = open(home.path());
    assert_eq!((cursors.get("a"), file(home.path()).exists()), (None, false));
    cursors.write(vec![set("a", "1"), set("b/1", "2"), set("b/2", "3"), set("c", "4")]).await.unwrap();
    cursors.write(vec![set("a", "5"), Change::remove("c".into())]).await.unwrap();
    let again = open(home.path());
    for cursors in [cursors, again] {
        assert_eq!((cursors.get("a"), cursors.get("c")), (Some(b"5".to_vec()), None));
        let below = cursors.with_prefix("b/");
        assert_eq!(below, [("b/1".to_owned(), b"2".to_vec()), ("b/2".to_owned(), b"3".to_vec())]);
    }
}

#[tokio::test]
async fn changes_that_come_during_a_flush_share_the_next_one() {
    let home = tempfile::tempdir().unwrap();
    let cursors = open(home.path());
    let tasks: Vec<_> = (0..64)
        .map(|number| {
            let cursors = cursors.clone();
            tokio::spawn(async move {
                for round in 0..20 {
                    cursors.write(vec![set(&format!("k{number}"), &round.to_string())]).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let figures = cursors.figures();
    assert_eq!(figures.changes, 64 * 20);
    assert!(figures.flushes <= 64 * 20 / 2, "{figures:?}");
    assert!((0..64).all(|number| cursors.get(&format!("k{number}")) == Some(b"19".to_vec())));
}

#[tokio::test]
async fn whatever_is_left_of_the_last_flush_group_opens_with_what_was_there_before() {
    let home = tempfile::tempdir().unwrap();
    let cursors = open(home.path());
    cursors.write(vec![set("a", "1")]).await.unwrap();
    let before = std::fs::metadata(file(home.path())).unwrap().len() as usize;
    cursors.write(vec![set("a", "2"), set("b", "2")]).await.unwrap();
    let whole = std::fs::read(file(home.path())).unwrap();
    for length in before..whole.len() {
        for torn in [whole[..length].to_vec(), [&whole[..length], &vec![0; whole.len() - length]].concat()] {
            std::fs::write(file(home.path()), &torn).unwrap();
            let cursors = open(home.path());
            assert!(cursors.get("a").is_some(), "cut at {length}");
            cursors.write(vec![set("c", "3")]).await.unwrap();
            assert_eq!(open(home.path()).get("c"), Some(b"3".to_vec()), "cut at {length}");
        }
    }
}

#[tokio::test]
async fn damage_below_what_was_flushed_is_refused_and_named() {
    let home = tempfile::tempdir().unwrap();
    let cursors = open(home.path());
    for round in 0..3 {
        cursors.write(vec![set("a", &round.to_string())]).await.unwrap();
    }
    let whole = std::fs::read(file(home.path())).unwrap();
    let last_group = whole.len() - 2 * (whole.len() - entry::HEAD.len()) / 6;
    for at in entry::HEAD.len()..last_group {
        let mut damaged = whole.clone();
        damaged[at] ^= 0xff;
        std::fs::write(file(home.path()), &damaged).unwrap();
        let error = Cursors::open(CursorFile::new(Arc::new(SystemDisk), home.path())).unwrap_err();
        assert!(matches!(error, CursorError::Damaged { .. }), "byte {at}: {error}");
    }
    let mut newer = whole;
    newer[entry::HEAD.len() - 1] = 2;
    std::fs::write(file(home.path()), &newer).unwrap();
    let error = Cursors::open(CursorFile::new(Arc::new(SystemDisk), home.path())).unwrap_err();
    assert!(matches!(error, CursorError::Newer { .. }), "{error}");
}

#[tokio::test]
async fn the_file_stays_in_proportion_to_what_is_in_force() {
    let home = tempfile::tempdir().unwrap();
    let cursors = open(home.path());
    let value = "v".repeat(limits::CURSOR_VALUE_BYTES_MAX);
    for round in 0..3 * limits::CURSORS_REWRITE_BYTES_MIN / 50_000 {
        cursors.write((0..50).map(|key| set(&format!("k{key}-{}", round % 2), &value)).collect()).await.unwrap();
    }
    let most = limits::CURSORS_REWRITE_BYTES_MIN + 100_000;
    assert!(cursors.figures().bytes <= most, "{:?}", cursors.figures());
    assert_eq!(std::fs::metadata(file(home.path())).unwrap().len(), cursors.figures().bytes);
    assert_eq!(open(home.path()).with_prefix("k").len(), 100);
}

#[tokio::test]
async fn what_is_too_long_is_refused_before_anything_is_written() {
    let home = tempfile::tempdir().unwrap();
    let cursors = open(home.path());
    let long = "k".repeat(limits::CURSOR_KEY_BYTES_MAX + 1);
    for change in [set(&long, "v"), set("", "v"), set("k", &"v".repeat(limits::CURSOR_VALUE_BYTES_MAX + 1))] {
        let refused = cursors.write(vec![set("a", "1"), change]).await.unwrap_err();
        assert!(matches!(refused, CursorError::TooLong { .. }), "{refused}");
    }
    assert!(!file(home.path()).exists());
}

/// The system's disk, on which nothing can be flushed for a while.
#[derive(Debug, Clone, Default)]
struct Failing(Arc<std::sync::atomic::AtomicBool>);

#[derive(Debug)]
struct FailingFile(Arc<dyn DiskFile>, Failing);

impl Failing {
    fn look(&self) -> std::io::Result<()> {
        let fails = self.0.load(Ordering::SeqCst);
        if fails { Err(std::io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

impl Disk for Failing {
    fn make_folder(&self, path: &Path) -> std::io::Result<()> {
        SystemDisk.make_folder(path)
    }
    fn list(&self, folder: &Path) -> std::io::Result<Vec<String>> {
        SystemDisk.list(folder)
    }
    fn open(&self, path: &Path, create: bool) -> std::io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(FailingFile(SystemDisk.open(path, create)?, self.clone())))
    }
    fn rename(&self, from: &Path, to: &Path) -> std::io::Result<()> {
        SystemDisk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> std::io::Result<()> {
        SystemDisk.remove(path)
    }
    fn remove_folder(&self, path: &Path) -> std::io::Result<()> {
        SystemDisk.remove_folder(path)
    }
    fn capacity_bytes(&self, folder: &Path) -> Option<u64> {
        SystemDisk.capacity_bytes(folder)
    }
    fn sync_folder(&self, folder: &Path) -> std::io::Result<()> {
        SystemDisk.sync_folder(folder)
    }
}

impl DiskFile for FailingFile {
    fn length(&self) -> std::io::Result<u64> {
        self.0.length()
    }
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<usize> {
        self.0.read_at(buffer, offset)
    }
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> std::io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }
    fn sync(&self) -> std::io::Result<()> {
        self.1.look()?;
        self.0.sync()
    }
    fn cut(&self, length: u64) -> std::io::Result<()> {
        self.0.cut(length)
    }
}

#[tokio::test]
async fn a_change_that_the_disk_refuses_is_not_there_and_the_next_ones_are_taken() {
    let (home, disk) = (tempfile::tempdir().unwrap(), Failing::default());
    let cursors = Cursors::open(CursorFile::new(Arc::new(disk.clone()), home.path())).unwrap();
    cursors.write(vec![set("a", "1")]).await.unwrap();
    disk.0.store(true, Ordering::SeqCst);
    for _ in 0..2 {
        let refused = cursors.write(vec![set("a", "2")]).await.unwrap_err();
        assert!(matches!(refused, CursorError::DiskFull), "{refused}");
        assert_eq!(cursors.get("a"), Some(b"1".to_vec()));
    }
    disk.0.store(false, Ordering::SeqCst);
    cursors.write(vec![set("b", "3")]).await.unwrap();
    let again = open(home.path());
    assert_eq!((again.get("a"), again.get("b")), (Some(b"1".to_vec()), Some(b"3".to_vec())));
}
