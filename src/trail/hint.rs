//! Hints: what can be rebuilt from a closed segment's frames, and is kept so that it need not be.
//!
//! Owns what all of them have in common: the stamp of the segment that they were made for, and a checksum. Without both right
//! a hint is none. What they hold is `index`'s,
//! `partition_places`' and `xids`'.

use crate::codec::frame::u32_at;
use crate::record::Timestamp;

/// Bytes of a [`Stamp`].
pub(super) const STAMP_BYTES: usize = 24;

/// What can be rebuilt from a closed segment's frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hint {
    /// Its sparse index.
    Index,
    /// Where the frames of each partition lie in it.
    Partitions,
    /// The ids of the transactions that end in it.
    Xids,
}

/// Which closed segment a file beside it was made for. A segment that was opened again, cut and closed once more has
/// another stamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    /// Its random file id.
    pub(super) file_id: u64,
    /// Its length.
    pub(super) bytes: u64,
    /// When it was closed.
    pub(super) closed_ts: Timestamp,
}

impl Stamp {
    pub(super) fn push(&self, out: &mut Vec<u8>) {
        for number in [self.file_id, self.bytes, self.closed_ts.micros().cast_unsigned()] {
            out.extend_from_slice(&number.to_le_bytes());
        }
    }
}

/// Appends the checksum that [`checked`] looks at.
pub(super) fn push_checksum(out: &mut Vec<u8>) {
    let crc = crc32c::crc32c(out);
    out.extend_from_slice(&crc.to_le_bytes());
}

/// The bytes before the checksum, when it is right and they start with that magic and stamp.
pub(super) fn checked<'a>(bytes: &'a [u8], magic: &[u8; 8], stamp: &Stamp) -> Option<&'a [u8]> {
    let (body, crc) = bytes.split_at_checked(bytes.len().checked_sub(4)?)?;
    let mut start = magic.to_vec();
    stamp.push(&mut start);
    (body.starts_with(&start) && crc32c::crc32c(body) == u32_at(crc, 0)).then_some(body)
}
