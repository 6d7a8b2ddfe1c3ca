//! The newest bytes of a trail, as its writer wrote them: what readers at the tail take instead of reading the disk.
//!
//! A copy of what is in the files, never more: what is cut there is forgotten here first. Readers ask only for what is
//! durable.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError, RwLock};

use crate::limits::RECENT_BYTES_MAX;
use crate::trail::Location;
use crate::trail::partition_places::Run;
use crate::trail::pieces::Piece;

/// The newest bytes of one trail.
#[derive(Debug, Default)]
pub(super) struct Recent(RwLock<Chunks>);

#[derive(Debug, Default)]
struct Chunks {
    /// In the order of the trail.
    chunks: VecDeque<Chunk>,
    bytes: usize,
}

/// What one write put into one segment: whole frames.
#[derive(Debug, Clone)]
struct Chunk {
    at: Location,
    bytes: Arc<Vec<u8>>,
}

impl Chunk {
    fn end(&self) -> u64 {
        self.at.offset + self.bytes.len() as u64
    }
}

impl Recent {
    /// Takes over what was written at `at`.
    pub(super) fn push(&self, at: Location, bytes: Vec<u8>) {
        let mut held = self.0.write().unwrap_or_else(PoisonError::into_inner);
        held.bytes += bytes.len();
        held.chunks.push_back(Chunk { at, bytes: Arc::new(bytes) });
        while held.bytes > RECENT_BYTES_MAX
            && let Some(oldest) = held.chunks.pop_front()
        {
            held.bytes -= oldest.bytes.len();
        }
    }

    /// Forgets everything: bytes on disk are about to be cut.
    pub(super) fn clear(&self) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Chunks::default();
    }

    /// Appends these runs, which lie in one segment from `from` on, and where they lie; says whether all of them are here. If not,
    /// `out` is as it was.
    pub(super) fn copy_runs(&self, from: Location, runs: &[Run], out: &mut Vec<u8>, pieces: &mut Vec<Piece>) -> bool {
        let Some(last) = runs.last() else { return true };
        let start = out.len();
        let mut left = runs.iter().copied().peekable();
        for chunk in self.chunks_from(from, u64::from(last.end)) {
            while let Some(run) = left.peek_mut().filter(|run| u64::from(run.start) < chunk.end()) {
                // What should lie before this chunk is not here.
                let Some(at) = u64::from(run.start).checked_sub(chunk.at.offset) else { break };
                let (at, end) = (at as usize, u64::from(run.end).min(chunk.end()));
                pieces.push(Piece { at: out.len(), offset: u64::from(run.start) });
                out.extend_from_slice(&chunk.bytes[at..(end - chunk.at.offset) as usize]);
                if end < u64::from(run.end) {
                    // Chunks are of whole frames: the next one begins with what is left of the run.
                    run.start = u32::try_from(end).unwrap_or(u32::MAX);
                    break;
                }
                left.next();
            }
        }
        let found = left.peek().is_none();
        if !found {
            out.truncate(start);
        }
        found
    }

    fn chunks_from(&self, from: Location, needed: u64) -> Vec<Chunk> {
        let held = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let behind = held.chunks.partition_point(|chunk| chunk.at <= from);
        let Some(first) = behind.checked_sub(1) else { return Vec::new() };
        let in_reach = |chunk: &&Chunk| chunk.at.segment == from.segment && chunk.at.offset < needed;
        held.chunks.range(first..).take_while(in_reach).cloned().collect()
    }

    /// Appends what lies from `from` to byte `needed` of that segment and on to the end of what was written with it, but
    /// not beyond byte `durable`: whole frames, when `from` starts one. Says where that ends; none when some of it is
    /// not here.
    pub(super) fn copy(&self, from: Location, needed: u64, durable: u64, out: &mut Vec<u8>) -> Option<u64> {
        let found = self.chunks_from(from, needed);
        let start = out.len();
        let mut at = from.offset;
        for chunk in &found {
            let end = durable.min(chunk.end());
            if chunk.at.offset > at || end <= at {
                break;
            }
            out.extend_from_slice(&chunk.bytes[(at - chunk.at.offset) as usize..(end - chunk.at.offset) as usize]);
            at = end;
        }
        if at < needed {
            out.truncate(start);
        }
        (at >= needed).then_some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(segment: u64, offset: u64) -> Location {
        Location { segment, offset }
    }

    #[test]
    fn only_what_is_here_without_a_gap_is_given() {
        let recent = Recent::default();
        recent.push(at(1, 100), b"abcd".to_vec());
        recent.push(at(1, 104), b"efgh".to_vec());
        recent.push(at(2, 50), b"ijkl".to_vec());
        let copy = |from, needed, durable| {
            let mut out = Vec::new();
            recent.copy(from, needed, durable, &mut out).map(|end| (String::from_utf8(out).unwrap(), end))
        };
        let found = |text: &str, end| Some((text.to_owned(), end));
        assert_eq!(copy(at(1, 100), 108, 108), found("abcdefgh", 108));
        assert_eq!(copy(at(1, 102), 103, 108), found("cd", 104));
        assert_eq!(copy(at(1, 102), 105, 106), found("cdef", 106));
        assert_eq!(copy(at(2, 50), 54, 54), found("ijkl", 54));
        assert_eq!(copy(at(1, 99), 108, 108), None);
        assert_eq!(copy(at(1, 104), 109, 120), None);
        assert_eq!(copy(at(2, 0), 54, 54), None);
        assert_eq!(copy(at(2, 52), 60, 60), None);
        recent.clear();
        assert_eq!(copy(at(1, 100), 108, 108), None);
    }

    #[test]
    fn the_oldest_bytes_go_first() {
        let recent = Recent::default();
        let half = RECENT_BYTES_MAX / 2;
        for number in 0..3_u64 {
            recent.push(at(1, number * half as u64), vec![number as u8; half]);
        }
        let mut out = Vec::new();
        let all = 3 * half as u64;
        assert_eq!(recent.copy(at(1, 0), 1, all, &mut out), None);
        assert_eq!(recent.copy(at(1, half as u64), all, all, &mut out), Some(all));
        assert_eq!(out.len(), 2 * half);
    }
}
