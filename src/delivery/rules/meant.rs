//! Which partitions of a trail each rule means, found out once for a map of them.

use crate::catalog::stream::PartitionNames;
use crate::trail::CurrentPartitions;

/// Which partitions each rule means. Partitions are only ever added, and what one comes of never changes: what was found out stays
/// so.
#[derive(Debug, Clone)]
pub(super) struct MeantPartitions {
    current: CurrentPartitions,
    /// By rule, by number.
    known: Vec<Vec<bool>>,
}

impl MeantPartitions {
    pub(super) fn new(current: &CurrentPartitions) -> Self {
        Self { current: current.clone(), known: Vec::new() }
    }

    /// Whether that rule, which has these names, means that partition.
    #[inline]
    pub(super) fn by_rule(&mut self, rule: usize, names: &PartitionNames, number: u16) -> bool {
        match self.known.get(rule).and_then(|known| known.get(usize::from(number))) {
            Some(meant) => *meant,
            None => self.find_out(rule, names, number),
        }
    }

    #[cold]
    fn find_out(&mut self, rule: usize, names: &PartitionNames, number: u16) -> bool {
        if self.known.len() <= rule {
            self.known.resize_with(rule + 1, Vec::new);
        }
        self.known[rule] = names.meant(&self.current.get());
        // The map has each partition before there is a record in it.
        self.known[rule].get(usize::from(number)).copied().unwrap_or(false)
    }
}
