//! The transaction ids that a trail of puts remembers, so that a put sent twice is appended once.

use std::collections::{HashMap, VecDeque};

use sha2::{Digest, Sha256};

use crate::limits::REMEMBERED_XIDS;

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

/// The most recent [`REMEMBERED_XIDS`] transaction ids.
#[derive(Debug, Default, Clone)]
pub(super) struct Xids {
    places: HashMap<[u8; 16], (u64, u32)>,
    oldest_first: VecDeque<[u8; 16]>,
}

impl Xids {
    /// Commit number and last record of that transaction, if it is remembered.
    pub(super) fn find(&self, xid: &str) -> Option<(u64, u32)> {
        self.places.get(&fingerprint(xid)).copied()
    }

    /// Remembers one more; the oldest goes when there are too many.
    pub(super) fn remember(&mut self, xid: Remembered) {
        if self.places.insert(xid.fingerprint, (xid.commit, xid.last_record)).is_none() {
            self.oldest_first.push_back(xid.fingerprint);
        }
        while self.oldest_first.len() > REMEMBERED_XIDS {
            if let Some(oldest) = self.oldest_first.pop_front() {
                self.places.remove(&oldest);
            }
        }
    }
}
