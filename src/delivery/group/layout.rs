//! The partitions of a trail as a group needs to know them: which there are, and which must be read before which.

use std::collections::BTreeMap;

use crate::record::{Position, RecordNumber};

/// A place in a trail's order, within one epoch: commit and record number.
pub type Place = (u64, RecordNumber);

/// The place of a position.
pub fn place_of(position: &Position) -> Place {
    position.order()
}

/// One partition.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Partition {
    /// The partitions that it was made from; they are read first.
    pub parents: Vec<u16>,
    /// A place behind which all its records lie: whoever has read nothing of it begins there.
    pub opened_at: Place,
    /// Of one that is closed: a place behind which it has no record.
    pub closed_at: Option<Place>,
}

/// Every partition of a trail.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Layout(pub BTreeMap<u16, Partition>);

impl Layout {
    /// So many partitions, none made from another.
    pub fn of(partitions: u16) -> Self {
        Self((0..partitions).map(|number| (number, Partition::default())).collect())
    }

    /// Whether a partition that is committed up to `committed` has nothing more to read, for good.
    pub(super) fn is_finished(&self, number: u16, committed: Place) -> bool {
        let closed_at = self.0.get(&number).and_then(|partition| partition.closed_at);
        closed_at.is_some_and(|last| committed >= last)
    }

    /// The partitions that may be read, when each is committed as `committed` says.
    pub(super) fn readable(&self, committed: impl Fn(u16) -> Place) -> Vec<u16> {
        let finished = |number: u16| self.is_finished(number, committed(number));
        // A parent that is not known any more has been read, or retention has taken it.
        let may = |partition: &Partition| {
            partition.parents.iter().all(|parent| !self.0.contains_key(parent) || finished(*parent))
        };
        let readable = self.0.iter().filter(|(number, partition)| !finished(**number) && may(partition));
        readable.map(|(number, _)| *number).collect()
    }
}
