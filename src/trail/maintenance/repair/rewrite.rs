//! Writes the segments of a damaged trail anew, beside the damaged ones: what a survey keeps, gap frames where something is
//! missing, a seal at the end.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::clock::Clock;
use crate::codec::frame::{self, FLAG_REPEATED, Frame, FrameHeader, FrameKind};
use crate::codec::segment_head::{SEGMENT_HEAD_BYTES, SEGMENT_VERSION, SegmentHead};
use crate::limits::FLUSH_GROUP_BYTES_MAX;
use crate::record::{Epoch, SourcePosition, Timestamp};
use crate::trail::Location;
use crate::trail::description::random_number;
use crate::trail::local::disk::DiskFile;
use crate::trail::local::folder::Folder;
use crate::trail::local::segment_file::file_name;
use crate::trail::maintenance::repair::survey::{Item, Survey};
use crate::trail::rollover::repeated_frames;
use crate::trail::scan::scan;
use crate::trail::segment::read_seal;
use crate::trail::tail::State;

/// Name of a segment before it takes the damaged one's place.
pub(super) fn draft_name(segment: u64) -> String {
    format!("{}.new", file_name(segment))
}

/// Writes and flushes the drafts of all segments that the survey wants anew, in the new epoch. Returns how far the source
/// had been taken, as far as that is readable.
pub(super) fn write_drafts(
    folder: &Folder,
    survey: &Survey,
    epoch: Epoch,
    clock: &dyn Clock,
) -> io::Result<Option<SourcePosition>> {
    let (state, highest_ts) = (State::default(), Timestamp::default());
    let mut rewrite = Rewrite { folder, survey, epoch, clock, state, highest_ts };
    let mut previous = None;
    for number in &survey.rewritten {
        if previous.is_none_or(|previous| previous + 1 != *number) {
            rewrite.state_before(*number)?;
        }
        rewrite.segment(*number)?;
        previous = Some(*number);
    }
    Ok(rewrite.state.source)
}

struct Rewrite<'s> {
    folder: &'s Folder,
    clock: &'s dyn Clock,
    survey: &'s Survey,
    epoch: Epoch,
    /// What is in force where the next segment begins.
    state: State,
    highest_ts: Timestamp,
}

impl Rewrite<'_> {
    fn open(&self, number: u64) -> io::Result<Arc<dyn DiskFile>> {
        self.folder.disk.open(&self.folder.segment_path(number), false)
    }

    /// Establishes what is in force at the start of a segment whose predecessor stays as it is.
    fn state_before(&mut self, number: u64) -> io::Result<()> {
        self.state = State { commit: self.survey.base, ..State::default() };
        self.highest_ts = self.survey.heads.get(&number).map_or(Timestamp::default(), |head| head.earlier_commit_ts);
        let before = number.wrapping_sub(1);
        let (Some(head), Some(file_id)) = (self.survey.heads.get(&before), self.survey.file_ids.get(&before)) else {
            return Ok(());
        };
        self.state.commit = head.next_commit - 1;
        let file = self.open(before)?;
        let mut out_of_place = None;
        scan(&*file, *file_id, SEGMENT_HEAD_BYTES as u64, file.length()?, |offset, frame| {
            let at = Location { segment: before, offset };
            out_of_place = out_of_place.or(self.state.follow(at, frame).err());
        })?;
        if let Some(seal) = read_seal(&*file, file.length()?, *file_id)? {
            self.highest_ts = seal.commit_ts_max.max(head.earlier_commit_ts);
        }
        out_of_place.map_or(Ok(()), |error| Err(io::Error::other(error)))
    }

    fn segment(&mut self, number: u64) -> io::Result<()> {
        let source = match self.survey.file_ids.get(&number) {
            Some(file_id) => Some((self.open(number)?, *file_id)),
            None => None,
        };
        let repeated = match &source {
            Some((file, file_id)) => self.take_over_repeated(number, &**file, *file_id)?,
            None => Vec::new(),
        };
        let mut draft = self.start(number)?;
        draft.schemas(&repeated, &mut self.state)?;
        let items = self.survey.items.get(&number).map(Vec::as_slice).unwrap_or_default();
        for item in items {
            match (item, &source) {
                (Item::Gap(gap, time), _) => {
                    let commit_ts = time.unwrap_or_else(|| self.clock.now());
                    let header = FrameHeader {
                        commit: gap.next - 1,
                        record: u32::MAX,
                        commit_ts,
                        append_ts: self.clock.now(),
                        ..FrameHeader::new(FrameKind::Gap)
                    };
                    draft.append(&header, &mut self.state, |out| gap.push(out))?;
                }
                (Item::Frames(from, to), Some((file, file_id))) => {
                    let mut copied = Ok(());
                    scan(&**file, *file_id, *from, *to, |_, frame| {
                        if copied.is_ok() && frame.header.kind != FrameKind::Mark {
                            copied = draft.copy(frame, &mut self.state);
                        }
                    })?;
                    copied?;
                }
                (Item::Frames(..), None) => return Err(io::Error::other("frames of a segment that cannot be read")),
            }
        }
        if !self.survey.rewritten.contains(&(number + 1)) {
            let unheard = self.unheard_in_next(number + 1)?;
            draft.schemas(&unheard, &mut self.state)?;
        }
        self.highest_ts = draft.seal(&self.state, self.clock.now())?.max(self.highest_ts);
        Ok(())
    }

    /// What a segment repeats of earlier ones counts, although the frames that said it first may be lost. Returns the
    /// schemas that were: a reader that comes from the segment before has not heard them.
    fn take_over_repeated(
        &mut self,
        number: u64,
        file: &dyn DiskFile,
        file_id: u64,
    ) -> io::Result<Vec<(FrameHeader, Vec<u8>)>> {
        let mut unheard = Vec::new();
        let keeps_open = self.survey.inside.contains(&number);
        let mut open_is_lost = false;
        let state = &mut self.state;
        for (from, to) in self.survey.repeated.get(&number).map(Vec::as_slice).unwrap_or_default() {
            scan(file, file_id, *from, *to, |offset, frame| {
                if frame.header.kind == FrameKind::Schema && !state.knows(frame.header.schema) {
                    unheard.push((frame.header, frame.payload.to_vec()));
                }
                // A transaction that is lost stands last in a head, and what it said of loads behind it.
                open_is_lost |= !keeps_open && frame.header.kind == FrameKind::Begin;
                if !open_is_lost {
                    // A malformed one is passed over, as a damaged one is.
                    let _ = state.follow(Location { segment: number, offset }, frame);
                }
            })?;
        }
        Ok(unheard)
    }

    /// Schemas that a segment which stays as it is repeats, and that no frame kept before it says.
    fn unheard_in_next(&self, number: u64) -> io::Result<Vec<(FrameHeader, Vec<u8>)>> {
        let mut unheard = Vec::new();
        if let (Some(head), Some(file_id)) = (self.survey.heads.get(&number), self.survey.file_ids.get(&number)) {
            let until = SEGMENT_HEAD_BYTES as u64 + u64::from(head.repeated_bytes);
            scan(&*self.open(number)?, *file_id, SEGMENT_HEAD_BYTES as u64, until, |_, frame| {
                if frame.header.kind == FrameKind::Schema && !self.state.knows(frame.header.schema) {
                    unheard.push((frame.header, frame.payload.to_vec()));
                }
            })?;
        }
        Ok(unheard)
    }

    fn start(&self, number: u64) -> io::Result<Draft> {
        let file_id = random_number()?;
        let repeated = repeated_frames(&self.state, file_id, self.clock.now());
        let head = SegmentHead {
            version: SEGMENT_VERSION,
            epoch: self.epoch,
            file_id,
            segment: number,
            next_commit: self.state.commit + 1,
            inside: self.state.open.is_some(),
            repeated_bytes: u32::try_from(repeated.len()).map_err(io::Error::other)?,
            earlier_commit_ts: self.highest_ts,
        };
        let path: PathBuf = self.folder.path.join(draft_name(number));
        let _ = self.folder.disk.remove(&path);
        let file = self.folder.disk.open(&path, true)?;
        let mut pending = head.encode().to_vec();
        pending.extend_from_slice(&repeated);
        let last = (self.state.commit, u32::MAX);
        let commit_ts_max = Timestamp::from_micros(i64::MIN);
        Ok(Draft { segment: number, file, file_id, pending, written: 0, last, commit_ts_max })
    }
}

/// A segment that is being written.
struct Draft {
    segment: u64,
    file: Arc<dyn DiskFile>,
    file_id: u64,
    pending: Vec<u8>,
    written: u64,
    last: (u64, u32),
    commit_ts_max: Timestamp,
}

impl Draft {
    fn copy(&mut self, frame: &Frame<'_>, state: &mut State) -> io::Result<()> {
        let payload = frame.payload;
        self.append(&frame.header, state, |out| out.extend_from_slice(payload))
    }

    /// Says schemas for readers that go through.
    fn schemas(&mut self, schemas: &[(FrameHeader, Vec<u8>)], state: &mut State) -> io::Result<()> {
        for (header, payload) in schemas {
            let (commit, record) = self.last;
            let header = FrameHeader { flags: header.flags & !FLAG_REPEATED, commit, record, ..*header };
            self.append(&header, state, |out| out.extend_from_slice(payload))?;
        }
        Ok(())
    }

    /// Appends a frame with the append time that its header has.
    fn append(
        &mut self,
        header: &FrameHeader,
        state: &mut State,
        payload: impl FnOnce(&mut Vec<u8>),
    ) -> io::Result<()> {
        let start = self.pending.len();
        frame::push(&mut self.pending, header, payload);
        frame::stamp(&mut self.pending[start..], self.file_id, header.append_ts);
        let frame = frame::read_unchecked(&self.pending[start..]).map_err(io::Error::other)?;
        let at = Location { segment: self.segment, offset: self.written + start as u64 };
        state.follow(at, &frame).map_err(io::Error::other)?;
        if header.kind.has_commit_time() {
            self.commit_ts_max = self.commit_ts_max.max(header.commit_ts);
        }
        self.last = (header.commit, header.record);
        if self.pending.len() >= FLUSH_GROUP_BYTES_MAX { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> io::Result<()> {
        self.file.write_all_at(&self.pending, self.written)?;
        self.written += self.pending.len() as u64;
        self.pending.clear();
        Ok(())
    }

    /// Closes and flushes the segment; returns its greatest commit time.
    fn seal(mut self, state: &State, now: Timestamp) -> io::Result<Timestamp> {
        let start = self.pending.len();
        let header = FrameHeader { commit: self.last.0, record: self.last.1, ..FrameHeader::new(FrameKind::Seal) };
        let numbers = [self.commit_ts_max.micros().cast_unsigned(), u64::from(state.open.is_some())];
        frame::push(&mut self.pending, &header, |out| frame::push_numbers(out, &numbers));
        frame::stamp(&mut self.pending[start..], self.file_id, now);
        self.write()?;
        self.file.sync()?;
        Ok(self.commit_ts_max)
    }
}
