//! A member of a group, for as long as it is in.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::entry::{Entry, layout_of};
use super::refused::GroupError;
use super::stored::{StoredCommit, partition_key, place, set};
use crate::catalog::cursors::Cursors;
use crate::clock::SharedClock;
use crate::delivery::group::{Committed, MemberId, Share};
use crate::record::{GroupName, MemberName, Position};
use crate::trail::Trail;

/// A place in a group; given up when it is dropped.
#[derive(Debug)]
pub struct Membership {
    pub(super) entry: Arc<Entry>,
    pub(super) cursors: Cursors,
    pub(super) clock: SharedClock,
    pub(super) id: MemberId,
    pub(super) name: MemberName,
    pub(super) trail: Trail,
    /// Held while it commits.
    pub(super) committing: tokio::sync::Mutex<()>,
}

impl Membership {
    /// The group's name.
    pub fn group(&self) -> &GroupName {
        &self.entry.name
    }

    /// The member's name.
    pub fn name(&self) -> &MemberName {
        &self.name
    }

    /// What it has; none when it is not in the group any more.
    pub fn share(&self) -> Option<Share> {
        self.entry.with(|state| state.machine.share(self.id))
    }

    /// Counts changes of what members have, for [`Self::changed`].
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.entry.changes()
    }

    /// Waits until what some member has may have changed since `seen` was looked at. May be dropped and called again.
    pub async fn changed(&self, seen: &mut watch::Receiver<u64>) {
        let now = self.clock.steady();
        let due = self.entry.with(|state| {
            state.machine.tick(now);
            state.machine.next_tick()
        });
        // Looked at again an hour later at the latest; the group lives as long as its members.
        let wait = due.map_or(Duration::from_secs(3_600), |due| due.saturating_sub(now));
        let _ = tokio::time::timeout(wait, seen.changed()).await;
    }

    /// Looks whether the trail's partitions are others by now.
    pub fn look_at_trail(&self) {
        self.entry.with(|state| state.set_layout(layout_of(&self.trail), self.clock.steady()));
    }

    /// It was heard of.
    pub fn heard(&self) -> Result<(), GroupError> {
        Ok(self.entry.with(|state| state.machine.heard(self.id, self.clock.steady()))?)
    }

    /// Commits places of partitions, each with the generation that it is had under; durable when this returns.
    pub async fn commit(&self, places: &[(u16, u64, Position)]) -> Result<Committed, GroupError> {
        let (stream, group) = (&self.entry.stream, &self.entry.name);
        let _one_at_a_time = self.committing.lock().await;
        let (committed, life, writing) = self.entry.with(|state| {
            let committed = state.machine.begin_commit(self.id, places, self.clock.steady())?;
            let life = state.stored.life;
            let change = |(partition, position): &(u16, Position)| {
                let value = StoredCommit { life, place: place(position) };
                set(partition_key(stream, group, *partition), &value)
            };
            let changes: Vec<_> = committed.taken.iter().map(change).collect();
            // Begun while nobody else commits, so that the later commit is the later one on the disk too.
            let writing = if changes.is_empty() { None } else { Some(self.cursors.begin(changes)?) };
            Ok::<_, GroupError>((committed, life, writing))
        })?;
        if let Some(writing) = writing {
            writing.done().await?;
        }
        self.entry.with(|state| {
            // What was stored of a life that is over is not read any more.
            if state.stored.life == life {
                state.machine.end_commit(self.id, &committed, self.clock.steady());
            }
        });
        Ok(committed)
    }

    /// Gives partitions back, for others to have.
    pub fn give_back(&self, partitions: &[u16]) {
        self.entry.with(|state| state.machine.give_back(self.id, partitions, self.clock.steady()));
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.entry.with(|state| {
            state.touch(&*self.clock);
            state.machine.leave(self.id, self.clock.steady());
        });
    }
}
