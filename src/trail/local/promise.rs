//! What of a trail had been promised, that is acknowledged, shown or confirmed to a source: recovery cuts nothing of it.
//!
//! Two things say so: marks, with which every flush group begins, and `mark.bin`, which is written behind every flush.
//! Each may say less than is true, neither says more: what counts is the larger.

use std::io;

use crate::codec::frame::{self, Frame, FrameKind, MARK_FRAME_BYTES};
use crate::trail::Location;
use crate::trail::handle::Shared;
use crate::trail::local::disk::DiskFile;
use crate::trail::local::mark_file;
use crate::trail::scan::find_frames;

/// What is wrong where a promise reaches beyond the last whole frame.
pub(in crate::trail) const CUT_SHORT: &str = "what follows had been durable and is gone";

/// What a frame promises, if it is a mark: the end and the commit number of the last transaction.
pub(in crate::trail) fn of_frame(frame: &Frame<'_>) -> Option<(Location, u64)> {
    if frame.header.kind != FrameKind::Mark {
        return None;
    }
    let [segment, offset, commit] = frame::read_numbers(frame.payload).ok()?;
    Some((Location { segment, offset }, commit))
}

/// The furthest promise of the marks that lie from byte `from` on, wherever they start: how far what is damaged before
/// them had been durable.
pub(in crate::trail) fn behind(file: &dyn DiskFile, file_id: u64, from: u64) -> io::Result<(Location, u64)> {
    let mut furthest = (Location::default(), 0);
    find_frames(file, file_id, from, MARK_FRAME_BYTES, |_, frame| {
        furthest = of_frame(frame).map_or(furthest, |promise| furthest.max(promise));
    })?;
    Ok(furthest)
}

/// What `mark.bin` promises; the start of every trail when there is no whole one of its epoch.
pub(in crate::trail) fn noted(shared: &Shared) -> Location {
    mark_file::read(&shared.folder, &*shared.disk, shared.description.epoch)
        .map_or(Location::default(), |mark| mark.end)
}
