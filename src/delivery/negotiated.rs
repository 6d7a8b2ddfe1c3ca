//! What a connection and the server agree on when it opens: everything beside the stream itself that decides the bytes
//! which the connection is sent. Connections that agree on the same share their messages.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::catalog::stream::{Grouping, StreamConfig};
use crate::delivery::framing::Framing;
use crate::record::RecordNumber;

/// What a connection negotiated.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Negotiated {
    /// What is put around each message.
    pub framing: Framing,
    /// What is put around each record, and how many records a message has.
    pub envelope: Envelope,
    /// How messages are compressed.
    pub compression: Compression,
    /// Of which partitions records are sent.
    pub partitions: Partitions,
}

impl Negotiated {
    /// Uncompressed messages with the records of all partitions.
    pub fn new(framing: Framing, envelope: Envelope) -> Self {
        Self { framing, envelope, compression: Compression::None, partitions: Partitions::All }
    }
}

/// What stands around records in a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Envelope {
    /// An array of records.
    Records,
    /// One record.
    Record,
    /// An array of CloudEvents, each with a record.
    CloudEvents,
    /// One CloudEvent, with a record.
    CloudEvent,
}

impl Envelope {
    /// What the stream's configuration says, for a connection that asks for nothing else.
    pub fn configured(config: &StreamConfig) -> Self {
        match (config.cloud_events, config.framing) {
            (false, Grouping::Array) => Self::Records,
            (false, Grouping::Record) => Self::Record,
            (true, Grouping::Array) => Self::CloudEvents,
            (true, Grouping::Record) => Self::CloudEvent,
        }
    }

    /// The same with one record a message.
    #[must_use]
    pub fn single(self) -> Self {
        if self.wraps_in_events() { Self::CloudEvent } else { Self::Record }
    }

    /// Whether each record is wrapped in a CloudEvent.
    pub fn wraps_in_events(self) -> bool {
        matches!(self, Self::CloudEvents | Self::CloudEvent)
    }

    /// Whether a message has one record, without an array around it.
    #[inline]
    pub fn is_single(self) -> bool {
        matches!(self, Self::Record | Self::CloudEvent)
    }
}

/// How messages are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Compression {
    /// Not at all.
    None,
}

/// Of which partitions of the trail a connection is sent rows and messages. A statement is about a table, whose rows may be
/// in any partition: every connection is sent it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Partitions {
    /// Of all, those to come too.
    All,
    /// Of these, in ascending order.
    Some(Arc<[u16]>),
    /// Of these, in ascending order, and of each only what lies behind a place (commit and record number).
    Behind(Arc<[(u16, (u64, RecordNumber))]>),
}

impl Partitions {
    /// Those alone.
    pub fn only(partitions: impl IntoIterator<Item = u16>) -> Self {
        let mut partitions: Vec<u16> = partitions.into_iter().collect();
        partitions.sort_unstable();
        partitions.dedup();
        Self::Some(partitions.into())
    }

    /// Each of those behind a place alone.
    pub fn behind(places: impl IntoIterator<Item = (u16, (u64, RecordNumber))>) -> Self {
        let places: BTreeMap<u16, (u64, RecordNumber)> = places.into_iter().collect();
        Self::Behind(places.into_iter().collect())
    }

    /// Whether records of that partition are sent, be it from some place on.
    #[inline]
    pub fn include(&self, partition: u16) -> bool {
        match self {
            Self::All => true,
            Self::Some(partitions) => partitions.binary_search(&partition).is_ok(),
            Self::Behind(places) => places.binary_search_by_key(&partition, |(of, _)| *of).is_ok(),
        }
    }

    /// Which they are, where they are not all.
    pub fn numbers(&self) -> Option<Arc<[u16]>> {
        match self {
            Self::All => None,
            Self::Some(partitions) => Some(partitions.clone()),
            Self::Behind(places) => Some(places.iter().map(|(partition, _)| *partition).collect()),
        }
    }

    /// Whether the record of that partition at that place is sent.
    #[inline]
    pub fn include_at(&self, partition: u16, place: (u64, RecordNumber)) -> bool {
        let Self::Behind(places) = self else { return self.include(partition) };
        let found = places.binary_search_by_key(&partition, |(of, _)| *of);
        found.is_ok_and(|at| places.get(at).is_some_and(|(_, behind)| place > *behind))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_decides_the_envelope_unless_the_connection_asks_for_another() {
        let envelope = |members: &str| {
            let config = format!(r#"{{"source":{{"trail":"t1"}}{members}}}"#);
            Envelope::configured(&StreamConfig::parse(config.as_bytes()).unwrap())
        };
        assert_eq!(envelope(""), Envelope::Records);
        assert_eq!(envelope(r#","trailcast":{"framing":"record"}"#), Envelope::Record);
        assert_eq!(envelope(r#","cloudEventsFormat":true"#), Envelope::CloudEvents);
        assert_eq!(envelope(r#","cloudEventsFormat":true,"trailcast":{"framing":"record"}"#), Envelope::CloudEvent);
        let all = [Envelope::Records, Envelope::Record, Envelope::CloudEvents, Envelope::CloudEvent];
        assert_eq!(all.map(Envelope::is_single), [false, true, false, true]);
        assert_eq!(all.map(Envelope::wraps_in_events), [false, false, true, true]);
    }

    #[test]
    fn the_same_partitions_in_another_order_are_the_same_agreement() {
        assert_eq!(Partitions::only([3, 1, 3]), Partitions::only([1, 3]));
        let some = Partitions::only([3, 1]);
        assert_eq!([0, 1, 2, 3].map(|partition| some.include(partition)), [false, true, false, true]);
        assert!(Partitions::All.include(7));
    }

    #[test]
    fn of_each_partition_what_lies_behind_its_own_place_is_sent() {
        let behind = Partitions::behind([(3, (7, 2)), (1, (5, 0))]);
        assert_eq!([0, 1, 2, 3].map(|partition| behind.include(partition)), [false, true, false, true]);
        let sent = [(3, (7, 2)), (3, (7, 3)), (3, (6, 9)), (1, (5, 1)), (1, (7, 0)), (2, (9, 0))];
        assert_eq!(
            sent.map(|(partition, place)| behind.include_at(partition, place)),
            [false, true, false, true, true, false]
        );
        assert!(Partitions::only([2]).include_at(2, (1, 0)) && !Partitions::only([2]).include_at(1, (1, 0)));
    }
}
