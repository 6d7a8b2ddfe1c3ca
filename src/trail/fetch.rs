//! Fetches a block of a segment: whole frames, each checked. What is in them is looked at when they are here.
//!
//! A reader of a few partitions gets a block of pieces: their frames, and not those of others between them, unless there is
//! so little between that reading it is cheaper than another call to the system.

use std::sync::Arc;

use crate::codec::frame::{self, ChecksumSeed, HEADER_BYTES};
use crate::limits::{PARTITION_READ_THROUGH_BYTES, PARTITION_STRETCH_BYTES, READ_BLOCK_BYTES};
use crate::trail::partition_places::Run;
use crate::trail::pieces::Piece;
use crate::trail::scan::ReadBytes;
use crate::trail::segment::{NoIndex, Segment};
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
    /// Of which partitions frames are wanted, if not of all.
    pub(super) partitions: Option<Arc<[u16]>>,
    /// What is read into.
    pub(super) buffer: Vec<u8>,
}

/// A block.
pub(super) struct Fetched {
    /// The open bytes that it was read from.
    pub(super) bytes: SegmentBytes,
    /// Whole, checked frames.
    pub(super) block: Vec<u8>,
    /// Where its pieces lie, if it is not one.
    pub(super) pieces: Vec<Piece>,
    /// The byte of the segment where the next block begins.
    pub(super) next: u64,
}

impl Fetch {
    /// Reads a block; it may be empty where none of the wanted partitions has anything.
    pub(super) fn run(mut self) -> Result<Fetched, ReadError> {
        let buffer = std::mem::take(&mut self.buffer);
        let bytes = match self.bytes.take() {
            Some(bytes) => bytes,
            None => self.segment.stored.open_bytes().map_err(|error| self.failure(&error))?,
        };
        let mut buffer = buffer;
        if let Some(partitions) = &self.partitions
            && let Some((next, runs)) = self.wanted_runs(partitions)?
            // What is said of their places is a hint: where it does not hold, the frames themselves tell why.
            && let Some(pieces) = self.pieces(&bytes, &runs, &mut buffer)?
        {
            return Ok(Fetched { bytes, block: buffer, pieces, next });
        }
        let block = self.whole_frames(&bytes, buffer)?;
        let next = self.from + block.len() as u64;
        Ok(Fetched { bytes, block, pieces: Vec::new(), next })
    }

    /// The runs of these partitions from here on, as many of them as a block takes, and where to go on behind them; none where they
    /// are not known, or are most of what there is.
    fn wanted_runs(&self, partitions: &[u16]) -> Result<Option<(u64, Vec<Run>)>, ReadError> {
        let mut runs = Vec::new();
        let keep_xids = self.shared.keeps_xids();
        let stop = self.from + PARTITION_STRETCH_BYTES;
        let known = self
            .segment
            .with_places(keep_xids, |places| places.runs(partitions, self.from, stop, self.until, &mut runs));
        let known = known.map_err(|error| match error {
            NoIndex::Io(error) => self.failure(&error),
            NoIndex::Damaged { offset, bad } => {
                self.shared.damage(Location { segment: self.segment.number(), offset }, bad).into()
            }
        })?;
        let Some(next) = known.flatten() else { return Ok(None) };
        let mut bytes = 0;
        for at in 0..runs.len() {
            bytes += u64::from(runs[at].end - runs[at].start);
            if bytes >= READ_BLOCK_BYTES as u64 && at + 1 < runs.len() {
                let next = u64::from(runs[at + 1].start);
                runs.truncate(at + 1);
                return Ok((bytes < (next - self.from) / 2).then_some((next, runs)));
            }
        }
        Ok((bytes < (next - self.from) / 2).then_some((next, runs)))
    }

    /// Reads these runs and checks each of their frames; none where they are not whole frames.
    fn pieces(&self, bytes: &SegmentBytes, runs: &[Run], out: &mut Vec<u8>) -> Result<Option<Vec<Piece>>, ReadError> {
        out.clear();
        let mut pieces = Vec::with_capacity(runs.len());
        let mut between = Vec::new();
        let mut rest = runs;
        while let Some(first) = rest.first() {
            let near = rest.windows(2).take_while(|pair| pair[1].start - pair[0].end <= PARTITION_READ_THROUGH_BYTES);
            let (together, others) = rest.split_at(1 + near.count());
            rest = others;
            let end = together.last().unwrap_or(first).end;
            if together.len() == 1 {
                self.read(bytes, *first, out)?;
                pieces
                    .push(Piece { at: out.len() - (first.end - first.start) as usize, offset: u64::from(first.start) });
                continue;
            }
            between.clear();
            self.read(bytes, Run { start: first.start, end }, &mut between)?;
            for run in together {
                pieces.push(Piece { at: out.len(), offset: u64::from(run.start) });
                let byte = |offset: u32| (offset - first.start) as usize;
                out.extend_from_slice(&between[byte(run.start)..byte(run.end)]);
            }
        }
        let (_, bad) = check(out, self.segment.head.file_id);
        Ok(bad.is_none().then_some(pieces))
    }

    /// Appends these bytes of the segment, as far as they are there.
    fn read(&self, bytes: &SegmentBytes, run: Run, out: &mut Vec<u8>) -> Result<(), ReadError> {
        let (start, length) = (out.len(), (run.end - run.start) as usize);
        out.resize(start + length, 0);
        bytes.read_full(&mut out[start..], u64::from(run.start)).map_err(|error| self.failure(&error))?;
        Ok(())
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
