//! Goal: a trail of an earlier format goes on in a segment of today's version, whatever happens at that moment: nothing of what
//! was there is lost or changed, and what is acknowledged stays. Method: the trails of `tests/fixtures/folder-*` on a disk that
//! forgets what was not synced; each sync of the first append fails once, and the power goes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::trail::memory_disk::MemoryDisk;
use crate::trail::workload::{Transaction, appender, clock};
use trailcast::codec::segment_head::SEGMENT_VERSION;
use trailcast::trail::local::disk::Disk;
use trailcast::trail::{Begin, Entry, Fill, Trail};

fn folder() -> PathBuf {
    PathBuf::from("/trails/puts")
}

/// The fixtures, with the version of their segments.
const FIXTURES: [(&str, u8); 2] = [("folder-0.1", 1), ("folder-0.2", 2)];

/// A fixture's trail of puts.
fn old_trail(fixture: &str) -> MemoryDisk {
    let disk = MemoryDisk::default();
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(fixture).join("data/trails/puts");
    for entry in std::fs::read_dir(home).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_file()) {
        let file = disk.open(&folder().join(entry.file_name()), true).unwrap();
        file.write_all_at(&std::fs::read(entry.path()).unwrap(), 0).unwrap();
    }
    disk.copy()
}

fn open(disk: &MemoryDisk) -> Trail {
    Trail::open(&folder(), Arc::new(disk.clone()), clock()).unwrap()
}

/// Commit and record numbers of all records.
async fn records(trail: &Trail) -> Vec<(u64, u32)> {
    let mut reader = trail.read(Begin::Earliest).await.unwrap();
    let mut records = Vec::new();
    while reader.fill().await.unwrap() == Fill::Filled {
        while let Some(entry) = reader.next().unwrap() {
            if let Entry::Record(record) = entry {
                records.push((record.transaction.commit, record.number));
            }
        }
    }
    records
}

fn versions(disk: &MemoryDisk) -> Vec<u8> {
    let contents = disk.contents();
    let segments = contents.iter().filter(|(path, _)| path.extension().is_some_and(|end| end == "seg"));
    segments.map(|(_, bytes)| bytes[8]).collect()
}

/// Every closed segment's bytes.
fn closed(disk: &MemoryDisk, open: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let is_closed = |path: &PathBuf| path.extension().is_some_and(|end| end == "seg") && path != open;
    disk.contents().into_iter().filter(|(path, _)| is_closed(path)).collect()
}

/// Appends one row; whether it was acknowledged.
async fn append(trail: &Trail) -> bool {
    let Ok(mut writing) = trail.appender() else { return false };
    Transaction { number: 1_000, rows: 1, width: 10 }.write(&mut writing, false).await;
    let commit = writing.commit().unwrap().commit;
    writing.hand_over().await.is_ok() && writing.wait_durable(commit).await.is_ok()
}

#[tokio::test]
async fn the_first_append_makes_a_new_segment_and_leaves_the_old_ones_as_they_are() {
    for (fixture, version) in FIXTURES {
        let disk = old_trail(fixture);
        let before = versions(&disk);
        assert!(before.iter().all(|found| *found == version));
        let last = disk.paths().into_iter().rfind(|path| path.extension().is_some_and(|end| end == "seg")).unwrap();
        let old_bytes = closed(&disk, &last);
        let trail = open(&disk);
        let known = records(&trail).await;
        assert_eq!(versions(&disk), before, "opening alone changes no version");
        assert!(append(&trail).await);
        assert_eq!(versions(&disk), [before.as_slice(), &[SEGMENT_VERSION as u8]].concat());
        assert!(old_bytes.iter().all(|(path, bytes)| disk.contents()[path] == *bytes));
        let description = String::from_utf8(disk.contents()[&folder().join("trail.json")].clone()).unwrap();
        assert!(description.contains(&format!("\"format\": {SEGMENT_VERSION}")), "{description}");
        assert_eq!(records(&trail).await.len(), known.len() + 1);
        assert!(trail.verify().unwrap().iter().all(|report| report.bad.is_none()));
    }
}

#[tokio::test]
async fn a_power_cut_or_a_failed_flush_on_the_way_loses_nothing() {
    for (fixture, _) in FIXTURES {
        nothing_is_lost_of(fixture).await;
    }
}

async fn nothing_is_lost_of(fixture: &str) {
    let whole = old_trail(fixture);
    let known = records(&open(&whole.copy())).await;
    for failing in 1..14 {
        for survive in [0, 1, 2, usize::MAX] {
            let what = format!("{fixture}: sync {failing} failed, {survive} changes survived");
            let disk = whole.copy();
            let trail = open(&disk);
            disk.fail_sync(failing);
            let acknowledged = append(&trail).await;
            let left = disk.crash(|sides| survive.min(sides - 1));
            let opened = Trail::open(&folder(), Arc::new(left.clone()), clock())
                .unwrap_or_else(|error| panic!("{what}: {error}"));
            let seen = records(&opened).await;
            assert_eq!(seen[..known.len()], known, "{what}");
            assert!(seen.len() - known.len() >= usize::from(acknowledged), "{what}");
            let mut writing = appender(&opened).await;
            Transaction { number: 2_000, rows: 1, width: 10 }.write(&mut writing, false).await;
            writing.commit().unwrap();
            writing.close().await.unwrap();
            assert_eq!(records(&opened).await.len(), seen.len() + 1, "{what}");
        }
    }
}
