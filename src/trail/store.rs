//! Where a trail's bytes lie: in a folder of this machine or, for tests so far, in a log of messages.
//!
//! A trail is one sequence of bytes in segments, each byte addressed by its [`Location`](crate::trail::Location), wherever
//! these bytes lie. What differs stands behind four seams, each matched once for a group or a block, and there are no others:
//!
//! * **The end.** [`Store::new_segment`] starts a segment, for good. [`WritingEnd::write`] puts whole frames behind what is
//!   there, and says nothing of their durability; [`WritingEnd::settle`] returns when all of them are durable, and
//!   [`WritingEnd::close`] when, beyond that, nothing but them is in the segment. [`StoredSegment::take_back`] makes a byte
//!   above the durable mark the end again: what was behind it never was. After a failure of any of these nothing is known of
//!   what has not settled, and recovery comes next.
//! * **The bytes.** [`SegmentBytes`] are read wherever they are durable. A segment that was opened may be read to its end
//!   where the store can do that; where it cannot, the reader is overtaken.
//! * **The segments.** A store that opens a trail says which there are, each with its head, and the writing end adds to them.
//!   What can be rebuilt from a closed segment, its hints, a store may keep beside it.
//! * **The first segment goes.** [`StoredSegment::remove`], never another one, and for good.
//!
//! How opening finds the end depends on what a crash may leave: `recovery` has a file for each store.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::codec::segment_head::SegmentHead;
use crate::trail::DurableMark;
use crate::trail::hint::Hint;
use crate::trail::local::disk::{Disk, DiskFile, read_full};
use crate::trail::local::file_end::FileEnd;
use crate::trail::local::folder::Folder;
use crate::trail::local::segment_file::SegmentFile;
#[cfg(feature = "fault-injection")]
use crate::trail::messages::{store::MessageStore, stored::StoredMessages};
use crate::trail::partitions::PartitionMap;
use crate::trail::scan::ReadBytes;

/// What holds a trail.
#[derive(Debug)]
pub(super) enum Store {
    /// Files in a folder of this machine.
    Folder(Arc<Folder>),
    /// Messages, which can be neither removed one by one nor written anew.
    #[cfg(feature = "fault-injection")]
    Messages(Arc<MessageStore>),
}

impl Store {
    /// Starts a segment with its head and the frames that it repeats, durably: all of them are there, or nothing.
    pub(super) fn new_segment(&self, head: &SegmentHead, bytes: &[u8]) -> io::Result<StoredSegment> {
        match self {
            Self::Folder(folder) => folder.new_segment(head, bytes).map(StoredSegment::File),
            #[cfg(feature = "fault-injection")]
            Self::Messages(messages) => {
                let started = StoredMessages::start(messages, head.segment, bytes)?;
                Ok(StoredSegment::Messages(Arc::new(started)))
            }
        }
    }

    /// Says how far the trail is durable to whoever looks at the store from elsewhere.
    pub(super) fn note_mark(&self, mark: &DurableMark) -> io::Result<()> {
        match self {
            Self::Folder(folder) => folder.note_mark(mark),
            #[cfg(feature = "fault-injection")]
            Self::Messages(_) => Ok(()),
        }
    }

    /// What was noted last, where that may say more than the trail's own frames.
    pub(super) fn noted_mark(&self) -> Option<DurableMark> {
        match self {
            Self::Folder(folder) => folder.noted_mark(),
            #[cfg(feature = "fault-injection")]
            Self::Messages(_) => None,
        }
    }

    /// Keeps the trail's partitions, durably. After an error they may be kept or not, until
    /// [`Self::settle_description`] has seen to it that they are not.
    pub(super) fn keep_partitions(&self, partitions: &Arc<PartitionMap>) -> io::Result<()> {
        match self {
            Self::Folder(folder) => folder.keep_partitions(partitions),
            // Nothing is written anew, a description neither.
            #[cfg(feature = "fault-injection")]
            Self::Messages(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Makes sure that the store says of the trail what it did before a change of that failed.
    pub(super) fn settle_description(&self) -> io::Result<()> {
        match self {
            Self::Folder(folder) => folder.settle_description(),
            #[cfg(feature = "fault-injection")]
            Self::Messages(_) => Ok(()),
        }
    }

    /// Whether all segments in the store are later ones than that.
    pub(super) fn starts_behind(&self, segment: u64) -> bool {
        match self {
            Self::Folder(folder) => folder.starts_behind(segment),
            #[cfg(feature = "fault-injection")]
            Self::Messages(messages) => messages.starts_behind(segment),
        }
    }

    /// Lets `delete` take the trail away while nobody is at it, and nobody come after it if that worked.
    pub(super) fn delete<R>(&self, delete: impl FnOnce() -> io::Result<R>) -> io::Result<R> {
        match self {
            Self::Folder(folder) => folder.delete(delete),
            #[cfg(feature = "fault-injection")]
            Self::Messages(messages) => messages.delete(delete),
        }
    }

    /// Where a file can lie that is no part of the trail; none where the trail does not lie in files.
    pub(super) fn beside(&self) -> Option<(Arc<dyn Disk>, PathBuf)> {
        match self {
            Self::Folder(folder) => Some((folder.disk.clone(), folder.path.clone())),
            #[cfg(feature = "fault-injection")]
            Self::Messages(_) => None,
        }
    }

    /// Whether the trail has been deleted.
    pub(super) fn is_deleted(&self) -> bool {
        match self {
            Self::Folder(folder) => folder.is_deleted(),
            #[cfg(feature = "fault-injection")]
            Self::Messages(messages) => messages.is_deleted(),
        }
    }
}

/// What holds one segment.
#[derive(Debug)]
pub(super) enum StoredSegment {
    /// A file, and hints beside it.
    File(Arc<SegmentFile>),
    /// Messages.
    #[cfg(feature = "fault-injection")]
    Messages(Arc<StoredMessages>),
}

impl StoredSegment {
    /// The end of the trail, which is in this segment, at byte `end`.
    pub(super) fn writing_end(&self, end: u64) -> WritingEnd {
        match self {
            Self::File(file) => WritingEnd::File(FileEnd::new(file.clone(), end)),
            #[cfg(feature = "fault-injection")]
            Self::Messages(messages) => WritingEnd::Messages(messages.clone()),
        }
    }

    /// Makes byte `end` of the segment the end of the trail again, durably. Nothing behind it comes back, whatever was under
    /// way; later segments are gone.
    pub(super) fn take_back(&self, end: u64) -> io::Result<()> {
        match self {
            Self::File(file) => file.take_back(end),
            #[cfg(feature = "fault-injection")]
            Self::Messages(messages) => messages.take_back(end),
        }
    }

    /// Removes the segment, which is the trail's first one and is closed, for good. May be called again after a failure.
    pub(super) fn remove(&self) -> io::Result<()> {
        match self {
            Self::File(file) => file.remove(),
            #[cfg(feature = "fault-injection")]
            Self::Messages(messages) => messages.remove(),
        }
    }

    /// Its bytes, opened when they are read.
    pub(super) fn bytes(&self) -> SegmentBytes {
        match self {
            Self::File(file) => SegmentBytes::File(file.clone()),
            #[cfg(feature = "fault-injection")]
            Self::Messages(messages) => SegmentBytes::Messages(messages.clone()),
        }
    }

    /// Its bytes, open: a reader that keeps them can read on when the segment is removed, where the store can do that.
    pub(super) fn open_bytes(&self) -> io::Result<SegmentBytes> {
        match self {
            Self::File(file) => file.get().map(SegmentBytes::File),
            #[cfg(feature = "fault-injection")]
            Self::Messages(messages) => Ok(SegmentBytes::Messages(messages.clone())),
        }
    }

    /// How it is named where somebody looks for it.
    pub(super) fn name(&self) -> String {
        match self {
            Self::File(file) => file.path().display().to_string(),
            #[cfg(feature = "fault-injection")]
            Self::Messages(messages) => format!("segment {} in messages", messages.number()),
        }
    }

    /// The segment is written from now on.
    pub(super) fn opened(&self) -> io::Result<()> {
        match self {
            Self::File(file) => file.hold(),
            #[cfg(feature = "fault-injection")]
            Self::Messages(_) => Ok(()),
        }
    }

    /// The segment is not written any more.
    pub(super) fn closed(&self) {
        match self {
            Self::File(file) => file.release(),
            #[cfg(feature = "fault-injection")]
            Self::Messages(_) => {}
        }
    }

    /// A hint that is kept of it.
    pub(super) fn hint(&self, hint: Hint) -> Option<Vec<u8>> {
        match self {
            Self::File(file) => file.hint(hint),
            #[cfg(feature = "fault-injection")]
            Self::Messages(_) => None,
        }
    }

    /// Keeps hints in the place of those that are kept.
    pub(super) fn keep_hints(&self, hints: &[(Hint, Vec<u8>)]) -> io::Result<()> {
        match self {
            Self::File(file) => file.keep_hints(hints),
            // Nothing is written anew: they are rebuilt by whoever needs them.
            #[cfg(feature = "fault-injection")]
            Self::Messages(_) => Ok(()),
        }
    }
}

/// The end of a trail, where its writer appends.
#[derive(Debug)]
pub(super) enum WritingEnd {
    /// In a file.
    File(FileEnd),
    /// In messages.
    #[cfg(feature = "fault-injection")]
    Messages(Arc<StoredMessages>),
}

impl WritingEnd {
    /// Writes whole frames at byte `at`, where the segment ends. They are not durable yet.
    pub(super) fn write(&mut self, bytes: &[u8], at: u64) -> io::Result<()> {
        match self {
            Self::File(end) => end.write(bytes, at),
            #[cfg(feature = "fault-injection")]
            Self::Messages(messages) => messages.write(bytes, at),
        }
    }

    /// Makes durable what was written, up to byte `end`; says how long that took. The segment is closed at byte
    /// `closes_at` at the latest, but for a transaction that goes beyond it.
    pub(super) fn settle(&mut self, end: u64, closes_at: u64) -> io::Result<Duration> {
        match self {
            Self::File(file) => file.settle(end, closes_at),
            #[cfg(feature = "fault-injection")]
            Self::Messages(messages) => messages.settle(),
        }
    }

    /// The same where nothing follows: the segment, or the trail, is closed. It then ends with byte `end`.
    pub(super) fn close(&mut self, end: u64) -> io::Result<()> {
        match self {
            Self::File(file) => file.close(end),
            #[cfg(feature = "fault-injection")]
            Self::Messages(messages) => messages.settle().map(drop),
        }
    }

    /// The end is at byte `end` of this segment now: the next one, or an earlier one after something was taken back.
    pub(super) fn moved_to(&mut self, segment: &StoredSegment, end: u64) {
        match (self, segment) {
            (Self::File(file), StoredSegment::File(next)) => file.moved_to(next.clone(), end),
            #[cfg(feature = "fault-injection")]
            (this, segment) => *this = segment.writing_end(end),
        }
    }
}

/// The bytes of one segment.
#[derive(Debug, Clone)]
pub(super) enum SegmentBytes {
    /// A file's.
    File(Arc<dyn DiskFile>),
    /// Those of messages.
    #[cfg(feature = "fault-injection")]
    Messages(Arc<StoredMessages>),
}

impl SegmentBytes {
    /// How many there are in the store; that may be more than the segment's data, or less where some are lost.
    pub(super) fn length(&self) -> io::Result<u64> {
        match self {
            Self::File(file) => file.length(),
            #[cfg(feature = "fault-injection")]
            Self::Messages(messages) => Ok(messages.length()),
        }
    }
}

impl ReadBytes for SegmentBytes {
    fn read_full(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        match self {
            Self::File(file) => read_full(&**file, buffer, offset),
            #[cfg(feature = "fault-injection")]
            Self::Messages(messages) => messages.read_full(buffer, offset),
        }
    }
}

impl ReadBytes for dyn DiskFile + '_ {
    fn read_full(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        read_full(self, buffer, offset)
    }
}
