//! Readers of one trail that stand where reads on request ended: who goes on there need not look for the place.
//!
//! What is kept is little: neither a block nor an open file. It goes with the trail.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use crate::limits::RECORDS_READERS_KEPT;
use crate::record::Offset;
use crate::trail::Reader;

/// The one that is read; none where all are.
type Partition = Option<u16>;

/// The readers, the one that was kept last at the end.
#[derive(Debug, Default)]
pub(in crate::service) struct KeptReaders(Mutex<VecDeque<(Partition, Offset, Reader)>>);

impl KeptReaders {
    /// Takes a reader of that partition that goes on behind that record, if there is one.
    pub(in crate::service) fn take(&self, partition: Partition, offset: Offset) -> Option<Reader> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = kept.iter().rposition(|(of, at, _)| (*of, *at) == (partition, offset))?;
        kept.remove(at).map(|(.., reader)| reader)
    }

    /// Keeps a reader that goes on behind that record, if its place is all that decides what it gives; the one that was kept longest
    /// goes where there are too many.
    pub(in crate::service) fn keep(&self, partition: Partition, offset: Offset, mut reader: Reader) {
        if !reader.goes_by_place() {
            return;
        }
        reader.rest();
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= RECORDS_READERS_KEPT {
            kept.pop_front();
        }
        kept.push_back((partition, offset, reader));
    }
}
