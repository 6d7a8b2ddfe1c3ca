//! What can go wrong with a trail, one enum per kind of caller.

use std::io;

use crate::record::TrailName;
use crate::trail::Location;

/// A place where a trail's bytes are not what was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("trail {trail} is damaged at {at}: {what}")]
pub struct Damage {
    /// The trail's name.
    pub trail: String,
    /// Where.
    pub at: Location,
    /// What is wrong there.
    pub what: String,
}

/// A trail cannot be opened or made.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file system refused.
    #[error("trail {trail} cannot be opened: {action}")]
    Io {
        /// The trail's name.
        trail: String,
        /// What was being done.
        action: &'static str,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// Promised bytes are not there; nothing is served until an operator repairs it.
    #[error(transparent)]
    Damaged(#[from] Damage),
    /// The trail's description is unreadable.
    #[error("trail {trail}: {file} is unreadable: {what}")]
    Description {
        /// The trail's name.
        trail: String,
        /// The file.
        file: &'static str,
        /// What is wrong with it.
        what: String,
    },
    /// A newer program wrote it. It is whole, and stays as it is.
    #[error(
        "trail {trail} was written by a newer version of Trailcast: {file} has format {found} and this program knows formats \
         up to {known}; start a program at least as new as the one that wrote it"
    )]
    Newer {
        /// The trail's name.
        trail: String,
        /// The file that says so.
        file: String,
        /// Its format.
        found: u64,
        /// The newest format that this program knows.
        known: u64,
    },
    /// It is a copy, and what was served after it was taken has the same positions.
    #[error(
        "trail {trail} comes from a backup taken {taken}; give it a new epoch with \"trailcast trail new-epoch {trail}\" \
         while no server runs"
    )]
    Backup {
        /// The trail's name.
        trail: String,
        /// When the backup was taken, RFC 3339.
        taken: String,
    },
    /// A repair was cut short between two of its steps.
    #[error("a repair of trail {trail} was interrupted; run \"trailcast trail repair {trail}\" again")]
    RepairInterrupted {
        /// The trail's name.
        trail: String,
    },
    /// Another writer has the trail.
    #[error("trail {trail} has a writer already")]
    WriterTaken {
        /// The trail's name.
        trail: String,
    },
}

impl OpenError {
    /// What an error of the file system is, or of whatever holds the trail, to whoever was at this.
    pub(super) fn while_at(trail: &TrailName, action: &'static str) -> impl FnOnce(io::Error) -> Self {
        let trail = trail.to_string();
        move |source| Self::Io { trail, action, source }
    }

    /// Whether it is for want of room, which passes.
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull)
    }
}

/// Something cannot be appended; nothing of it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The trail's writer has stopped, after a failed write or flush.
    #[error("trail has stopped: {0}")]
    Stopped(String),
    /// The disk is full; appending goes on when there is room again.
    #[error("the disk is full")]
    DiskFull,
    /// A record is larger than a frame may be.
    #[error("record of {bytes} bytes is larger than the {max} a trail takes")]
    TooLarge {
        /// The record's size in bytes.
        bytes: usize,
        /// The cap in bytes.
        max: usize,
    },
    /// The trail has no such partition.
    #[error("partition {partition} does not exist: the trail has {partitions}, and the first is 0")]
    NoPartition {
        /// The partition asked for.
        partition: u16,
        /// How many there are.
        partitions: u16,
    },
    /// The partition was split or merged.
    #[error("partition {partition} is closed: it was split or merged, and takes no more records")]
    ClosedPartition {
        /// The partition asked for.
        partition: u16,
    },
    /// A name or text is longer than its field.
    #[error("{what} is longer than {max} bytes")]
    TooLong {
        /// Which text.
        what: &'static str,
        /// The cap in bytes.
        max: usize,
    },
    /// A table would have more columns than it may.
    #[error("table {table} has more than {max} columns")]
    TooManyColumns {
        /// Which.
        table: String,
        /// The cap.
        max: usize,
    },
    /// The trail holds as many tables as it may.
    #[error("trail holds {0} tables already")]
    TooManyTables(usize),
    /// All tables of the trail together would have more names and types of columns than it may hold.
    #[error(
        "the columns of all tables of the trail would take more than {max} bytes with those of table {table}; write some of \
         the tables to another trail"
    )]
    TooManySchemaBytes {
        /// The table that came last.
        table: String,
        /// The cap in bytes.
        max: usize,
    },
    /// Called inside a transaction where none may be open, or the other way round.
    #[error("{0}")]
    OutOfTurn(&'static str),
}

/// A trail cannot be read on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The file system refused.
    #[error("trail {trail} cannot be read: {what}")]
    Io {
        /// The trail's name.
        trail: String,
        /// The system's error.
        what: String,
    },
    /// Bytes are not what was written.
    #[error(transparent)]
    Damaged(#[from] Damage),
    /// Retention removed the segment under the reader.
    #[error("retention has overtaken the reader")]
    Overtaken,
}

/// A position cannot be served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SeekError {
    /// It is before the first transaction kept.
    #[error("the position is gone: the trail starts at commit number {starts_at}")]
    Purged {
        /// Commit number of the first transaction kept.
        starts_at: u64,
    },
    /// It is after the last record.
    #[error("the position is beyond the end of the trail, which is commit number {ends_at}")]
    Beyond {
        /// Commit number of the last transaction.
        ends_at: u64,
    },
    /// It belongs to another epoch, or another trail.
    #[error("the position belongs to another trail, or to this one before it was repaired or restored")]
    OtherEpoch,
    /// The transaction of that number is another one.
    #[error("the position's transaction is not the one of that number in this trail")]
    OtherTransaction,
    /// The trail cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}
