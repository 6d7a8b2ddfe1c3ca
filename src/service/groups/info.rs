//! Groups as people see them.

use std::collections::BTreeSet;
use std::time::Duration;

use super::entry::{Entry, layout_of};
use crate::delivery::group::{MemberInfo, PartitionInfo};
use crate::record::{GroupName, MemberName, Position, ResourceName, Timestamp, TrailName};
use crate::trail::Trail;

/// Whether a group can go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupState {
    /// It can.
    Ready,
    /// Its trail is not there or not served.
    NoTrail,
    /// Its positions are of another life of the trail: it has to be reset.
    OtherEpoch,
    /// Retention has removed what comes after its positions: it has to be reset.
    Overtaken,
}

impl GroupState {
    /// Its name in answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::NoTrail => "no-trail",
            Self::OtherEpoch => "other-epoch",
            Self::Overtaken => "overtaken",
        }
    }

    /// Whether somebody has to reset the group before it goes on.
    pub fn needs_reset(self) -> bool {
        matches!(self, Self::OtherEpoch | Self::Overtaken)
    }
}

/// How one partition of a group is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionLag {
    /// Its number.
    pub partition: u16,
    /// Who has it.
    pub owner: Option<MemberName>,
    /// Where it goes on: behind this position, which is durable.
    pub position: Position,
    /// Whether anything was ever committed.
    pub is_committed: bool,
    /// Whether all of it has been read, for good.
    pub is_finished: bool,
    /// Transactions of the trail behind it; none where the group cannot go on.
    pub lag_transactions: Option<u64>,
}

/// How a group is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupInfo {
    /// The stream.
    pub stream: ResourceName,
    /// Its name.
    pub name: GroupName,
    /// The trail that its positions are of.
    pub trail: TrailName,
    /// Whether it can go on.
    pub state: GroupState,
    /// When it was last used.
    pub used: Timestamp,
    /// Its members, in the order in which they joined.
    pub members: Vec<MemberInfo>,
    /// Its partitions, by number.
    pub partitions: Vec<PartitionLag>,
}

impl GroupInfo {
    /// Transactions of the trail behind the partition that is furthest behind.
    pub fn lag_transactions(&self) -> Option<u64> {
        self.partitions.iter().map(|partition| partition.lag_transactions).max().flatten()
    }

    /// Of a group over that trail, which is served.
    pub(super) fn of(entry: &Entry, trail: Option<&Trail>, now: Duration) -> Self {
        let status = trail.map(Trail::status);
        entry.with(|state| {
            let epoch = trail.map(Trail::epoch);
            let start = state.start();
            if let Some(trail) = trail.filter(|trail| trail.epoch() == start.epoch) {
                // It may have changed, and nobody have joined since the server started: what is read to its end is to be known.
                state.set_layout(layout_of(trail), now);
            }
            let mut owners = state.machine.partitions();
            if owners.is_empty() {
                let numbers = trail.map(layout_of).unwrap_or_default().0.into_keys();
                let numbers: BTreeSet<u16> = numbers.chain(state.machine.committed_partitions()).collect();
                let of = |partition| PartitionInfo { partition, owner: None, finished: false };
                owners = numbers.into_iter().map(of).collect();
            }
            let mut overtaken = false;
            let machine = &state.machine;
            let partitions = owners.into_iter().map(|of| {
                let position = machine.committed(of.partition);
                let served = status.as_ref().filter(|_| epoch == Some(start.epoch));
                overtaken |= !of.finished && served.is_some_and(|status| is_overtaken(&position, status.first_commit));
                let behind = served.map(|status| status.last_commit.saturating_sub(position.commit));
                PartitionLag {
                    partition: of.partition,
                    owner: of.owner,
                    position,
                    is_committed: machine.is_committed(of.partition),
                    is_finished: of.finished,
                    lag_transactions: if of.finished { Some(0) } else { behind },
                }
            });
            let partitions = partitions.collect();
            let state_of = match epoch {
                None => GroupState::NoTrail,
                Some(epoch) if epoch != start.epoch => GroupState::OtherEpoch,
                Some(_) if overtaken => GroupState::Overtaken,
                Some(_) => GroupState::Ready,
            };
            Self {
                stream: entry.stream.clone(),
                name: entry.name.clone(),
                trail: state.stored.trail.clone(),
                state: state_of,
                used: state.used,
                members: state.machine.members(),
                partitions,
            }
        })
    }
}

/// Whether a trail that starts at that commit number has no more what comes after the position.
pub(super) fn is_overtaken(position: &Position, first_commit: u64) -> bool {
    let first_needed = position.commit.saturating_add(u64::from(position.is_behind()));
    first_needed < first_commit
}
