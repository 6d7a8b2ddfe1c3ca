//! What keeps entries by key: the seam behind which another place than a file can stand.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io;
use std::sync::Arc;

use crate::limits;

/// A change of one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The entry's key.
    pub key: String,
    /// Its value from now on; none takes the entry away.
    pub value: Option<Vec<u8>>,
}

impl Change {
    /// Sets an entry.
    pub fn set(key: String, value: Vec<u8>) -> Self {
        Self { key, value: Some(value) }
    }

    /// Takes an entry away.
    pub fn remove(key: String) -> Self {
        Self { key, value: None }
    }

    pub(super) fn fits(&self) -> bool {
        let value_bytes = self.value.as_ref().map_or(0, Vec::len);
        (1..=limits::CURSOR_KEY_BYTES_MAX).contains(&self.key.len()) && value_bytes <= limits::CURSOR_VALUE_BYTES_MAX
    }
}

/// Positions cannot be read or written.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CursorError {
    /// The file is damaged below what had been flushed.
    #[error(
        "the positions of consumer groups are damaged: {path} cannot be read at byte {at}; restore it from a backup, or move it \
         away: every group then begins anew"
    )]
    Damaged {
        /// The file.
        path: String,
        /// Where.
        at: u64,
    },
    /// A newer program wrote it.
    #[error(
        "the positions of consumer groups in {path} were written by a newer version of Trailcast; start a program at least as new \
         as the one that wrote them"
    )]
    Newer {
        /// The file.
        path: String,
    },
    /// It is larger than any that we write.
    #[error(
        "{path} is larger than {most} bytes, which positions of consumer groups cannot come to; move it away: every group then \
         begins anew"
    )]
    TooLarge {
        /// The file.
        path: String,
        /// The limit in bytes.
        most: u64,
    },
    /// The disk has no room; nothing was changed.
    #[error("the disk is full")]
    DiskFull,
    /// The disk refused.
    #[error("the positions of consumer groups cannot be read or written: {0}")]
    Io(Arc<io::Error>),
    /// Too many changes wait for the disk.
    #[error("too many commits wait for the disk; commit again in a moment")]
    Busy,
    /// A key or a value is too long.
    #[error("an entry of the positions is too long: {key}")]
    TooLong {
        /// Its key, cut.
        key: String,
    },
    /// A fault of the program itself.
    #[error("a fault of the program itself broke the write off; the log says where, please report it")]
    BrokenOff,
}

impl From<io::Error> for CursorError {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::StorageFull { Self::DiskFull } else { Self::Io(Arc::new(error)) }
    }
}

/// Keeps entries. Called by one thread at a time.
pub trait CursorStore: Send + Sync + Debug {
    /// Every entry. Called once, first.
    fn load(&self) -> Result<BTreeMap<String, Vec<u8>>, CursorError>;

    /// Writes changes; they are durable when this returns. After an error nothing is known of them, and [`Self::rewrite`]
    /// comes next. It also comes before the first change of a store that takes no bytes yet.
    fn write(&self, changes: &[Change]) -> Result<(), CursorError>;

    /// Holds these entries and nothing else when this returns, whatever was there before; after an error what was there before,
    /// or these.
    fn rewrite(&self, entries: &BTreeMap<String, Vec<u8>>) -> Result<(), CursorError>;

    /// Whether what the store takes is out of proportion to entries of so many bytes, so that [`Self::rewrite`] is due.
    fn is_too_long_for(&self, live_bytes: u64) -> bool;

    /// What the store takes, in bytes.
    fn bytes(&self) -> u64;
}
