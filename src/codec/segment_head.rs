//! The fixed head of a segment file.
//!
//! ```text
//! offset size
//!      0    8  "TRAILSEG"
//!      8    2  version: 1 to 3, see below
//!     10    2  flags: 1 = opens inside a transaction
//!     12    4  bytes of the repeated frames that follow the head (source, shapes in force, the open begin)
//!     16    8  the trail's epoch
//!     24    8  file id, random: the salt of every frame's checksum
//!     32    8  segment number
//!     40    8  next commit number; inside a transaction, that of the open one
//!     48    8  greatest commit time of all earlier segments, microseconds since 1970 UTC
//!     56    4  zero
//!     60    4  CRC-32C of the bytes before
//! ```
//!
//! The head is written once and never changed. Its version says which frames may follow:
//!
//! | version | brings |
//! |---|---|
//! | 1 | what version 0.1 of the program knew |
//! | 2 | gaps that name tables, commits with a hash, source marks, changes of shapes: see [`frame`](crate::codec::frame) |
//! | 3 | messages, rows of initial loads and the progress of these, prepared transactions, `trail.json` with writers of other kinds |
//!
//! Whatever a later version changes behind it, these 64 bytes keep their checksum in its place: a head that checks and has
//! a version that we do not know was written by a newer program, and is not damaged.

use crate::codec::frame::{u32_at, u64_at};
use crate::record::{Epoch, Timestamp};

/// The version that segments are made with.
pub const SEGMENT_VERSION: u16 = 3;

/// Bytes of the head.
pub const SEGMENT_HEAD_BYTES: usize = 64;

const MAGIC: &[u8; 8] = b"TRAILSEG";
const INSIDE: u16 = 1;

/// What a segment says of itself before its first frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentHead {
    /// Version of the head, which says which frames may follow.
    pub version: u16,
    /// The trail's epoch.
    pub epoch: Epoch,
    /// Salt of the checksums in this file.
    pub file_id: u64,
    /// The segment's number, from 1.
    pub segment: u64,
    /// Next commit number; that of the open transaction if `inside`.
    pub next_commit: u64,
    /// Whether the segment opens inside a transaction.
    pub inside: bool,
    /// Bytes of the repeated frames behind the head.
    pub repeated_bytes: u32,
    /// Greatest commit time of all earlier segments.
    pub earlier_commit_ts: Timestamp,
}

/// The bytes are no segment head of a version that we know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadSegmentHead {
    /// They are no whole head.
    #[error("segment head does not check")]
    Damaged,
    /// They are one of a version that is newer than ours.
    #[error("segment of format {version}")]
    Newer {
        /// Its version.
        version: u16,
    },
}

impl SegmentHead {
    /// Its bytes.
    pub fn encode(&self) -> [u8; SEGMENT_HEAD_BYTES] {
        let mut bytes = [0; SEGMENT_HEAD_BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..10].copy_from_slice(&self.version.to_le_bytes());
        bytes[10..12].copy_from_slice(&(if self.inside { INSIDE } else { 0 }).to_le_bytes());
        bytes[12..16].copy_from_slice(&self.repeated_bytes.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.epoch.0.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.file_id.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.segment.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.next_commit.to_le_bytes());
        bytes[48..56].copy_from_slice(&self.earlier_commit_ts.micros().to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..60]);
        bytes[60..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads the head at the start of `bytes`.
    pub fn decode(bytes: &[u8]) -> Result<Self, BadSegmentHead> {
        let bytes = bytes.get(..SEGMENT_HEAD_BYTES).ok_or(BadSegmentHead::Damaged)?;
        let version = u16::from_le_bytes([bytes[8], bytes[9]]);
        if &bytes[..8] != MAGIC || version == 0 || crc32c::crc32c(&bytes[..60]) != u32_at(bytes, 60) {
            return Err(BadSegmentHead::Damaged);
        }
        if version > SEGMENT_VERSION {
            return Err(BadSegmentHead::Newer { version });
        }
        Ok(Self {
            version,
            epoch: Epoch(u64_at(bytes, 16)),
            file_id: u64_at(bytes, 24),
            segment: u64_at(bytes, 32),
            next_commit: u64_at(bytes, 40),
            inside: u16::from_le_bytes([bytes[10], bytes[11]]) & INSIDE != 0,
            repeated_bytes: u32_at(bytes, 12),
            earlier_commit_ts: Timestamp::from_micros(u64_at(bytes, 48).cast_signed()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(version: u16) -> SegmentHead {
        SegmentHead {
            version,
            epoch: Epoch(7),
            file_id: 0xDEAD_BEEF_0102_0304,
            segment: 3,
            next_commit: 99,
            inside: true,
            repeated_bytes: 123,
            earlier_commit_ts: Timestamp::from_micros(-5),
        }
    }

    #[test]
    fn a_head_reads_back_and_every_flipped_bit_is_noticed() {
        for version in 1..=SEGMENT_VERSION {
            let bytes = head(version).encode();
            assert_eq!(SegmentHead::decode(&bytes), Ok(head(version)));
            for at in 0..bytes.len() * 8 {
                let mut damaged = bytes;
                damaged[at / 8] ^= 1 << (at % 8);
                assert_eq!(SegmentHead::decode(&damaged), Err(BadSegmentHead::Damaged), "bit {at}");
            }
        }
    }

    #[test]
    fn a_head_of_a_newer_version_is_told_from_a_damaged_one() {
        let newer = SEGMENT_VERSION + 1;
        let bytes = head(newer).encode();
        assert_eq!(SegmentHead::decode(&bytes), Err(BadSegmentHead::Newer { version: newer }));
        assert_eq!(SegmentHead::decode(&head(0).encode()), Err(BadSegmentHead::Damaged));
    }
}
