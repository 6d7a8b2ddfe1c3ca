//! Fetches a block of a segment: whole frames, each checked. What is in them is looked at when they are here.

use std::sync::Arc;

use crate::codec::frame::{self, ChecksumSeed, HEADER_BYTES};
use crate::limits::READ_BLOCK_BYTES;
use crate::trail::scan::ReadBytes;
use crate::trail::segment::Segment;
use crate::trail::shared::Shared;
use crate::trail::store::SegmentBytes;
use crate::trail::{Location, ReadError};

/// A part of a segment to fetch a block from, on a thread that may block.
pub(super) struct Fetch {
    pub(super) shared: Arc<Shared>,
    pub(super) segment: Arc<Segment>,
    /// The segment's bytes, if they are open.
    pub(super) bytes: Option<SegmentBytes>,
    pub(super) from: u64,
    pub(super) until: u64,
    /// What is read into.
    pub(super) buffer: Vec<u8>,
}

impl Fetch {
    /// Reads a block of whole, checked frames; gives the open bytes that it was read from too.
    pub(super) fn run(mut self) -> Result<(SegmentBytes, Vec<u8>), ReadError> {
        let buffer = std::mem::take(&mut self.buffer);
        let bytes = match self.bytes.take() {
            Some(bytes) => bytes,
            None => self.segment.stored.open_bytes().map_err(|error| self.failure(&error))?,
        };
        let block = self.whole_frames(&bytes, buffer)?;
        Ok((bytes, block))
    }

    fn failure(&self, error: &std::io::Error) -> ReadError {
        self.shared.segment_failure(self.segment.number(), error)
    }

    /// Reads a block of whole frames, at least one, and checks each.
    fn whole_frames(&self, bytes: &SegmentBytes, mut buffer: Vec<u8>) -> Result<Vec<u8>, ReadError> {
        let available = usize::try_from(self.until - self.from).unwrap_or(usize::MAX);
        let mut want = READ_BLOCK_BYTES.min(available);
        loop {
            buffer.resize(want, 0);
            let filled = bytes.read_full(&mut buffer, self.from).map_err(|error| self.failure(&error))?;
            buffer.truncate(filled);
            let (whole, bad) = check(&buffer, self.segment.head.file_id);
            match bad {
                None => return Ok(buffer),
                Some(frame::BadFrame::Short { .. }) if whole > 0 && filled == want && want < available => {
                    buffer.truncate(whole);
                    return Ok(buffer);
                }
                Some(frame::BadFrame::Short { needed }) if filled == want && needed > want && needed <= available => {
                    want = needed.max(HEADER_BYTES);
                }
                Some(bad) => {
                    let at = Location { segment: self.segment.number(), offset: self.from + whole as u64 };
                    return Err(self.shared.damage(at, bad).into());
                }
            }
        }
    }
}

fn check(bytes: &[u8], file_id: u64) -> (usize, Option<frame::BadFrame>) {
    let seed = ChecksumSeed::new(file_id);
    let mut at = 0;
    while at < bytes.len() {
        match seed.check(&bytes[at..]) {
            Ok(length) => at += length,
            Err(bad) => return (at, Some(bad)),
        }
    }
    (at, None)
}
