//! The log of one trail: what is under way to it, where its segments begin.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::trail::Location;
use crate::trail::messages::{Answer, Kind, Message, MessageLog};

/// Most publishes that are under way at once.
const WINDOW: usize = 4;
/// How often a void is published that others come before.
const TRIES_MAX: u32 = 16;

/// Bytes of a segment that one message holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::trail) struct Piece {
    /// Number of the message.
    pub(in crate::trail) number: u64,
    /// How many of its bytes count, from the first.
    pub(in crate::trail) length: usize,
}

/// A trail's log.
#[derive(Debug)]
pub(in crate::trail) struct MessageStore {
    log: Arc<dyn MessageLog>,
    sending: Mutex<Sending>,
    /// Segments, with the numbers of their heads.
    heads: Mutex<BTreeMap<u64, u64>>,
    deleted: AtomicBool,
}

/// What is under way. Only the trail's writer sends, or who recovers in its place.
#[derive(Debug, Default)]
struct Sending {
    /// Number of the last message, if all goes well.
    last: u64,
    /// Publishes without an answer, with the number that each must come to.
    waiting: VecDeque<(u64, Answer)>,
}

impl Sending {
    fn wait_for_first(&mut self) -> io::Result<()> {
        let Some((expected, answer)) = self.waiting.pop_front() else { return Ok(()) };
        match answer.recv() {
            Ok(Ok(number)) if number == expected => Ok(()),
            Ok(Ok(number)) => Err(io::Error::other(format!("message {expected} was stored as {number}"))),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "no answer came from the log of messages")),
        }
    }

    /// Waits for every answer; the first failure, if there is one.
    fn settle(&mut self) -> io::Result<()> {
        let mut outcome = Ok(());
        while !self.waiting.is_empty() {
            outcome = self.wait_for_first().and(outcome);
        }
        outcome
    }
}

impl MessageStore {
    /// The store in a log whose segments have heads of these numbers.
    pub(in crate::trail) fn new(log: Arc<dyn MessageLog>, last: u64, heads: BTreeMap<u64, u64>) -> Self {
        let sending = Mutex::new(Sending { last, ..Sending::default() });
        Self { log, sending, heads: Mutex::new(heads), deleted: AtomicBool::new(false) }
    }

    /// Starts a segment with its first bytes, in one batch; says which messages hold which of them.
    pub(super) fn start(&self, segment: u64, bytes: &[u8]) -> io::Result<BTreeMap<u64, Piece>> {
        let mut messages = self.split(bytes, Location { segment, offset: 0 });
        if let Some(head) = messages.first_mut() {
            head.kind = Kind::Head;
        }
        let places: Vec<_> = messages.iter().map(|message| (message.at.offset, message.body.len())).collect();
        let mut sending = self.sending();
        let first = self.publish(&mut sending, messages)?;
        sending.settle()?;
        self.heads().insert(segment, first);
        let pieces = (first..).zip(places).map(|(number, (offset, length))| (offset, Piece { number, length }));
        Ok(pieces.collect())
    }

    /// Sends bytes of a segment; says which messages hold which of them.
    pub(in crate::trail) fn send(&self, bytes: &[u8], at: Location) -> io::Result<Vec<(u64, Piece)>> {
        let mut sending = self.sending();
        let mut pieces = Vec::new();
        for message in self.split(bytes, at) {
            let (offset, length) = (message.at.offset, message.body.len());
            let number = self.publish(&mut sending, vec![message])?;
            pieces.push((offset, Piece { number, length }));
        }
        Ok(pieces)
    }

    fn split(&self, bytes: &[u8], at: Location) -> Vec<Message> {
        let parts = bytes.chunks(self.log.body_bytes_max());
        let mut offset = at.offset;
        parts
            .map(|part| {
                let message = Message { kind: Kind::Data, at: Location { offset, ..at }, body: part.to_vec() };
                offset += part.len() as u64;
                message
            })
            .collect()
    }

    /// Publishes a batch; the number that its first message gets.
    fn publish(&self, sending: &mut Sending, messages: Vec<Message>) -> io::Result<u64> {
        if self.is_deleted() {
            return Err(gone());
        }
        while sending.waiting.len() >= WINDOW {
            sending.wait_for_first()?;
        }
        let first = sending.last + 1;
        let last = sending.last + messages.len() as u64;
        let answer = self.log.publish(messages, sending.last);
        sending.waiting.push_back((last, answer));
        sending.last = last;
        Ok(first)
    }

    /// Waits until everything that was sent is stored.
    pub(in crate::trail) fn settle(&self) -> io::Result<()> {
        self.sending().settle()
    }

    /// Says that the trail goes on at that byte, so that nothing that is still under way can be stored behind it.
    pub(in crate::trail) fn void_from(&self, at: Location) -> io::Result<()> {
        let mut sending = self.sending();
        // What lies before that byte has to be there.
        sending.settle()?;
        let message = |kind| Message { kind, at, body: Vec::new() };
        let batch: Vec<Message> =
            std::iter::once(message(Kind::Void)).chain((0..WINDOW).map(|_| message(Kind::Fence))).collect();
        for _ in 0..TRIES_MAX {
            if self.is_deleted() {
                return Err(gone());
            }
            // Whatever came of it, a look says where the log ends now, and a second void says the same once more.
            let last = self.log.last()?;
            if let Ok(Ok(number)) = self.log.publish(batch.clone(), last).recv() {
                sending.last = number;
                self.heads().retain(|segment, _| *segment <= at.segment);
                return Ok(());
            }
        }
        Err(io::Error::other("another one writes to the trail's log of messages"))
    }

    /// Removes everything before the head of the segment that follows this one.
    pub(in crate::trail) fn purge_through(&self, segment: u64) -> io::Result<()> {
        let mut heads = self.heads();
        let Some((_, head)) = heads.range(segment + 1..).next() else {
            return Err(io::Error::other("the last segment cannot be removed"));
        };
        self.log.purge_below(*head)?;
        heads.retain(|number, _| *number > segment);
        Ok(())
    }

    /// The body of a message, which lies at that byte; none while the message is still under way.
    pub(in crate::trail) fn body(&self, number: u64, at: Location) -> io::Result<Option<Vec<u8>>> {
        if self.is_deleted() {
            return Err(gone());
        }
        let message = match self.log.get(number) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if number > self.log.last()? {
                    return Ok(None);
                }
                // It has been stored since, or is gone.
                self.log.get(number)?
            }
            found => found?,
        };
        let is_it = matches!(message.kind, Kind::Head | Kind::Data) && message.at == at;
        if is_it { Ok(Some(message.body)) } else { Err(io::Error::other(format!("message {number} is another one"))) }
    }

    /// Whether all segments in the log are later ones.
    pub(in crate::trail) fn starts_behind(&self, segment: u64) -> bool {
        self.heads().first_key_value().is_some_and(|(first, _)| *first > segment)
    }

    /// Lets `delete` take the log away.
    pub(in crate::trail) fn delete<R>(&self, delete: impl FnOnce() -> io::Result<R>) -> io::Result<R> {
        // Whoever sends waits.
        let _sending = self.sending();
        if self.is_deleted() {
            return Err(gone());
        }
        let deleted = delete()?;
        self.deleted.store(true, Ordering::SeqCst);
        Ok(deleted)
    }

    /// Whether the trail has been deleted.
    pub(in crate::trail) fn is_deleted(&self) -> bool {
        self.deleted.load(Ordering::SeqCst)
    }

    fn sending(&self) -> MutexGuard<'_, Sending> {
        self.sending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn heads(&self) -> MutexGuard<'_, BTreeMap<u64, u64>> {
        self.heads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "the trail has been deleted")
}
