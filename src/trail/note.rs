//! What a trail keeps of its source between the entries: for whoever goes on capturing, and for people who look inside.

use crate::codec::frame::{self, Frame, FrameKind};
use crate::record::{LoadProgress, PreparedTransaction, SourcePosition};
use crate::trail::SourceMark;

/// Something that a trail was told of its source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// Who the source is, and how far it has been taken.
    Source {
        /// Its identity; empty before it is known.
        identity: String,
        /// Its coordinate.
        at: SourcePosition,
    },
    /// The last transaction, which had nothing for the trail.
    SourceMark(SourceMark),
    /// The transactions that are prepared.
    Prepared(Vec<PreparedTransaction>),
    /// How far the initial load of a table has come; none when the load has ended.
    Load(Option<LoadProgress>),
}

impl Note {
    /// Whether frames of that kind are notes.
    pub(super) fn is(kind: FrameKind) -> bool {
        matches!(kind, FrameKind::Source | FrameKind::SourceMark | FrameKind::Prepared | FrameKind::LoadProgress)
    }

    /// What the frame says; none when it is no note, or a malformed one.
    pub(super) fn of(frame: &Frame<'_>) -> Option<Self> {
        match frame.header.kind {
            FrameKind::Source => {
                let (identity, at) = frame::read_text_pair(frame.payload).ok()?;
                Some(Self::Source { identity: identity.to_owned(), at: SourcePosition(at.to_owned()) })
            }
            FrameKind::SourceMark => SourceMark::of(frame).map(Self::SourceMark),
            FrameKind::Prepared => frame::prepared::read(frame.payload).ok().map(Self::Prepared),
            FrameKind::LoadProgress => frame::load::read(frame.payload).ok().map(Self::Load),
            _ => None,
        }
    }
}
