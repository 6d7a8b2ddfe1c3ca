//! What opening a trail in messages does: hears the log once, keeps what is whole, and says where the trail goes on.
//!
//! A message is there whole or not at all and none overtakes another, so the only torn end is a frame whose last messages never
//! came. Any other bad frame is damage, wherever it lies. What the log holds is durable: all whole transactions are kept.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use crate::clock::SharedClock;
use crate::codec::frame::BadFrame;
use crate::record::Timestamp;
use crate::trail::messages::store::{MessageStore, Piece};
use crate::trail::messages::stored::{StoredMessages, cut, end_of};
use crate::trail::messages::{Kind, MessageLog};
use crate::trail::promise::{self, CUT_SHORT};
use crate::trail::replay::{Replay, begin_of, end_in, replay};
use crate::trail::rollover::{self, new_segment};
use crate::trail::segment::{Segment, read_head};
use crate::trail::shared::{End, Shared};
use crate::trail::store::{Store, StoredSegment};
use crate::trail::tail::{State, Tail};
use crate::trail::take_back::take_back_to;
use crate::trail::{Location, OpenError, TrailDescription};

/// Makes a trail in a log.
pub(in crate::trail) fn create(
    description: TrailDescription,
    log: Arc<dyn MessageLog>,
    clock: SharedClock,
) -> Result<(), OpenError> {
    log.describe(&description.encode()).map_err(OpenError::while_at(&description.name, "describing it"))?;
    let store = MessageStore::new(log, 0, BTreeMap::new());
    let shared = Shared::unopened(description, Store::Messages(Arc::new(store)), clock);
    let first = new_segment(&shared, 1, &State::default(), Timestamp::default());
    first.map(drop).map_err(shared.failed("making its first segment"))
}

/// Opens the trail in a log.
pub(in crate::trail) fn open(log: Arc<dyn MessageLog>, clock: SharedClock) -> Result<Shared, OpenError> {
    let failed = |source| OpenError::Io { trail: String::new(), action: "reading its description", source };
    let text = log.description().map_err(failed)?;
    let description = TrailDescription::decode(&text).map_err(|bad| bad.of(String::new(), "description"))?;
    let heard = hear(&*log).map_err(OpenError::while_at(&description.name, "reading its messages"))?;
    let heads = heard.segments.iter().filter_map(|(number, pieces)| Some((*number, pieces.get(&0)?.number))).collect();
    let store = Arc::new(MessageStore::new(log, heard.last, heads));
    let shared = Shared::unopened(description, Store::Messages(store.clone()), clock);
    if let Some(at) = heard.out_of_place {
        return Err(shared.damage(at, "a message lies where none may").into());
    }
    for (number, pieces) in heard.segments {
        load(&shared, StoredMessages::new(store.clone(), number, pieces))?;
    }
    check_all_are_closed(&shared)?;
    let tail = recover_end(&shared)?;
    shared.source.set(&tail.state.identity);
    *shared.lock_end() = End::Free(Box::new(tail));
    Ok(shared)
}

/// What a log holds.
#[derive(Default)]
struct Heard {
    last: u64,
    segments: BTreeMap<u64, BTreeMap<u64, Piece>>,
    /// Where a message lies that does not go on where the one before it ended.
    out_of_place: Option<Location>,
}

fn hear(log: &dyn MessageLog) -> io::Result<Heard> {
    let mut heard = Heard { last: log.last()?, ..Heard::default() };
    for number in log.first()?..=heard.last {
        let message = log.get(number)?;
        let Location { segment, offset } = message.at;
        let length = message.body.len();
        let last = heard
            .segments
            .last_key_value()
            .map(|(number, pieces)| Location { segment: *number, offset: end_of(pieces) });
        let fits = match message.kind {
            Kind::Head => offset == 0 && last.is_none_or(|last| last.segment + 1 == segment),
            Kind::Data => last == Some(message.at),
            Kind::Void => last.is_some_and(|last| last >= message.at),
            Kind::Fence => true,
        };
        if !fits {
            heard.out_of_place = heard.out_of_place.or(Some(message.at));
        }
        match message.kind {
            Kind::Head | Kind::Data => {
                heard.segments.entry(segment).or_default().insert(offset, Piece { number, length });
            }
            Kind::Void => {
                heard.segments.retain(|number, _| *number <= segment);
                heard.segments.entry(segment).and_modify(|pieces| cut(pieces, offset));
            }
            Kind::Fence => {}
        }
    }
    Ok(heard)
}

fn load(shared: &Shared, stored: StoredMessages) -> Result<(), OpenError> {
    let (number, length) = (stored.number(), stored.length());
    let stored = StoredSegment::Messages(Arc::new(stored));
    let head = read_head(&stored.bytes()).map_err(shared.failed("reading a segment's head"))?;
    let damaged = |what: String| shared.damage(Location { segment: number, offset: 0 }, what);
    let head = head.map_err(|bad| damaged(bad.to_string()))?;
    if head.segment != number || !shared.description.admits(head.epoch, number) {
        return Err(damaged("its head belongs to another segment or trail".to_owned()).into());
    }
    let segment = Segment::found(head, stored, length, false).map_err(shared.failed("reading a segment's end"))?;
    shared.change_segments(|segments| segments.push(Arc::new(segment)));
    Ok(())
}

fn check_all_are_closed(shared: &Shared) -> Result<(), OpenError> {
    let segments = shared.segments();
    let mut before_last = segments.iter().rev().skip(1);
    match before_last.rfind(|segment| segment.seal().is_none()) {
        Some(open) => {
            let at = Location { segment: open.number(), offset: open.length() };
            Err(shared.damage(at, "closed segment without a valid seal").into())
        }
        None => Ok(()),
    }
}

/// Finds the end and takes it over: whoever had it before can store nothing any more.
fn recover_end(shared: &Shared) -> Result<Tail, OpenError> {
    let Some(last) = shared.segments().last().cloned() else {
        return Err(shared.damage(Location { segment: 1, offset: 0 }, "all its segments are missing").into());
    };
    let read = replay(shared, &last).map_err(shared.failed("reading its last segment"))?;
    let Replay { mut state, mut promised, good, trouble, bad, index, seal } = read;
    let end_of_whole = Location { segment: last.number(), offset: good };
    if let Some(trouble) = &trouble {
        // A length that is not what was written may look like a frame that goes on.
        let behind = promise::behind(&last.bytes, last.head.file_id, good + 1);
        promised = promised.max(behind.map_err(shared.failed("reading behind a bad frame"))?.0);
        let is_torn = matches!(bad, Some((_, BadFrame::Short { .. })));
        if !is_torn || promised > end_of_whole {
            return Err(shared.damage(end_of_whole, trouble).into());
        }
    }
    last.set_index(index);
    let end = match state.rollback() {
        Some(open) => begin_of(shared, &last, open.at)?,
        None => end_of_whole,
    };
    if promised > end {
        return Err(shared.damage(end_of_whole, CUT_SHORT).into());
    }
    let closed = last.seal().is_some() && seal.is_some() && end == end_of_whole;
    if closed {
        last.stored.take_back(end.offset).map_err(shared.failed("taking over its end"))?;
    } else {
        take_back_to(shared, end, state.commit).map_err(shared.failed("taking back what is not whole"))?;
    }
    if end.segment != last.number() {
        // What is in force there is known only from reading that segment.
        return recover_end(shared);
    }
    let mut tail = end_in(shared, last, state).map_err(shared.failed("reading transaction ids"))?;
    if closed {
        tail = rollover::go_on(shared, tail).map_err(shared.failed("opening a new segment"))?;
    }
    shared.publish(tail.mark());
    Ok(tail)
}

/// After a failed publish: takes back what is above the durable mark, and goes on there.
pub(super) fn take_back_to_mark(shared: &Shared) -> Result<Tail, OpenError> {
    let mark = shared.mark.borrow().clone();
    let taken_back = take_back_to(shared, mark.end, mark.commit);
    let last = taken_back.map_err(shared.failed("taking back what is not durable"))?;
    let read = replay(shared, &last).map_err(shared.failed("reading its last segment"))?;
    if let Some(trouble) = read.trouble {
        return Err(shared.damage(Location { offset: read.good, ..mark.end }, trouble).into());
    }
    last.set_index(read.index);
    end_in(shared, last, read.state).map_err(shared.failed("reading transaction ids"))
}
