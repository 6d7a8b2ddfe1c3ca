//! What of a damaged trail is readable and provably whole: segment by segment, damage passed over.
//!
//! A transaction is kept when its begin, every record and its commit follow each other without damage between them and
//! every record's schema is known. Knows nothing of how what is kept is written anew; that is `rewrite`'s.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io;

use crate::codec::frame::{self, FLAG_REPEATED, Frame, FrameHeader, FrameKind};
use crate::codec::segment_head::{SEGMENT_HEAD_BYTES, SegmentHead};
use crate::record::{Operation, SchemaId, Timestamp};
use crate::trail::local::disk::{DiskFile, read_full};
use crate::trail::local::folder::Folder;
use crate::trail::local::preallocation::data_end;
use crate::trail::local::segment_file::{file_name, number_of};
use crate::trail::maintenance::repair::DamagedRange;
use crate::trail::promise;
use crate::trail::scan::{next_frame, scan};
use crate::trail::schema_frame;
use crate::trail::segment::read_seal;
use crate::trail::{Gap, Location};

/// Most segments in a row that may be missing: more is no trail with a hole but a stray file.
const MISSING_MAX: u64 = 65_536;
/// How far behind the last known commit number a frame behind damage may be.
const COMMITS_AHEAD_MAX: u64 = 1 << 40;

/// Something of a segment that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Item {
    /// Whole frames from one byte to another.
    Frames(u64, u64),
    /// Missing transactions, and the commit time that their gap gets: that of the next one; none at the end.
    Gap(Gap, Option<Timestamp>),
}

/// What a survey found.
#[derive(Debug, Default)]
pub(super) struct Survey {
    /// Numbers of the first and the last segment, those that are missing included.
    pub(super) first: u64,
    pub(super) last: u64,
    /// Last commit number before the first segment.
    pub(super) base: u64,
    /// What is kept of each segment.
    pub(super) items: BTreeMap<u64, Vec<Item>>,
    /// Repeated frames that are readable, from one byte to another.
    pub(super) repeated: BTreeMap<u64, Vec<(u64, u64)>>,
    /// Segments to be written anew.
    pub(super) rewritten: BTreeSet<u64>,
    /// Segments that open inside a transaction that is kept.
    pub(super) inside: BTreeSet<u64>,
    /// Files that can be read, with the salt of their frames.
    pub(super) file_ids: BTreeMap<u64, u64>,
    /// Heads that check.
    pub(super) heads: BTreeMap<u64, SegmentHead>,
    /// Every damaged place.
    pub(super) damage: Vec<DamagedRange>,
    /// Commit number of the last transaction kept, or of the last one in a gap behind it.
    pub(super) commit: u64,
}

impl Survey {
    /// The gaps that the repair leaves, in order, without those of earlier repairs that stay.
    pub(super) fn gaps(&self) -> Vec<Gap> {
        let items = self.items.values().flatten();
        items.filter_map(|item| if let Item::Gap(gap, _) = item { Some(gap.clone()) } else { None }).collect()
    }
}

/// Surveys a trail from its files alone.
pub(super) fn survey(folder: &Folder) -> io::Result<Survey> {
    let names = folder.list()?;
    let numbers: BTreeSet<u64> = names.iter().filter_map(|name| number_of(name)).collect();
    let noted = folder.noted_mark();
    let noted_segment = noted.as_ref().map(|mark| mark.end.segment);
    let first = numbers.first().copied().or(noted_segment).unwrap_or(1);
    let last = numbers.last().copied().max(noted_segment).unwrap_or(1);
    if last - first >= numbers.len() as u64 + MISSING_MAX {
        return Err(io::Error::other(format!("too many segments are missing between {first} and {last}")));
    }
    let mut surveyor = Surveyor {
        survey: Survey { first, last, ..Survey::default() },
        base_known: first == 1,
        known_schemas: HashSet::new(),
        open: None,
        noted: noted.as_ref().map_or(Location::default(), |mark| mark.end),
        promised: noted.map_or(0, |mark| mark.commit),
        lost: false,
        lost_uncounted: false,
        untimed: Vec::new(),
    };
    if numbers.is_empty() {
        surveyor.nothing_left();
    }
    for number in first..=last {
        if numbers.contains(&number) {
            surveyor.segment(folder, number)?;
        } else {
            surveyor.missing(number);
        }
    }
    surveyor.finish();
    Ok(surveyor.survey)
}

/// A transaction that is being followed; kept when its commit comes.
#[derive(Debug)]
struct Open {
    commit: u64,
    commit_ts: Timestamp,
    /// Number that its next record must have; not known of one that began before the trail's first segment.
    next_record: Option<u32>,
    /// Its frames: segment, from, to.
    pieces: Vec<(u64, u64, u64)>,
    /// Those that are schemas, which stay in force although the transaction may be lost.
    schemas: Vec<(u64, u64, u64)>,
}

struct Surveyor {
    survey: Survey,
    /// Whether `survey.commit` counts from a known number.
    base_known: bool,
    known_schemas: HashSet<SchemaId>,
    open: Option<Open>,
    /// Where what `mark.bin` promises ends.
    noted: Location,
    /// The highest commit number that something says was there.
    promised: u64,
    /// Whether something was lost since the last transaction kept.
    lost: bool,
    /// The same, and nothing says how much.
    lost_uncounted: bool,
    /// Gaps whose time is not known yet: segment and place among its items.
    untimed: Vec<(u64, usize)>,
}

impl Surveyor {
    fn damaged(&mut self, segment: u64, from: u64, to: u64, what: impl Into<String>) {
        let file = file_name(segment);
        self.survey.damage.push(DamagedRange { file, segment, from, to, what: what.into() });
        self.survey.rewritten.insert(segment);
        self.drop_open();
        self.lost = true;
    }

    fn nothing_left(&mut self) {
        self.survey.base = self.promised;
        self.survey.commit = self.promised;
        self.base_known = true;
    }

    fn missing(&mut self, number: u64) {
        self.damaged(number, 0, 0, "the segment's file is missing");
        self.lost_uncounted = true;
    }

    fn segment(&mut self, folder: &Folder, number: u64) -> io::Result<()> {
        let file = folder.disk.open(&folder.segment_path(number), false)?;
        let bytes = file.length()?;
        let is_last = number == self.survey.last;
        let Some((head, file_id)) = self.open_head(folder, &*file, number, bytes)? else { return Ok(()) };
        self.survey.file_ids.insert(number, file_id);
        if let Some(head) = head {
            self.survey.heads.insert(number, head);
            self.enter(number, &head);
        }
        let sealed = read_seal(&*file, bytes, file_id)?.is_some();
        let mut at = SEGMENT_HEAD_BYTES as u64;
        loop {
            let end = scan(&*file, file_id, at, bytes, |offset, frame| self.frame(number, offset, frame))?;
            let Some(bad) = end.bad else {
                let found = Location { segment: number, offset: end.offset };
                if is_last && self.noted > found && self.noted.segment == number {
                    self.damaged(number, end.offset, self.noted.offset, promise::CUT_SHORT);
                }
                break;
            };
            let in_head =
                head.is_none_or(|head| end.offset < SEGMENT_HEAD_BYTES as u64 + u64::from(head.repeated_bytes));
            let place = Location { segment: number, offset: end.offset };
            let promised = promise::behind(&*file, file_id, end.offset + 1)?.0.max(self.noted);
            if is_last && !in_head && promised <= place {
                // A torn end, which opening cuts by itself, and a seal behind it.
                break;
            }
            let commit = self.survey.commit;
            let plausible = move |header: &FrameHeader| {
                header.flags & FLAG_REPEATED != 0
                    || (header.commit >= commit && header.commit - commit < COMMITS_AHEAD_MAX)
            };
            let next = next_frame(&*file, file_id, end.offset + 1, bytes, plausible)?;
            let to = match next {
                Some(next) => next,
                None if is_last && !sealed => data_end(&*file, end.offset, bytes)?,
                None => bytes,
            };
            self.damaged(number, end.offset, to, bad.to_string());
            match next {
                Some(next) => at = next,
                None => break,
            }
        }
        if !is_last && !sealed && self.survey.damage.last().is_none_or(|place| place.segment != number) {
            self.damaged(number, bytes, bytes, "the file ends without a seal");
        }
        Ok(())
    }

    /// The head and the salt of the file's frames; none when nothing of the file can be read.
    fn open_head(
        &mut self,
        folder: &Folder,
        file: &dyn DiskFile,
        number: u64,
        bytes: u64,
    ) -> io::Result<Option<(Option<SegmentHead>, u64)>> {
        let mut start = [0; SEGMENT_HEAD_BYTES];
        let read = read_full(file, &mut start, 0)?;
        if let Ok(head) = SegmentHead::decode(&start[..read]) {
            if head.segment == number && folder.description.admits(head.epoch, number) {
                return Ok(Some((Some(head), head.file_id)));
            }
            self.damaged(number, 0, bytes, "the file belongs to another segment or trail");
            self.lost_uncounted = true;
            return Ok(None);
        }
        self.damaged(number, 0, SEGMENT_HEAD_BYTES as u64, "the segment's head does not check");
        // The salt stands in the head, which may be damaged elsewhere, and in the index file.
        let mut candidates = vec![frame::u64_at(&start, 24)];
        if let Ok(index) = folder.disk.open(&folder.segment_path(number).with_extension("idx"), false) {
            let mut head = [0; 16];
            if read_full(&*index, &mut head, 0)? == head.len() {
                candidates.push(frame::u64_at(&head, 8));
            }
        }
        for file_id in candidates {
            let from = SEGMENT_HEAD_BYTES as u64;
            if next_frame(file, file_id, from, bytes, |header| header.commit < COMMITS_AHEAD_MAX)?.is_some() {
                return Ok(Some((None, file_id)));
            }
        }
        self.damaged(number, SEGMENT_HEAD_BYTES as u64, bytes, "nothing of the segment can be read without its head");
        self.lost_uncounted = true;
        Ok(None)
    }

    fn enter(&mut self, number: u64, head: &SegmentHead) {
        self.count_from(head.next_commit);
        self.promised = self.promised.max(head.next_commit - 1);
        if number == self.survey.first {
            return;
        }
        if !head.inside {
            // It was made when all before it was whole; what began there and has no end is lost.
            self.drop_open_as_lost();
            if head.next_commit == self.survey.commit + 1 {
                (self.lost, self.lost_uncounted) = (false, false);
            } else if head.next_commit > self.survey.commit && self.survey.rewritten.contains(&(number - 1)) {
                self.gap(number - 1, head.next_commit, None);
            }
        } else if self.open.is_none() {
            self.survey.rewritten.insert(number);
            self.lost = true;
        }
    }

    /// Commit numbers start with `next`, if nothing has said so before.
    fn count_from(&mut self, next: u64) {
        if std::mem::replace(&mut self.base_known, true) {
            return;
        }
        self.survey.base = next - 1;
        self.survey.commit = next - 1;
        if self.lost {
            self.gap(self.survey.first, next, None);
        }
    }

    /// Leaves a gap in front of transaction `next`, at the end of what is kept of `segment` so far.
    fn gap(&mut self, segment: u64, next: u64, commit_ts: Option<Timestamp>) {
        let gap = Gap { first: self.survey.commit + 1, next, missing: None };
        let items = self.survey.items.entry(segment).or_default();
        if commit_ts.is_none() {
            self.untimed.push((segment, items.len()));
        }
        items.push(Item::Gap(gap, commit_ts));
        self.survey.rewritten.insert(segment);
        self.survey.commit = next - 1;
        (self.lost, self.lost_uncounted) = (false, false);
    }

    fn frame(&mut self, segment: u64, offset: u64, frame: &Frame<'_>) {
        let end = offset + frame.bytes() as u64;
        let header = &frame.header;
        if header.flags & FLAG_REPEATED != 0 {
            self.survey.repeated.entry(segment).or_default().push((offset, end));
            self.repeated(segment, frame);
            return;
        }
        match header.kind {
            FrameKind::Begin => self.begin(segment, offset, end, header),
            FrameKind::Record(Operation::Ddl) | FrameKind::Message => self.record(segment, offset, end, header, true),
            FrameKind::Record(_) => {
                let readable = self.known_schemas.contains(&header.schema);
                self.record(segment, offset, end, header, readable);
            }
            FrameKind::Commit => self.commit(segment, offset, end, header),
            FrameKind::Schema | FrameKind::SchemaChange => self.schema(segment, offset, end, frame),
            FrameKind::Source | FrameKind::SourceMark | FrameKind::Prepared => {
                self.drop_open_as_lost();
                self.keep(segment, offset, end);
            }
            FrameKind::LoadProgress => self.load_progress(segment, offset, end, header),
            FrameKind::Gap => self.earlier_gap(segment, offset, end, frame),
            FrameKind::Mark => {
                if let Some((_, commit)) = promise::of_frame(frame) {
                    self.promised = self.promised.max(commit);
                }
            }
            FrameKind::Seal => {}
        }
    }

    /// A schema stays, whatever becomes of its transaction; but not a change of one that is lost.
    fn schema(&mut self, segment: u64, from: u64, to: u64, frame: &Frame<'_>) {
        let is_change = frame.header.kind == FrameKind::SchemaChange;
        if is_change && schema_frame::base_of(frame).is_none_or(|base| !self.known_schemas.contains(&base)) {
            self.drop_open_as_lost();
            self.orphan(segment);
            return;
        }
        self.known_schemas.insert(schema_id(frame));
        match &mut self.open {
            Some(open) => {
                open.pieces.push((segment, from, to));
                open.schemas.push((segment, from, to));
            }
            None => self.keep(segment, from, to),
        }
    }

    /// What a transaction says of a load goes with it: without its rows the load would go on behind rows that nobody has.
    fn load_progress(&mut self, segment: u64, from: u64, to: u64, header: &FrameHeader) {
        match &mut self.open {
            Some(open) if open.commit == header.commit => open.pieces.push((segment, from, to)),
            Some(_) => {
                self.drop_open_as_lost();
                self.orphan(segment);
            }
            None if header.commit > self.survey.commit => self.orphan(segment),
            None => self.keep(segment, from, to),
        }
    }

    fn repeated(&mut self, segment: u64, frame: &Frame<'_>) {
        match frame.header.kind {
            FrameKind::Schema => drop(self.known_schemas.insert(schema_id(frame))),
            FrameKind::Begin if segment == self.survey.first && !self.lost => {
                let (commit, commit_ts) = (frame.header.commit, frame.header.commit_ts);
                let pieces = Vec::new();
                self.survey.inside.insert(segment);
                self.open = Some(Open { commit, commit_ts, next_record: None, pieces, schemas: Vec::new() });
            }
            FrameKind::Begin if self.open.as_ref().is_some_and(|open| open.commit != frame.header.commit) => {
                self.drop_open_as_lost();
            }
            _ => {}
        }
    }

    fn begin(&mut self, segment: u64, from: u64, to: u64, header: &FrameHeader) {
        self.drop_open_as_lost();
        self.count_from(header.commit);
        if header.commit <= self.survey.commit {
            self.orphan(segment);
            return;
        }
        let (commit, commit_ts) = (header.commit, header.commit_ts);
        let pieces = vec![(segment, from, to)];
        self.open = Some(Open { commit, commit_ts, next_record: Some(0), pieces, schemas: Vec::new() });
    }

    fn record(&mut self, segment: u64, from: u64, to: u64, header: &FrameHeader, readable: bool) {
        match &mut self.open {
            Some(open)
                if readable
                    && open.commit == header.commit
                    && open.next_record.is_none_or(|next| next == header.record) =>
            {
                open.pieces.push((segment, from, to));
                open.next_record = open.next_record.map(|next| next + 1);
            }
            _ => {
                self.drop_open_as_lost();
                self.orphan(segment);
            }
        }
    }

    fn commit(&mut self, segment: u64, from: u64, to: u64, header: &FrameHeader) {
        self.promised = self.promised.max(header.commit);
        let whole = |open: &Open| {
            open.commit == header.commit && open.next_record.is_none_or(|records| records == header.record)
        };
        let Some(mut open) = self.open.take_if(|open| whole(open)) else {
            self.drop_open_as_lost();
            self.orphan(segment);
            return;
        };
        open.pieces.push((segment, from, to));
        let begins_in = open.pieces.first().map_or(segment, |piece| piece.0);
        if open.commit > self.survey.commit + 1 {
            self.gap(begins_in, open.commit, Some(open.commit_ts));
        }
        self.time_gaps(open.commit_ts);
        for (segment, from, to) in open.pieces {
            if segment != begins_in {
                self.survey.inside.insert(segment);
            }
            self.keep(segment, from, to);
        }
        self.survey.commit = header.commit;
        (self.lost, self.lost_uncounted) = (false, false);
    }

    /// Gaps whose time was not known lie before something of this time.
    fn time_gaps(&mut self, commit_ts: Timestamp) {
        for (segment, at) in std::mem::take(&mut self.untimed) {
            if let Some(Item::Gap(_, time)) = self.survey.items.get_mut(&segment).and_then(|items| items.get_mut(at)) {
                *time = Some(commit_ts);
            }
        }
    }

    /// A gap that an earlier repair left, or that capture wrote.
    fn earlier_gap(&mut self, segment: u64, from: u64, to: u64, frame: &Frame<'_>) {
        self.drop_open_as_lost();
        match Gap::of(frame) {
            Some(gap) if gap.missing.is_some() && gap.first > self.survey.commit => {
                // It is whole by itself, whatever was lost before it.
                self.promised = self.promised.max(gap.first);
                self.count_from(gap.first);
                if gap.first > self.survey.commit + 1 {
                    self.gap(segment, gap.first, Some(frame.header.commit_ts));
                }
                self.time_gaps(frame.header.commit_ts);
                self.keep(segment, from, to);
                self.survey.commit = gap.first;
                (self.lost, self.lost_uncounted) = (false, false);
            }
            Some(gap) if gap.next > self.survey.commit => {
                self.count_from(gap.first);
                if gap.first == self.survey.commit + 1 && !self.lost {
                    self.keep(segment, from, to);
                    self.survey.commit = gap.next - 1;
                } else {
                    self.gap(segment, gap.next, Some(frame.header.commit_ts));
                }
            }
            _ => self.orphan(segment),
        }
    }

    fn keep(&mut self, segment: u64, from: u64, to: u64) {
        let items = self.survey.items.entry(segment).or_default();
        match items.last_mut() {
            Some(Item::Frames(_, end)) if *end == from => *end = to,
            _ => items.push(Item::Frames(from, to)),
        }
    }

    /// A frame that belongs to nothing that is kept.
    fn orphan(&mut self, segment: u64) {
        self.survey.rewritten.insert(segment);
        self.lost = true;
    }

    fn drop_open_as_lost(&mut self) {
        if self.open.is_some() {
            self.drop_open();
            self.lost = true;
        }
    }

    /// Gives up the transaction that is being followed; its schemas stay.
    fn drop_open(&mut self) {
        let Some(open) = self.open.take() else { return };
        if open.next_record.is_none() {
            self.survey.inside.clear();
            self.survey.rewritten.insert(self.survey.first);
        }
        self.survey.rewritten.extend(open.pieces.iter().map(|piece| piece.0));
        for (segment, from, to) in open.schemas {
            self.keep(segment, from, to);
        }
    }

    fn finish(&mut self) {
        let last = self.survey.last;
        let was_promised = self.open.as_ref().is_some_and(|open| open.commit <= self.promised);
        if was_promised {
            self.drop_open_as_lost();
        }
        let lost_counted = self.lost && self.promised > self.survey.commit;
        let rewritten = |open: &Open| open.pieces.iter().any(|piece| self.survey.rewritten.contains(&piece.0));
        let broken = lost_counted || self.lost_uncounted || self.survey.rewritten.contains(&last);
        if self.open.as_ref().is_some_and(|open| broken || rewritten(open)) {
            // Without its end it never was, and opening would cut it; but no part of it may stay alone.
            self.drop_open();
            self.survey.rewritten.insert(last);
        }
        if lost_counted {
            self.gap(last, self.promised + 1, None);
        } else if self.lost_uncounted {
            self.gap(last, self.survey.commit + 1, None);
        }
    }
}

fn schema_id(frame: &Frame<'_>) -> SchemaId {
    frame.header.schema
}
