//! The blocks of one contract: made once, by whoever needs one first, and shared by all sessions of the contract.
//!
//! Each block covers a stretch of the trail, and a session goes from block to block: what it gets next depends only on
//! where it stands. At the tail a block is what has become durable since the last one; behind it, blocks end at fixed
//! places of the trail, so that sessions from everywhere soon read the same ones, and wherever a known block starts, so
//! that they join those who are ahead. The newest blocks are kept, within limits. Leaves what one connection must hear
//! beside them to `session`.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::clock::SharedClock;
use crate::codec::json::MetaField;
use crate::delivery::block::{Block, Place};
use crate::delivery::budget::{Budget, Charge};
use crate::delivery::contract::Contract;
use crate::delivery::counts::Counts;
use crate::delivery::cursor::Cursor;
use crate::delivery::estimate::Estimate;
use crate::delivery::feed::DeliveryEnd;
use crate::limits::{
    BLOCK_TRAIL_BYTES, BLOCKS_AHEAD, CURSORS_KEPT, FANOUT_KEPT_BYTES, INLINE_BLOCK_BYTES, SHORT_BLOCK_TRAIL_BYTES,
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
    /// Readers kept at the ends of blocks.
    pub cursors: usize,
}

impl Default for FanoutLimits {
    fn default() -> Self {
        Self {
            block_trail_bytes: BLOCK_TRAIL_BYTES,
            inline_bytes: INLINE_BLOCK_BYTES,
            kept_bytes: FANOUT_KEPT_BYTES,
            cursors: CURSORS_KEPT,
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
    shelf: Mutex<Shelf>,
    estimate: Arc<Estimate>,
    work: Arc<Work>,
}

/// What the blocks of a stream have taken: figures that outlive its contracts.
#[derive(Debug, Default)]
pub struct Work {
    blocks: AtomicU64,
    records: AtomicU64,
    bytes: AtomicU64,
    nanos: AtomicU64,
    /// What sessions were given of them.
    pub delivered: Arc<Counts>,
}

/// [`Work`] as it stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WorkFigures {
    /// Blocks encoded.
    pub blocks: u64,
    /// Records encoded, each counted once however many sessions it went to.
    pub records: u64,
    /// Bytes encoded.
    pub bytes: u64,
    /// Time that reading and encoding took, in nanoseconds.
    pub nanos: u64,
}

impl Work {
    /// The figures now.
    pub fn figures(&self) -> WorkFigures {
        let get = |number: &AtomicU64| number.load(Ordering::Relaxed);
        WorkFigures {
            blocks: get(&self.blocks),
            records: get(&self.records),
            bytes: get(&self.bytes),
            nanos: get(&self.nanos),
        }
    }
}

#[derive(Debug, Default)]
struct Shelf {
    slots: BTreeMap<Place, Arc<Slot>>,
    /// Where the made blocks start, oldest first.
    made: VecDeque<Place>,
    kept_bytes: usize,
    /// Cursors that nobody uses, each at the end of a block.
    cursors: VecDeque<Box<Cursor>>,
    /// Where the stream ends: nothing behind is sent.
    limit: Option<Location>,
}

/// A block, made or being made.
#[derive(Debug, Default)]
pub struct Slot {
    outcome: OnceLock<Arc<Block>>,
    done: Notify,
    /// How many blocks behind it whoever makes it is to make too.
    ahead: AtomicU32,
}

/// What [`Fanout::take`] finds.
#[derive(Debug)]
pub enum Taken {
    /// The block that starts there.
    Block(Arc<Block>),
    /// It is being made.
    Wait(Arc<Slot>),
    /// There is nothing durable behind that place, or the stream ends there.
    AtEnd,
    /// The memory for blocks is used up.
    NoMemory,
}

impl Slot {
    /// Waits until the block is made.
    pub async fn made(&self) -> Arc<Block> {
        loop {
            let done = self.done.notified();
            tokio::pin!(done);
            done.as_mut().enable();
            if let Some(block) = self.outcome.get() {
                return block.clone();
            }
            done.await;
        }
    }
}

/// What [`Fanout::begin`] comes to.
enum Begun {
    Known(Taken),
    Making { making: Making, cursor: Option<Box<Cursor>>, end: Location, charge: Charge },
}

/// A slot that must be filled, by a block or by its maker's end.
struct Making {
    fanout: Arc<Fanout>,
    slot: Arc<Slot>,
    from: Place,
}

impl Fanout {
    /// The blocks of `contract` in `trail`; what they take counts in `work` too.
    pub fn new(
        contract: Arc<Contract>,
        trail: Trail,
        clock: SharedClock,
        budget: Arc<Budget>,
        work: Arc<Work>,
    ) -> Arc<Self> {
        Self::with_limits(contract, trail, clock, budget, work, FanoutLimits::default())
    }

    /// The same with other limits.
    pub fn with_limits(
        contract: Arc<Contract>,
        trail: Trail,
        clock: SharedClock,
        budget: Arc<Budget>,
        work: Arc<Work>,
        limits: FanoutLimits,
    ) -> Arc<Self> {
        let (shelf, estimate) = (Mutex::default(), Arc::default());
        let fanout = Arc::new(Self { contract, trail, clock, budget, limits, shelf, estimate, work });
        fanout.budget.register(&fanout);
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
        self.shelf().kept_bytes
    }

    /// Takes over a reader that a session has brought to where it starts; `begun` as in [`Place`].
    pub fn start(&self, reader: Reader, begun: Option<u64>) -> Place {
        let cursor =
            Cursor::new(reader, self.contract.clone(), begun, self.estimate.clone(), self.work.delivered.clone());
        let place = cursor.place();
        let mut shelf = self.shelf();
        let known = shelf.slots.contains_key(&place) || shelf.cursors.iter().any(|known| known.place() == place);
        if !known {
            shelf.keep_cursor(Box::new(cursor), self.limits.cursors);
        }
        place
    }

    /// The stream ends with what is durable now; says where that is. The first call decides.
    pub fn end(&self) -> Location {
        let mark = self.trail.durable_end();
        *self.shelf().limit.get_or_insert(mark)
    }

    /// The block that starts at `from`; begins to make it if nobody has. Does not wait.
    pub fn take(self: &Arc<Self>, from: Place) -> Taken {
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
            Some(Begun::Making { making, mut cursor, end, charge }) => {
                // An encoder that looks ahead may read on to the end of a transaction, and only at the durable end, where
                // transactions end too, is that no further than `end`.
                let bounded =
                    !self.contract.options.meta.is_sent(MetaField::TransInd) || end == self.trail.durable_end();
                let bounded = bounded && !self.contract.rules.are_costly();
                let few = |bytes| bytes <= self.limits.inline_bytes;
                let near = bounded && bytes_between(from.at, end).is_some_and(few);
                if near && cursor.as_mut().is_some_and(|cursor| cursor.has_in_memory(end)) {
                    return Taken::Block(making.make(cursor, end, charge));
                }
                let slot = making.slot.clone();
                tokio::task::spawn_blocking(move || caught_here(Task::Encoder, || making.make_on(cursor, end, charge)));
                Taken::Wait(slot)
            }
        }
    }

    /// What is there of the block at `from`, or a slot for it; none when there is no memory for one.
    fn begin(self: &Arc<Self>, from: Place) -> Option<Begun> {
        let mut shelf = self.shelf();
        if let Some(slot) = shelf.slots.get(&from) {
            let wait = || Taken::Wait(slot.clone());
            return Some(Begun::Known(slot.outcome.get().cloned().map_or_else(wait, Taken::Block)));
        }
        let Some(end) = self.end_of(&shelf, from) else { return Some(Begun::Known(Taken::AtEnd)) };
        let trail_bytes =
            bytes_between(from.at, end).map_or(usize::MAX, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        let memory = |trail_bytes| self.estimate.memory(trail_bytes);
        // A short block now is better than a whole one when somebody slow has let go of enough for it.
        let charge = self.budget.charge(memory(trail_bytes.min(SHORT_BLOCK_TRAIL_BYTES)), memory(trail_bytes))?;
        let cursor = shelf.cursors.iter().position(|cursor| cursor.place() == from);
        let cursor = cursor.and_then(|at| shelf.cursors.remove(at));
        let slot = Arc::<Slot>::default();
        shelf.slots.insert(from, slot.clone());
        Some(Begun::Making { making: Making { fanout: self.clone(), slot, from }, cursor, end, charge })
    }

    /// Sees to it that the blocks behind `from`, where a session will soon be, are made in good time: a few of them, and
    /// only well behind the tail.
    pub fn prepare(self: &Arc<Self>, from: Place) {
        let mut place = from;
        for _ in 0..BLOCKS_AHEAD {
            let slot = self.shelf().slots.get(&place).cloned();
            match slot.as_ref().map(|slot| slot.outcome.get()) {
                Some(Some(block)) => place = block.to,
                // Whoever makes it goes on with the next ones.
                Some(None) => {
                    slot.iter().for_each(|slot| slot.ahead.store(BLOCKS_AHEAD, Ordering::Relaxed));
                    return;
                }
                None => return self.make_ahead(place),
            }
        }
    }

    fn make_ahead(self: &Arc<Self>, from: Place) {
        if !self.may_make_ahead(from) {
            return;
        }
        let Some(Begun::Making { making, cursor, end, charge }) = self.begin(from) else { return };
        making.slot.ahead.store(BLOCKS_AHEAD, Ordering::Relaxed);
        tokio::task::spawn_blocking(move || caught_here(Task::Encoder, || making.make_on(cursor, end, charge)));
    }

    fn may_make_ahead(&self, from: Place) -> bool {
        let mark = self.trail.durable_end();
        let far = bytes_between(from.at, mark).is_none_or(|bytes| bytes > self.limits.inline_bytes);
        far && self.budget.used() < self.budget.limit() / 2
    }

    /// Where a block that starts at `from` ends; none when nothing durable follows.
    fn end_of(&self, shelf: &Shelf, from: Place) -> Option<Location> {
        let mark = self.trail.durable_end();
        let durable = shelf.limit.map_or(mark, |limit| limit.min(mark));
        if from.at >= durable {
            return None;
        }
        let grid = block_end(from.at, self.limits.block_trail_bytes);
        let mut next = shelf.slots.range((Bound::Excluded(Place::last_at(from.at)), Bound::Unbounded));
        let known = next.next().map_or(Location::MAX, |(place, _)| place.at);
        Some(durable.min(grid).min(known))
    }

    /// Lets all blocks go that nobody has asked for yet.
    pub(super) fn let_idle_go(&self) {
        let mut shelf = self.shelf();
        while shelf.let_oldest_go() {}
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shelf {
    fn keep_cursor(&mut self, cursor: Box<Cursor>, most: usize) {
        if self.cursors.len() >= most {
            self.cursors.pop_front();
        }
        self.cursors.push_back(cursor);
    }

    fn keep_block(&mut self, from: Place, block: &Block, bytes_max: usize) {
        self.kept_bytes += block.memory;
        self.made.push_back(from);
        while self.kept_bytes > bytes_max && self.let_oldest_go() {}
    }

    fn let_oldest_go(&mut self) -> bool {
        let Some(place) = self.made.pop_front() else { return false };
        let slot = self.slots.remove(&place);
        let block = slot.as_ref().and_then(|slot| slot.outcome.get());
        self.kept_bytes = self.kept_bytes.saturating_sub(block.map_or(0, |block| block.memory));
        true
    }
}

impl Making {
    /// Makes the block, and as many behind it as somebody asked for meanwhile: a thread that is awake goes on at once.
    fn make_on(self, mut cursor: Option<Box<Cursor>>, mut end: Location, mut charge: Charge) {
        let mut making = self;
        loop {
            let (fanout, slot) = (making.fanout.clone(), making.slot.clone());
            let block = making.make(cursor, end, charge);
            let ahead = slot.ahead.load(Ordering::Relaxed);
            if ahead == 0 || block.stop.is_some() || !fanout.may_make_ahead(block.to) {
                return;
            }
            let Some(Begun::Making { making: next, cursor: at, end: to, charge: room }) = fanout.begin(block.to) else {
                return;
            };
            next.slot.ahead.store(ahead - 1, Ordering::Relaxed);
            (making, cursor, end, charge) = (next, at, to, room);
        }
    }

    fn make(self, cursor: Option<Box<Cursor>>, end: Location, charge: Charge) -> Arc<Block> {
        tasks::may_panic(Task::Encoder);
        let fanout = self.fanout.clone();
        let started = Instant::now();
        let cursor = cursor.map_or_else(|| self.new_cursor(), Ok);
        let (block, cursor) = match cursor {
            Ok(mut cursor) => (cursor.make(end, charge, fanout.clock.now()), Some(cursor)),
            Err(error) => (self.stopped(DeliveryEnd::Read(error)), None),
        };
        let nanos = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        fanout.work.nanos.fetch_add(nanos, Ordering::Relaxed);
        fanout.work.blocks.fetch_add(1, Ordering::Relaxed);
        fanout.work.records.fetch_add(block.records(), Ordering::Relaxed);
        fanout.work.bytes.fetch_add(block.bytes.len() as u64, Ordering::Relaxed);
        let block = Arc::new(block);
        self.fill(&block, cursor);
        block
    }

    fn new_cursor(&self) -> Result<Box<Cursor>, ReadError> {
        let reader = self.fanout.trail.read_from(self.from.at)?;
        let Fanout { contract, estimate, work, .. } = &*self.fanout;
        let counts = work.delivered.clone();
        Ok(Box::new(Cursor::new(reader, contract.clone(), self.from.begun, estimate.clone(), counts)))
    }

    fn stopped(&self, stop: DeliveryEnd) -> Block {
        let passed = crate::delivery::block::Passed::Nothing;
        let (bytes, pieces, counted, skipped) = Default::default();
        Block { bytes, pieces, counted, to: self.from, passed, skipped, stop: Some(stop), memory: 0 }
    }

    /// A block that stops is not kept: what stopped it may pass.
    fn fill(&self, block: &Arc<Block>, cursor: Option<Box<Cursor>>) {
        let limits = &self.fanout.limits;
        let mut shelf = self.fanout.shelf();
        let _ = self.slot.outcome.set(block.clone());
        if block.stop.is_some() {
            shelf.slots.remove(&self.from);
        } else {
            if let Some(cursor) = cursor {
                shelf.keep_cursor(cursor, limits.cursors);
            }
            shelf.keep_block(self.from, block, limits.kept_bytes);
        }
        drop(shelf);
        self.slot.done.notify_waiters();
        self.fanout.budget.became_idle();
    }
}

impl Drop for Making {
    /// Whoever waits is told, also when making broke off.
    fn drop(&mut self) {
        if self.slot.outcome.get().is_none() {
            let stop = ReadError::Io { trail: self.fanout.trail.name().to_string(), what: "encoding broke off".into() };
            self.fill(&Arc::new(self.stopped(DeliveryEnd::Read(stop))), None);
        }
    }
}

#[cfg(test)]
mod tests;
