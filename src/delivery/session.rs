//! One session's way through the trail, from block to block of its contract, as fast as the socket takes messages.
//!
//! What a poll takes of it, and what is counted then, is the poll's business.
//!
//! Natural batching: whatever is durable goes out at once, up to a message's limit; nothing lingers.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::clock::SharedClock;
use crate::delivery::announcements::Announcements;
use crate::delivery::block::{Block, BlockStart, Passed};
use crate::delivery::block_cache::SharedBlock;
use crate::delivery::counts::Counted;
use crate::delivery::end::End;
use crate::delivery::fanout::{Fanout, Taken};
use crate::delivery::negotiated::Partitions;
use crate::delivery::notices::{CaughtUp, Notices};
use crate::delivery::progress::Progress;
use crate::limits::{BUDGET_RETRY_MILLIS, HANDOVER_BYTES, HANDOVER_PIECES};
use crate::record::Position;
use crate::trail::{DurableMark, Fill, Location, Reader};

/// What a session sends next.
#[derive(Debug)]
pub enum Delivery {
    /// Finished messages, in order; an element may hold several whole ones. None where something was passed over:
    /// [`Session::take_skipped`].
    Messages(Vec<Bytes>),
    /// Nothing more, and why.
    End(End),
}

/// A session that reads its trail.
#[derive(Debug)]
pub struct Session {
    stage: Stage,
    fanout: Arc<Fanout>,
    announcements: Announcements,
    /// Whether it answers requests, which take what they want of it.
    is_polled: bool,
    notices: Notices,
    caught_up: CaughtUp,
    clock: SharedClock,
    mark: watch::Receiver<DurableMark>,
    opened: bool,
    /// Set when the stream ends; the session is owed what was durable then.
    ending: watch::Receiver<Option<End>>,
    /// Why the session ends when everything that it is owed has been given.
    failed: Option<End>,
    /// The last position passed, sent or not, for heartbeats; only ever between transactions.
    passed: Option<Position>,
    /// The durable mark before the last block was looked for: its end and its commit number.
    looked: (Location, u64),
    /// Whether the last block ended inside a transaction.
    inside: bool,
    quiet_since: Instant,
    /// What was missing and passed over, in words, until somebody takes it.
    skipped: Vec<String>,
    /// Whether that is new, and to be told also where nothing else is.
    has_skipped: bool,
    /// Set when the session has waited for memory: finding some, it lets the next one look.
    waited_for_memory: bool,
    progress: Arc<Progress>,
}

#[derive(Debug)]
enum Stage {
    /// Looks for the first transaction that is its own; `begun` as in [`BlockStart`].
    Settling { reader: Box<Reader>, begun: Option<u64> },
    /// Goes from block to block; the next one starts there.
    At(BlockStart),
}

impl Session {
    /// A session that starts where `reader` stands. `after`: a position behind which it stands, of a record that this
    /// contract's rules let through, or behind a whole transaction. `notices`: what it says of itself.
    pub fn new(
        reader: Reader,
        after: Option<&Position>,
        fanout: Arc<Fanout>,
        notices: Notices,
        clock: SharedClock,
        ending: watch::Receiver<Option<End>>,
        progress: Arc<Progress>,
    ) -> Self {
        // Between transactions nothing is begun, and heartbeats have a position to tell from the start.
        let passed = after.copied().filter(Position::is_behind);
        let begun = after.filter(|position| !position.is_behind()).map(|position| position.commit);
        Self {
            stage: Stage::Settling { reader: Box::new(reader), begun },
            announcements: Announcements::new(fanout.contract().clone()),
            is_polled: fanout.contract().is_polled(),
            notices,
            caught_up: CaughtUp::default(),
            mark: fanout.trail().durable(),
            fanout,
            clock,
            opened: false,
            ending,
            failed: None,
            passed,
            looked: (Location::MAX, 0),
            inside: false,
            quiet_since: Instant::now(),
            skipped: Vec::new(),
            has_skipped: false,
            waited_for_memory: false,
            progress,
        }
    }

    /// What to send next; waits for it. May be dropped and called again: nothing is lost at any of its waits, because
    /// what was taken is handed over before the next one.
    pub async fn next(&mut self) -> Delivery {
        loop {
            if let Some(delivery) = self.next_to_tail().await {
                return delivery;
            }
            if let Some(delivery) = self.wait().await {
                return delivery;
            }
        }
    }

    /// The same, but none where everything durable has been sent. May be dropped as well.
    pub async fn next_to_tail(&mut self) -> Option<Delivery> {
        if !std::mem::replace(&mut self.opened, true)
            && let Some(messages) = self.announcements.open(self.clock.now())
        {
            return Some(self.sent(vec![messages]));
        }
        loop {
            if let Some(end) = self.failed.clone() {
                return Some(Delivery::End(end));
            }
            let start = match &mut self.stage {
                Stage::At(start) => *start,
                Stage::Settling { .. } => match self.settle().await {
                    Ok(true) => continue,
                    Ok(false) => return None,
                    Err(end) => return Some(Delivery::End(end)),
                },
            };
            if self.ending.borrow().is_some() {
                // What is durable from now on is not owed any more.
                self.fanout.end();
            }
            let mut handover = Handover::default();
            let wait = self.gather(start, &mut handover);
            let found_memory = !matches!(wait, Some(Wait::Memory)) || !handover.messages.is_empty();
            if std::mem::take(&mut self.waited_for_memory) && found_memory {
                self.fanout.budget().pass_on();
            }
            if !handover.messages.is_empty() {
                self.caught_up.sent();
                return Some(self.sent(handover.messages));
            }
            if std::mem::take(&mut self.has_skipped) {
                return Some(Delivery::Messages(Vec::new()));
            }
            match wait {
                None => tokio::task::coop::consume_budget().await,
                Some(Wait::Block(block)) => {
                    let block = block.made().await;
                    self.pass(&block, &mut handover);
                    if !handover.messages.is_empty() {
                        self.caught_up.sent();
                        return Some(self.sent(handover.messages));
                    }
                }
                Some(Wait::Memory) => {
                    let retry = Duration::from_millis(BUDGET_RETRY_MILLIS);
                    // Told or not, it looks again.
                    let _ = tokio::time::timeout(retry, self.fanout.budget().freed()).await;
                    self.waited_for_memory = true;
                }
                Some(Wait::Trail) => return None,
            }
        }
    }

    /// Behind which position everything was looked at, whether sent or not; none inside a transaction, and before the first.
    pub fn passed(&self) -> Option<Position> {
        self.passed
    }

    /// Whether it stands inside a transaction.
    pub fn is_inside(&self) -> bool {
        self.inside
    }

    /// What to send last where the server stops: when to come back, if the client wants to hear it.
    pub fn farewell(&mut self, retry_after_millis: u64) -> Option<Bytes> {
        self.notices.drain.then(|| self.announcements.drain(retry_after_millis, self.clock.now())).flatten()
    }

    /// What the session has passed over since the last call although it is missing, in words.
    pub fn take_skipped(&mut self) -> Vec<String> {
        std::mem::take(&mut self.skipped)
    }

    /// Takes the blocks that are ready, up to what a socket takes at once. Says what to wait for when there are no more.
    fn gather(&mut self, mut start: BlockStart, handover: &mut Handover) -> Option<Wait> {
        while handover.has_room() && self.failed.is_none() {
            self.looked = {
                let mark = self.mark.borrow();
                (mark.end, mark.commit)
            };
            match self.fanout.take(start) {
                Taken::Block(block) => {
                    start = block.to;
                    self.pass(&block, handover);
                    if handover.messages.is_empty() {
                        // Rules may leave nothing of a whole trail; others want to run meanwhile.
                        break;
                    }
                }
                Taken::Wait(block) => return Some(Wait::Block(block)),
                Taken::NoMemory => return Some(Wait::Memory),
                Taken::AtEnd => {
                    self.pass_looked(start.at);
                    return Some(Wait::Trail);
                }
            }
        }
        None
    }

    /// Takes a block over: the session then stands behind it.
    fn pass(&mut self, block: &Block, handover: &mut Handover) {
        self.announcements.hand_over(block, self.clock.now(), &mut handover.messages);
        handover.bytes += block.bytes.len();
        match block.passed {
            Passed::Nothing => {}
            Passed::Inside(commit) => {
                (self.passed, self.inside) = (None, true);
                self.progress.passes(commit - 1);
            }
            Passed::Transaction(position) => {
                (self.passed, self.inside) = (Some(position), false);
                self.progress.passes(position.commit);
            }
        }
        if block.stop.is_none() {
            self.pass_looked(block.to.at);
        }
        if let Some(commit_ts) = block.commit_ts {
            self.progress.begins(commit_ts);
        }
        self.skipped.extend_from_slice(&block.skipped);
        self.has_skipped |= !block.skipped.is_empty();
        if let Some(last) = block.pieces.last().filter(|_| !self.is_polled) {
            self.progress.sent_records(last.last, block.records());
            self.progress.sent_of_trail(last.last);
            block.counted.iter().for_each(Counted::deliver);
        }
        if let Some((record, bytes)) = block.first_large(self.fanout.contract().negotiated.framing) {
            self.progress.sent_large(record, bytes);
        }
        self.progress.reached(block.to.at, block.to.at >= self.fanout.trail().durable_end());
        self.stage = Stage::At(block.to);
        self.failed.clone_from(&block.stop);
    }

    /// Everything before `at` was looked at: a reader of a few partitions is not told of transactions that have nothing of them,
    /// and would stand for ever behind its last own one.
    fn pass_looked(&mut self, at: Location) {
        let (end, commit) = self.looked;
        if at < end || self.fanout.contract().negotiated.partitions == Partitions::All {
            return;
        }
        if commit > self.progress.passed() {
            self.progress.passes(commit);
        }
        if self.passed.is_none_or(|passed| passed.commit < commit) {
            self.passed = Some(Position::behind(self.fanout.contract().epoch, commit));
        }
    }

    /// The position, which is behind whole transactions, as it is told where there is no record to it.
    fn told(&self, position: Position) -> Position {
        match self.notices.session {
            0 => position,
            session => Position { xid_hash: session, ..Position::behind(position.epoch, position.commit) },
        }
    }

    fn sent(&mut self, messages: Vec<Bytes>) -> Delivery {
        if self.is_polled {
            return Delivery::Messages(messages);
        }
        let bytes: usize = messages.iter().map(Bytes::len).sum();
        self.progress.sent_bytes(bytes as u64);
        self.quiet_since = Instant::now();
        if let Stage::At(start) = self.stage {
            // While the socket takes these, the next ones are made.
            self.fanout.prepare(start);
        }
        Delivery::Messages(messages)
    }

    /// Passes over what lies before the session's first transaction; says whether that is there.
    async fn settle(&mut self) -> Result<bool, End> {
        let Stage::Settling { reader, begun } = &mut self.stage else { return Ok(true) };
        while !reader.settle().map_err(End::from)? {
            if let Some(end) = self.ending.borrow().clone() {
                return Err(end);
            }
            if reader.fill().await.map_err(End::from)? == Fill::AtMark {
                return Ok(false);
            }
        }
        let begun = *begun;
        let nowhere = Stage::At(BlockStart { at: reader.location(), begun });
        if let Stage::Settling { reader, .. } = std::mem::replace(&mut self.stage, nowhere) {
            let start = self.fanout.start(*reader, begun);
            self.progress.reached(start.at, start.at >= self.fanout.trail().durable_end());
            self.stage = Stage::At(start);
        }
        Ok(true)
    }

    /// Waits at the end of what is durable, or of the stream.
    async fn wait(&mut self) -> Option<Delivery> {
        let at = match &self.stage {
            Stage::At(start) => start.at,
            Stage::Settling { reader, .. } => reader.location(),
        };
        if let Some(end) = self.ending.borrow().clone() {
            // What was durable when the stream ended is still owed.
            return (at >= self.fanout.end()).then_some(Delivery::End(end));
        }
        let mut say_at = None;
        if self.notices.caught_up
            && let Some(due) = self.caught_up.due()
        {
            if due <= Instant::now() {
                return self.say_caught_up(at);
            }
            say_at = Some(due);
        }
        let heartbeat = self.fanout.contract().heartbeat_seconds.map(Duration::from_secs);
        let beats_at = self.passed.map(|passed| self.told(passed));
        let heartbeat = heartbeat.filter(|_| beats_at.is_some());
        let due = self.quiet_since + heartbeat.unwrap_or(Duration::from_secs(3_600));
        let beat = tokio::select! {
            moved = self.mark.wait_for(|mark| mark.end > at) => {
                self.progress.leaves_tail();
                // The sender lives as long as the trail, which the fan-out holds.
                return moved.is_err().then_some(Delivery::End(End::Gone));
            }
            ended = self.ending.changed() => {
                return ended.is_err().then_some(Delivery::End(End::Gone));
            }
            () = tokio::time::sleep_until(due), if heartbeat.is_some() => beats_at?,
            // Looked at anew: what has come meanwhile goes first.
            () = tokio::time::sleep_until(say_at.unwrap_or(due)), if say_at.is_some() => return None,
        };
        let messages = self.announcements.heartbeat(beat, self.clock.now())?;
        self.progress.sent_records(beat, 1);
        Some(self.sent(vec![messages]))
    }

    /// Says that everything was sent, if nothing more has become durable behind `at`.
    fn say_caught_up(&mut self, at: Location) -> Option<Delivery> {
        let mark = self.mark.borrow_and_update().clone();
        if mark.end > at {
            return None;
        }
        let position = self.told(self.passed.unwrap_or_else(|| mark.position(self.fanout.contract().epoch)));
        let tail = (mark.commit > 0).then_some(mark.commit_ts);
        let messages = self.announcements.caught_up(position, tail, self.clock.now())?;
        self.caught_up.say();
        self.progress.sent_records(position, 1);
        Some(self.sent(vec![messages]))
    }
}

/// What a session gives its socket at once.
#[derive(Debug, Default)]
struct Handover {
    messages: Vec<Bytes>,
    bytes: usize,
}

impl Handover {
    fn has_room(&self) -> bool {
        self.bytes < HANDOVER_BYTES && self.messages.len() < HANDOVER_PIECES
    }
}

/// What a session waits for.
enum Wait {
    /// A block that is being made.
    Block(Arc<SharedBlock>),
    /// Memory for a block.
    Memory,
    /// The trail to grow, or the stream to end.
    Trail,
}
