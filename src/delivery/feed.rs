//! One session's way through the trail: reader, encoder and session joined, as fast as the socket takes messages.
//!
//! Natural batching: whatever is durable goes out at once, up to a message's limit; nothing lingers.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::clock::SharedClock;
use crate::delivery::contract::Contract;
use crate::delivery::encoder::{EncodeStop, Encoder};
pub use crate::delivery::progress::Progress;
use crate::delivery::session::Session;
use crate::record::Position;
use crate::trail::{Entry, Fill, ReadError, Reader};

/// What a session sends next.
#[derive(Debug)]
pub enum Delivery {
    /// Finished messages, in order.
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
            other => other.to_string(),
        }
    }
}

/// A session that reads its trail.
#[derive(Debug)]
pub struct SessionFeed {
    reader: Reader,
    encoder: Encoder,
    session: Session,
    contract: Arc<Contract>,
    clock: SharedClock,
    opened: bool,
    /// Set when the stream ends; the session is owed what was durable then.
    ending: watch::Receiver<Option<DeliveryEnd>>,
    owed_commit: Option<u64>,
    failed: Option<DeliveryEnd>,
    /// The last position passed, sent or not, for heartbeats; only ever between transactions.
    passed: Option<Position>,
    quiet_since: Instant,
    progress: Arc<Progress>,
}

impl SessionFeed {
    /// A session that starts where `reader` stands.
    pub fn new(
        reader: Reader,
        contract: Arc<Contract>,
        clock: SharedClock,
        ending: watch::Receiver<Option<DeliveryEnd>>,
        progress: Arc<Progress>,
    ) -> Self {
        Self {
            reader,
            encoder: Encoder::new(contract.clone()),
            session: Session::new(contract.clone()),
            contract,
            clock,
            opened: false,
            ending,
            owed_commit: None,
            failed: None,
            passed: None,
            quiet_since: Instant::now(),
            progress,
        }
    }

    /// The same, where `reader` stands behind a position that this contract's rules let through: see
    /// [`Encoder::resume_after`].
    #[must_use]
    pub fn resumed(mut self, after: &Position) -> Self {
        self.encoder.resume_after(after);
        self
    }

    /// What to send next; waits for it. May be dropped and called again.
    pub async fn next(&mut self) -> Delivery {
        if !std::mem::replace(&mut self.opened, true) {
            let messages = self.session.open(self.clock.now());
            if !messages.is_empty() {
                return self.sent(messages);
            }
        }
        loop {
            if let Some(messages) = self.ready() {
                return self.sent(messages);
            }
            if let Some(end) = self.failed.clone() {
                return Delivery::End(end);
            }
            if let Err(end) = self.advance().await {
                // What was encoded before the trouble is still owed.
                self.encoder.finish();
                self.failed = Some(end);
            }
        }
    }

    fn ready(&mut self) -> Option<Vec<Bytes>> {
        let message = self.encoder.pop()?;
        let mut messages = self.session.announce(&message, self.clock.now());
        self.progress.sent_records(message.last, message.records);
        messages.push(message.bytes);
        Some(messages)
    }

    fn sent(&mut self, messages: Vec<Bytes>) -> Delivery {
        let bytes: usize = messages.iter().map(Bytes::len).sum();
        self.progress.sent_bytes(bytes as u64);
        self.quiet_since = Instant::now();
        Delivery::Messages(messages)
    }

    /// Encodes the block at hand until a message is ready, or reads on, or waits.
    async fn advance(&mut self) -> Result<(), DeliveryEnd> {
        let now = self.clock.now();
        let owed = self.owed();
        while let Some(entry) = self.reader.next().map_err(DeliveryEnd::Read)? {
            if let Entry::Begin(transaction) = &entry {
                self.passed = None;
                self.progress.passes(transaction.commit - 1);
            }
            let mut ended = None;
            if let Entry::Commit(commit) = &entry {
                ended = owed.as_ref().filter(|(last, _)| commit.commit >= *last).map(|(_, end)| end.clone());
                self.passed = Some(commit.last_position(self.contract.epoch));
                self.progress.passes(commit.commit);
            }
            self.encoder.take(&entry, now).map_err(DeliveryEnd::Encode)?;
            if let Some(end) = ended {
                return Err(end);
            }
            if self.encoder.has_ready() {
                return Ok(());
            }
        }
        let at_mark = self.reader.fill().await.map_err(DeliveryEnd::Read)? == Fill::AtMark;
        self.progress.reached(self.reader.here(), at_mark);
        if at_mark {
            self.encoder.finish();
            if !self.encoder.has_ready() {
                return self.wait().await;
            }
        }
        Ok(())
    }

    /// When the stream has ended: the last transaction that the session still gets, and why it ends then.
    fn owed(&mut self) -> Option<(u64, DeliveryEnd)> {
        let end = self.ending.borrow().clone()?;
        let last = *self.owed_commit.get_or_insert(self.reader.durable().commit);
        Some((last, end))
    }

    async fn wait(&mut self) -> Result<(), DeliveryEnd> {
        if let Some((_, end)) = self.owed() {
            // What became durable since the reader looked is read first: it may be owed.
            return if self.reader.at_mark() { Err(end) } else { Ok(()) };
        }
        let heartbeat = self.contract.heartbeat_seconds.filter(|_| self.passed.is_some()).map(Duration::from_secs);
        let due = self.quiet_since + heartbeat.unwrap_or(Duration::from_secs(3_600));
        tokio::select! {
            () = self.reader.wait() => {}
            ended = self.ending.changed() => {
                if ended.is_err() {
                    return Err(DeliveryEnd::Gone);
                }
            }
            () = tokio::time::sleep_until(due), if heartbeat.is_some() => {
                if let Some(position) = self.passed {
                    self.encoder.heartbeat(position, self.clock.now());
                }
            }
        }
        Ok(())
    }
}
