//! What opening a trail in a folder does: check the closed segments' ends, read the last one, cut a torn end, flush what is
//! kept.

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::clock::SharedClock;
use crate::codec::segment_head::{BadSegmentHead, SEGMENT_VERSION};
use crate::record::Timestamp;
use crate::repeats::warn_rarely;
use crate::trail::local::disk::{Disk, DiskFile};
use crate::trail::local::folder::Folder;
use crate::trail::local::preallocation::{data_end, flush_and_cut};
use crate::trail::local::segment_file::{SegmentFile, file_name, number_of};
use crate::trail::local::{description, faults};
use crate::trail::promise::{self, CUT_SHORT};
use crate::trail::replay::{Replay, begin_of, end_in, replay};
use crate::trail::rollover::{self, new_segment};
use crate::trail::scan::ReadBytes;
use crate::trail::segment::{Seal, Segment, read_head};
use crate::trail::shared::{End, Shared};
use crate::trail::store::{Store, StoredSegment};
use crate::trail::tail::{State, Tail};
use crate::trail::take_back::take_back_to;
use crate::trail::{Location, OpenError, TrailDescription};

/// Largest copy of a torn end that is kept, in bytes.
const CUT_COPY_BYTES_MAX: u64 = 16 << 20;

/// A trail in that folder of which nothing is loaded yet.
pub(in crate::trail) fn unopened(folder: &Arc<Folder>, clock: SharedClock) -> Shared {
    Shared::unopened(folder.description.clone(), Store::Folder(folder.clone()), clock)
}

/// Makes a trail in the folder at `path`. Its description gets its name last: a trail that has one has had a first segment.
pub(in crate::trail) fn create(
    description: TrailDescription,
    path: &Path,
    disk: Arc<dyn Disk>,
    clock: SharedClock,
) -> Result<(), OpenError> {
    let folder = Arc::new(Folder::new(path, description, disk));
    let shared = unopened(&folder, clock);
    folder.disk.make_folder(path).map_err(folder.failed("making its folder"))?;
    description::write_draft(path, &folder.description, &*folder.disk)?;
    let first = new_segment(&shared, 1, &State::default(), Timestamp::default());
    first.map_err(folder.failed("making its first segment"))?;
    description::put_in_force(path, &*folder.disk)?;
    match path.parent() {
        Some(above) => folder.disk.sync_folder(above).map_err(folder.failed("flushing the folder above")),
        None => Ok(()),
    }
}

/// Opens the trail in the folder at `path`.
pub(in crate::trail) fn open(path: &Path, disk: Arc<dyn Disk>, clock: SharedClock) -> Result<Shared, OpenError> {
    let description = description::read(path, &*disk)?;
    let trail = description.name.to_string();
    if let Some(taken) = description.backup_taken {
        return Err(OpenError::Backup { trail, taken });
    }
    let folder = Arc::new(Folder::new(path, description, disk));
    let shared = unopened(&folder, clock);
    if folder.repair_is_decided().map_err(folder.failed("listing its folder"))? {
        return Err(OpenError::RepairInterrupted { trail });
    }
    load_segments(&shared, &folder, true)?;
    check_all_are_there(&shared)?;
    if let Err(error) = folder.open_mark_file() {
        warn_rarely!(&trail, trail, %error, "mark.bin cannot be written; who looks sees a little less");
    }
    let tail = recover_end(&shared, &folder)?;
    let partitions = shared.partitions().ending_at(tail.state.commit);
    if partitions != *shared.partitions() {
        let partitions = Arc::new(partitions);
        folder.keep_partitions(&partitions).map_err(folder.failed("writing its description"))?;
        shared.set_partitions(partitions);
    }
    shared.source.set(&tail.state.identity);
    *shared.lock_end() = End::Free(Box::new(tail));
    Ok(shared)
}

/// A trail never loses its last segment in good order, neither by retention nor by a crash.
pub(in crate::trail) fn check_all_are_there(shared: &Shared) -> Result<(), OpenError> {
    let last = shared.segments().last().map(|segment| segment.number());
    let noted = shared.store.noted_mark();
    let missing = match (last, noted.map(|mark| mark.end.segment)) {
        (Some(last), Some(noted)) if noted > last => last + 1,
        (Some(_), _) => return Ok(()),
        (None, noted) => {
            let at = Location { segment: noted.unwrap_or(1), offset: 0 };
            return Err(shared.damage(at, "all its segments are missing").into());
        }
    };
    Err(shared.damage(Location { segment: missing, offset: 0 }, "this segment is missing").into())
}

fn newer_segment(folder: &Folder, number: u64, version: u16) -> OpenError {
    OpenError::Newer {
        trail: folder.description.name.to_string(),
        file: file_name(number),
        found: u64::from(version),
        known: u64::from(SEGMENT_VERSION),
    }
}

/// Refuses a trail with a segment that a newer program wrote: who knows it only in part would take the rest for damage.
pub(in crate::trail) fn refuse_newer(folder: &Folder) -> Result<(), OpenError> {
    let names = folder.list().map_err(folder.failed("listing its folder"))?;
    for number in names.iter().filter_map(|name| number_of(name)) {
        let head = folder.disk.open(&folder.segment_path(number), false).and_then(|file| read_head(&*file));
        if let Ok(Err(BadSegmentHead::Newer { version })) = head {
            return Err(newer_segment(folder, number, version));
        }
    }
    Ok(())
}

/// Opens the files of all segments. `tidy`: drafts that a crash left are removed.
pub(in crate::trail) fn load_segments(shared: &Shared, folder: &Folder, tidy: bool) -> Result<(), OpenError> {
    let names = folder.list().map_err(folder.failed("listing its folder"))?;
    for draft in names.iter().filter(|name| tidy && name.ends_with(".new")) {
        // A segment gets its name only when its head is flushed; a draft was never part of the trail.
        folder.disk.remove(&folder.path.join(draft)).map_err(folder.failed("removing a draft"))?;
    }
    let numbers: Vec<u64> = names.iter().filter_map(|name| number_of(name)).collect();
    for (at, number) in numbers.iter().enumerate() {
        let damage = |what: &str| shared.damage(Location { segment: *number, offset: 0 }, what);
        if at > 0 && *number != numbers[at - 1] + 1 {
            let missing = Location { segment: numbers[at - 1] + 1, offset: 0 };
            return Err(shared.damage(missing, "this segment is missing").into());
        }
        let opened = open_segment(folder, *number, tidy).map_err(folder.failed("opening a segment"))?;
        let segment = opened.map_err(|bad| match bad {
            BadSegmentHead::Newer { version } => newer_segment(folder, *number, version),
            BadSegmentHead::Damaged => damage(&bad.to_string()).into(),
        })?;
        if segment.number() != *number || !folder.description.admits(segment.head.epoch, *number) {
            return Err(damage("its head belongs to another segment or trail").into());
        }
        if at + 1 < numbers.len() && segment.seal().is_none() {
            let at = Location { segment: *number, offset: segment.length() };
            return Err(shared.damage(at, "closed segment without a valid seal").into());
        }
        shared.change_segments(|segments| segments.push(Arc::new(segment)));
    }
    Ok(())
}

/// Reads a segment's head and, if it has one, its seal. `saves_hints`: an index that has to be rebuilt is written.
fn open_segment(folder: &Folder, number: u64, saves_hints: bool) -> io::Result<Result<Segment, BadSegmentHead>> {
    let handle = SegmentFile::closed(folder.disk.clone(), &folder.segment_path(number));
    let file = handle.get()?;
    let length = file.length()?;
    let head = match read_head(&*file)? {
        Ok(head) => head,
        Err(bad) => return Ok(Err(bad)),
    };
    handle.belongs_to(head.file_id);
    Segment::found(head, StoredSegment::File(Arc::new(handle)), length, saves_hints).map(Ok)
}

/// What reading the last segment found.
struct Found {
    replay: Replay,
    /// What the last mark promised, or `mark.bin`, which may say more.
    promised: Location,
    /// What the last frame says, when it is a seal and zeros follow: the crash came before the file was cut to its end.
    left_uncut: Option<Seal>,
}

fn recover_end(shared: &Shared, folder: &Folder) -> Result<Tail, OpenError> {
    let Some(last) = shared.segments().last().cloned() else {
        return Err(shared.damage(Location { segment: 1, offset: 0 }, "all its segments are missing").into());
    };
    let found = read_last(shared, &last)?;
    if let Some(trouble) = &found.replay.trouble {
        let at = Location { segment: last.number(), offset: found.replay.good };
        // Below a promise a bad frame is damage. Behind all of them it is a torn end, in a segment with a seal, too: a
        // power cut may have brought the block of the seal to the disk and not those before it.
        if found.promised > at || seals_are_believed(&last) {
            return Err(shared.damage(at, trouble).into());
        }
        keep_copy(shared, folder, &last, found.replay.good);
        let name = shared.description.name.as_str();
        warn_rarely!(name, trail = name, segment = at.segment, offset = at.offset, "torn end cut");
    }
    if let Some(seal) = found.left_uncut {
        last.set_seal(seal);
    }
    settle(shared, folder, &last, found)
}

/// Whether a bad frame before a seal is damage whatever the marks say: only where a test asks for what was wrong with that.
fn seals_are_believed(last: &Segment) -> bool {
    faults::cuts_before_it_flushes() && last.seal().is_some()
}

fn read_last(shared: &Shared, last: &Segment) -> Result<Found, OpenError> {
    let replay = replay(shared, last).map_err(shared.failed("reading its last segment"))?;
    let noted = shared.store.noted_mark().map_or(Location::default(), |mark| mark.end);
    let mut found = Found { promised: noted.max(replay.promised), replay, left_uncut: None };
    if let Some((bad_at, _)) = found.replay.bad {
        if bad_at < last.first_own() {
            return Err(shared
                .damage(Location { segment: last.number(), offset: bad_at }, "damaged segment head")
                .into());
        }
        leave_zeros_out(shared, last, &mut found, bad_at, noted)?;
    }
    if found.replay.trouble.is_some() {
        let (promised, _) = promise::behind(&last.bytes, last.head.file_id, found.replay.good + 1)
            .map_err(shared.failed("reading behind a bad frame"))?;
        found.promised = found.promised.max(promised);
    }
    Ok(found)
}

/// Zeros up to the end of the file are what the writer keeps ahead of its data, and no trouble: unless they lie where
/// something was durable.
fn leave_zeros_out(
    shared: &Shared,
    last: &Segment,
    found: &mut Found,
    bad_at: u64,
    noted: Location,
) -> Result<(), OpenError> {
    let data = data_end_after(last, bad_at, last.length(), Some(noted)).map_err(shared.failed("reading its end"))?;
    last.set_length(data);
    if data == bad_at && found.replay.good == bad_at {
        found.replay.trouble = None;
        found.left_uncut = found.replay.seal;
    }
    Ok(())
}

/// Where the data of an open segment of `length` bytes ends whose last whole frame ends at byte `whole`. Its mark was `noted`: up to there something was durable, and zeros below it are no room
/// kept for data but damage.
pub(in crate::trail) fn data_end_after(
    segment: &Segment,
    whole: u64,
    length: u64,
    noted: Option<Location>,
) -> io::Result<u64> {
    let noted = noted.filter(|noted| noted.segment == segment.number()).map_or(0, |noted| noted.offset.min(length));
    Ok(data_end(&segment.bytes, whole, length)?.max(noted))
}

fn keep_copy(shared: &Shared, folder: &Folder, last: &Segment, from: u64) {
    let bytes = last.length().saturating_sub(from).min(CUT_COPY_BYTES_MAX);
    let copy = || -> io::Result<()> {
        let mut torn = vec![0; usize::try_from(bytes).unwrap_or_default()];
        let read = last.bytes.read_full(&mut torn, from)?;
        let path = folder.path.join(format!("cut-{:016}-{from:012}.bin", last.number()));
        let _ = folder.disk.remove(&path);
        folder.disk.open(&path, true)?.write_all_at(&torn[..read], 0)
    };
    if let Err(error) = copy() {
        let name = shared.description.name.as_str();
        warn_rarely!(name, trail = name, %error, "no copy kept of a torn end");
    }
}

/// Cuts what is not whole, flushes what is kept, and says how far the trail is durable.
fn settle(shared: &Shared, folder: &Folder, last: &Arc<Segment>, found: Found) -> Result<Tail, OpenError> {
    let Found { mut replay, promised, .. } = found;
    last.set_index(replay.index);
    // A transaction without its commit frame never was; it may have begun in an earlier segment.
    let end = match replay.state.rollback() {
        Some(open) => begin_of(shared, last, open.at)?,
        None => Location { segment: last.number(), offset: replay.good },
    };
    if promised > end {
        return Err(shared.damage(Location { segment: last.number(), offset: replay.good }, CUT_SHORT).into());
    }
    let cut_failed = || shared.failed("cutting its end");
    if end.segment != last.number() {
        take_back_to(shared, end, replay.state.commit).map_err(cut_failed())?;
        // What is in force there is known only from reading that segment.
        return recover_end(shared, folder);
    }
    let closed = last.seal().is_some() && replay.seal.is_some() && end.offset == replay.good;
    let file = folder.disk.open(&folder.segment_path(last.number()), false);
    let file = file.map_err(shared.failed("opening its last segment"))?;
    // A closed segment too: had the flush of its seal failed, nothing else would bring it to the disk.
    let from = if promised.segment == last.number() { promised.offset } else { last.first_own() };
    rewrite(&*file, from, end.offset).map_err(shared.failed("flushing its end again"))?;
    if closed {
        // Its cut may have been lost with that flush as well, although the file seems no longer than its data.
        flush_and_cut(&*file, end.offset).map_err(shared.failed("flushing its end again"))?;
    } else {
        take_back_to(shared, end, replay.state.commit).map_err(cut_failed())?;
    }
    let Some(segment) = shared.segments().last().cloned() else {
        return Err(shared.damage(end, "no segment left").into());
    };
    let mut tail = end_in(shared, segment, replay.state).map_err(shared.failed("reading transaction ids"))?;
    if closed {
        tail = rollover::go_on(shared, tail).map_err(shared.failed("opening a new segment"))?;
    }
    shared.publish(tail.mark());
    Ok(tail)
}

/// Writes the bytes above the last promise once more: after a failed flush the system may hold them for clean although
/// they never reached the disk, and the flush that follows would then do nothing.
fn rewrite(file: &dyn DiskFile, from: u64, end: u64) -> io::Result<()> {
    let mut at = from;
    let mut buffer = vec![0; 1 << 20];
    while at < end {
        let want = usize::try_from(end - at).unwrap_or(buffer.len()).min(buffer.len());
        let read = file.read_full(&mut buffer[..want], at)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        file.write_all_at(&buffer[..read], at)?;
        at += read as u64;
    }
    Ok(())
}

/// After a failed write or flush: cuts back to the durable mark and goes on in a new segment.
pub(super) fn cut_back_to_mark(shared: &Shared, folder: &Folder) -> Result<Tail, OpenError> {
    let mark = shared.mark.borrow().clone();
    take_back_to(shared, mark.end, mark.commit).map_err(shared.failed("cutting back to what is flushed"))?;
    let Some(last) = shared.segments().last().cloned() else {
        return Err(shared.damage(mark.end, "no segment left").into());
    };
    let found = read_last(shared, &last)?;
    if let Some(trouble) = &found.replay.trouble {
        return Err(shared.damage(Location { offset: found.replay.good, ..mark.end }, trouble).into());
    }
    let tail = settle(shared, folder, &last, found)?;
    rollover::close_segment(shared, tail).map_err(shared.failed("opening a new segment"))
}
