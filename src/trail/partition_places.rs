//! Where the frames of each partition lie in one segment: what lets a reader of one partition pass over the others' bytes. A
//! hint, rebuilt when in doubt.
//!
//! Built frame by frame like the [`index`](super::index). A transaction's begin and commit stand with each partition that it has
//! records in; what every reader must see (schemas, statements, gaps, and the ends of transactions that lie in more than one
//! segment or have nothing but statements) stands in a list for all. Nothing else is given to a reader of partitions.
//!
//! The file beside a closed segment (`….par`): `"TRAILPT1"`, the segment's [`Stamp`], the number of lists, then for each list,
//! the one for all first, its number of runs and first and last byte of each; then CRC-32C of all of it; little-endian.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::codec::frame::{FLAG_REPEATED, Frame, FrameKind, u32_at};
use crate::limits::PARTITION_RUNS_MAX;
use crate::record::Operation;
use crate::trail::hint::{STAMP_BYTES, Stamp, checked, push_checksum};

const MAGIC: &[u8; 8] = b"TRAILPT1";

/// Segments of which it was not kept, since there was too much of it.
static GIVEN_UP: AtomicU64 = AtomicU64::new(0);

/// How often a segment had more pieces than are kept since the program started.
pub fn partition_lists_given_up() -> u64 {
    GIVEN_UP.load(Ordering::Relaxed)
}

/// Whole frames one behind the other: the byte of the first, and the byte after the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Run {
    pub(super) start: u32,
    pub(super) end: u32,
}

/// The frames of each partition of a segment.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct PartitionPlaces {
    /// For readers of whatever partition.
    common: Vec<Run>,
    /// By partition.
    own: Vec<Own>,
    open: Option<Open>,
    runs: usize,
    /// The byte after the last frame.
    end: u64,
    /// There are more runs than are kept, or bytes further back than they can say: nothing is known.
    given_up: bool,
}

#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Own {
    runs: Vec<Run>,
    /// The last transaction that has a record here.
    transaction: u64,
}

/// The transaction that is open.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Open {
    /// Its begin frame, if that is in this segment.
    begin: Option<Run>,
    /// Partitions that it has records in.
    partitions: Vec<u16>,
    /// It has a statement.
    is_common: bool,
}

impl PartitionPlaces {
    /// Takes note of the next frame.
    pub(super) fn note(&mut self, offset: u64, frame: &Frame<'_>) {
        self.end = offset + frame.bytes() as u64;
        if self.given_up {
            return;
        }
        let header = &frame.header;
        let ends = u32::try_from(offset).ok().zip(u32::try_from(offset + frame.bytes() as u64).ok());
        let Some((start, end)) = ends.filter(|_| self.runs < PARTITION_RUNS_MAX) else { return self.give_up() };
        let run = Run { start, end };
        if header.flags & FLAG_REPEATED != 0 {
            if header.kind == FrameKind::Begin {
                self.open = Some(Open { begin: None, partitions: Vec::new(), is_common: true });
            }
            return;
        }
        match header.kind {
            FrameKind::Begin => {
                self.open = Some(Open { begin: Some(run), partitions: Vec::new(), is_common: false });
            }
            FrameKind::Record(Operation::Ddl | Operation::Truncate) => {
                self.begin_is_common();
                self.runs += push(&mut self.common, run);
            }
            FrameKind::Record(_) | FrameKind::Message => self.note_record(header.partition, header.commit, run),
            FrameKind::Commit => self.note_commit(run),
            FrameKind::Schema | FrameKind::SchemaChange | FrameKind::Gap => self.runs += push(&mut self.common, run),
            FrameKind::Source
            | FrameKind::Mark
            | FrameKind::Seal
            | FrameKind::SourceMark
            | FrameKind::LoadProgress
            | FrameKind::Prepared => {}
        }
    }

    fn note_record(&mut self, partition: u16, commit: u64, run: Run) {
        let at = usize::from(partition);
        if self.own.len() <= at {
            self.own.resize_with(at + 1, Own::default);
        }
        let own = &mut self.own[at];
        if own.transaction != commit {
            own.transaction = commit;
            if let Some(open) = &mut self.open {
                open.partitions.push(partition);
                if let Some(begin) = open.begin {
                    self.runs += push(&mut own.runs, begin);
                }
            }
        }
        self.runs += push(&mut own.runs, run);
    }

    fn note_commit(&mut self, run: Run) {
        let open = self.open.take();
        match open {
            Some(open) if !open.is_common && !open.partitions.is_empty() => {
                for partition in &open.partitions {
                    self.runs += push(&mut self.own[usize::from(*partition)].runs, run);
                }
            }
            open => {
                self.open = open;
                self.begin_is_common();
                self.open = None;
                self.runs += push(&mut self.common, run);
            }
        }
    }

    /// Puts the open transaction's begin where every reader finds it.
    fn begin_is_common(&mut self) {
        let Some(open) = self.open.as_mut().filter(|open| !open.is_common) else { return };
        open.is_common = true;
        if let Some(begin) = open.begin {
            let at = self.common.partition_point(|run| *run < begin);
            self.common.insert(at, begin);
            self.runs += 1;
        }
    }

    /// The segment ends here: what a transaction that goes on in the next one has there is not known yet.
    pub(super) fn close(&mut self) {
        self.begin_is_common();
    }

    /// Whether all frames that it knows end by that byte.
    pub(super) fn ends_by(&self, offset: u64) -> bool {
        self.end <= offset
    }

    fn give_up(&mut self) {
        GIVEN_UP.fetch_add(1, Ordering::Relaxed);
        *self = Self { given_up: true, ..Self::default() };
    }

    /// Appends to `out`, in order and none twice, the runs that a reader of these partitions must see and that begin from byte `from`
    /// on and before byte `stop`; says where a frame begins behind them, at or behind which the next one lies. Nothing from byte
    /// `until` on is looked at, which like `from` is where a frame begins or the last one ends. None if the places are not known.
    pub(super) fn runs(&self, partitions: &[u16], from: u64, stop: u64, until: u64, out: &mut Vec<Run>) -> Option<u64> {
        let (from, until) = (u32::try_from(from).ok()?, u32::try_from(until).ok()?);
        if self.given_up {
            return None;
        }
        let mut next = until;
        let own = partitions.iter().filter_map(|partition| self.own.get(usize::from(*partition)));
        for list in std::iter::once(&self.common).chain(own.map(|own| &own.runs)) {
            let first = list.partition_point(|run| run.end <= from);
            for run in list[first..].iter().take_while(|run| run.start < until) {
                let run = Run { start: run.start.max(from), end: run.end.min(until) };
                if u64::from(run.start) >= stop {
                    next = next.min(run.start);
                    break;
                }
                out.push(run);
            }
        }
        out.sort_unstable();
        let mut kept: usize = 0;
        for at in 0..out.len() {
            let run = out[at];
            match kept.checked_sub(1).map(|last| &mut out[last]) {
                Some(last) if run.start <= last.end => last.end = last.end.max(run.end),
                _ => {
                    out[kept] = run;
                    kept += 1;
                }
            }
        }
        out.truncate(kept);
        // Of two partitions one may have the end of what the other one has whole.
        Some(u64::from(out.last().map_or(next, |last| next.max(last.end))))
    }

    /// Memory that it takes, in bytes.
    pub(super) fn memory_bytes(&self) -> usize {
        let own = self.own.iter().map(|own| own.runs.capacity() * size_of::<Run>());
        size_of::<Self>()
            + (self.own.capacity() * size_of::<Own>())
            + own.sum::<usize>()
            + self.common.capacity() * size_of::<Run>()
    }

    /// The bytes of the file beside the closed segment; none when nothing is known.
    pub(super) fn encode(&self, stamp: &Stamp) -> Option<Vec<u8>> {
        if self.given_up {
            return None;
        }
        let lists = || std::iter::once(&self.common).chain(self.own.iter().map(|own| &own.runs));
        let mut out = Vec::with_capacity(16 + STAMP_BYTES + lists().map(|list| 4 + list.len() * 8).sum::<usize>());
        out.extend_from_slice(MAGIC);
        stamp.push(&mut out);
        let mut push = |number: usize| out.extend_from_slice(&u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes());
        push(1 + self.own.len());
        for list in lists() {
            push(list.len());
            list.iter().for_each(|run| [run.start, run.end].into_iter().for_each(|byte| push(byte as usize)));
        }
        push_checksum(&mut out);
        Some(out)
    }

    /// Reads such a file; `None` when it is not whole or not of that segment.
    pub(super) fn decode(bytes: &[u8], stamp: &Stamp) -> Option<Self> {
        let body = checked(bytes, MAGIC, stamp)?;
        let mut at = MAGIC.len() + STAMP_BYTES;
        let mut number = || {
            let number = body.get(at..at + 4).map(|bytes| u32_at(bytes, 0))?;
            at += 4;
            Some(number)
        };
        let lists = number()?.checked_sub(1).filter(|lists| *lists <= 1 + u32::from(u16::MAX))?;
        let mut list = || -> Option<Vec<Run>> {
            let count = number()?;
            (0..count).map(|_| Some(Run { start: number()?, end: number()? })).collect()
        };
        let common = list()?;
        let own: Option<Vec<Own>> = (0..lists).map(|_| Some(Own { runs: list()?, transaction: 0 })).collect();
        let own = own.filter(|_| number().is_none())?;
        let runs = common.len() + own.iter().map(|own| own.runs.len()).sum::<usize>();
        Some(Self { common, own, open: None, runs, end: 0, given_up: false })
    }
}

/// Appends a run, to the last one if it follows it; says how many there are more.
fn push(list: &mut Vec<Run>, run: Run) -> usize {
    match list.last_mut() {
        Some(last) if last.end == run.start => {
            last.end = run.end;
            0
        }
        _ => {
            list.push(run);
            1
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::frame::{FrameHeader, HEADER_BYTES};
    use crate::record::Timestamp;
    use proptest::prelude::*;

    /// A transaction: the partition of each record; none for a statement.
    type Records = Vec<Option<u16>>;

    fn note(
        places: &mut PartitionPlaces,
        at: &mut u64,
        kind: FrameKind,
        partition: u16,
        commit: u64,
        flags: u8,
    ) -> Run {
        let header = FrameHeader { partition, commit, flags, ..FrameHeader::new(kind) };
        places.note(*at, &Frame { header, payload: &[0; 10] });
        let start = u32::try_from(*at).unwrap();
        *at += (HEADER_BYTES + 10) as u64;
        Run { start, end: u32::try_from(*at).unwrap() }
    }

    proptest! {
        #[test]
        fn a_partition_finds_its_records_with_their_transactions_and_every_statement(
            transactions in proptest::collection::vec(proptest::collection::vec(proptest::option::weighted(0.9, 0..5_u16), 0..6), 1..20),
            wanted in proptest::collection::btree_set(0..6_u16, 0..3),
            cut in (0.0..1.0_f64, 0.0..1.0_f64),
        ) {
            let mut places = PartitionPlaces::default();
            let mut at = 64;
            let mut expected = Vec::new();
            for (number, records) in transactions.iter().enumerate() {
                let (records, commit): (&Records, _) = (records, number as u64 + 1);
                note(&mut places, &mut at, FrameKind::Mark, 0, 0, 0);
                let mut frames = vec![note(&mut places, &mut at, FrameKind::Begin, 0, commit, 0)];
                for record in records {
                    let (kind, partition) = match record {
                        Some(partition) => (FrameKind::Message, *partition),
                        None => (FrameKind::Record(Operation::Ddl), 0),
                    };
                    let run = note(&mut places, &mut at, kind, partition, commit, 0);
                    if record.is_none_or(|partition| wanted.contains(&partition)) {
                        frames.push(run);
                    }
                }
                frames.push(note(&mut places, &mut at, FrameKind::Commit, 0, commit, 0));
                if frames.len() > 2 || records.is_empty() {
                    expected.extend(frames);
                }
            }
            let stamp = Stamp { file_id: 1, bytes: at, closed_ts: Timestamp::from_micros(2) };
            let bytes = places.encode(&stamp).unwrap();
            let read = PartitionPlaces::decode(&bytes, &stamp).unwrap();
            prop_assert!(PartitionPlaces::decode(&bytes[..bytes.len() - 1], &stamp).is_none());
            let other = Stamp { bytes: at + 1, ..stamp };
            prop_assert!(PartitionPlaces::decode(&bytes, &other).is_none());
            let wanted: Vec<u16> = wanted.into_iter().collect();
            // From frame to frame, as a reader's places are.
            let frame = (HEADER_BYTES + 10) as u64;
            let frames = (at - 64) / frame;
            let boundary = |share: f64| 64 + (share * frames as f64) as u64 * frame;
            let (from, until) = (boundary(cut.0.min(cut.1)), boundary(cut.0.max(cut.1)));
            for places in [&places, &read] {
                for (from, until) in [(64, at), (from, until)] {
                    let mut runs = Vec::new();
                    prop_assert!(places.runs(&wanted, from, until, until, &mut runs).is_some_and(|next| next <= until));
                    let frames: Vec<Run> = runs.iter().flat_map(|run| {
                        (run.start..run.end).step_by(frame as usize).map(|start| Run { start, end: start + frame as u32 })
                    }).collect();
                    let inside = |run: &&Run| u64::from(run.start) >= from && u64::from(run.end) <= until;
                    let expected: Vec<Run> = expected.iter().filter(inside).copied().collect();
                    prop_assert_eq!(&frames, &expected);
                    // In steps that end anywhere it is the same.
                    let (mut stepped, mut at) = (Vec::new(), from);
                    while at < until {
                        let mut runs = Vec::new();
                        let next = places.runs(&wanted, at, at + 131, until, &mut runs).unwrap();
                        prop_assert!(next > at && (next - 64).is_multiple_of(frame));
                        at = next;
                        stepped.extend(runs.iter().flat_map(|run| {
                            (run.start..run.end).step_by(frame as usize).map(|start| Run { start, end: start + frame as u32 })
                        }));
                    }
                    prop_assert_eq!(stepped, expected);
                }
            }
        }
    }

    #[test]
    fn a_transaction_over_several_segments_begins_and_ends_for_every_partition() {
        let mut first = PartitionPlaces::default();
        let mut at = 64;
        let begin = note(&mut first, &mut at, FrameKind::Begin, 0, 1, 0);
        let record = note(&mut first, &mut at, FrameKind::Message, 3, 1, 0);
        first.close();
        let runs = |places: &PartitionPlaces, partition| {
            let mut runs = Vec::new();
            assert!(places.runs(&[partition], 0, 1 << 20, 1 << 20, &mut runs).is_some());
            runs
        };
        assert_eq!(runs(&first, 1), [begin]);
        assert_eq!(runs(&first, 3), [Run { start: begin.start, end: record.end }]);
        let (mut second, mut at) = (PartitionPlaces::default(), 64);
        note(&mut second, &mut at, FrameKind::Begin, 0, 1, FLAG_REPEATED);
        let record = note(&mut second, &mut at, FrameKind::Message, 1, 1, 0);
        let commit = note(&mut second, &mut at, FrameKind::Commit, 0, 1, 0);
        assert_eq!(runs(&second, 3), [commit]);
        assert_eq!(runs(&second, 1), [Run { start: record.start, end: commit.end }]);
    }
}
