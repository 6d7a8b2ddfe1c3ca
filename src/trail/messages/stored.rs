//! One segment in messages: which of them hold which of its bytes.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use crate::trail::Location;
use crate::trail::messages::store::{MessageStore, Piece};

/// A segment's messages.
#[derive(Debug)]
pub(in crate::trail) struct StoredMessages {
    store: Arc<MessageStore>,
    segment: u64,
    /// By the byte of the segment where they start.
    pieces: RwLock<BTreeMap<u64, Piece>>,
}

impl StoredMessages {
    /// The segment with these messages.
    pub(in crate::trail) fn new(store: Arc<MessageStore>, segment: u64, pieces: BTreeMap<u64, Piece>) -> Self {
        Self { store, segment, pieces: RwLock::new(pieces) }
    }

    /// A new segment, which starts with these bytes.
    pub(in crate::trail) fn start(store: &Arc<MessageStore>, segment: u64, bytes: &[u8]) -> io::Result<Self> {
        Ok(Self::new(store.clone(), segment, store.start(segment, bytes)?))
    }

    /// The segment's number.
    pub(in crate::trail) fn number(&self) -> u64 {
        self.segment
    }

    /// Sends bytes that stand at byte `at`, where the segment ends.
    pub(in crate::trail) fn write(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        let sent = self.store.send(bytes, Location { segment: self.segment, offset: at })?;
        self.change(|pieces| pieces.extend(sent));
        Ok(())
    }

    /// Waits until everything that was sent is stored; says how long that took.
    pub(in crate::trail) fn settle(&self) -> io::Result<Duration> {
        let started = Instant::now();
        self.store.settle()?;
        Ok(started.elapsed())
    }

    /// Makes byte `end` the end of the trail again.
    pub(in crate::trail) fn take_back(&self, end: u64) -> io::Result<()> {
        self.store.void_from(Location { segment: self.segment, offset: end })?;
        self.change(|pieces| cut(pieces, end));
        Ok(())
    }

    /// Removes the segment.
    pub(in crate::trail) fn remove(&self) -> io::Result<()> {
        self.store.purge_through(self.segment)
    }

    /// Reads until `buffer` is full or the segment ends; says how much it read.
    pub(in crate::trail) fn read_full(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            let at = offset + filled as u64;
            let Some((start, piece)) = self.piece_at(at) else { break };
            let body = self.store.body(piece.number, Location { segment: self.segment, offset: start })?;
            // What is under way is not there yet, as bytes behind the end of a file are not.
            let Some(body) = body else { break };
            let from = usize::try_from(at - start).unwrap_or(usize::MAX);
            let Some(found) = body.get(from..piece.length.min(body.len())) else { break };
            let length = found.len().min(buffer.len() - filled);
            buffer[filled..filled + length].copy_from_slice(&found[..length]);
            filled += length;
        }
        Ok(filled)
    }

    /// The byte behind its last one.
    pub(in crate::trail) fn length(&self) -> u64 {
        let pieces = self.pieces.read().unwrap_or_else(PoisonError::into_inner);
        end_of(&pieces)
    }

    fn piece_at(&self, at: u64) -> Option<(u64, Piece)> {
        let pieces = self.pieces.read().unwrap_or_else(PoisonError::into_inner);
        let (start, piece) = pieces.range(..=at).next_back()?;
        (at - start < piece.length as u64).then_some((*start, *piece))
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<u64, Piece>)) {
        change(&mut self.pieces.write().unwrap_or_else(PoisonError::into_inner));
    }
}

/// The byte behind the last of these.
pub(in crate::trail) fn end_of(pieces: &BTreeMap<u64, Piece>) -> u64 {
    pieces.last_key_value().map_or(0, |(start, piece)| start + piece.length as u64)
}

/// Forgets what lies at or behind byte `end`.
pub(in crate::trail) fn cut(pieces: &mut BTreeMap<u64, Piece>, end: u64) {
    pieces.split_off(&end);
    if let Some(mut last) = pieces.last_entry() {
        let within = usize::try_from(end - last.key()).unwrap_or(usize::MAX);
        let piece = last.get_mut();
        piece.length = piece.length.min(within);
    }
}
