//! Where one segment ends and the next begins: the seal of the one, the head of the other and the frames that it repeats.

use std::io;
use std::sync::Arc;

use crate::codec::frame::{self, FrameHeader, FrameKind, SEAL_FRAME_BYTES};
use crate::codec::segment_head::{SEGMENT_HEAD_BYTES, SEGMENT_VERSION, SegmentHead};
use crate::record::Timestamp;
use crate::repeats::warn_rarely;
use crate::trail::description::random_number;
use crate::trail::index::SegmentIndex;
use crate::trail::segment::{Seal, Segment};
use crate::trail::shared::Shared;
use crate::trail::tail::{State, Tail};

/// Appends a seal frame to `pending` and notes it in the segment.
pub(super) fn seal(segment: &Segment, pending: &mut Vec<u8>, ends_inside: bool, last: (u64, u32), now: Timestamp) {
    let lowest = Timestamp::from_micros(i64::MIN);
    let commit_ts_max = segment
        .change_index(|index| {
            index.close();
            index.commit_ts_max()
        })
        .unwrap_or(lowest);
    let mut bytes = Vec::with_capacity(SEAL_FRAME_BYTES);
    let header = FrameHeader { commit: last.0, record: last.1, ..FrameHeader::new(FrameKind::Seal) };
    let numbers = [commit_ts_max.micros().cast_unsigned(), u64::from(ends_inside)];
    frame::push(&mut bytes, &header, |out| frame::push_numbers(out, &numbers));
    frame::stamp(&mut bytes, segment.head.file_id, now);
    pending.extend_from_slice(&bytes);
    segment.set_seal(Seal { commit_ts_max, ends_inside, closed_ts: now });
}

/// Closes the open segment, of which everything is written, and goes on in the next.
pub(super) fn close_segment(shared: &Shared, tail: Tail) -> io::Result<Tail> {
    let segment = &tail.segment;
    let mut bytes = Vec::new();
    seal(segment, &mut bytes, tail.state.open.is_some(), (tail.state.commit, u32::MAX), shared.clock.now());
    let mut end = segment.stored.writing_end(tail.offset);
    end.write(&bytes, tail.offset)?;
    segment.set_length(tail.offset + bytes.len() as u64);
    end.close(segment.length())?;
    go_on(shared, tail)
}

/// Goes on in a new segment, behind one that is closed.
pub(super) fn go_on(shared: &Shared, tail: Tail) -> io::Result<Tail> {
    let segment = next_segment(shared, &tail.segment, &tail.state)?;
    Ok(Tail { offset: segment.length(), segment, ..tail })
}

/// Makes the segment behind one that is closed.
pub(super) fn next_segment(shared: &Shared, closed: &Segment, state: &State) -> io::Result<Arc<Segment>> {
    if let Err(error) = closed.save_index(shared.keeps_xids()) {
        let name = shared.description.name.as_str();
        warn_rarely!(name, trail = name, %error, "index file not written; it will be rebuilt");
    }
    let next = Arc::new(new_segment(shared, closed.number() + 1, state, highest_time(closed))?);
    shared.change_segments(|segments| segments.push(next.clone()));
    Ok(next)
}

/// The greatest commit time up to the end of a closed segment.
fn highest_time(segment: &Segment) -> Timestamp {
    let own = segment.seal().map_or(Timestamp::default(), |seal| seal.commit_ts_max);
    own.max(segment.head.earlier_commit_ts)
}

/// Makes a segment with its head and repeated frames, durably.
pub(super) fn new_segment(shared: &Shared, number: u64, state: &State, earlier: Timestamp) -> io::Result<Segment> {
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
    let mut bytes = head.encode().to_vec();
    bytes.extend_from_slice(&repeated);
    let stored = shared.store.new_segment(&head, &bytes)?;
    let mut index = SegmentIndex::new(shared.keeps_places());
    let mut at = SEGMENT_HEAD_BYTES;
    while let Ok(frame) = frame::read_unchecked(&bytes[at.min(bytes.len())..]) {
        index.note(at as u64, &frame, shared.keeps_xids());
        at += frame.bytes();
    }
    Ok(Segment::new(head, stored, bytes.len() as u64, index))
}

/// What a segment's head repeats, so that it can be read alone.
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
    for schema in state.schemas.all() {
        let json = serde_json::to_vec(&*schema).unwrap_or_default();
        push(FrameHeader { schema: schema.id, ..FrameHeader::new(FrameKind::Schema) }, &json);
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
