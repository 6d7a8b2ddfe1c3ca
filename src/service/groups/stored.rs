//! How a group stands in the file of positions: one entry for the group, one for each partition that has a commit.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::catalog::cursors::{Change, Cursors};
use crate::record::{Epoch, GroupName, Position, ResourceName, TrailName};

/// What the keys of groups of streams begin with.
const OF_STREAMS: &str = "stream/";

/// A group, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StoredGroup {
    /// The trail that its positions are of.
    pub(super) trail: TrailName,
    /// The life of the trail that they are of.
    pub(super) epoch: u64,
    /// When it was made or reset, in microseconds since 1970. Commits say it too, so that none outlives a reset.
    pub(super) life: i64,
    /// Where it began: commit number, record number and hash of the transaction's id.
    pub(super) start: (u64, u32, u32),
}

/// A commit of a partition, as it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StoredCommit {
    /// The group's life.
    pub(super) life: i64,
    /// The position, as a start is.
    pub(super) place: (u64, u32, u32),
}

/// The position of a stored place.
pub(super) fn position(epoch: u64, (commit, record, xid_hash): (u64, u32, u32)) -> Position {
    Position { epoch: Epoch(epoch), commit, record, xid_hash }
}

/// The stored place of a position.
pub(super) fn place(position: &Position) -> (u64, u32, u32) {
    (position.commit, position.record, position.xid_hash)
}

/// The key of a group.
pub(super) fn group_key(stream: &ResourceName, group: &GroupName) -> String {
    format!("{OF_STREAMS}{stream}/{group}")
}

/// The key of a group's partition. Names hold no slash.
pub(super) fn partition_key(stream: &ResourceName, group: &GroupName, partition: u16) -> String {
    format!("{}/{partition}", group_key(stream, group))
}

/// The change that stores a value. JSON of these cannot fail.
pub(super) fn set<T: Serialize>(key: String, value: &T) -> Change {
    Change::set(key, serde_json::to_vec(value).unwrap_or_default())
}

/// Every group that is stored, and the keys that belong to none.
pub(super) fn groups(cursors: &Cursors) -> (Vec<(ResourceName, GroupName, StoredGroup)>, Vec<String>) {
    let (mut groups, mut strays) = (Vec::new(), Vec::new());
    let stored = cursors.with_prefix(OF_STREAMS);
    // Others may stand between a group and its partitions: `g-2` comes before `g/0`.
    let keys: BTreeSet<String> = stored.iter().map(|(key, _)| key.clone()).collect();
    for (key, value) in stored {
        let parts: Vec<&str> = key.split('/').collect();
        match parts.as_slice() {
            [_, stream, group] => {
                match (ResourceName::new(stream), GroupName::new(group), serde_json::from_slice(&value)) {
                    (Ok(stream), Ok(group), Ok(stored)) => {
                        groups.push((stream, group, stored));
                    }
                    _ => strays.push(key),
                }
            }
            // Left of a removal that a crash broke off.
            [stream, name, group, _] if !keys.contains(&format!("{stream}/{name}/{group}")) => strays.push(key),
            _ => {}
        }
    }
    (groups, strays)
}

/// The durable commits of a group's life.
pub(super) fn commits(
    cursors: &Cursors,
    stream: &ResourceName,
    group: &GroupName,
    stored: &StoredGroup,
) -> Vec<(u16, Position)> {
    let prefix = format!("{}/", group_key(stream, group));
    let entries = cursors.with_prefix(&prefix).into_iter();
    let commit = |(key, value): (String, Vec<u8>)| {
        let partition = key.strip_prefix(&prefix)?.parse().ok()?;
        let commit: StoredCommit = serde_json::from_slice(&value).ok()?;
        let of_this_life = commit.life == stored.life;
        of_this_life.then(|| (partition, position(stored.epoch, commit.place)))
    };
    entries.filter_map(commit).collect()
}
