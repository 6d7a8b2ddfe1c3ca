//! What encoding the blocks of a stream has taken: totals that only grow and outlive the stream's contracts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::Duration;

use crate::delivery::block::Block;
use crate::delivery::counts::Counts;

/// What the blocks of a stream have taken.
#[derive(Debug, Default)]
pub struct EncodingTotals {
    blocks: AtomicU64,
    records: AtomicU64,
    bytes: AtomicU64,
    nanos: AtomicU64,
    /// What sessions were given of them.
    pub delivered: Arc<Counts>,
}

/// [`EncodingTotals`] as they stand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EncodingFigures {
    /// Blocks encoded.
    pub blocks: u64,
    /// Records encoded, each counted once however many sessions it went to.
    pub records: u64,
    /// Bytes encoded.
    pub bytes: u64,
    /// Time that reading and encoding took, in nanoseconds.
    pub nanos: u64,
}

impl EncodingTotals {
    /// The figures now.
    pub fn figures(&self) -> EncodingFigures {
        let get = |number: &AtomicU64| number.load(Ordering::Relaxed);
        EncodingFigures {
            blocks: get(&self.blocks),
            records: get(&self.records),
            bytes: get(&self.bytes),
            nanos: get(&self.nanos),
        }
    }

    /// A block was made in that time.
    pub(super) fn made(&self, block: &Block, took: Duration) {
        let add = |total: &AtomicU64, more: u64| total.fetch_add(more, Ordering::Relaxed);
        add(&self.blocks, 1);
        add(&self.records, block.records());
        add(&self.bytes, block.bytes.len() as u64);
        add(&self.nanos, u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    }
}
