//! A part of a segment, read from disk: whole frames, each checked.

use std::sync::Arc;

use crate::codec::frame::{self, ChecksumSeed, HEADER_BYTES};
use crate::limits::READ_BLOCK_BYTES;
use crate::trail::handle::Shared;
use crate::trail::local::disk::{DiskFile, read_full};
use crate::trail::segment::Segment;
use crate::trail::{Location, ReadError};

/// A part of a segment to be read from, on a thread that may block.
pub(in crate::trail) struct Stretch {
    pub(in crate::trail) shared: Arc<Shared>,
    pub(in crate::trail) segment: Arc<Segment>,
    /// The segment's file, if it is open.
    pub(in crate::trail) file: Option<Arc<dyn DiskFile>>,
    pub(in crate::trail) from: u64,
    pub(in crate::trail) until: u64,
    /// What is read into.
    pub(in crate::trail) buffer: Vec<u8>,
}

impl Stretch {
    /// Reads a block of whole, checked frames; gives the file that it was read from too.
    pub(in crate::trail) fn read(mut self) -> Result<(Arc<dyn DiskFile>, Vec<u8>), ReadError> {
        let buffer = std::mem::take(&mut self.buffer);
        let file = match &self.file {
            Some(file) => file.clone(),
            None => self.segment.open_file().map_err(|error| self.failure(&error))?,
        };
        Ok((file.clone(), self.whole_frames(&*file, buffer)?))
    }

    fn failure(&self, error: &std::io::Error) -> ReadError {
        self.shared.segment_failure(self.segment.number(), error)
    }

    /// Reads a block of whole frames, at least one, and checks each.
    fn whole_frames(&self, file: &dyn DiskFile, mut buffer: Vec<u8>) -> Result<Vec<u8>, ReadError> {
        let available = usize::try_from(self.until - self.from).unwrap_or(usize::MAX);
        let mut want = READ_BLOCK_BYTES.min(available);
        loop {
            buffer.resize(want, 0);
            let filled = read_full(file, &mut buffer, self.from).map_err(|error| self.failure(&error))?;
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
