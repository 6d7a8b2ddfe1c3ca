//! Checks every frame of a trail, and changes nothing; beside a running server too.

use std::sync::Arc;

use crate::codec::frame::{self, FLAG_LOADED, FLAG_REPEATED, FrameHeader, FrameKind};
use crate::codec::segment_head::SEGMENT_HEAD_BYTES;
use crate::trail::handle::Trail;
use crate::trail::promise::CUT_SHORT;
use crate::trail::scan::scan;
use crate::trail::segment::Segment;
use crate::trail::shared::Shared;
use crate::trail::tail::State;
use crate::trail::{Location, OpenError};

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
            ("loadProgress", "notes of load progress", self.load_progress),
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

/// Where a segment ends before what is noted to have been durable in it.
fn cut_short(shared: &Shared, segment: &Segment) -> Option<(Location, String)> {
    // Read in this order: a running server writes the mark behind what it speaks of.
    let noted = shared.store.noted_mark()?.end;
    let length = (noted.segment == segment.number()).then(|| segment.bytes.length().ok())??;
    let end = Location { segment: segment.number(), offset: length };
    (noted > end).then(|| (end, CUT_SHORT.to_owned()))
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
        bytes: segment.length(),
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
        scan(&segment.bytes, segment.head.file_id, SEGMENT_HEAD_BYTES as u64, segment.length(), |offset, frame| {
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
        .map_err(shared.failed("reading a segment"))?;
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
        report.unmarked_bytes = segment.length().saturating_sub(durable.offset);
    }
    *state = Some(follower);
    Ok(report)
}
