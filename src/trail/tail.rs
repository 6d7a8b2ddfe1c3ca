//! The end of a trail, as its writer knows it: where the next byte goes and what is in force there.

use std::sync::Arc;

use crate::codec::frame::{self, FLAG_REPEATED, Frame, FrameKind, read_commit_hash, read_text_pair};
use crate::record::{LoadProgress, PreparedTransaction, SchemaId, SourcePosition, TableName, Timestamp};
use crate::trail::loads::{Loads, LoadsSaid};
use crate::trail::schema_frame::{self, BadSchema};
use crate::trail::schemas::Schemas;
use crate::trail::segment::Segment;
use crate::trail::xids::Xids;
use crate::trail::{DurableMark, Gap, Location, SourceMark};

/// Everything that appending needs to know of what came before.
#[derive(Debug, Clone)]
pub(super) struct Tail {
    /// The open segment.
    pub(super) segment: Arc<Segment>,
    /// Where its next byte goes.
    pub(super) offset: u64,
    /// What is in force.
    pub(super) state: State,
    /// Transaction ids remembered, none of them unless the trail is one of puts; `None` when an appender has had them,
    /// and they are to be read again.
    pub(super) xids: Option<Xids>,
}

/// What the frames so far have established.
#[derive(Debug, Clone, Default)]
pub(super) struct State {
    /// Tables' schemas in force.
    pub(super) schemas: Schemas,
    /// Who the source is; empty until it said so.
    pub(super) identity: String,
    /// How far the source has been taken.
    pub(super) source: Option<SourcePosition>,
    /// The last transaction of the source whose commit had a hash.
    pub(super) source_mark: Option<SourceMark>,
    /// The source's transactions that are prepared.
    pub(super) prepared: Vec<PreparedTransaction>,
    /// How far initial loads have come.
    pub(super) loads: Loads,
    /// Commit number of the last whole transaction.
    pub(super) commit: u64,
    /// Its commit time.
    pub(super) commit_ts: Timestamp,
    /// The transaction that is open.
    pub(super) open: Option<OpenTransaction>,
    /// The one before it, whose buffers the next one uses again.
    pub(super) spare: OpenTransaction,
}

/// A transaction whose commit frame is still to come.
#[derive(Debug, Clone, Default)]
pub(super) struct OpenTransaction {
    /// Its begin frame, to be repeated in the next segment's head.
    pub(super) frame: Vec<u8>,
    /// Where its begin frame lies.
    pub(super) at: Location,
    /// The source's coordinate after it.
    pub(super) source: SourcePosition,
    /// What it has said of initial loads.
    pub(super) loads: LoadsSaid,
}

/// A frame that a state cannot follow: only damage that passed its checksum, or a fault of ours, makes one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct OutOfPlace(pub(super) &'static str);

impl Tail {
    /// The durable mark, when all of the trail is durable.
    pub(super) fn mark(&self) -> DurableMark {
        let end = Location { segment: self.segment.number(), offset: self.offset };
        self.state.mark_at(end, self.state.schemas.newest())
    }
}

impl State {
    /// The durable mark at `end`, behind which no whole transaction has followed.
    pub(super) fn mark_at(&self, end: Location, newest_schema: SchemaId) -> DurableMark {
        let source = self.source.clone();
        DurableMark { commit: self.commit, commit_ts: self.commit_ts, end, source, newest_schema }
    }

    /// Follows the next frame, which lies at `at`.
    pub(super) fn follow(&mut self, at: Location, frame: &Frame<'_>) -> Result<(), OutOfPlace> {
        let header = &frame.header;
        match header.kind {
            FrameKind::Begin => {
                let repeated = header.flags & FLAG_REPEATED != 0;
                if !repeated && (self.open.is_some() || header.commit != self.commit + 1) {
                    return Err(OutOfPlace("transaction out of order"));
                }
                let (_, source) = read_text_pair(frame.payload).map_err(|_| OutOfPlace("malformed begin frame"))?;
                if !repeated || self.open.is_none() {
                    self.schemas.begin();
                    let mut open = std::mem::take(&mut self.spare);
                    open.at = at;
                    open.frame.clear();
                    frame::push(&mut open.frame, header, |out| out.extend_from_slice(frame.payload));
                    open.source.0.clear();
                    open.source.0.push_str(source);
                    open.loads.clear();
                    self.open = Some(open);
                }
            }
            FrameKind::Commit => {
                let Some(mut open) = self.open.take() else { return Err(OutOfPlace("commit without begin")) };
                self.schemas.commit();
                self.commit = header.commit;
                self.commit_ts = header.commit_ts;
                if let Some(hash) = read_commit_hash(frame.payload) {
                    let begin = frame::read_unchecked(&open.frame);
                    let xid =
                        begin.ok().and_then(|begin| read_text_pair(begin.payload).ok()).map_or("", |(xid, _)| xid);
                    let mark = self.source_mark.get_or_insert_default();
                    mark.set(xid, &open.source, header.commit_ts, hash);
                }
                if !open.source.0.is_empty() {
                    std::mem::swap(self.source.get_or_insert_default(), &mut open.source);
                }
                open.loads.settle(&mut self.loads);
                self.spare = open;
            }
            FrameKind::Shape | FrameKind::ShapeChange => {
                let in_force = |table: &TableName, id| self.schemas.of(table).filter(|known| known.id == id).cloned();
                let schema = schema_frame::read(frame, in_force).map_err(|bad| match bad {
                    BadSchema::Malformed => OutOfPlace("malformed schema frame"),
                    BadSchema::BaseUnknown => OutOfPlace("change of a schema that is not in force"),
                })?;
                self.schemas.set(Arc::new(schema));
            }
            FrameKind::Source => {
                let (identity, source) =
                    read_text_pair(frame.payload).map_err(|_| OutOfPlace("malformed source frame"))?;
                self.identity = identity.to_owned();
                self.source = (!source.is_empty()).then(|| SourcePosition(source.to_owned()));
            }
            FrameKind::Gap => {
                let gap = Gap::of(frame).filter(|gap| self.open.is_none() && gap.next > self.commit);
                let Some(gap) = gap else { return Err(OutOfPlace("gap out of order")) };
                self.commit = gap.next - 1;
            }
            FrameKind::SourceMark => {
                let mark = SourceMark::of(frame).ok_or(OutOfPlace("malformed source mark"))?;
                self.source_mark = Some(mark);
            }
            FrameKind::LoadProgress => {
                let said = frame::load::read(frame.payload).map_err(|_| OutOfPlace("malformed load progress"))?;
                self.note_load(at, header.flags & FLAG_REPEATED != 0, said);
            }
            FrameKind::Prepared => {
                let malformed = |_| OutOfPlace("malformed list of prepared transactions");
                self.prepared = frame::prepared::read(frame.payload).map_err(malformed)?;
            }
            kind if kind.is_record() && self.open.is_none() => {
                return Err(OutOfPlace("record outside a transaction"));
            }
            FrameKind::Record(_) | FrameKind::Message | FrameKind::Mark | FrameKind::Seal => {}
        }
        Ok(())
    }

    fn note_load(&mut self, at: Location, repeated: bool, said: Option<LoadProgress>) {
        match &mut self.open {
            None => self.loads.note(said),
            // A head repeats what was said in segments before it: who has followed these knows.
            Some(open) if repeated && open.at.segment != at.segment => {}
            Some(open) => open.loads.note(said),
        }
    }

    /// Whether a schema of that number is in force.
    pub(super) fn knows(&self, schema: SchemaId) -> bool {
        self.schemas.all().iter().any(|known| known.id == schema)
    }

    /// Forgets the open transaction.
    pub(super) fn rollback(&mut self) -> Option<OpenTransaction> {
        self.schemas.rollback();
        self.open.take()
    }
}
