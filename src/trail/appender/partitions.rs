//! The partitions of a trail, for the one who appends to it: they change between two transactions, for good.

use std::io;
use std::sync::Arc;

use super::Appender;
use crate::trail::partitions::{PartitionChange, PartitionError, PartitionMap};
use crate::trail::{AppendError, Writer};

/// Why the partitions of a trail were not changed.
#[derive(Debug, thiserror::Error)]
pub enum RepartitionError {
    /// They cannot be changed that way.
    #[error(transparent)]
    Refused(#[from] PartitionError),
    /// Its rows come from a database, whose order one partition keeps.
    #[error("the trail is written by {0} and has one partition for life; only trails that are put into can have more")]
    Captured(String),
    /// Something is not durable yet, or a transaction is open.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The description could not be written. The appender appends nothing more; the next one finds out what is in force.
    #[error("the trail's description cannot be written: {0}")]
    Io(#[from] io::Error),
}

impl Appender {
    /// The partitions as they are now.
    pub fn partitions(&self) -> &Arc<PartitionMap> {
        &self.partitions
    }

    /// Splits or merges partitions behind everything that was appended so far, which must be durable: what is closed holds
    /// nothing behind it, now and after any crash. Waits for the disk: not for a thread that serves others.
    pub fn change_partitions(&mut self, change: PartitionChange) -> Result<Arc<PartitionMap>, RepartitionError> {
        let writer = &self.shared.description.writer;
        if *writer != Writer::Puts {
            return Err(RepartitionError::Captured(writer.to_string()));
        }
        self.outside("partitions are changed between transactions")?;
        self.not_in_doubt()?;
        let last = self.next_commit - 1;
        // Were a transaction lost that counts as one before the change, another one would get its number behind it.
        if !self.chunk.is_empty() || *self.flushed.borrow() < last {
            return Err(AppendError::OutOfTurn("partitions are changed when everything before is durable").into());
        }
        let changed = Arc::new(self.partitions.changed(change, last)?);
        self.in_doubt = true;
        self.shared.store.keep_partitions(&changed)?;
        self.in_doubt = false;
        self.shared.set_partitions(changed.clone());
        self.partitions = changed.clone();
        Ok(changed)
    }

    pub(super) fn not_in_doubt(&self) -> Result<(), AppendError> {
        let why = "it is not known whether its partitions were changed, for its description could not be written";
        if self.in_doubt { Err(AppendError::Stopped(why.to_owned())) } else { Ok(()) }
    }

    /// Goes on although it is not known whether a change was made: what a test shows to go wrong.
    #[cfg(feature = "fault-injection")]
    pub fn forget_doubt(&mut self) {
        self.in_doubt = false;
    }

    #[cold]
    pub(super) fn no_partition(&self, partition: u16) -> AppendError {
        match self.partitions.get(partition) {
            Some(_) => AppendError::ClosedPartition { partition },
            None => {
                let partitions = u16::try_from(self.partitions.all().len()).unwrap_or(u16::MAX);
                AppendError::NoPartition { partition, partitions }
            }
        }
    }
}
