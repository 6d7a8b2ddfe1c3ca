//! One session's way through the trail, from block to block of its contract, as fast as the socket takes messages.
//!
//! Natural batching: whatever is durable goes out at once, up to a message's limit; nothing lingers.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::clock::SharedClock;
use crate::delivery::block::{Block, Passed, Place};
use crate::delivery::counts::Counted;
use crate::delivery::encoder::EncodeStop;
use crate::delivery::fanout::{Fanout, Slot, Taken};
use crate::delivery::gap::{in_brief, in_full};
pub use crate::delivery::progress::Progress;
use crate::delivery::session::Session;
use crate::limits::{BUDGET_RETRY_MILLIS, HANDOVER_BYTES, HANDOVER_PIECES};
use crate::record::Position;
use crate::trail::{DurableMark, Fill, Gap, ReadError, Reader};

/// What a session sends next.
#[derive(Debug)]
pub enum Delivery {
    /// Finished messages, in order; an element may hold several whole ones. None where something was passed over:
    /// [`SessionFeed::take_skipped`].
    Messages(Vec<Bytes>),
    /// Nothing more, and why.
    End(DeliveryEnd),
}

/// Why a session ends; the close codes are the contract's (section 4).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeliveryEnd {
    /// The stream's configuration changed.
    #[error("stream reconfigured")]
    Reconfigured,
    /// The stream or its trail is gone.
    #[error("stream or trail gone")]
    Gone,
    /// The credential's time is over.
    #[error("credential expired")]
    Expired,
    /// The user is gone, or may no longer read the stream.
    #[error("rights withdrawn")]
    Withdrawn,
    /// A record does not fit the stream's limits.
    #[error("{0}")]
    Encode(EncodeStop),
    /// Something is missing here: transactions that damage took, or rows that the source did not give.
    #[error("{}; go on after {after}", in_full(gap))]
    Gap {
        /// What is missing.
        gap: Gap,
        /// The gap's position: resuming there goes on behind it.
        after: String,
    },
    /// The trail cannot be read on, or retention overtook the session.
    #[error("{0}")]
    Read(ReadError),
}

impl DeliveryEnd {
    /// The WebSocket close code.
    pub fn code(&self) -> u16 {
        match self {
            Self::Expired => 4000,
            Self::Withdrawn => 4001,
            Self::Reconfigured => 4012,
            Self::Gone => 4020,
            Self::Encode(EncodeStop::TooLarge { .. }) => 4013,
            Self::Gap { .. } => 4014,
            Self::Read(ReadError::Overtaken) => 4011,
            Self::Encode(EncodeStop::Malformed(_)) | Self::Read(_) => 1011,
        }
    }

    /// The close reason: no row values, at most what a close frame takes.
    pub fn reason(&self) -> String {
        match self {
            Self::Encode(EncodeStop::TooLarge { after, .. }) => format!("record too large; go on after {after}"),
            Self::Encode(EncodeStop::Malformed(_)) | Self::Read(ReadError::Io { .. } | ReadError::Damaged(_)) => {
                "the trail cannot be read".to_owned()
            }
            Self::Gap { gap, after } => in_brief(gap, after),
            other => other.to_string(),
        }
    }
}

/// A session that reads its trail.
#[derive(Debug)]
pub struct SessionFeed {
    stage: Stage,
    fanout: Arc<Fanout>,
    session: Session,
    clock: SharedClock,
    mark: watch::Receiver<DurableMark>,
    opened: bool,
    /// Set when the stream ends; the session is owed what was durable then.
    ending: watch::Receiver<Option<DeliveryEnd>>,
    /// Why the session ends when everything that it is owed has been given.
    failed: Option<DeliveryEnd>,
    /// The last position passed, sent or not, for heartbeats; only ever between transactions.
    passed: Option<Position>,
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
    /// Looks for the first transaction that is its own; `begun` as in [`Place`].
    Settling { reader: Box<Reader>, begun: Option<u64> },
    /// Goes from block to block.
    At(Place),
}

impl SessionFeed {
    /// A session that starts where `reader` stands. `after`: a position behind which it stands, of a record that this
    /// contract's rules let through, or behind a whole transaction.
    pub fn new(
        reader: Reader,
        after: Option<&Position>,
        fanout: Arc<Fanout>,
        clock: SharedClock,
        ending: watch::Receiver<Option<DeliveryEnd>>,
        progress: Arc<Progress>,
    ) -> Self {
        // Between transactions nothing is begun, and heartbeats have a position to tell from the start.
        let passed = after.copied().filter(Position::is_behind);
        let begun = after.filter(|position| !position.is_behind()).map(|position| position.commit);
        Self {
            stage: Stage::Settling { reader: Box::new(reader), begun },
            session: Session::new(fanout.contract().clone()),
            mark: fanout.trail().durable(),
            fanout,
            clock,
            opened: false,
            ending,
            failed: None,
            passed,
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
        if !std::mem::replace(&mut self.opened, true)
            && let Some(messages) = self.session.open(self.clock.now())
        {
            return self.sent(vec![messages]);
        }
        loop {
            if let Some(end) = self.failed.clone() {
                return Delivery::End(end);
            }
            let place = match &mut self.stage {
                Stage::At(place) => *place,
                Stage::Settling { .. } => match self.settle().await {
                    Ok(()) => continue,
                    Err(end) => return Delivery::End(end),
                },
            };
            if self.ending.borrow().is_some() {
                // What is durable from now on is not owed any more.
                self.fanout.end();
            }
            let mut handover = Handover::default();
            let wait = self.gather(place, &mut handover);
            let found_memory = !matches!(wait, Some(Wait::Memory)) || !handover.messages.is_empty();
            if std::mem::take(&mut self.waited_for_memory) && found_memory {
                self.fanout.budget().pass_on();
            }
            if !handover.messages.is_empty() {
                return self.sent(handover.messages);
            }
            if std::mem::take(&mut self.has_skipped) {
                return Delivery::Messages(Vec::new());
            }
            match wait {
                None => tokio::task::coop::consume_budget().await,
                Some(Wait::Block(slot)) => {
                    let block = slot.made().await;
                    self.pass(&block, &mut handover);
                    if !handover.messages.is_empty() {
                        return self.sent(handover.messages);
                    }
                }
                Some(Wait::Memory) => {
                    let retry = Duration::from_millis(BUDGET_RETRY_MILLIS);
                    // Told or not, it looks again.
                    let _ = tokio::time::timeout(retry, self.fanout.budget().freed()).await;
                    self.waited_for_memory = true;
                }
                Some(Wait::Trail) => {
                    if let Some(delivery) = self.wait().await {
                        return delivery;
                    }
                }
            }
        }
    }

    /// What the session has passed over since the last call although it is missing, in words.
    pub fn take_skipped(&mut self) -> Vec<String> {
        std::mem::take(&mut self.skipped)
    }

    /// Takes the blocks that are ready, up to what a socket takes at once. Says what to wait for when there are no more.
    fn gather(&mut self, mut place: Place, handover: &mut Handover) -> Option<Wait> {
        while handover.has_room() && self.failed.is_none() {
            match self.fanout.take(place) {
                Taken::Block(block) => {
                    place = block.to;
                    self.pass(&block, handover);
                    if handover.messages.is_empty() {
                        // Rules may leave nothing of a whole trail; others want to run meanwhile.
                        break;
                    }
                }
                Taken::Wait(slot) => return Some(Wait::Block(slot)),
                Taken::NoMemory => return Some(Wait::Memory),
                Taken::AtEnd => return Some(Wait::Trail),
            }
        }
        None
    }

    /// Takes a block over: the session then stands behind it.
    fn pass(&mut self, block: &Block, handover: &mut Handover) {
        self.session.hand_over(block, self.clock.now(), &mut handover.messages);
        handover.bytes += block.bytes.len();
        match block.passed {
            Passed::Nothing => {}
            Passed::Inside(commit) => {
                self.passed = None;
                self.progress.passes(commit - 1);
            }
            Passed::Transaction(position) => {
                self.passed = Some(position);
                self.progress.passes(position.commit);
            }
        }
        self.skipped.extend_from_slice(&block.skipped);
        self.has_skipped |= !block.skipped.is_empty();
        if let Some(last) = block.pieces.last() {
            self.progress.sent_records(last.last, block.records());
            block.counted.iter().for_each(Counted::deliver);
        }
        if let Some((record, bytes)) = block.first_large() {
            self.progress.sent_large(record, bytes);
        }
        self.progress.reached(block.to.at, block.to.at >= self.fanout.trail().durable_end());
        self.stage = Stage::At(block.to);
        self.failed.clone_from(&block.stop);
    }

    fn sent(&mut self, messages: Vec<Bytes>) -> Delivery {
        let bytes: usize = messages.iter().map(Bytes::len).sum();
        self.progress.sent_bytes(bytes as u64);
        self.quiet_since = Instant::now();
        if let Stage::At(place) = self.stage {
            // While the socket takes these, the next ones are made.
            self.fanout.prepare(place);
        }
        Delivery::Messages(messages)
    }

    /// Passes over what lies before the session's first transaction; that may not be there yet.
    async fn settle(&mut self) -> Result<(), DeliveryEnd> {
        let Stage::Settling { reader, begun } = &mut self.stage else { return Ok(()) };
        while !reader.settle().map_err(DeliveryEnd::Read)? {
            if let Some(end) = self.ending.borrow().clone() {
                return Err(end);
            }
            if reader.fill().await.map_err(DeliveryEnd::Read)? == Fill::Filled {
                continue;
            }
            tokio::select! {
                () = reader.wait() => {}
                ended = self.ending.changed() => if ended.is_err() { return Err(DeliveryEnd::Gone) },
            }
        }
        let begun = *begun;
        let nowhere = Stage::At(Place { at: reader.location(), begun });
        if let Stage::Settling { reader, .. } = std::mem::replace(&mut self.stage, nowhere) {
            let place = self.fanout.start(*reader, begun);
            self.progress.reached(place.at, place.at >= self.fanout.trail().durable_end());
            self.stage = Stage::At(place);
        }
        Ok(())
    }

    /// Waits at the end of what is durable, or of the stream.
    async fn wait(&mut self) -> Option<Delivery> {
        let Stage::At(place) = self.stage else { return None };
        if let Some(end) = self.ending.borrow().clone() {
            // What was durable when the stream ended is still owed.
            return (place.at >= self.fanout.end()).then_some(Delivery::End(end));
        }
        let heartbeat = self.fanout.contract().heartbeat_seconds.map(Duration::from_secs);
        let heartbeat = heartbeat.filter(|_| self.passed.is_some());
        let due = self.quiet_since + heartbeat.unwrap_or(Duration::from_secs(3_600));
        let beat = tokio::select! {
            moved = self.mark.wait_for(|mark| mark.end > place.at) => {
                // The sender lives as long as the trail, which the fan-out holds.
                return moved.is_err().then_some(Delivery::End(DeliveryEnd::Gone));
            }
            ended = self.ending.changed() => {
                return ended.is_err().then_some(Delivery::End(DeliveryEnd::Gone));
            }
            () = tokio::time::sleep_until(due), if heartbeat.is_some() => self.passed?,
        };
        let messages = self.session.heartbeat(beat, self.clock.now())?;
        self.progress.sent_records(beat, 1);
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
    Block(Arc<Slot>),
    /// Memory for a block.
    Memory,
    /// The trail to grow, or the stream to end.
    Trail,
}
