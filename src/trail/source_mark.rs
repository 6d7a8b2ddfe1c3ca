//! The last transaction that was captured, as it can be found again where it came from.
//!
//! Owns what is kept of it and the frame that a segment's head repeats it in. The hash is made by who captures, and compared
//! there: a source that has another transaction at that coordinate is not the one that was captured.

use crate::codec::frame::{self, Frame, FrameKind};
use crate::record::{SourcePosition, Timestamp};

/// What is kept of a source's transaction beside its coordinate.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SourceMark {
    /// The source's coordinate after it.
    pub source: SourcePosition,
    /// Its id.
    pub xid: String,
    /// Its commit time.
    pub commit_ts: Timestamp,
    /// A hash of its content.
    pub hash: u32,
}

impl SourceMark {
    /// Takes over what a transaction says, in the buffers that are there.
    pub(super) fn set(&mut self, xid: &str, source: &SourcePosition, commit_ts: Timestamp, hash: u32) {
        self.source.0.clone_from(&source.0);
        self.xid.clear();
        self.xid.push_str(xid);
        (self.commit_ts, self.hash) = (commit_ts, hash);
    }

    /// The payload of its frame.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut payload = self.hash.to_le_bytes().to_vec();
        frame::push_text_pair(&mut payload, &self.xid, &self.source.0);
        payload
    }

    /// What its frame says; none when it is another frame, or a malformed one.
    pub(super) fn of(frame: &Frame<'_>) -> Option<Self> {
        let (hash, texts) = frame.payload.split_at_checked(4)?;
        let (xid, source) = frame::read_text_pair(texts).ok()?;
        (frame.header.kind == FrameKind::SourceMark).then(|| Self {
            source: SourcePosition(source.to_owned()),
            xid: xid.to_owned(),
            commit_ts: frame.header.commit_ts,
            hash: frame::u32_at(hash, 0),
        })
    }
}
