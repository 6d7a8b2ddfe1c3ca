//! The one thread that writes a trail: group commit, closing segments, taking back aborted transactions.
//!
//! It gathers what waits in its queue into a flush group, writes it, flushes once, and only then moves the durable
//! mark. A failed write or flush ends it for good: what was not flushed is cut off, no acknowledgement follows.

use std::io;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use crate::codec::frame::{self, Frame, FrameHeader, FrameKind, SEAL_FRAME_BYTES};
use crate::codec::segment_head::SEGMENT_VERSION;
use crate::limits::FLUSH_GROUP_BYTES_MAX;
use crate::record::{SchemaId, Timestamp};
use crate::repeats::{error_rarely, warn_rarely};
use crate::tasks::{self, Task, caught_here};
use crate::trail::Location;
use crate::trail::rollover;
use crate::trail::shared::{End, Shared};
use crate::trail::store::WritingEnd;
use crate::trail::tail::Tail;
use crate::trail::take_back::take_back_to;

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
    shared.counters.nothing_pending();
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
struct TrailWriter {
    shared: Arc<Shared>,
    tail: Tail,
    /// The same, where it is stored.
    end: WritingEnd,
    /// Frames of the group that are not written yet; they go to `tail.offset`.
    pending: Vec<u8>,
    group_bytes: usize,
    /// Commit and record number of the last frame, which frames without their own take over.
    last: (u64, u32),
    /// Where the last whole transaction of the running group ends: what its flush makes durable.
    reached: Option<(Location, SchemaId)>,
    /// Bytes handed over that are not flushed yet.
    unsettled_bytes: u64,
    /// Commit number of the last transaction that this writer, and no later one, has flushed: after a failure another
    /// writer gives the same numbers to other transactions.
    flushed: watch::Sender<u64>,
}

impl TrailWriter {
    fn new(shared: Arc<Shared>, tail: Tail) -> Self {
        let last = (tail.state.commit, u32::MAX);
        let flushed = watch::Sender::new(tail.state.commit);
        Self {
            shared,
            end: tail.segment.stored.writing_end(tail.offset),
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
            // Schemas that follow belong to a transaction that is still to come.
            let newest = self.tail.state.schemas.newest();
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
            self.shared.counters.committed(frame.header.record);
        }
        let keep_xids = self.shared.keeps_xids();
        self.tail.segment.change_index(|index| index.note(at.offset, frame, keep_xids));
        self.tail.state.follow(at, frame).map_err(io::Error::other)
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
        self.end.write(&self.pending, self.tail.offset)?;
        self.shared.counters.wrote(self.pending.len(), self.shared.clock.now());
        let at = Location { segment: self.tail.segment.number(), offset: self.tail.offset };
        self.tail.offset += self.pending.len() as u64;
        self.tail.segment.set_length(self.tail.offset);
        self.shared.recent.push(at, std::mem::take(&mut self.pending));
        Ok(())
    }

    fn end_group(&mut self) -> io::Result<()> {
        self.write_pending()?;
        if let Some((end, newest_schema)) = self.reached.take() {
            let mark = self.tail.state.mark_at(end, newest_schema);
            let began = self.shared.clock.now();
            let took = self.end.settle(self.tail.offset, self.closes_at())?;
            self.shared.counters.flushed(took);
            self.settle(began);
            let commit = mark.commit;
            self.shared.publish(mark);
            self.flushed.send_replace(commit);
        }
        Ok(())
    }

    /// Nothing of what came so far waits for a flush any more; what came during the last one does.
    fn settle(&mut self, since: Timestamp) {
        self.shared.counters.settled(std::mem::take(&mut self.unsettled_bytes), since);
    }

    /// Takes back the open transaction, if there is one: its bytes and what it declared.
    fn take_back(&mut self) -> io::Result<()> {
        let Some(open) = self.tail.state.rollback() else { return Ok(()) };
        self.write_pending()?;
        // Whole transactions before it in this group are durable when it is taken back.
        self.tail.segment = take_back_to(&self.shared, open.at, self.tail.state.commit)?;
        self.tail.offset = open.at.offset;
        self.end.moved_to(&self.tail.segment.stored, self.tail.offset);
        self.last = (self.tail.state.commit, u32::MAX);
        self.settle(self.shared.clock.now());
        Ok(())
    }

    /// Says on disk that everything is flushed, so that damage in the last group can be told from a tear.
    fn close(&mut self) -> io::Result<()> {
        self.start_group()?;
        self.write_pending()?;
        self.end.close(self.tail.offset)
    }

    /// Closes the segment and opens the next.
    fn next_segment(&mut self) -> io::Result<()> {
        let ends_inside = self.tail.state.open.is_some();
        rollover::seal(&self.tail.segment, &mut self.pending, ends_inside, self.last, self.shared.clock.now());
        self.write_pending()?;
        self.end.close(self.tail.offset)?;
        let next = rollover::next_segment(&self.shared, &self.tail.segment, &self.tail.state)?;
        (self.tail.offset, self.tail.segment) = (next.length(), next);
        self.end.moved_to(&self.tail.segment.stored, self.tail.offset);
        Ok(())
    }

    /// After a failure: cuts what was never acknowledged, as far as the disk still answers. Opening does it again.
    fn cut_off_unflushed(&mut self) {
        let mark = self.shared.mark.borrow().clone();
        if let Err(error) = take_back_to(&self.shared, mark.end, mark.commit) {
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
