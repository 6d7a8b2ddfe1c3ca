//! Looking inside a trail without touching it, beside a running server too.
//!
//! Nothing is cut, flushed or written. What is shown ends at the durable mark that a running server notes in `mark.bin`
//! after each flush; after a power cut, at the last mark in the trail itself. What is not flushed is never shown.

use std::path::Path;
use std::sync::Arc;

use crate::clock::SharedClock;
use crate::codec::frame::{self, FLAG_LOADED, FLAG_REPEATED, Frame, FrameHeader, FrameKind};
use crate::codec::segment_head::SEGMENT_HEAD_BYTES;
use crate::trail::handle::{Shared, Trail};
use crate::trail::local::disk::Disk;
use crate::trail::local::{description, mark_file, promise, recovery};
use crate::trail::scan::scan;
use crate::trail::segment::Segment;
use crate::trail::tail::State;
use crate::trail::{DurableMark, Location, OpenError};

/// How often a folder is looked at anew that changes meanwhile.
const LOOKS_MAX: u32 = 10;

/// How many frames there are of the kinds that not every trail has, without what a head repeats.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FrameCounts {
    /// Messages.
    pub messages: u64,
    /// Rows of initial loads.
    pub loaded_rows: u64,
    /// Gaps.
    pub gaps: u64,
    /// Source marks.
    pub source_marks: u64,
    /// Lists of prepared transactions.
    pub prepared: u64,
    /// Load progress.
    pub load_progress: u64,
}

impl FrameCounts {
    /// Each with what it is called, in one word and in several.
    pub fn named(&self) -> [(&'static str, &'static str, u64); 6] {
        [
            ("messages", "messages", self.messages),
            ("loadedRows", "loaded rows", self.loaded_rows),
            ("gaps", "gaps", self.gaps),
            ("sourceMarks", "source marks", self.source_marks),
            ("prepared", "lists of prepared transactions", self.prepared),
            ("loadProgress", "times load progress", self.load_progress),
        ]
    }

    fn count(&mut self, header: &FrameHeader) {
        let counter = match header.kind {
            _ if header.flags & FLAG_REPEATED != 0 => return,
            FrameKind::Message => &mut self.messages,
            FrameKind::Record(_) if header.flags & FLAG_LOADED != 0 => &mut self.loaded_rows,
            FrameKind::Gap => &mut self.gaps,
            FrameKind::SourceMark => &mut self.source_marks,
            FrameKind::Prepared => &mut self.prepared,
            FrameKind::LoadProgress => &mut self.load_progress,
            _ => return,
        };
        *counter += 1;
    }
}

/// What verification found in one segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentReport {
    /// Its number.
    pub segment: u64,
    /// Version of its format.
    pub version: u16,
    /// Its bytes; of the open one without the zeros that are written ahead.
    pub bytes: u64,
    /// Good frames in it.
    pub frames: u64,
    /// Transactions that end in it.
    pub transactions: u64,
    /// Frames of the rarer kinds.
    pub counts: FrameCounts,
    /// Whether it is closed.
    pub closed: bool,
    /// The first bad place, and what is wrong there.
    pub bad: Option<(Location, String)>,
    /// Bytes behind the last mark of the open segment: in flight, or torn; recovery decides.
    pub unmarked_bytes: u64,
}

impl Trail {
    /// Opens a trail for reading only.
    pub fn open_read_only(folder: &Path, disk: Arc<dyn Disk>, clock: SharedClock) -> Result<Self, OpenError> {
        let mut tries = 1;
        loop {
            // Nobody appends through this handle: its end stays taken.
            let description = description::read(folder, &*disk)?;
            let shared = recovery::unopened(description, folder, disk.clone(), clock.clone());
            // Before the segments are listed: what it speaks of is then among them.
            let noted = mark_file::read(folder, &*disk, shared.description.epoch);
            let names = disk.list(folder).map_err(recovery::io_failed(&shared, "listing its folder"))?;
            match recovery::load_segments(&shared, false).and_then(|()| recovery::check_all_are_there(&shared)) {
                Ok(()) => {
                    let mark = last_mark(&shared, noted)?;
                    shared.mark.send_replace(mark);
                    return Ok(Self { shared: Arc::new(shared) });
                }
                // A server made or removed segments while we looked.
                Err(_) if tries < LOOKS_MAX && disk.list(folder).is_ok_and(|now| now != names) => tries += 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// Checks every frame of every segment, up to the first bad one of each.
    pub fn verify(&self) -> Result<Vec<SegmentReport>, OpenError> {
        let mut state: Option<State> = None;
        let durable = self.shared.mark.borrow().end;
        let segments = self.shared.segments();
        let last = segments.last().map_or(0, |segment| segment.number());
        let verify = |segment: &Arc<Segment>| {
            let open = segment.seal().is_none() || segment.number() == last;
            let mut report = verify_segment(&self.shared, segment, &mut state, open.then_some(durable))?;
            report.bad = report.bad.or_else(|| cut_short(&self.shared, segment));
            Ok(report)
        };
        segments.iter().map(verify).collect()
    }
}

/// The last mark on disk: the noted one, or a later one in the trail. Every flush group begins with one; only a
/// transaction that fills whole segments leaves some without.
fn last_mark(shared: &Shared, noted: Option<DurableMark>) -> Result<DurableMark, OpenError> {
    let found = last_mark_in_segments(shared, noted.as_ref().map(|mark| mark.end))?;
    let is_there = |mark: &DurableMark| {
        let segment = shared.segment(mark.end.segment);
        segment.is_some_and(|segment| segment.file.length().is_ok_and(|length| mark.end.offset <= length))
    };
    Ok(match noted.filter(is_there) {
        Some(noted) if noted.end > found.end => noted,
        _ => found,
    })
}

fn last_mark_in_segments(shared: &Shared, noted: Option<Location>) -> Result<DurableMark, OpenError> {
    let mut closed_end = None;
    for segment in shared.segments().iter().rev() {
        let mut promised = (Location::default(), 0);
        let note = |_: u64, frame: &Frame<'_>| {
            promised = promise::of_frame(frame).map_or(promised, |promise| promised.max(promise));
        };
        let until = segment.file.length().unwrap_or_else(|_| segment.bytes());
        let end = scan(&*segment.file, segment.head.file_id, segment.first_own(), until, note)
            .map_err(recovery::io_failed(shared, "reading a segment"))?;
        if end.bad.is_some() {
            let behind = promise::behind(&*segment.file, segment.head.file_id, end.offset + 1);
            promised = promised.max(behind.map_err(recovery::io_failed(shared, "reading behind a bad frame"))?);
        }
        let mark = DurableMark { end: promised.0, commit: promised.1, ..DurableMark::default() };
        if segment.seal().is_none() {
            let data = segment.data_end(end.offset, until, noted);
            segment.set_bytes(data.map_err(recovery::io_failed(shared, "reading a segment's end"))?);
        }
        if !segment.head.inside && closed_end.is_none() {
            // A segment that opens between transactions was made when all before it was flushed.
            let end = Location { segment: segment.number(), offset: segment.first_own() };
            closed_end = Some(DurableMark { commit: segment.head.next_commit - 1, end, ..DurableMark::default() });
        }
        if mark.end.segment > 0 {
            return Ok(match closed_end {
                Some(closed) if closed.end > mark.end => closed,
                _ => mark,
            });
        }
    }
    Ok(closed_end.unwrap_or_default())
}

/// Where the file of a segment ends before what `mark.bin` says had been durable in it.
fn cut_short(shared: &Shared, segment: &Segment) -> Option<(Location, String)> {
    // Read in this order: a running server writes the mark behind what it speaks of.
    let noted = promise::noted(shared);
    let length = (noted.segment == segment.number()).then(|| segment.file.length().ok())??;
    let end = Location { segment: segment.number(), offset: length };
    (noted > end).then(|| (end, promise::CUT_SHORT.to_owned()))
}

/// `durable`: where what had been promised ends, if the segment may have a torn end.
fn verify_segment(
    shared: &Shared,
    segment: &Arc<Segment>,
    state: &mut Option<State>,
    durable: Option<Location>,
) -> Result<SegmentReport, OpenError> {
    let number = segment.number();
    let mut report = SegmentReport {
        segment: number,
        version: segment.head.version,
        bytes: segment.bytes(),
        frames: 0,
        transactions: 0,
        counts: FrameCounts::default(),
        closed: segment.seal().is_some(),
        bad: None,
        unmarked_bytes: 0,
    };
    let mut follower = state
        .take()
        .filter(|state| state.commit + 1 == segment.head.next_commit)
        .unwrap_or_else(|| State { commit: segment.head.next_commit - 1, ..State::default() });
    let end =
        scan(&*segment.file, segment.head.file_id, SEGMENT_HEAD_BYTES as u64, segment.bytes(), |offset, frame| {
            if report.bad.is_some() {
                return;
            }
            let at = Location { segment: number, offset };
            if let Err(error) = follower.follow(at, frame) {
                report.bad = Some((at, error.to_string()));
                return;
            }
            let (kind, flags) = (frame.header.kind, frame.header.flags);
            if kind == FrameKind::Message && frame::message::read(flags, frame.payload).is_err() {
                report.bad = Some((at, "malformed message".to_owned()));
                return;
            }
            report.counts.count(&frame.header);
            report.frames += 1;
            report.transactions += u64::from(frame.header.kind == FrameKind::Commit);
        })
        .map_err(recovery::io_failed(shared, "reading a segment"))?;
    let stop = Location { segment: number, offset: end.offset };
    if let Some(bad) = end.bad.filter(|_| report.bad.is_none()) {
        report.bad = Some((stop, bad.to_string()));
    }
    if let (Some((at, _)), Some(durable)) = (&report.bad, durable)
        && *at >= durable
    {
        // Behind the last promise a running server may be writing this very moment.
        report.bad = None;
    }
    if let Some(durable) = durable.filter(|durable| !report.closed && durable.segment == number) {
        report.unmarked_bytes = segment.bytes().saturating_sub(durable.offset);
    }
    *state = Some(follower);
    Ok(report)
}
