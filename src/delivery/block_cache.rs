//! The blocks of one contract that sessions share: made or being made, the newest kept within limits, and the makers that
//! stand where a next block starts.
//!
//! Owns what is kept and in which order it goes; leaves to `fanout` where blocks end and who makes them.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::sync::Notify;

use crate::delivery::block::{Block, BlockStart};
use crate::delivery::block_maker::BlockMaker;
use crate::trail::Location;

/// A block that several sessions may want, made or being made.
#[derive(Debug, Default)]
pub struct SharedBlock {
    block: OnceLock<Arc<Block>>,
    made: Notify,
    /// How many blocks behind it whoever makes it is to make too.
    ahead: AtomicU32,
}

impl SharedBlock {
    /// The block, if it has been made.
    pub(super) fn get(&self) -> Option<&Arc<Block>> {
        self.block.get()
    }

    /// Waits until the block is made.
    pub async fn made(&self) -> Arc<Block> {
        loop {
            let made = self.made.notified();
            tokio::pin!(made);
            made.as_mut().enable();
            if let Some(block) = self.block.get() {
                return block.clone();
            }
            made.await;
        }
    }

    /// It is made: this is it. The first call decides.
    pub(super) fn set(&self, block: Arc<Block>) {
        let _ = self.block.set(block);
    }

    /// Wakes those who wait for it.
    pub(super) fn wake(&self) {
        self.made.notify_waiters();
    }

    /// How many blocks behind it are to be made too.
    pub(super) fn ahead(&self) -> u32 {
        self.ahead.load(Ordering::Relaxed)
    }

    /// So many blocks behind it are to be made too.
    pub(super) fn want_ahead(&self, blocks: u32) {
        self.ahead.store(blocks, Ordering::Relaxed);
    }
}

/// The blocks of one contract.
#[derive(Debug, Default)]
pub(super) struct BlockCache {
    blocks: BTreeMap<BlockStart, Arc<SharedBlock>>,
    /// Where the made blocks start, oldest first.
    made: VecDeque<BlockStart>,
    kept_bytes: usize,
    /// Makers that nobody uses.
    makers: VecDeque<Box<BlockMaker>>,
    /// Where the stream ends: nothing behind is sent.
    pub(super) limit: Option<Location>,
}

impl BlockCache {
    /// Bytes of the blocks that are kept.
    pub(super) fn kept_bytes(&self) -> usize {
        self.kept_bytes
    }

    /// The block that starts there.
    pub(super) fn get(&self, start: BlockStart) -> Option<&Arc<SharedBlock>> {
        self.blocks.get(&start)
    }

    /// Adds a block that is going to be made.
    pub(super) fn add(&mut self, start: BlockStart) -> Arc<SharedBlock> {
        let block = Arc::<SharedBlock>::default();
        self.blocks.insert(start, block.clone());
        block
    }

    /// Forgets the block that starts there.
    pub(super) fn remove(&mut self, start: BlockStart) {
        self.blocks.remove(&start);
    }

    /// Where the next block behind that start begins, if one is known.
    pub(super) fn next_start(&self, start: BlockStart) -> Option<Location> {
        let mut next = self.blocks.range((Bound::Excluded(BlockStart::last_at(start.at)), Bound::Unbounded));
        next.next().map(|(start, _)| start.at)
    }

    /// Keeps a block that was made, and lets the oldest go until no more than that many bytes are kept.
    pub(super) fn keep(&mut self, start: BlockStart, block: &Block, bytes_max: usize) {
        self.kept_bytes += block.memory;
        self.made.push_back(start);
        while self.kept_bytes > bytes_max && self.let_oldest_go() {}
    }

    /// Lets the oldest block go; says whether there was one.
    pub(super) fn let_oldest_go(&mut self) -> bool {
        let Some(start) = self.made.pop_front() else { return false };
        let shared = self.blocks.remove(&start);
        let block = shared.as_ref().and_then(|shared| shared.get());
        self.kept_bytes = self.kept_bytes.saturating_sub(block.map_or(0, |block| block.memory));
        true
    }

    /// Whether a block that starts there is known, or a maker stands there.
    pub(super) fn knows(&self, start: BlockStart) -> bool {
        self.blocks.contains_key(&start) || self.makers.iter().any(|maker| maker.start() == start)
    }

    /// Keeps a maker that nobody uses now, and so many at most.
    pub(super) fn keep_maker(&mut self, maker: Box<BlockMaker>, most: usize) {
        if self.makers.len() >= most {
            self.makers.pop_front();
        }
        self.makers.push_back(maker);
    }

    /// Takes the maker that stands there, if one does.
    pub(super) fn take_maker(&mut self, start: BlockStart) -> Option<Box<BlockMaker>> {
        let at = self.makers.iter().position(|maker| maker.start() == start)?;
        self.makers.remove(at)
    }
}
