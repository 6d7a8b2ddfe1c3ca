//! Gathers records into finished messages: framed bytes that a socket only has to take.
//!
//! A message is a JSON array of records, or one record where the connection asked for that. It never grows beyond its
//! limit unless one record alone does.

use bytes::Bytes;

use crate::codec::ws_frame::{HEADER_ROOM, finish_message};

/// First allocation of a message, in bytes; it grows with what comes.
const FIRST_BYTES: usize = 4 << 10;

/// A message being gathered.
#[derive(Debug)]
pub struct Batch {
    bytes: Vec<u8>,
    records: u32,
    bytes_max: usize,
    single: bool,
    /// Size of the message before: a session that catches up sends many of one size.
    expected_bytes: usize,
}

impl Batch {
    /// Messages of at most `bytes_max` bytes; `single`: one record a message, without an array around it.
    pub fn new(bytes_max: usize, single: bool) -> Self {
        Self { bytes: Vec::new(), records: 0, bytes_max, single, expected_bytes: FIRST_BYTES }
    }

    /// Adds a record, which `write` appends to the buffer it is given. Returns the finished message that had to go
    /// first because the record did not fit, if any. When `write` fails the batch is as before.
    pub fn push<E>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Result<Option<Bytes>, E> {
        if self.bytes.is_empty() {
            self.start(self.expected_bytes);
        }
        let before = self.bytes.len();
        if self.records > 0 {
            self.bytes.push(b',');
        }
        let start = self.bytes.len();
        if let Err(error) = write(&mut self.bytes) {
            self.bytes.truncate(before);
            return Err(error);
        }
        let full = self.bytes.len() + 1 - HEADER_ROOM > self.bytes_max || self.single;
        let mut finished = None;
        if full && self.records > 0 {
            let record = self.bytes.split_off(start);
            self.bytes.truncate(before);
            finished = self.finish();
            self.start(record.len().max(self.expected_bytes));
            self.bytes.extend_from_slice(&record);
        }
        self.records += 1;
        Ok(finished)
    }

    /// Ends the message; none when it holds no record.
    pub fn finish(&mut self) -> Option<Bytes> {
        if self.records == 0 {
            return None;
        }
        if !self.single {
            self.bytes.push(b']');
        }
        self.records = 0;
        self.expected_bytes = self.bytes.len().min(self.bytes_max + HEADER_ROOM).max(FIRST_BYTES);
        Some(finish_message(std::mem::take(&mut self.bytes)))
    }

    fn start(&mut self, record_bytes: usize) {
        self.bytes = Vec::with_capacity(HEADER_ROOM + record_bytes + 2);
        self.bytes.resize(HEADER_ROOM, 0);
        if !self.single {
            self.bytes.push(b'[');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn payload(message: &Bytes) -> &[u8] {
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
            let mut messages = Vec::new();
            for (number, size) in sizes.iter().enumerate() {
                let text = format!("{number}-{}", "x".repeat(*size));
                let write = |out: &mut Vec<u8>| -> Result<(), ()> { crate::codec::json_text::push_string(out, &text); Ok(()) };
                messages.extend(batch.push(write).unwrap());
                let refused = batch.push(|out| { out.push(b'!'); Err(()) }).is_err();
                prop_assert!(refused);
            }
            messages.extend(batch.finish());
            let mut read = 0;
            for message in &messages {
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
