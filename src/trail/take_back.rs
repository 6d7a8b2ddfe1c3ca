//! Takes back what is not durable: an open transaction, or whatever a failure has left behind the durable mark.

use std::io;
use std::sync::Arc;

use crate::trail::Location;
use crate::trail::segment::Segment;
use crate::trail::shared::Shared;

/// Makes `end`, where transaction `commit` was the last, the end of the trail again: its segment is open again, later ones are
/// gone. Returns that segment, with its index in memory.
pub(super) fn take_back_to(shared: &Shared, end: Location, commit: u64) -> io::Result<Arc<Segment>> {
    let gone = || io::Error::other("the segment to cut is gone");
    let segment = shared.segment(end.segment).ok_or_else(gone)?;
    segment.reopen(shared.keeps_xids())?;
    // Nobody is to take from memory what is about to go.
    shared.change_segments(|segments| segments.retain(|segment| segment.number() <= end.segment));
    shared.recent.clear();
    segment.stored.take_back(end.offset)?;
    segment.set_length(end.offset);
    segment.change_index(|index| index.cut(end.offset, commit));
    Ok(segment)
}
