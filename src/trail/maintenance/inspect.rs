//! Looking inside a trail without touching it, beside a running server too.
//!
//! Nothing is cut, flushed or written. What is shown ends at the durable mark that a running server notes in `mark.bin`
//! after each flush; after a power cut, at the last mark in the trail itself. What is not flushed is never shown.

use std::path::Path;
use std::sync::Arc;

use crate::clock::SharedClock;
use crate::codec::frame::Frame;
use crate::trail::handle::Trail;
use crate::trail::local::description;
use crate::trail::local::disk::Disk;
use crate::trail::local::folder::Folder;
use crate::trail::promise;
use crate::trail::recovery::folder::{self as recovery, data_end_after};
use crate::trail::scan::scan;
use crate::trail::shared::Shared;
use crate::trail::{DurableMark, Location, OpenError};

/// How often a folder is looked at anew that changes meanwhile.
const LOOKS_MAX: u32 = 10;

impl Trail {
    /// Opens a trail for reading only.
    pub fn open_read_only(path: &Path, disk: Arc<dyn Disk>, clock: SharedClock) -> Result<Self, OpenError> {
        let mut tries = 1;
        loop {
            // Nobody appends through this handle: its end stays taken.
            let description = description::read(path, &*disk)?;
            let folder = Arc::new(Folder::new(path, description, disk.clone()));
            let shared = recovery::unopened(&folder, clock.clone());
            // Before the segments are listed: what it speaks of is then among them.
            let noted = folder.noted_mark();
            let names = folder.list().map_err(folder.failed("listing its folder"))?;
            match recovery::load_segments(&shared, &folder, false).and_then(|()| recovery::check_all_are_there(&shared))
            {
                Ok(()) => {
                    let mark = last_mark(&shared, noted)?;
                    shared.mark.send_replace(mark);
                    return Ok(Self { shared: Arc::new(shared) });
                }
                // A server made or removed segments while we looked.
                Err(_) if tries < LOOKS_MAX && folder.list().is_ok_and(|now| now != names) => tries += 1,
                Err(error) => return Err(error),
            }
        }
    }
}

/// The last mark on disk: the noted one, or a later one in the trail. Every flush group begins with one; only a
/// transaction that fills whole segments leaves some without.
fn last_mark(shared: &Shared, noted: Option<DurableMark>) -> Result<DurableMark, OpenError> {
    let found = last_mark_in_segments(shared, noted.as_ref().map(|mark| mark.end))?;
    let is_there = |mark: &DurableMark| {
        let segment = shared.segment(mark.end.segment);
        segment.is_some_and(|segment| segment.bytes.length().is_ok_and(|length| mark.end.offset <= length))
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
        let until = segment.bytes.length().unwrap_or_else(|_| segment.length());
        let end = scan(&segment.bytes, segment.head.file_id, segment.first_own(), until, note)
            .map_err(shared.failed("reading a segment"))?;
        if end.bad.is_some() {
            let behind = promise::behind(&segment.bytes, segment.head.file_id, end.offset + 1);
            promised = promised.max(behind.map_err(shared.failed("reading behind a bad frame"))?);
        }
        let mark = DurableMark { end: promised.0, commit: promised.1, ..DurableMark::default() };
        if segment.seal().is_none() {
            let data = data_end_after(segment, end.offset, until, noted);
            segment.set_length(data.map_err(shared.failed("reading a segment's end"))?);
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
