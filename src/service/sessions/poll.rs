//! Polls: a session that gives one answer's worth of records and ends, for clients that ask again and again.
//!
//! Owns how much one poll takes, how long it waits, and where the next one goes on. What the records are is the session's, so
//! that they are the same as over any other connection, in the same order.

use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use super::watched::WatchedSession;
use crate::codec::token;
use crate::delivery::end::End;
use crate::delivery::framing::line;
use crate::delivery::session::Delivery;
use crate::limits::{POLL_BYTES_MAX, POLL_LOOK_SECONDS_MAX};

/// How much one poll takes, and how long it waits for the first record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PollBounds {
    /// Records at most.
    pub records_max: usize,
    /// How long to wait while there is none.
    pub wait: Duration,
}

/// What a poll found.
#[derive(Debug, Default)]
pub struct Polled {
    /// The records, each a JSON text without line breaks.
    pub records: Vec<Bytes>,
    /// Bytes of them.
    pub bytes: usize,
    /// The `begin` of the next poll.
    pub next: String,
    /// Whether these are all that was durable.
    pub caught_up: bool,
}

/// The records being gathered.
#[derive(Debug)]
struct Gathered {
    polled: Polled,
    records_max: usize,
    /// Position of the last record taken.
    last: Option<String>,
    /// Whether no more are taken, be there some or not.
    is_full: bool,
}

impl WatchedSession {
    /// Takes what one poll is given. An end that leaves nothing to give is the error; one behind some records is met again by
    /// the next poll. `stopping` turns true when the server stops: then nothing is waited for.
    pub async fn poll(mut self, bounds: PollBounds, mut stopping: watch::Receiver<bool>) -> Result<Polled, End> {
        let begun = Instant::now();
        let until = begun + bounds.wait;
        let mut look_until = begun + bounds.wait.max(Duration::from_secs(POLL_LOOK_SECONDS_MAX));
        let mut gathered =
            Gathered { polled: Polled::default(), records_max: bounds.records_max, last: None, is_full: false };
        while !gathered.is_full {
            let looked = tokio::select! {
                biased;
                looked = timeout_at(look_until, self.next_to_tail()) => looked,
                _ = stopping.wait_for(|stopping| *stopping) => break,
            };
            let delivery = match looked {
                Ok(Some(delivery)) => delivery,
                Ok(None) => {
                    gathered.polled.caught_up = true;
                    if gathered.last.is_some() || Instant::now() >= until {
                        break;
                    }
                    tokio::select! {
                        delivery = self.next() => delivery,
                        () = tokio::time::sleep_until(until) => break,
                        _ = stopping.wait_for(|stopping| *stopping) => break,
                    }
                }
                Err(_) if gathered.last.is_some() || self.session().passed().is_some() => break,
                // Memory is short, or nothing was come to yet: the next poll begins as this one did.
                Err(_) if !self.session().is_inside() => break,
                // Inside a transaction that is long: the next poll could not go on here.
                Err(_) => {
                    look_until = Instant::now() + Duration::from_secs(1);
                    continue;
                }
            };
            gathered.polled.caught_up = false;
            match delivery {
                Delivery::Messages(messages) => messages.into_iter().for_each(|lines| gathered.take(lines)),
                // What was gathered before belongs to somebody who may not have it any more.
                Delivery::End(end @ (End::Expired | End::Withdrawn)) => return Err(end),
                Delivery::End(_) if gathered.last.is_some() => break,
                Delivery::End(End::Reconfigured) => break,
                Delivery::End(end) => return Err(end),
            }
        }
        Ok(self.finish(gathered))
    }

    fn finish(&self, gathered: Gathered) -> Polled {
        let Gathered { mut polled, last, is_full, .. } = gathered;
        let session = self.session();
        let passed = session.passed().filter(|_| !is_full);
        let passed = passed.map(|position| token::encode(&position, session.stream().config.contract_hash()));
        let passed = passed.map(|pos| pos.as_str().to_owned());
        if let Some(last) = last.as_deref().and_then(|pos| token::decode(pos).ok()) {
            session.progress().sent_records(last.position, polled.records.len() as u64);
            session.progress().sent_bytes(polled.bytes as u64);
        }
        polled.next = passed.or(last).unwrap_or_else(|| session.goes_on_from().to_owned());
        polled
    }
}

impl Gathered {
    /// Takes whole lines, as far as there is room.
    fn take(&mut self, mut lines: Bytes) {
        while !self.is_full
            && let Some(end) = lines.iter().position(|byte| *byte == b'\n')
        {
            let whole = lines.split_to(end);
            lines.advance(1);
            let (position, text) = line(&whole);
            let Some(position) = position else { continue };
            let bytes = self.polled.bytes + text.len() + 1;
            if self.last.is_some() && bytes > POLL_BYTES_MAX {
                self.is_full = true;
                return;
            }
            self.last = Some(position.to_owned());
            let text = whole.slice_ref(text);
            self.polled.bytes = bytes;
            self.polled.records.push(text);
            self.is_full = self.polled.records.len() >= self.records_max;
        }
    }
}
