//! What of a trail had been promised, that is acknowledged, shown or confirmed to a source: recovery cuts nothing of it.
//!
//! Marks say so, with which every flush group begins, and, where a store notes it, the mark that is noted behind every flush.
//! Each may say less than is true, neither says more: what counts is the larger.

use std::io;

use crate::codec::frame::{self, Frame, FrameKind, MARK_FRAME_BYTES};
use crate::trail::Location;
use crate::trail::scan::{ReadBytes, find_frames};

/// What is wrong where a promise reaches beyond the last whole frame.
pub(super) const CUT_SHORT: &str = "what follows had been durable and is gone";

/// What a frame promises, if it is a mark: the end and the commit number of the last transaction.
pub(super) fn of_frame(frame: &Frame<'_>) -> Option<(Location, u64)> {
    if frame.header.kind != FrameKind::Mark {
        return None;
    }
    let [segment, offset, commit] = frame::read_numbers(frame.payload).ok()?;
    Some((Location { segment, offset }, commit))
}

/// The furthest promise of the marks that lie from byte `from` on, wherever they start: how far what is damaged before
/// them had been durable.
pub(super) fn behind(bytes: &(impl ReadBytes + ?Sized), file_id: u64, from: u64) -> io::Result<(Location, u64)> {
    let mut furthest = (Location::default(), 0);
    find_frames(bytes, file_id, from, MARK_FRAME_BYTES, |_, frame| {
        furthest = of_frame(frame).map_or(furthest, |promise| furthest.max(promise));
    })?;
    Ok(furthest)
}
