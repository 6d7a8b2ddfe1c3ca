//! Goal: a commit of a consumer group that was answered survives a power cut, whatever the disk makes of what was not flushed.
//!
//! Method: a disk in memory that keeps what is durable apart. Several callers write at once, so that many changes share a flush;
//! then the power is cut at random and the file opened with what is left. Every answered change must be there, or a later one of
//! its key. The control is a disk that lies about flushes: the same check must see it lose.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use trailcast::catalog::cursors::{Change, CursorError, CursorFile, Cursors};

use crate::support::random::Random;
use crate::trail::memory_disk::MemoryDisk;

const KEYS: usize = 12;

fn open(disk: &MemoryDisk) -> Result<Cursors, CursorError> {
    Cursors::open(CursorFile::new(Arc::new(disk.clone()), Path::new("/data")))
}

fn value_of(cursors: &Cursors, key: usize) -> u64 {
    let value = cursors.get(&format!("k{key}"));
    value.map_or(0, |value| String::from_utf8(value).unwrap().parse().unwrap())
}

/// One life after the other of a disk that is cut off in between; the first key whose answered change is gone, if one is.
fn lives(seed: u64, lies: bool) -> Option<String> {
    let mut random = Random::new(seed);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut disk = MemoryDisk::default();
    if lies {
        disk.lie_about_syncs();
    }
    let mut answered: BTreeMap<usize, u64> = BTreeMap::new();
    let mut next = 1;
    for _ in 0..12 {
        let cursors = match open(&disk) {
            Ok(cursors) => cursors,
            Err(error) => return Some(format!("seed {seed}: {error}")),
        };
        for (key, value) in &answered {
            let found = value_of(&cursors, *key);
            if found < *value {
                return Some(format!("seed {seed}: k{key} is {found} and was {value}"));
            }
        }
        for _ in 0..1 + below(&mut random, 6) {
            let writes: Vec<Vec<(usize, u64)>> = (0..1 + below(&mut random, 5))
                .map(|_| {
                    let changes = 1 + below(&mut random, 4);
                    (0..changes)
                        .map(|_| {
                            next += 1;
                            (below(&mut random, KEYS as u64) as usize, next)
                        })
                        .collect()
                })
                .collect();
            runtime.block_on(async {
                let begun: Vec<_> = writes
                    .iter()
                    .map(|changes| {
                        let change =
                            |(key, value): &(usize, u64)| Change::set(format!("k{key}"), value.to_string().into());
                        cursors.begin(changes.iter().map(change).collect()).unwrap()
                    })
                    .collect();
                for (changes, writing) in writes.iter().zip(begun) {
                    writing.done().await.unwrap();
                    answered.extend(changes.iter().copied());
                }
            });
        }
        disk = disk.crash(|most| below(&mut random, most as u64) as usize);
        if lies {
            disk.lie_about_syncs();
        }
    }
    None
}

fn below(random: &mut Random, most: u64) -> u64 {
    random.number() % most
}

#[test]
fn a_commit_that_was_answered_survives_a_power_cut() {
    for seed in 0..200 {
        assert_eq!(lives(seed, false), None);
    }
}

#[test]
fn control_a_disk_that_does_not_flush_is_seen_to_lose_commits() {
    assert!((0..20).any(|seed| lives(seed, true).is_some()));
}
