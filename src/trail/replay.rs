//! What is read of a trail when its end is looked for: the frames of its last segment, and the transaction ids to remember.
//!
//! Opening begins with this, wherever a trail's bytes lie. What is done about bytes that are not whole depends on what a crash
//! may leave, and is the store's.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::codec::frame::{BadFrame, Frame, FrameKind};
use crate::codec::segment_head::SEGMENT_HEAD_BYTES;
use crate::trail::index::SegmentIndex;
use crate::trail::promise;
use crate::trail::scan::scan;
use crate::trail::segment::{Seal, Segment, seal_of};
use crate::trail::shared::Shared;
use crate::trail::tail::{State, Tail};
use crate::trail::xids::Xids;
use crate::trail::{Location, OpenError};

/// What a segment's frames establish, up to the first that is bad or out of place.
pub(super) struct Replay {
    /// What is in force behind the last good frame.
    pub(super) state: State,
    /// The furthest promise of the marks in it.
    pub(super) promised: Location,
    /// The byte after the last good frame.
    pub(super) good: u64,
    /// What is wrong there, if anything is.
    pub(super) trouble: Option<String>,
    /// The same where the bytes themselves are bad: where, and how.
    pub(super) bad: Option<(u64, BadFrame)>,
    pub(super) index: SegmentIndex,
    /// What the last good frame says, when it is a seal.
    pub(super) seal: Option<Seal>,
}

/// Replays a segment.
pub(super) fn replay(shared: &Shared, segment: &Segment) -> io::Result<Replay> {
    let (commit, commit_ts) = (segment.head.next_commit - 1, segment.head.earlier_commit_ts);
    let mut replay = Replay {
        state: State { commit, commit_ts, ..State::default() },
        promised: Location::default(),
        good: segment.first_own(),
        trouble: None,
        bad: None,
        index: SegmentIndex::new(shared.keeps_places()),
        seal: None,
    };
    let keep_xids = shared.keeps_xids();
    let from = SEGMENT_HEAD_BYTES as u64;
    let end = scan(&segment.bytes, segment.head.file_id, from, segment.length(), |offset, frame| {
        if frame.header.kind == FrameKind::Message {
            shared.has_messages.store(true, Ordering::Relaxed);
        }
        replay.take(Location { segment: segment.number(), offset }, frame, keep_xids);
    })?;
    replay.bad = end.bad.map(|bad| (end.offset, bad));
    if replay.trouble.is_none() {
        replay.good = end.offset;
        replay.trouble = end.bad.map(|bad| bad.to_string());
    }
    Ok(replay)
}

impl Replay {
    fn take(&mut self, at: Location, frame: &Frame<'_>, keep_xids: bool) {
        if self.trouble.is_some() {
            return;
        }
        if let Err(error) = self.state.follow(at, frame) {
            self.trouble = Some(error.to_string());
            self.good = at.offset;
            return;
        }
        self.index.note(at.offset, frame, keep_xids);
        self.good = at.offset + frame.bytes() as u64;
        self.seal = seal_of(frame);
        if let Some((promised, _)) = promise::of_frame(frame) {
            self.promised = self.promised.max(promised);
        }
    }
}

/// Where a transaction began whose begin frame, or its repetition, lies at `at` in the segment `last`, the trail's last one.
pub(super) fn begin_of(shared: &Shared, last: &Segment, at: Location) -> Result<Location, OpenError> {
    if at.segment == last.number() && at.offset >= last.first_own() {
        return Ok(at);
    }
    // The begin frame seen was a repeated one: look for the real one in the segments before.
    for segment in shared.segments().iter().rev().skip(1) {
        let mut begin = None;
        scan(&segment.bytes, segment.head.file_id, segment.first_own(), segment.length(), |offset, frame| match frame
            .header
            .kind
        {
            FrameKind::Begin => begin = Some(offset),
            FrameKind::Commit => begin = None,
            _ => {}
        })
        .map_err(shared.failed("reading a segment"))?;
        if let Some(offset) = begin {
            return Ok(Location { segment: segment.number(), offset });
        }
    }
    let at = Location { segment: last.number(), offset: last.first_own() };
    Err(shared.damage(at, "transaction without its beginning").into())
}

/// The end of the trail behind the last byte of its last segment, with this in force.
pub(super) fn end_in(shared: &Shared, segment: Arc<Segment>, state: State) -> io::Result<Tail> {
    let xids = Some(remembered_xids(shared)?);
    Ok(Tail { offset: segment.length(), segment, state, xids })
}

/// The transaction ids of the newest segments: what a trail of puts is asked for.
pub(super) fn remembered_xids(shared: &Shared) -> io::Result<Xids> {
    let mut xids = Xids::default();
    if !shared.keeps_xids() {
        return Ok(xids);
    }
    let segments = shared.segments();
    let mut newest_first = Vec::new();
    let mut count = 0;
    for segment in segments.iter().rev() {
        let here = segment.xids()?;
        count += here.len();
        newest_first.push(here);
        if count >= crate::limits::REMEMBERED_XIDS {
            break;
        }
    }
    newest_first.into_iter().rev().for_each(|segment| segment.iter().for_each(|xid| xids.remember(xid)));
    Ok(xids)
}
