//! The blocks of one contract: made once, by whoever needs one first, and shared by all sessions of the contract.
//!
//! Each block covers a stretch of the trail, and a session goes from block to block: what it gets next depends only on
//! where it stands. At the tail a block is what has become durable since the last one; behind it, blocks end at fixed
//! places of the trail, so that sessions from everywhere soon read the same ones, and wherever a known block starts, so
//! that they join those who are ahead. What is kept of them is the `block_cache`'s; what one connection must be told beside
//! them is `announcements`'s.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::time::Instant;

use crate::clock::SharedClock;
use crate::codec::json::MetaField;
use crate::delivery::block::{Block, BlockStart, Passed};
use crate::delivery::block_cache::{BlockCache, SharedBlock};
use crate::delivery::block_maker::BlockMaker;
use crate::delivery::budget::{Budget, Charge, IdleMemory};
use crate::delivery::contract::Contract;
use crate::delivery::encoding_totals::EncodingTotals;
use crate::delivery::end::End;
use crate::delivery::estimate::Estimate;
use crate::limits::{
    BLOCK_MAKERS_KEPT, BLOCK_TRAIL_BYTES, BLOCKS_AHEAD, FANOUT_KEPT_BYTES, INLINE_BLOCK_BYTES, PARTITION_STRETCH_BYTES,
    SHORT_BLOCK_TRAIL_BYTES,
};
use crate::tasks::{self, Task, caught_here};
use crate::trail::{Location, ReadError, Reader, Trail, block_end, bytes_between};

/// How blocks are cut and kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FanoutLimits {
    /// Bytes of the trail that one block covers at most.
    pub block_trail_bytes: u64,
    /// Bytes of the trail that are encoded by the session that asks for them.
    pub inline_bytes: u64,
    /// Memory of blocks kept for sessions that are still to come, in bytes.
    pub kept_bytes: usize,
    /// Makers kept at the ends of blocks.
    pub makers: usize,
}

impl Default for FanoutLimits {
    fn default() -> Self {
        Self {
            block_trail_bytes: BLOCK_TRAIL_BYTES,
            inline_bytes: INLINE_BLOCK_BYTES,
            kept_bytes: FANOUT_KEPT_BYTES,
            makers: BLOCK_MAKERS_KEPT,
        }
    }
}

/// The blocks of one contract in one trail.
#[derive(Debug)]
pub struct Fanout {
    contract: Arc<Contract>,
    trail: Trail,
    clock: SharedClock,
    budget: Arc<Budget>,
    limits: FanoutLimits,
    cache: Mutex<BlockCache>,
    estimate: Arc<Estimate>,
    totals: Arc<EncodingTotals>,
}

/// What [`Fanout::take`] finds.
#[derive(Debug)]
pub enum Taken {
    /// The block that starts there.
    Block(Arc<Block>),
    /// It is being made.
    Wait(Arc<SharedBlock>),
    /// There is nothing durable behind that start, or the stream ends there.
    AtEnd,
    /// The memory for blocks is used up.
    NoMemory,
}

/// What [`Fanout::begin`] comes to.
enum Begun {
    Known(Taken),
    Making { making: Making, maker: Option<Box<BlockMaker>>, end: Location, charge: Charge },
}

/// A block that must be made, or found impossible to make: others wait for it.
struct Making {
    fanout: Arc<Fanout>,
    block: Arc<SharedBlock>,
    from: BlockStart,
}

impl Fanout {
    /// The blocks of `contract` in `trail`; what they take counts in `totals` too.
    pub fn new(
        contract: Arc<Contract>,
        trail: Trail,
        clock: SharedClock,
        budget: Arc<Budget>,
        totals: Arc<EncodingTotals>,
    ) -> Arc<Self> {
        Self::with_limits(contract, trail, clock, budget, totals, FanoutLimits::default())
    }

    /// The same with other limits.
    pub fn with_limits(
        contract: Arc<Contract>,
        trail: Trail,
        clock: SharedClock,
        budget: Arc<Budget>,
        totals: Arc<EncodingTotals>,
        limits: FanoutLimits,
    ) -> Arc<Self> {
        let block_trail_bytes = limits.block_trail_bytes.saturating_mul(sparseness(&contract, &trail));
        let limits = FanoutLimits { block_trail_bytes, ..limits };
        let (cache, estimate) = (Mutex::default(), Arc::default());
        let fanout = Arc::new(Self { contract, trail, clock, budget, limits, cache, estimate, totals });
        let idle: Weak<dyn IdleMemory> = Arc::<Self>::downgrade(&fanout);
        fanout.budget.register(idle);
        fanout
    }

    /// The contract.
    pub fn contract(&self) -> &Arc<Contract> {
        &self.contract
    }

    /// The trail.
    pub fn trail(&self) -> &Trail {
        &self.trail
    }

    /// The memory that its blocks are charged to.
    pub(super) fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Bytes of blocks kept for sessions that may want them.
    pub fn kept_bytes(&self) -> usize {
        self.cache().kept_bytes()
    }

    /// Takes over a reader that a session has brought to where it starts; `begun` as in [`BlockStart`].
    pub fn start(&self, reader: Reader, begun: Option<u64>) -> BlockStart {
        let (estimate, delivered) = (self.estimate.clone(), self.totals.delivered.clone());
        let maker = BlockMaker::new(reader, self.contract.clone(), begun, estimate, delivered);
        let start = maker.start();
        let mut cache = self.cache();
        if !cache.knows(start) {
            cache.keep_maker(Box::new(maker), self.limits.makers);
        }
        start
    }

    /// The stream ends with what is durable now; says where that is. The first call decides.
    pub fn end(&self) -> Location {
        let mark = self.trail.durable_end();
        *self.cache().limit.get_or_insert(mark)
    }

    /// The block that starts at `from`; begins to make it if nobody has. Does not wait.
    pub fn take(self: &Arc<Self>, from: BlockStart) -> Taken {
        let begun = self.begin(from).or_else(|| {
            self.budget.let_idle_go();
            self.begin(from)
        });
        match begun {
            None => {
                self.budget.went_without();
                Taken::NoMemory
            }
            Some(Begun::Known(taken)) => taken,
            Some(Begun::Making { making, mut maker, end, charge }) => {
                // An encoder that looks ahead may read on to the end of a transaction, and only at the durable end, where
                // transactions end too, is that no further than `end`.
                let bounded =
                    !self.contract.options.meta.is_sent(MetaField::TransInd) || end == self.trail.durable_end();
                let bounded = bounded && !self.contract.rules.are_costly();
                let few = |bytes| bytes <= self.limits.inline_bytes;
                let near = bounded && bytes_between(from.at, end).is_some_and(few);
                if near && maker.as_mut().is_some_and(|maker| maker.has_in_memory(end)) {
                    return Taken::Block(making.make(maker, end, charge));
                }
                let block = making.block.clone();
                tokio::task::spawn_blocking(move || caught_here(Task::Encoder, || making.make_on(maker, end, charge)));
                Taken::Wait(block)
            }
        }
    }

    /// What is there of the block at `from`, or the making of it; none when there is no memory for one.
    fn begin(self: &Arc<Self>, from: BlockStart) -> Option<Begun> {
        let mut cache = self.cache();
        if let Some(block) = cache.get(from) {
            let wait = || Taken::Wait(block.clone());
            return Some(Begun::Known(block.get().cloned().map_or_else(wait, Taken::Block)));
        }
        let Some(end) = self.end_of(&cache, from) else { return Some(Begun::Known(Taken::AtEnd)) };
        let trail_bytes =
            bytes_between(from.at, end).map_or(usize::MAX, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        let memory = |trail_bytes| self.estimate.memory(trail_bytes);
        // A short block now is better than a whole one when somebody slow has let go of enough for it.
        let charge = self.budget.charge(memory(trail_bytes.min(SHORT_BLOCK_TRAIL_BYTES)), memory(trail_bytes))?;
        let maker = cache.take_maker(from);
        let block = cache.add(from);
        Some(Begun::Making { making: Making { fanout: self.clone(), block, from }, maker, end, charge })
    }

    /// Sees to it that the blocks behind `from`, where a session will soon be, are made in good time: a few of them, and
    /// only well behind the tail.
    pub fn prepare(self: &Arc<Self>, from: BlockStart) {
        let mut start = from;
        for _ in 0..BLOCKS_AHEAD {
            let known = self.cache().get(start).cloned();
            let Some(shared) = known else { return self.make_ahead(start) };
            match shared.get() {
                Some(block) => start = block.to,
                // Whoever makes it goes on with the next ones.
                None => return shared.want_ahead(BLOCKS_AHEAD),
            }
        }
    }

    fn make_ahead(self: &Arc<Self>, from: BlockStart) {
        if !self.may_make_ahead(from) {
            return;
        }
        let Some(Begun::Making { making, maker, end, charge }) = self.begin(from) else { return };
        making.block.want_ahead(BLOCKS_AHEAD);
        tokio::task::spawn_blocking(move || caught_here(Task::Encoder, || making.make_on(maker, end, charge)));
    }

    fn may_make_ahead(&self, from: BlockStart) -> bool {
        let mark = self.trail.durable_end();
        let far = bytes_between(from.at, mark).is_none_or(|bytes| bytes > self.limits.inline_bytes);
        far && self.budget.used() < self.budget.limit() / 2
    }

    /// Where a block that starts at `from` ends; none when nothing durable follows.
    fn end_of(&self, cache: &BlockCache, from: BlockStart) -> Option<Location> {
        let mark = self.trail.durable_end();
        let durable = cache.limit.map_or(mark, |limit| limit.min(mark));
        if from.at >= durable {
            return None;
        }
        let grid = block_end(from.at, self.limits.block_trail_bytes);
        let known = cache.next_start(from).unwrap_or(Location::MAX);
        Some(durable.min(grid).min(known))
    }

    fn cache(&self) -> MutexGuard<'_, BlockCache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many times as much of the trail a block covers that has only some of its partitions, so that it holds about as much as one of
/// all.
fn sparseness(contract: &Contract, trail: &Trail) -> u64 {
    let Some(wanted) = contract.negotiated.partitions.numbers() else { return 1 };
    let open = trail.partitions().open().len() / wanted.len().max(1);
    u64::try_from(open).unwrap_or(1).clamp(1, PARTITION_STRETCH_BYTES / BLOCK_TRAIL_BYTES)
}

impl IdleMemory for Fanout {
    fn let_go(&self) {
        let mut cache = self.cache();
        while cache.let_oldest_go() {}
    }
}

impl Making {
    /// Makes the block, and as many behind it as somebody asked for meanwhile: a thread that is awake goes on at once.
    fn make_on(self, mut maker: Option<Box<BlockMaker>>, mut end: Location, mut charge: Charge) {
        let mut making = self;
        loop {
            let (fanout, shared) = (making.fanout.clone(), making.block.clone());
            let block = making.make(maker, end, charge);
            let ahead = shared.ahead();
            if ahead == 0 || block.stop.is_some() || !fanout.may_make_ahead(block.to) {
                return;
            }
            let Some(Begun::Making { making: next, maker: at, end: to, charge: room }) = fanout.begin(block.to) else {
                return;
            };
            next.block.want_ahead(ahead - 1);
            (making, maker, end, charge) = (next, at, to, room);
        }
    }

    fn make(self, maker: Option<Box<BlockMaker>>, end: Location, charge: Charge) -> Arc<Block> {
        tasks::may_panic(Task::Encoder);
        let fanout = self.fanout.clone();
        let started = Instant::now();
        let maker = maker.map_or_else(|| self.new_maker(), Ok);
        let (block, maker) = match maker {
            Ok(mut maker) => (maker.make(end, charge, fanout.clock.now()), Some(maker)),
            Err(error) => (self.stopped(error.into()), None),
        };
        fanout.totals.made(&block, started.elapsed());
        let block = Arc::new(block);
        self.made(&block, maker);
        block
    }

    fn new_maker(&self) -> Result<Box<BlockMaker>, ReadError> {
        let reader = self.fanout.trail.read_from(self.from.at)?;
        let Fanout { contract, estimate, totals, .. } = &*self.fanout;
        let counts = totals.delivered.clone();
        Ok(Box::new(BlockMaker::new(reader, contract.clone(), self.from.begun, estimate.clone(), counts)))
    }

    fn stopped(&self, stop: End) -> Block {
        let passed = Passed::Nothing;
        let (bytes, pieces, counted, skipped) = Default::default();
        Block { bytes, pieces, counted, to: self.from, passed, commit_ts: None, skipped, stop: Some(stop), memory: 0 }
    }

    /// A block that stops is not kept: what stopped it may pass.
    fn made(&self, block: &Arc<Block>, maker: Option<Box<BlockMaker>>) {
        let limits = &self.fanout.limits;
        let mut cache = self.fanout.cache();
        self.block.set(block.clone());
        if block.stop.is_some() {
            cache.remove(self.from);
        } else {
            if let Some(maker) = maker {
                cache.keep_maker(maker, limits.makers);
            }
            cache.keep(self.from, block, limits.kept_bytes);
        }
        drop(cache);
        self.block.wake();
        self.fanout.budget.became_idle();
    }
}

impl Drop for Making {
    /// Whoever waits is told, also when making broke off.
    fn drop(&mut self) {
        if self.block.get().is_none() {
            let stop = ReadError::Io { trail: self.fanout.trail.name().to_string(), what: "encoding broke off".into() };
            self.made(&Arc::new(self.stopped(stop.into())), None);
        }
    }
}

#[cfg(test)]
mod tests;
