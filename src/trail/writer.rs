//! The one thread that writes a trail: group commit, closing segments, taking back aborted transactions.
//!
//! It gathers what waits in its queue into a flush group, writes it, flushes once, and only then moves the durable
//! mark. A failed write or flush ends it for good: what was not flushed is cut off, no acknowledgement follows.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{mpsc, watch};

use crate::codec::frame::{self, Frame, FrameHeader, FrameKind, SEAL_FRAME_BYTES};
use crate::codec::segment_head::{SEGMENT_HEAD_BYTES, SEGMENT_VERSION, SegmentHead};
use crate::limits::FLUSH_GROUP_BYTES_MAX;
use crate::record::{SchemaId, Timestamp};
use crate::repeats::{error_rarely, warn_rarely};
use crate::tasks::{self, Task, caught_here};
use crate::trail::handle::{End, Shared};
use crate::trail::local::ahead::Ahead;
use crate::trail::local::description::random_number;
use crate::trail::segment::{Seal, Segment, drop_index_file, file_name, number_of};
use crate::trail::tail::{State, Tail};
use crate::trail::{DurableMark, Location};

/// What an appender asks of the writer.
#[derive(Debug)]
pub(super) enum Command {
    /// Write these frames, which lack append time and checksum.
    Append(Vec<u8>),
    /// Take back the open transaction.
    Abort,
    /// Finish: nothing follows.
    Close,
}

/// Starts the thread. It ends when the appender is gone, and leaves the trail's end to the next one. Returns how far this
/// writer has made the trail durable; it moves no more when the thread has ended.
pub(super) fn spawn(
    shared: Arc<Shared>,
    tail: Tail,
    commands: mpsc::Receiver<Command>,
) -> io::Result<watch::Receiver<u64>> {
    let name = format!("trail-{}", shared.description.name);
    let writer = TrailWriter::new(shared.clone(), tail);
    let flushed = writer.flushed.subscribe();
    std::thread::Builder::new().name(name).spawn(move || run(&shared, writer, commands)).map(|_| flushed)
}

fn run(shared: &Arc<Shared>, mut writer: TrailWriter, mut commands: mpsc::Receiver<Command>) {
    let outcome = caught_here(Task::TrailWriter, || writer.serve(&mut commands)).unwrap_or_else(|panicked| {
        // What it was at is not known: the next appender recovers the end as after a failed write.
        Err(io::Error::other(panicked))
    });
    shared.work.nothing_pending();
    let end = match outcome {
        Ok(()) => End::Free(Box::new(writer.tail)),
        Err(error) => {
            let name = shared.description.name.as_str();
            error_rarely!(name, trail = name, %error, "trail has stopped: a write or flush failed");
            // What this does, recovery does again.
            let _ = caught_here(Task::TrailWriter, || writer.cut_off_unflushed());
            let disk_full = error.kind() == io::ErrorKind::StorageFull;
            End::Failed { reason: error.to_string(), disk_full, recovering: false }
        }
    };
    // The end changes hands before the queue closes: whoever sees the queue closed finds the reason.
    *shared.lock_end() = end;
    drop(commands);
    shared.given_back.notify_waiters();
}

/// Writes at a trail's end.
pub(super) struct TrailWriter {
    shared: Arc<Shared>,
    pub(super) tail: Tail,
    /// Frames of the group that are not written yet; they go to `tail.offset`.
    pending: Vec<u8>,
    group_bytes: usize,
    /// Commit and record number of the last frame, which frames without their own take over.
    last: (u64, u32),
    /// Where the last whole transaction of the running group ends: what its flush makes durable.
    reached: Option<(Location, SchemaId)>,
    /// Bytes handed over that are not flushed yet.
    unsettled_bytes: u64,
    ahead: Ahead,
    /// Commit number of the last transaction that this writer, and no later one, has flushed: after a failure another
    /// writer gives the same numbers to other transactions.
    flushed: watch::Sender<u64>,
}

impl TrailWriter {
    pub(super) fn new(shared: Arc<Shared>, tail: Tail) -> Self {
        let last = (tail.state.commit, u32::MAX);
        let flushed = watch::Sender::new(tail.state.commit);
        Self {
            shared,
            ahead: Ahead::new(tail.offset),
            tail,
            pending: Vec::new(),
            group_bytes: 0,
            last,
            reached: None,
            unsettled_bytes: 0,
            flushed,
        }
    }

    fn serve(&mut self, commands: &mut mpsc::Receiver<Command>) -> io::Result<()> {
        let mut open = true;
        while open && let Some(command) = commands.blocking_recv() {
            self.start_group()?;
            open = self.carry_out(command)?;
            while open && self.group_bytes < FLUSH_GROUP_BYTES_MAX {
                let Ok(command) = commands.try_recv() else { break };
                open = self.carry_out(command)?;
            }
            self.end_group()?;
        }
        self.take_back()?;
        self.close()
    }

    fn start_group(&mut self) -> io::Result<()> {
        self.group_bytes = 0;
        // A segment says for all of its frames what they may be.
        if self.tail.segment.head.version < SEGMENT_VERSION {
            self.next_segment()?;
        }
        let mark = self.shared.mark.borrow().clone();
        let numbers = [mark.end.segment, mark.end.offset, mark.commit];
        self.push_own(FrameKind::Mark, |out| frame::push_numbers(out, &numbers))
    }

    /// Says whether more may follow.
    fn carry_out(&mut self, command: Command) -> io::Result<bool> {
        match command {
            Command::Append(chunk) => self.append(chunk)?,
            Command::Abort => self.take_back()?,
            Command::Close => return Ok(false),
        }
        Ok(true)
    }

    fn append(&mut self, mut chunk: Vec<u8>) -> io::Result<()> {
        tasks::may_panic(Task::TrailWriter);
        self.unsettled_bytes += chunk.len() as u64;
        self.pending.reserve(chunk.len());
        let now = self.shared.clock.now();
        let mut at = 0;
        while at < chunk.len() {
            let length = frame::claimed_length(&chunk[at..]).map_err(io::Error::other)?;
            let Some(frame) = chunk.get_mut(at..at + length) else {
                return Err(io::Error::other("appender handed over a cut frame"));
            };
            self.place(frame, now)?;
            at += length;
        }
        Ok(())
    }

    /// Puts one frame at the end, in a new segment if this one is full.
    fn place(&mut self, bytes: &mut [u8], now: Timestamp) -> io::Result<()> {
        let end = self.end_offset() + bytes.len() as u64 + SEAL_FRAME_BYTES as u64;
        if end > self.closes_at() && self.end_offset() > self.tail.segment.first_own() {
            self.next_segment()?;
        }
        let mut header = frame::read_unchecked(bytes).map_err(io::Error::other)?.header;
        let kind = header.kind;
        if has_no_number_of_its_own(kind) {
            (header.commit, header.record) = self.last;
            bytes[12..16].copy_from_slice(&header.record.to_le_bytes());
            bytes[16..24].copy_from_slice(&header.commit.to_le_bytes());
        }
        frame::stamp(bytes, self.tail.segment.head.file_id, now);
        header.append_ts = now;
        let at = Location { segment: self.tail.segment.number(), offset: self.end_offset() };
        self.note(at, &Frame { header, payload: &bytes[frame::HEADER_BYTES..] })?;
        self.pending.extend_from_slice(bytes);
        self.group_bytes += bytes.len();
        if says_something_whole(kind) && self.tail.state.open.is_none() {
            // Shapes that follow belong to a transaction that is still to come.
            let newest = self.tail.state.shapes.newest();
            self.reached = Some((Location { segment: at.segment, offset: self.end_offset() }, newest));
        }
        if self.pending.len() >= FLUSH_GROUP_BYTES_MAX {
            self.write_pending()?;
        }
        Ok(())
    }

    fn note(&mut self, at: Location, frame: &Frame<'_>) -> io::Result<()> {
        self.last = (frame.header.commit, frame.header.record);
        if frame.header.kind == FrameKind::Commit {
            self.shared.work.committed(frame.header.record);
        }
        let keep_xids = self.shared.keeps_xids();
        self.tail.segment.change_index(|index| index.note(at.offset, frame, keep_xids));
        self.tail.state.follow(at, frame).map_err(io::Error::other)
    }

    /// The mark at `end`, behind which no whole transaction has followed.
    fn mark_at(&self, end: Location, newest_schema: SchemaId) -> DurableMark {
        let state = &self.tail.state;
        DurableMark {
            commit: state.commit,
            commit_ts: state.commit_ts,
            end,
            source: state.source.clone(),
            newest_schema,
        }
    }

    /// The byte at which the segment is full. Its own data counts, and at least as much of it as its head takes: however many
    /// columns are repeated there, heads are no more than half of what is written.
    fn closes_at(&self) -> u64 {
        let head = self.tail.segment.first_own();
        head + self.shared.description.segment_bytes.max(head)
    }

    fn end_offset(&self) -> u64 {
        self.tail.offset + self.pending.len() as u64
    }

    fn push_own(&mut self, kind: FrameKind, write: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        let mut bytes = Vec::new();
        frame::push(&mut bytes, &FrameHeader::new(kind), write);
        self.place(&mut bytes, self.shared.clock.now())
    }

    fn write_pending(&mut self) -> io::Result<()> {
        self.tail.segment.file.write_all_at(&self.pending, self.tail.offset)?;
        self.shared.work.wrote(self.pending.len(), self.shared.clock.now());
        self.ahead.wrote(self.pending.len());
        let at = Location { segment: self.tail.segment.number(), offset: self.tail.offset };
        self.tail.offset += self.pending.len() as u64;
        self.tail.segment.set_bytes(self.tail.offset);
        self.shared.recent.push(at, std::mem::take(&mut self.pending));
        Ok(())
    }

    fn end_group(&mut self) -> io::Result<()> {
        self.write_pending()?;
        if let Some((end, newest_schema)) = self.reached.take() {
            let mark = self.mark_at(end, newest_schema);
            self.fill_ahead()?;
            let (began, started) = (self.shared.clock.now(), Instant::now());
            self.tail.segment.file.sync()?;
            self.shared.work.flushed(started.elapsed());
            self.settle(began);
            let commit = mark.commit;
            self.shared.publish(mark);
            self.flushed.send_replace(commit);
        }
        Ok(())
    }

    fn fill_ahead(&mut self) -> io::Result<()> {
        let (file, shared) = (&*self.tail.segment.file, &self.shared);
        let limit = self.closes_at();
        self.ahead.fill(file, self.tail.offset, limit, &*shared.disk, &shared.folder)
    }

    /// Nothing of what came so far waits for a flush any more; what came during the last one does.
    fn settle(&mut self, since: Timestamp) {
        self.shared.work.settled(std::mem::take(&mut self.unsettled_bytes), since);
    }

    /// Takes back the open transaction, if there is one: its bytes and what it declared.
    fn take_back(&mut self) -> io::Result<()> {
        let Some(open) = self.tail.state.rollback() else { return Ok(()) };
        self.write_pending()?;
        let segment = cut_to(&self.shared, open.at, self.tail.state.commit)?;
        self.tail.segment = segment;
        self.tail.offset = open.at.offset;
        self.ahead.restart(self.tail.offset);
        self.last = (self.tail.state.commit, u32::MAX);
        // Whole transactions before it in this group are still to be flushed.
        self.tail.segment.file.sync()?;
        self.settle(self.shared.clock.now());
        Ok(())
    }

    /// Says on disk that everything is flushed, so that damage in the last group can be told from a tear.
    fn close(&mut self) -> io::Result<()> {
        self.start_group()?;
        self.write_pending()?;
        self.ahead.finish(&*self.tail.segment.file, self.tail.offset)
    }

    /// Closes the segment and opens the next.
    pub(super) fn next_segment(&mut self) -> io::Result<()> {
        let segment = self.tail.segment.clone();
        seal(&segment, &mut self.pending, self.tail.state.open.is_some(), self.last, self.shared.clock.now());
        self.write_pending()?;
        self.ahead.finish(&*segment.file, self.tail.offset)?;
        if let Err(error) = segment.save_index(&*self.shared.disk, self.shared.keeps_xids()) {
            let name = self.shared.description.name.as_str();
            warn_rarely!(name, trail = name, %error, "index file not written; it will be rebuilt");
        }
        let next = new_segment(&self.shared, segment.number() + 1, &self.tail.state, highest_time(&segment))?;
        let next = Arc::new(next);
        self.tail.offset = next.bytes();
        self.ahead.restart(self.tail.offset);
        self.tail.segment = next.clone();
        self.shared.change_segments(|segments| segments.push(next));
        Ok(())
    }

    /// After a failure: cuts what was never acknowledged, as far as the disk still answers. Opening does it again.
    fn cut_off_unflushed(&mut self) {
        let mark = self.shared.mark.borrow().clone();
        if let Err(error) = cut_to(&self.shared, mark.end, mark.commit) {
            let name = self.shared.description.name.as_str();
            warn_rarely!(name, trail = name, %error, "unflushed bytes not cut; the next opening will");
        }
    }
}

/// Whether a frame takes over the numbers of the one before it.
fn has_no_number_of_its_own(kind: FrameKind) -> bool {
    use FrameKind::{LoadProgress, Mark, Prepared, Seal, Shape, ShapeChange, Source, SourceMark};
    matches!(kind, Shape | ShapeChange | Source | SourceMark | LoadProgress | Prepared | Mark | Seal)
}

/// Whether a frame outside a transaction, or its commit, is something that a flush makes durable.
fn says_something_whole(kind: FrameKind) -> bool {
    use FrameKind::{Commit, Gap, LoadProgress, Prepared, Source};
    matches!(kind, Commit | Source | Gap | LoadProgress | Prepared)
}

fn highest_time(segment: &Segment) -> Timestamp {
    let own = segment.seal().map_or(Timestamp::default(), |seal| seal.commit_ts_max);
    own.max(segment.head.earlier_commit_ts)
}

/// Appends a seal frame to `pending` and notes it in the segment.
fn seal(segment: &Segment, pending: &mut Vec<u8>, ends_inside: bool, last: (u64, u32), now: Timestamp) {
    let lowest = Timestamp::from_micros(i64::MIN);
    let commit_ts_max = segment.change_index(|index| index.commit_ts_max()).unwrap_or(lowest);
    let mut bytes = Vec::with_capacity(SEAL_FRAME_BYTES);
    let header = FrameHeader { commit: last.0, record: last.1, ..FrameHeader::new(FrameKind::Seal) };
    let numbers = [commit_ts_max.micros().cast_unsigned(), u64::from(ends_inside)];
    frame::push(&mut bytes, &header, |out| frame::push_numbers(out, &numbers));
    frame::stamp(&mut bytes, segment.head.file_id, now);
    pending.extend_from_slice(&bytes);
    segment.set_seal(Seal { commit_ts_max, ends_inside, closed_ts: now });
}

/// Makes a segment file with its head and repeated frames, flushed before it gets its name.
pub(super) fn new_segment(shared: &Shared, number: u64, state: &State, earlier: Timestamp) -> io::Result<Segment> {
    shared.raise_format()?;
    let file_id = random_number()?;
    let repeated = repeated_frames(state, file_id, shared.clock.now());
    let head = SegmentHead {
        version: SEGMENT_VERSION,
        epoch: shared.description.epoch,
        file_id,
        segment: number,
        next_commit: state.commit + 1,
        inside: state.open.is_some(),
        repeated_bytes: u32::try_from(repeated.len()).map_err(io::Error::other)?,
        earlier_commit_ts: earlier,
    };
    let path = shared.folder.join(file_name(number));
    let draft = path.with_extension("new");
    let _ = shared.disk.remove(&draft);
    let file = shared.disk.open(&draft, true)?;
    let mut bytes = head.encode().to_vec();
    bytes.extend_from_slice(&repeated);
    file.write_all_at(&bytes, 0)?;
    file.sync()?;
    shared.disk.rename(&draft, &path)?;
    shared.disk.sync_folder(&shared.folder)?;
    let mut index = crate::trail::index::SegmentIndex::default();
    let mut at = SEGMENT_HEAD_BYTES;
    while let Ok(frame) = frame::read_unchecked(&bytes[at.min(bytes.len())..]) {
        index.note(at as u64, &frame, shared.keeps_xids());
        at += frame.bytes();
    }
    Ok(Segment::new(head, shared.disk.clone(), file, path, bytes.len() as u64, index))
}

pub(super) fn repeated_frames(state: &State, file_id: u64, now: Timestamp) -> Vec<u8> {
    let mut out = Vec::new();
    let mut push = |header: FrameHeader, payload: &[u8]| {
        let start = out.len();
        let header = FrameHeader { flags: header.flags | frame::FLAG_REPEATED, ..header };
        frame::push(&mut out, &header, |out| out.extend_from_slice(payload));
        frame::stamp(&mut out[start..], file_id, now);
    };
    let mut payload = Vec::new();
    frame::push_text_pair(&mut payload, &state.identity, state.source.as_ref().map_or("", |source| &source.0));
    push(FrameHeader { commit: state.commit, ..FrameHeader::new(FrameKind::Source) }, &payload);
    if let Some(mark) = &state.source_mark {
        let header =
            FrameHeader { commit_ts: mark.commit_ts, commit: state.commit, ..FrameHeader::new(FrameKind::SourceMark) };
        push(header, &mark.encode());
    }
    if !state.prepared.is_empty() {
        payload.clear();
        frame::prepared::push(&mut payload, &state.prepared);
        push(FrameHeader { commit: state.commit, ..FrameHeader::new(FrameKind::Prepared) }, &payload);
    }
    for progress in state.loads.all() {
        payload.clear();
        frame::load::push(&mut payload, Some(progress));
        push(FrameHeader { commit: state.commit, ..FrameHeader::new(FrameKind::LoadProgress) }, &payload);
    }
    for schema in state.shapes.all() {
        let json = serde_json::to_vec(&*schema).unwrap_or_default();
        push(FrameHeader { schema: schema.id, ..FrameHeader::new(FrameKind::Shape) }, &json);
    }
    if let Some(open) = &state.open
        && let Ok(begin) = frame::read_unchecked(&open.frame)
    {
        push(begin.header, begin.payload);
        for said in open.loads.all() {
            payload.clear();
            frame::load::push(&mut payload, said);
            push(FrameHeader { commit: begin.header.commit, ..FrameHeader::new(FrameKind::LoadProgress) }, &payload);
        }
    }
    out
}

/// Cuts the trail to `end`, where transaction `commit` was the last: later segments are removed, its segment is open
/// again. Returns that segment, with its index in memory.
pub(super) fn cut_to(shared: &Shared, end: Location, commit: u64) -> io::Result<Arc<Segment>> {
    let gone = || io::Error::other("the segment to cut is gone");
    let segment = shared.segment(end.segment).ok_or_else(gone)?;
    segment.reopen(&*shared.disk, shared.keeps_xids())?;
    // What the folder holds counts, not what is in memory: a segment may have got its name although making it failed,
    // and a cut that failed may have removed some. None may come back behind a segment that is cut.
    let names = shared.disk.list(&shared.folder)?;
    for number in names.iter().rev().filter_map(|name| number_of(name)).filter(|number| *number > end.segment) {
        let path = shared.folder.join(file_name(number));
        drop_index_file(&*shared.disk, &path)?;
        shared.disk.remove(&path)?;
    }
    // Its index file must be gone for good before its bytes change, or a later opening could believe it.
    drop_index_file(&*shared.disk, &segment.path)?;
    shared.disk.sync_folder(&shared.folder)?;
    shared.change_segments(|segments| segments.retain(|segment| segment.number() <= end.segment));
    shared.recent.clear();
    // Also when the file seems no longer than that: an earlier cut may have been lost with a failed flush. Before the
    // flush, other than where a segment is closed: whatever a power cut leaves of what no mark promises is a torn end.
    segment.file.cut(end.offset)?;
    segment.file.sync()?;
    segment.set_bytes(end.offset);
    segment.change_index(|index| index.cut(end.offset, commit));
    Ok(segment)
}
