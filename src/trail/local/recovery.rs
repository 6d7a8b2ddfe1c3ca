//! What opening a trail does: check the closed segments' ends, read the last one, cut a torn end, flush what is kept.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, RwLock};

use tokio::sync::{Notify, watch};

use crate::clock::SharedClock;
use crate::codec::frame::{Frame, FrameKind};
use crate::codec::segment_head::{BadSegmentHead, SEGMENT_HEAD_BYTES, SEGMENT_VERSION};
use crate::record::{SourceIdentity, Timestamp, messages_schema};
use crate::repeats::warn_rarely;
use crate::trail::handle::{End, Shared};
use crate::trail::index::SegmentIndex;
use crate::trail::local::ahead::flush_and_cut;
use crate::trail::local::disk::{Disk, read_full};
use crate::trail::local::door::Door;
use crate::trail::local::faults;
use crate::trail::local::{description, mark_file, promise, repair};
use crate::trail::recent::Recent;
use crate::trail::scan::scan;
use crate::trail::segment::{self, Seal, Segment, number_of, seal_of};
use crate::trail::tail::{State, Tail};
use crate::trail::work::Work;
use crate::trail::writer::{TrailWriter, cut_to, new_segment};
use crate::trail::xids::Xids;
use crate::trail::{DurableMark, Location, OpenError, TrailDescription};

/// Largest copy of a torn end that is kept, in bytes.
const CUT_COPY_BYTES_MAX: u64 = 16 << 20;

/// A trail of which nothing is loaded yet.
pub(in crate::trail) fn unopened(
    description: TrailDescription,
    folder: &Path,
    disk: Arc<dyn Disk>,
    clock: SharedClock,
) -> Shared {
    let door = Arc::new(Door::new(disk));
    Shared {
        messages: Arc::new(messages_schema(&description.name)),
        description,
        folder: folder.to_owned(),
        disk: door.clone(),
        door,
        clock,
        segments: RwLock::new(Vec::new()),
        leaving: Mutex::new(None),
        mark: watch::Sender::new(DurableMark::default()),
        source: SourceIdentity::default(),
        mark_file: None,
        end: Mutex::new(End::Taken),
        given_back: Notify::new(),
        recent: Recent::default(),
        damaged: OnceLock::new(),
        format_raised: OnceLock::new(),
        work: Work::default(),
    }
}

/// Makes a trail in `folder`. Its description gets its name last: a trail that has one has had a first segment.
pub(in crate::trail) fn create(
    description: TrailDescription,
    folder: &Path,
    disk: Arc<dyn Disk>,
    clock: SharedClock,
) -> Result<(), OpenError> {
    let shared = unopened(description, folder, disk, clock);
    let failed = |action| io_failed(&shared, action);
    shared.disk.make_folder(folder).map_err(failed("making its folder"))?;
    description::write_draft(folder, &shared.description, &*shared.disk)?;
    new_segment(&shared, 1, &State::default(), Timestamp::default()).map_err(failed("making its first segment"))?;
    description::put_in_force(folder, &*shared.disk)?;
    match folder.parent() {
        Some(above) => shared.disk.sync_folder(above).map_err(failed("flushing the folder above")),
        None => Ok(()),
    }
}

/// Opens the trail in `folder`.
pub(in crate::trail) fn open(folder: &Path, disk: Arc<dyn Disk>, clock: SharedClock) -> Result<Shared, OpenError> {
    let description = description::read(folder, &*disk)?;
    let trail = description.name.to_string();
    if let Some(taken) = description.backup_taken {
        return Err(OpenError::Backup { trail, taken });
    }
    let mut shared = unopened(description, folder, disk, clock);
    if repair::is_interrupted(&shared).map_err(io_failed(&shared, "listing its folder"))? {
        return Err(OpenError::RepairInterrupted { trail });
    }
    load_segments(&shared, true)?;
    check_all_are_there(&shared)?;
    match mark_file::open(folder, &*shared.disk) {
        Ok(file) => shared.mark_file = Some(file),
        Err(error) => {
            warn_rarely!(&trail, trail, %error, "mark.bin cannot be written; who looks sees a little less");
        }
    }
    let tail = recover_end(&shared)?;
    shared.source.set(&tail.state.identity);
    *shared.lock_end() = End::Free(Box::new(tail));
    Ok(shared)
}

/// A trail never loses its last segment in good order, neither by retention nor by a crash.
pub(in crate::trail) fn check_all_are_there(shared: &Shared) -> Result<(), OpenError> {
    let last = shared.segments().last().map(|segment| segment.number());
    let noted = mark_file::read(&shared.folder, &*shared.disk, shared.description.epoch);
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

pub(in crate::trail) fn io_failed(shared: &Shared, action: &'static str) -> impl FnOnce(io::Error) -> OpenError {
    let trail = shared.description.name.to_string();
    move |source| OpenError::Io { trail, action, source }
}

fn newer_segment(shared: &Shared, number: u64, version: u16) -> OpenError {
    OpenError::Newer {
        trail: shared.description.name.to_string(),
        file: segment::file_name(number),
        found: u64::from(version),
        known: u64::from(SEGMENT_VERSION),
    }
}

/// Refuses a trail with a segment that a newer program wrote: who knows it only in part would take the rest for damage.
pub(in crate::trail) fn refuse_newer(shared: &Shared) -> Result<(), OpenError> {
    let names = shared.disk.list(&shared.folder).map_err(io_failed(shared, "listing its folder"))?;
    for number in names.iter().filter_map(|name| number_of(name)) {
        let head = shared.disk.open(&shared.folder.join(segment::file_name(number)), false);
        let head = head.and_then(|file| segment::read_head(&*file));
        if let Ok(Err(BadSegmentHead::Newer { version })) = head {
            return Err(newer_segment(shared, number, version));
        }
    }
    Ok(())
}

/// Opens the files of all segments. `tidy`: drafts that a crash left are removed.
pub(in crate::trail) fn load_segments(shared: &Shared, tidy: bool) -> Result<(), OpenError> {
    let names = shared.disk.list(&shared.folder).map_err(io_failed(shared, "listing its folder"))?;
    for draft in names.iter().filter(|name| tidy && name.ends_with(".new")) {
        // A segment gets its name only when its head is flushed; a draft was never part of the trail.
        shared.disk.remove(&shared.folder.join(draft)).map_err(io_failed(shared, "removing a draft"))?;
    }
    let numbers: Vec<u64> = names.iter().filter_map(|name| number_of(name)).collect();
    for (at, number) in numbers.iter().enumerate() {
        let damage = |what: &str| shared.damage(Location { segment: *number, offset: 0 }, what);
        if at > 0 && *number != numbers[at - 1] + 1 {
            let missing = Location { segment: numbers[at - 1] + 1, offset: 0 };
            return Err(shared.damage(missing, "this segment is missing").into());
        }
        let path = shared.folder.join(segment::file_name(*number));
        let opened = segment::open(&shared.disk, &path, tidy).map_err(io_failed(shared, "opening a segment"))?;
        let segment = opened.map_err(|bad| match bad {
            BadSegmentHead::Newer { version } => newer_segment(shared, *number, version),
            BadSegmentHead::Damaged => damage(&bad.to_string()).into(),
        })?;
        if segment.number() != *number || !shared.description.admits(segment.head.epoch, *number) {
            return Err(damage("its head belongs to another segment or trail").into());
        }
        if at + 1 < numbers.len() && segment.seal().is_none() {
            let at = Location { segment: *number, offset: segment.bytes() };
            return Err(shared.damage(at, "closed segment without a valid seal").into());
        }
        shared.change_segments(|segments| segments.push(Arc::new(segment)));
    }
    Ok(())
}

/// What reading the last segment found.
struct Found {
    state: State,
    /// What the last mark promised, or `mark.bin`, which may say more.
    promised: Location,
    /// The byte after the last good frame.
    good: u64,
    trouble: Option<String>,
    index: SegmentIndex,
    /// What the last frame says, when it is a seal.
    seal: Option<Seal>,
    /// The same when zeros follow: the crash came before the file was cut to its end.
    left_uncut: Option<Seal>,
}

fn recover_end(shared: &Shared) -> Result<Tail, OpenError> {
    let Some(last) = shared.segments().last().cloned() else {
        return Err(shared.damage(Location { segment: 1, offset: 0 }, "all its segments are missing").into());
    };
    let found = read_last(shared, &last)?;
    if let Some(trouble) = &found.trouble {
        let at = Location { segment: last.number(), offset: found.good };
        // Below a promise a bad frame is damage. Behind all of them it is a torn end, in a segment with a seal, too: a
        // power cut may have brought the block of the seal to the disk and not those before it.
        if found.promised > at || seals_are_believed(&last) {
            return Err(shared.damage(at, trouble).into());
        }
        keep_copy(shared, &last, found.good);
        let name = shared.description.name.as_str();
        warn_rarely!(name, trail = name, segment = at.segment, offset = at.offset, "torn end cut");
    }
    if let Some(seal) = found.left_uncut {
        last.set_seal(seal);
    }
    settle(shared, &last, found)
}

/// Whether a bad frame before a seal is damage whatever the marks say: only where a test asks for what was wrong with that.
fn seals_are_believed(last: &Segment) -> bool {
    faults::cuts_before_it_flushes() && last.seal().is_some()
}

fn read_last(shared: &Shared, last: &Segment) -> Result<Found, OpenError> {
    let number = last.number();
    let start = Location { segment: number, offset: last.first_own() };
    let mut found = Found {
        state: State { commit: last.head.next_commit - 1, commit_ts: last.head.earlier_commit_ts, ..State::default() },
        promised: promise::noted(shared),
        good: start.offset,
        trouble: None,
        index: SegmentIndex::default(),
        seal: None,
        left_uncut: None,
    };
    let keep_xids = shared.keeps_xids();
    let from = SEGMENT_HEAD_BYTES as u64;
    let end = scan(&*last.file, last.head.file_id, from, last.bytes(), |offset, frame| {
        take_note(&mut found, Location { segment: number, offset }, frame, keep_xids);
    })
    .map_err(io_failed(shared, "reading its last segment"))?;
    if found.trouble.is_none() {
        found.good = end.offset.max(found.good.min(end.offset));
        found.trouble = end.bad.map(|bad| bad.to_string());
    }
    if end.bad.is_some() && end.offset < start.offset {
        return Err(shared.damage(Location { segment: number, offset: end.offset }, "damaged segment head").into());
    }
    if end.bad.is_some() {
        leave_zeros_out(shared, last, &mut found, end.offset)?;
    }
    if found.trouble.is_some() {
        let (promised, _) = promise::behind(&*last.file, last.head.file_id, found.good + 1)
            .map_err(io_failed(shared, "reading behind a bad frame"))?;
        found.promised = found.promised.max(promised);
    }
    Ok(found)
}

/// Zeros up to the end of the file are what the writer keeps ahead of its data, and no trouble: unless they lie where
/// something was durable.
fn leave_zeros_out(shared: &Shared, last: &Segment, found: &mut Found, bad_at: u64) -> Result<(), OpenError> {
    let noted = Some(promise::noted(shared));
    let data = last.data_end(bad_at, last.bytes(), noted).map_err(io_failed(shared, "reading its end"))?;
    last.set_bytes(data);
    if data == bad_at && found.good == bad_at {
        found.trouble = None;
        found.left_uncut = found.seal;
    }
    Ok(())
}

fn take_note(found: &mut Found, at: Location, frame: &Frame<'_>, keep_xids: bool) {
    if found.trouble.is_some() {
        return;
    }
    if let Err(error) = found.state.follow(at, frame) {
        found.trouble = Some(error.to_string());
        found.good = at.offset;
        return;
    }
    found.index.note(at.offset, frame, keep_xids);
    found.good = at.offset + frame.bytes() as u64;
    found.seal = seal_of(frame);
    if let Some((promised, _)) = promise::of_frame(frame) {
        found.promised = found.promised.max(promised);
    }
}

fn keep_copy(shared: &Shared, last: &Segment, from: u64) {
    let bytes = last.bytes().saturating_sub(from).min(CUT_COPY_BYTES_MAX);
    let copy = || -> io::Result<()> {
        let mut torn = vec![0; usize::try_from(bytes).unwrap_or_default()];
        let read = read_full(&*last.file, &mut torn, from)?;
        let path = shared.folder.join(format!("cut-{:016}-{from:012}.bin", last.number()));
        let _ = shared.disk.remove(&path);
        shared.disk.open(&path, true)?.write_all_at(&torn[..read], 0)
    };
    if let Err(error) = copy() {
        let name = shared.description.name.as_str();
        warn_rarely!(name, trail = name, %error, "no copy kept of a torn end");
    }
}

/// Cuts what is not whole, flushes what is kept, and says how far the trail is durable.
fn settle(shared: &Shared, last: &Arc<Segment>, mut found: Found) -> Result<Tail, OpenError> {
    last.set_index(found.index);
    // A transaction without its commit frame never was; it may have begun in an earlier segment.
    let end = match found.state.rollback() {
        Some(open) => end_of_open(shared, last, open.at)?,
        None => Location { segment: last.number(), offset: found.good },
    };
    if found.promised > end {
        return Err(shared.damage(Location { segment: last.number(), offset: found.good }, promise::CUT_SHORT).into());
    }
    let cut_failed = || io_failed(shared, "cutting its end");
    if end.segment != last.number() {
        cut_to(shared, end, found.state.commit).map_err(cut_failed())?;
        // What is in force there is known only from reading that segment.
        return recover_end(shared);
    }
    let closed = last.seal().is_some() && found.seal.is_some() && end.offset == found.good;
    // A closed segment too: had the flush of its seal failed, nothing else would bring it to the disk.
    rewrite(last, found.promised, end).map_err(io_failed(shared, "flushing its end again"))?;
    if closed {
        // Its cut may have been lost with that flush as well, although the file seems no longer than its data.
        flush_and_cut(&*last.file, end.offset).map_err(io_failed(shared, "flushing its end again"))?;
    } else {
        cut_to(shared, end, found.state.commit).map_err(cut_failed())?;
    }
    let Some(segment) = shared.segments().last().cloned() else {
        return Err(shared.damage(end, "no segment left").into());
    };
    let xids = remembered_xids(shared).map_err(io_failed(shared, "reading transaction ids"))?;
    let mut tail = Tail { offset: segment.bytes(), segment, state: found.state, xids: Some(xids) };
    if closed {
        tail = in_next_segment(shared, tail).map_err(io_failed(shared, "opening a new segment"))?;
    }
    let end = Location { segment: tail.segment.number(), offset: tail.offset };
    shared.publish(mark_of(&tail.state, end));
    Ok(tail)
}

/// Where a transaction that was never closed began, in its first segment.
fn end_of_open(shared: &Shared, last: &Segment, at: Location) -> Result<Location, OpenError> {
    if at.segment == last.number() && at.offset >= last.first_own() {
        return Ok(at);
    }
    // The begin frame seen was a repeated one: look for the real one in the segments before.
    for segment in shared.segments().iter().rev().skip(1) {
        let mut begin = None;
        scan(&*segment.file, segment.head.file_id, segment.first_own(), segment.bytes(), |offset, frame| {
            match frame.header.kind {
                FrameKind::Begin => begin = Some(offset),
                FrameKind::Commit => begin = None,
                _ => {}
            }
        })
        .map_err(io_failed(shared, "reading a segment"))?;
        if let Some(offset) = begin {
            return Ok(Location { segment: segment.number(), offset });
        }
    }
    let at = Location { segment: last.number(), offset: last.first_own() };
    Err(shared.damage(at, "transaction without its beginning").into())
}

/// Writes the bytes above the last promise once more: after a failed flush the system may hold them for clean although
/// they never reached the disk, and the flush that follows would then do nothing.
fn rewrite(last: &Segment, promised: Location, end: Location) -> io::Result<()> {
    if end.segment != last.number() {
        return Ok(());
    }
    let mut at = if promised.segment == last.number() { promised.offset } else { last.first_own() };
    let mut buffer = vec![0; 1 << 20];
    while at < end.offset {
        let want = usize::try_from(end.offset - at).unwrap_or(buffer.len()).min(buffer.len());
        let read = read_full(&*last.file, &mut buffer[..want], at)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        last.file.write_all_at(&buffer[..read], at)?;
        at += read as u64;
    }
    Ok(())
}

/// The transaction ids of the newest segments: what a trail of puts is asked for.
pub(in crate::trail) fn remembered_xids(shared: &Shared) -> io::Result<Xids> {
    let mut xids = Xids::default();
    if !shared.keeps_xids() {
        return Ok(xids);
    }
    let segments = shared.segments();
    let mut newest_first = Vec::new();
    let mut count = 0;
    for segment in segments.iter().rev() {
        let here = segment.xids(&*shared.disk)?;
        count += here.len();
        newest_first.push(here);
        if count >= crate::limits::REMEMBERED_XIDS {
            break;
        }
    }
    newest_first.into_iter().rev().for_each(|segment| segment.iter().for_each(|xid| xids.remember(xid)));
    Ok(xids)
}

fn in_next_segment(shared: &Shared, tail: Tail) -> io::Result<Tail> {
    let earlier = tail.segment.seal().map_or(Timestamp::default(), |seal| seal.commit_ts_max);
    let earlier = earlier.max(tail.segment.head.earlier_commit_ts);
    if let Err(error) = tail.segment.save_index(&*shared.disk, shared.keeps_xids()) {
        let name = shared.description.name.as_str();
        warn_rarely!(name, trail = name, %error, "index file not written; it will be rebuilt");
    }
    let next = Arc::new(new_segment(shared, tail.segment.number() + 1, &tail.state, earlier)?);
    shared.change_segments(|segments| segments.push(next.clone()));
    Ok(Tail { offset: next.bytes(), segment: next, ..tail })
}

fn mark_of(state: &State, end: Location) -> DurableMark {
    let newest_schema = state.shapes.newest();
    DurableMark { commit: state.commit, commit_ts: state.commit_ts, end, source: state.source.clone(), newest_schema }
}

/// After a failed write or flush: cuts back to the durable mark and goes on in a new segment.
pub(in crate::trail) fn cut_back_to_mark(shared: &Arc<Shared>) -> Result<Tail, OpenError> {
    let mark = shared.mark.borrow().clone();
    cut_to(shared, mark.end, mark.commit).map_err(io_failed(shared, "cutting back to what is flushed"))?;
    let Some(last) = shared.segments().last().cloned() else {
        return Err(shared.damage(mark.end, "no segment left").into());
    };
    let found = read_last(shared, &last)?;
    if let Some(trouble) = &found.trouble {
        return Err(shared.damage(Location { offset: found.good, ..mark.end }, trouble).into());
    }
    let tail = settle(shared, &last, found)?;
    let mut writer = TrailWriter::new(shared.clone(), tail);
    writer.next_segment().map_err(io_failed(shared, "opening a new segment"))?;
    Ok(writer.tail)
}
