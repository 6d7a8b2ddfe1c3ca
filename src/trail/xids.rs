//! The transaction ids that a trail of puts remembers, so that a put sent twice is appended once.
//!
//! The file beside a closed segment (`….xid`): `"TRAILXID"`, the segment's [`Stamp`], the number of transaction ids,
//! these, oldest first, then CRC-32C of all of it; little-endian. It is a hint, rebuilt when in doubt, and read only
//! when a trail is opened for writing.

use std::collections::{HashMap, VecDeque};

use sha2::{Digest, Sha256};

use crate::codec::frame::{u32_at, u64_at};
use crate::limits::REMEMBERED_XIDS;
use crate::trail::hint::{STAMP_BYTES, Stamp, checked, push_checksum};

const MAGIC: &[u8; 8] = b"TRAILXID";
const XID_BYTES: usize = 28;
/// Bytes of magic, stamp and count.
const HEAD_BYTES: usize = 8 + STAMP_BYTES + 8;

/// A transaction id, by the first 16 bytes of its SHA-256, and where it was appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Remembered {
    /// See [`fingerprint`].
    pub(super) fingerprint: [u8; 16],
    /// Its commit number.
    pub(super) commit: u64,
    /// Number of its last record.
    pub(super) last_record: u32,
}

/// What a transaction id is remembered by. 128 bits of SHA-256: nobody can make two ids that collide.
pub(super) fn fingerprint(xid: &str) -> [u8; 16] {
    let mut short = [0; 16];
    short.copy_from_slice(&Sha256::digest(xid.as_bytes())[..16]);
    short
}

/// The transaction ids that end in one segment, oldest first: the last [`REMEMBERED_XIDS`] of them, for no more are ever
/// asked for.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct SegmentXids(VecDeque<Remembered>);

impl SegmentXids {
    /// Takes note of one more.
    pub(super) fn push(&mut self, xid: Remembered) {
        if self.0.len() >= REMEMBERED_XIDS {
            self.0.pop_front();
        }
        self.0.push_back(xid);
    }

    /// Forgets those after transaction `commit`.
    pub(super) fn cut(&mut self, commit: u64) {
        self.0.retain(|xid| xid.commit <= commit);
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// They, oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = Remembered> + '_ {
        self.0.iter().copied()
    }

    /// The bytes of the file.
    pub(super) fn encode(&self, stamp: &Stamp) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEAD_BYTES + self.0.len() * XID_BYTES + 4);
        out.extend_from_slice(MAGIC);
        stamp.push(&mut out);
        out.extend_from_slice(&(self.0.len() as u64).to_le_bytes());
        for xid in &self.0 {
            out.extend_from_slice(&xid.fingerprint);
            out.extend_from_slice(&xid.commit.to_le_bytes());
            out.extend_from_slice(&xid.last_record.to_le_bytes());
        }
        push_checksum(&mut out);
        out
    }

    /// Reads the file; `None` when it is not whole or belongs to another segment.
    pub(super) fn decode(bytes: &[u8], stamp: &Stamp) -> Option<Self> {
        let body = checked(bytes, MAGIC, stamp).filter(|body| body.len() >= HEAD_BYTES)?;
        let (xids, rest) = body[HEAD_BYTES..].as_chunks::<XID_BYTES>();
        if !rest.is_empty() || u64_at(body, HEAD_BYTES - 8) != xids.len() as u64 {
            return None;
        }
        let xid = |bytes: &[u8; XID_BYTES]| {
            let mut fingerprint = [0; 16];
            fingerprint.copy_from_slice(&bytes[..16]);
            Remembered { fingerprint, commit: u64_at(bytes, 16), last_record: u32_at(bytes, 24) }
        };
        Some(Self(xids.iter().map(xid).collect()))
    }
}

/// At least the most recent [`REMEMBERED_XIDS`] transaction ids, at most twice as many: the newer ones, and those that were
/// the newer ones when there were that many. A list of which is oldest, and the room that a table needs where ids come and go,
/// would take more than the older ones do.
#[derive(Debug, Default, Clone)]
pub(super) struct Xids {
    newer: HashMap<[u8; 16], (u64, u32)>,
    older: HashMap<[u8; 16], (u64, u32)>,
}

impl Xids {
    /// Commit number and last record of that transaction, if it is remembered.
    pub(super) fn find(&self, xid: &str) -> Option<(u64, u32)> {
        let fingerprint = fingerprint(xid);
        self.newer.get(&fingerprint).or_else(|| self.older.get(&fingerprint)).copied()
    }

    /// Remembers one more.
    pub(super) fn remember(&mut self, xid: Remembered) {
        if self.newer.len() >= REMEMBERED_XIDS {
            self.older = std::mem::take(&mut self.newer);
        }
        self.newer.insert(xid.fingerprint, (xid.commit, xid.last_record));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Timestamp;

    #[test]
    fn a_file_of_transaction_ids_reads_back_and_any_damage_makes_it_none() {
        let stamp = Stamp { file_id: 9, bytes: 4_000, closed_ts: Timestamp::from_micros(6) };
        let mut xids = SegmentXids::default();
        for commit in 1..4 {
            xids.push(Remembered { fingerprint: [commit as u8; 16], commit, last_record: 2 });
        }
        let bytes = xids.encode(&stamp);
        assert_eq!(SegmentXids::decode(&bytes, &stamp), Some(xids.clone()));
        assert_eq!(SegmentXids::decode(&bytes, &Stamp { bytes: 5_000, ..stamp }), None);
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert_eq!(SegmentXids::decode(&damaged, &stamp), None);
            assert_eq!(SegmentXids::decode(&bytes[..at], &stamp), None);
        }
        xids.cut(2);
        assert_eq!(xids.len(), 2);
    }

    #[test]
    fn a_segment_keeps_no_more_transaction_ids_than_a_trail_remembers() {
        let mut xids = SegmentXids::default();
        for commit in 1..=REMEMBERED_XIDS as u64 + 5 {
            xids.push(Remembered { fingerprint: [0; 16], commit, last_record: 0 });
        }
        assert_eq!((xids.len(), xids.iter().next().map(|xid| xid.commit)), (REMEMBERED_XIDS, Some(6)));
    }

    #[test]
    fn the_last_transaction_ids_are_remembered_and_memory_for_them_is_bounded() {
        let mut xids = Xids::default();
        let name = |number: u64| format!("x{number}");
        let remember =
            |number: u64| Remembered { fingerprint: fingerprint(&name(number)), commit: number, last_record: 0 };
        let window = REMEMBERED_XIDS as u64;
        (1..=2 * window + 1).for_each(|number| xids.remember(remember(number)));
        for number in [window + 1, window + 2, 2 * window, 2 * window + 1] {
            assert_eq!(xids.find(&name(number)), Some((number, 0)), "{number}");
        }
        assert_eq!(xids.find(&name(1)), None);
        assert!(xids.newer.len() + xids.older.len() <= 2 * REMEMBERED_XIDS);
        // One byte of a table's place says whether it is taken; an eighth of the places stays free.
        let table = |map: &HashMap<[u8; 16], (u64, u32)>| {
            (map.capacity() * 8 / 7).next_power_of_two() * (size_of::<([u8; 16], (u64, u32))>() + 1)
        };
        let segment = REMEMBERED_XIDS.next_power_of_two() * size_of::<Remembered>();
        assert!(2 * table(&xids.older) + segment <= 64 << 20, "{} and {segment}", table(&xids.older));
    }
}
