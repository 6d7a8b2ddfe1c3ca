//! The toy's log, and what its server makes of it.

use std::collections::{BTreeMap, BTreeSet};

use super::event_number::EventNumber;
use crate::capture::gap::Gap;

/// How transactions are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sends {
    /// One after the other, once their end is known.
    Whole,
    /// As they come.
    Pieces,
}

/// Something that a transaction did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    Row {
        xid: u32,
        value: u32,
    },
    Ddl {
        xid: u32,
    },
    Commit {
        xid: u32,
    },
    Abort {
        xid: u32,
    },
    /// A part of the transaction is rolled back, and does nothing more: see [`part_of`].
    AbortPart {
        xid: u32,
        part: u32,
    },
    /// Rows of a table were lost here.
    Loss,
}

/// What the server sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Message {
    Begin { xid: u32, at: EventNumber },
    Commit { at: EventNumber },
    Abort,
    Resume { xid: u64 },
    Part { part: u64 },
    Pause,
    CommitHeld { xid: u64, at: EventNumber },
    AbortHeld { xid: u64 },
    AbortPart { xid: u64, part: u64 },
    Row { value: u32 },
    Ddl { statement: String },
    Gap(Gap<EventNumber>),
    AllSentBefore { end: EventNumber },
}

/// Whether the table of that row is captured.
pub(super) fn is_captured(value: u32) -> bool {
    !value.is_multiple_of(5)
}

/// The part of its transaction that a row belongs to.
pub(super) fn part_of(value: u32) -> u32 {
    1_000_000 + value / 10
}

/// What transactions did, in order.
#[derive(Debug, Clone, Default)]
pub(super) struct Log {
    events: Vec<Event>,
    /// Transactions that ended before are forgotten.
    forgotten: u64,
}

impl Log {
    pub(super) fn new(events: Vec<Event>) -> Self {
        Self { events, forgotten: 0 }
    }

    pub(super) fn forgotten(&self) -> EventNumber {
        EventNumber(self.forgotten)
    }

    pub(super) fn forget(&mut self, before: EventNumber) {
        self.forgotten = self.forgotten.max(before.0);
    }

    /// An earlier copy of the log, on which other things happened.
    pub(super) fn go_back(&mut self, to: usize, then: &[Event]) {
        self.events.truncate(to);
        self.events.extend_from_slice(then);
    }

    /// What a trail of this log has to hold: the captured changes of each committed transaction, in the order of commits.
    pub(super) fn committed(&self) -> Vec<(String, Vec<String>)> {
        let commits = self.events.iter().enumerate().filter_map(|(at, event)| match event {
            Event::Commit { xid } => Some((at, *xid)),
            _ => None,
        });
        let changes = |(at, xid): (usize, u32)| {
            let rows = self.changes(at, xid).into_iter().filter_map(|message| match message {
                Message::Row { value } => is_captured(value).then(|| value.to_string()),
                Message::Ddl { statement } => Some(statement),
                _ => None,
            });
            (xid.to_string(), rows.collect::<Vec<_>>())
        };
        commits.map(changes).filter(|(_, rows)| !rows.is_empty()).collect()
    }

    /// The changes of a transaction that ends there.
    fn changes(&self, end: usize, xid: u32) -> Vec<Message> {
        let events = &self.events[..end];
        let is_aborted = |part| events.contains(&Event::AbortPart { xid, part });
        let stays = |message: &Message| match message {
            Message::Row { value } => !is_aborted(part_of(*value)),
            _ => true,
        };
        events.iter().filter_map(|event| change_of(event, xid)).filter(stays).collect()
    }

    /// What the server sends to a stream that begins at `start`: transactions whose commit is there or behind it, unless they
    /// are forgotten.
    pub(super) fn messages(&self, start: EventNumber, sends: Sends) -> Vec<Message> {
        let start = start.0.max(self.forgotten) as usize;
        match sends {
            Sends::Whole => self.whole(start),
            Sends::Pieces => self.pieces(start),
        }
    }

    fn whole(&self, start: usize) -> Vec<Message> {
        let mut messages = Vec::new();
        for (index, event) in self.events.iter().enumerate().skip(start) {
            let at = EventNumber(index as u64 + 1);
            match *event {
                Event::Commit { xid } | Event::Abort { xid } => {
                    messages.push(Message::Begin { xid, at });
                    messages.extend(self.changes(index, xid));
                    let is_commit = matches!(event, Event::Commit { .. });
                    messages.push(if is_commit { Message::Commit { at } } else { Message::Abort });
                }
                Event::Loss => messages.push(loss(at)),
                Event::Row { .. } | Event::Ddl { .. } | Event::AbortPart { .. } => {}
            }
            messages.extend(idle(at));
        }
        messages
    }

    fn pieces(&self, start: usize) -> Vec<Message> {
        let before = &self.events[..start.min(self.events.len())];
        let ended_before: BTreeSet<u32> = before
            .iter()
            .filter_map(|event| match event {
                Event::Commit { xid } | Event::Abort { xid } => Some(*xid),
                _ => None,
            })
            .collect();
        let mut messages = Vec::new();
        let mut piece = None;
        for (index, event) in self.events.iter().enumerate() {
            let at = EventNumber(index as u64 + 1);
            let of = match *event {
                Event::Row { xid, .. } | Event::Ddl { xid } => Some(xid).filter(|xid| !ended_before.contains(xid)),
                _ => None,
            };
            if piece != of && piece.take().is_some() {
                messages.push(Message::Pause);
            }
            if let Some(xid) = of {
                if piece.is_none() {
                    messages.push(Message::Resume { xid: xid.into() });
                    piece = Some(xid);
                }
                let part = if let Event::Row { value, .. } = event { part_of(*value) } else { xid };
                messages.push(Message::Part { part: part.into() });
                messages.extend(change_of(event, xid));
            } else if let Event::AbortPart { xid, part } = *event {
                if !ended_before.contains(&xid) {
                    messages.push(Message::AbortPart { xid: xid.into(), part: part.into() });
                }
            } else if index >= start {
                match *event {
                    Event::Commit { xid } => messages.push(Message::CommitHeld { xid: xid.into(), at }),
                    Event::Abort { xid } => messages.push(Message::AbortHeld { xid: xid.into() }),
                    Event::Loss => messages.push(loss(at)),
                    Event::Row { .. } | Event::Ddl { .. } | Event::AbortPart { .. } => {}
                }
                messages.extend(idle(at));
            }
        }
        messages.extend(piece.map(|_| Message::Pause));
        messages
    }
}

fn change_of(event: &Event, of: u32) -> Option<Message> {
    match *event {
        Event::Row { xid, value } if xid == of => Some(Message::Row { value }),
        Event::Ddl { xid } if xid == of => Some(Message::Ddl { statement: format!("ALTER TABLE t /* {xid} */") }),
        _ => None,
    }
}

fn loss(at: EventNumber) -> Message {
    let tables = BTreeMap::from([("toy.t".to_owned(), "its rows were lost".to_owned())]);
    Message::Gap(Gap { tables, from: EventNumber(at.0 - 1), to: Some(at) })
}

/// A sign of life now and then.
fn idle(at: EventNumber) -> Option<Message> {
    at.0.is_multiple_of(3).then_some(Message::AllSentBefore { end: at })
}
