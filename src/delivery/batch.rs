//! Gathers records into finished messages, one behind the other in one buffer: framed bytes that a socket only has to
//! take.
//!
//! A message is a JSON array of records, or one record where the connection asked for that. It never grows beyond its
//! limit unless one record alone does.

use std::ops::Range;

use crate::codec::ws_frame::{HEADER_ROOM, finish_message};

/// First allocation of a buffer, in bytes; it grows with what comes.
const FIRST_BYTES: usize = 4 << 10;

/// Messages being gathered.
#[derive(Debug)]
pub struct Batch {
    bytes: Vec<u8>,
    /// Where the message being gathered starts, with its header's room; finished messages lie before it.
    start: usize,
    records: u32,
    bytes_max: usize,
    single: bool,
    largest_record: usize,
    /// The record that did not fit, while it moves behind the message it ended.
    moved: Vec<u8>,
}

impl Batch {
    /// Messages of at most `bytes_max` bytes; `single`: one record a message, without an array around it.
    pub fn new(bytes_max: usize, single: bool) -> Self {
        Self { bytes: Vec::new(), start: 0, records: 0, bytes_max, single, largest_record: 0, moved: Vec::new() }
    }

    /// Makes room for about that many bytes of messages.
    pub fn reserve(&mut self, bytes: usize) {
        self.bytes.reserve_exact(bytes.max(FIRST_BYTES));
    }

    /// Bytes gathered, those of finished messages that were not taken yet included.
    #[inline]
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes of the largest record since [`Self::take_largest_record`] was last called.
    pub fn largest_record(&self) -> usize {
        self.largest_record
    }

    /// The same, and begins anew.
    pub fn take_largest_record(&mut self) -> usize {
        std::mem::take(&mut self.largest_record)
    }

    /// Adds a record, which `write` appends to the buffer it is given. Returns where the message ends that had to be
    /// finished first because the record did not fit, if any. When `write` fails the batch is as before.
    #[inline]
    pub fn push<E>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Result<Option<usize>, E> {
        let before = self.bytes.len();
        if self.records == 0 {
            self.begin();
        } else {
            self.bytes.push(b',');
        }
        let record = self.bytes.len();
        if let Err(error) = write(&mut self.bytes) {
            self.bytes.truncate(before);
            return Err(error);
        }
        self.largest_record = self.largest_record.max(self.bytes.len() - record);
        let text_bytes = self.bytes.len() + 1 - self.start - HEADER_ROOM;
        let mut finished = None;
        if self.records > 0 && (self.single || text_bytes > self.bytes_max) {
            finished = self.finish_before(record..self.bytes.len(), before);
        }
        self.records += 1;
        Ok(finished)
    }

    /// Ends the message; returns where it ends, or none when it holds no record.
    pub fn finish(&mut self) -> Option<usize> {
        if self.records == 0 {
            return None;
        }
        if !self.single {
            self.bytes.push(b']');
        }
        self.records = 0;
        finish_message(&mut self.bytes, self.start);
        self.start = self.bytes.len();
        Some(self.start)
    }

    /// The finished messages, one behind the other; the one being gathered, if any, is not among them.
    pub fn take(&mut self) -> Vec<u8> {
        let rest = self.bytes.split_off(self.start);
        self.start = 0;
        std::mem::replace(&mut self.bytes, rest)
    }

    fn begin(&mut self) {
        self.start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; HEADER_ROOM]);
        if !self.single {
            self.bytes.push(b'[');
        }
    }

    /// Ends the message at `end` and begins the next one with the record that lies at `record`.
    fn finish_before(&mut self, record: Range<usize>, end: usize) -> Option<usize> {
        let mut moved = std::mem::take(&mut self.moved);
        moved.extend_from_slice(&self.bytes[record]);
        self.bytes.truncate(end);
        let finished = self.finish();
        self.begin();
        self.bytes.extend_from_slice(&moved);
        moved.clear();
        self.moved = moved;
        finished
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn payload(message: &[u8]) -> &[u8] {
        match message[1] {
            126 => &message[4..],
            127 => &message[10..],
            _ => &message[2..],
        }
    }

    proptest! {
        #[test]
        fn messages_hold_every_record_in_order_within_the_limit(sizes in proptest::collection::vec(1_usize..400, 0..60), single: bool) {
            let mut batch = Batch::new(500, single);
            let mut ends = Vec::new();
            for (number, size) in sizes.iter().enumerate() {
                let text = format!("{number}-{}", "x".repeat(*size));
                let write = |out: &mut Vec<u8>| -> Result<(), ()> { crate::codec::json_text::push_string(out, &text); Ok(()) };
                ends.extend(batch.push(write).unwrap());
                let refused = batch.push(|out| { out.push(b'!'); Err(()) }).is_err();
                prop_assert!(refused);
            }
            ends.extend(batch.finish());
            let bytes = batch.take();
            prop_assert_eq!(bytes.len(), ends.last().copied().unwrap_or(0));
            let starts = std::iter::once(0).chain(ends.iter().copied());
            let messages: Vec<&[u8]> = starts.zip(&ends).map(|(start, end)| &bytes[start..*end]).collect();
            let mut read = 0;
            for message in messages {
                let records: Vec<String> = if single {
                    vec![serde_json::from_slice(payload(message)).unwrap()]
                } else {
                    prop_assert!(payload(message).len() <= 500);
                    serde_json::from_slice(payload(message)).unwrap()
                };
                for record in records {
                    let in_order = record.starts_with(&format!("{read}-"));
                    prop_assert!(in_order);
                    read += 1;
                }
            }
            prop_assert_eq!(read, sizes.len());
        }
    }
}
