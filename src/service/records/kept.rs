//! Readers of one trail that stand where pull reads ended: who goes on there need not look for the place.
//!
//! What is kept is little: neither a block nor an open file. It goes with the trail.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use super::Which;
use crate::limits::RECORDS_READERS_KEPT;
use crate::record::Offset;
use crate::trail::Reader;

/// The readers, the one that was kept last at the end.
#[derive(Debug, Default)]
pub(in crate::service) struct KeptReaders(Mutex<VecDeque<(Which, Offset, Reader)>>);

impl KeptReaders {
    /// Takes a reader of these partitions that goes on behind that record, if there is one.
    pub(super) fn take(&self, which: Which, offset: Offset) -> Option<Reader> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = kept.iter().rposition(|(of, at, _)| (*of, *at) == (which, offset))?;
        kept.remove(at).map(|(.., reader)| reader)
    }

    /// Keeps a reader that goes on behind that record; the one that was kept longest goes where there are too many.
    pub(super) fn keep(&self, which: Which, offset: Offset, mut reader: Reader) {
        reader.rest();
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= RECORDS_READERS_KEPT {
            kept.pop_front();
        }
        kept.push_back((which, offset, reader));
    }
}
