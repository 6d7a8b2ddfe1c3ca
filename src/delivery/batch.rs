//! Gathers records into messages, one behind the other in one buffer: bytes that a connection only has to take.
//!
//! A message is a JSON array of records, or one record where the connection asked for that. It never grows beyond its
//! limit unless one record alone does. What stands around a message is for its `framing` to say.

use std::ops::Range;

use crate::codec::token::ContractHash;
use crate::delivery::framing::Framing;
use crate::record::Position;

/// First allocation of a buffer, in bytes; it grows with what comes.
const FIRST_BYTES: usize = 4 << 10;

/// What messages are like.
#[derive(Debug, Clone, Copy)]
pub struct MessageForm {
    /// What is put around each.
    pub framing: Framing,
    /// One record a message, without an array around it.
    pub single: bool,
    /// Longest text of a message with more than one record, in bytes.
    pub bytes_max: usize,
    /// The contract that positions are of.
    pub contract: ContractHash,
}

/// Messages being gathered.
#[derive(Debug)]
pub struct Batch {
    bytes: Vec<u8>,
    /// Where the message being gathered starts; finished messages lie before it.
    start: usize,
    records: u32,
    /// Position of the message's last record that has one.
    last: Option<Position>,
    form: MessageForm,
    /// Bytes between the message's start and its text.
    room: usize,
    largest_record: usize,
    /// The record that did not fit, while it moves behind the message it ended.
    moved: Vec<u8>,
}

/// A message that is whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Finished {
    /// The byte at which it ends.
    pub end: usize,
    /// Position of its last record that has one.
    pub last: Option<Position>,
}

impl Batch {
    /// Gathers messages of that form.
    pub fn new(form: MessageForm) -> Self {
        let (bytes, moved) = Default::default();
        Self { bytes, start: 0, records: 0, last: None, form, room: form.framing.room(), largest_record: 0, moved }
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

    /// Adds a record, which `write` appends to the buffer it is given. Returns the message that had to be finished first
    /// because the record did not fit, if any. When `write` fails the batch is as before.
    #[inline]
    pub fn push<E>(
        &mut self,
        position: Option<&Position>,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<Option<Finished>, E> {
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
        let text_bytes = self.bytes.len() + 1 - self.start - self.room;
        let mut finished = None;
        if self.records > 0 && (self.form.single || text_bytes > self.form.bytes_max) {
            finished = self.finish_before(record..self.bytes.len(), before);
        }
        self.records += 1;
        if let Some(position) = position {
            self.last = Some(*position);
        }
        Ok(finished)
    }

    /// Ends the message, if it holds a record.
    pub fn finish(&mut self) -> Option<Finished> {
        if self.records == 0 {
            return None;
        }
        if !self.form.single {
            self.bytes.push(b']');
        }
        self.records = 0;
        let last = self.last.take();
        self.form.framing.finish(&mut self.bytes, self.start, last.as_ref(), self.form.contract);
        self.start = self.bytes.len();
        Some(Finished { end: self.start, last })
    }

    /// The finished messages, one behind the other; the one being gathered, if any, is not among them.
    pub fn take(&mut self) -> Vec<u8> {
        let rest = self.bytes.split_off(self.start);
        self.start = 0;
        std::mem::replace(&mut self.bytes, rest)
    }

    fn begin(&mut self) {
        self.start = self.bytes.len();
        self.form.framing.begin(&mut self.bytes);
        if !self.form.single {
            self.bytes.push(b'[');
        }
    }

    /// Ends the message at `end` and begins the next one with the record that lies at `record`.
    fn finish_before(&mut self, record: Range<usize>, end: usize) -> Option<Finished> {
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
    use proptest::prelude::*;

    use super::*;
    use crate::codec::token;
    use crate::delivery::framing::reading::texts;
    use crate::record::Epoch;

    const CONTRACT: ContractHash = ContractHash(5);

    fn position(record: u32) -> Position {
        Position { epoch: Epoch(1), commit: 2, record, xid_hash: 3 }
    }

    proptest! {
        #[test]
        fn messages_hold_every_record_in_order_within_the_limit_in_each_framing(
            records in proptest::collection::vec((1_usize..400, any::<bool>()), 0..60),
            single: bool,
            framing in proptest::sample::select(&Framing::ALL[..]),
        ) {
            let mut batch = Batch::new(MessageForm { framing, single, bytes_max: 500, contract: CONTRACT });
            let mut finished = Vec::new();
            for (number, (size, has_position)) in (0..).zip(&records) {
                let text = format!("{number}-{}", "x".repeat(*size));
                let write = |out: &mut Vec<u8>| -> Result<(), ()> {
                    crate::codec::json_text::push_string(out, &text);
                    Ok(())
                };
                let position = has_position.then(|| position(number));
                finished.extend(batch.push(position.as_ref(), write).unwrap());
                let refused = batch.push(None, |out| { out.push(b'!'); Err(()) }).is_err();
                prop_assert!(refused);
            }
            finished.extend(batch.finish());
            let bytes = batch.take();
            prop_assert_eq!(bytes.len(), finished.last().map_or(0, |message| message.end));
            let messages = texts(framing, &bytes);
            prop_assert_eq!(messages.len(), finished.len());
            let (mut read, mut start) = (0, 0);
            for (message, Finished { end, last }) in messages.iter().zip(finished) {
                prop_assert!(end - start <= message.text.len() + framing.around_bytes_max());
                start = end;
                let held: Vec<String> = if single {
                    vec![serde_json::from_str(&message.text).unwrap()]
                } else {
                    prop_assert!(message.text.len() <= 500);
                    serde_json::from_str(&message.text).unwrap()
                };
                let mut last_with_position = None;
                for record in held {
                    let in_order = record.starts_with(&format!("{read}-"));
                    prop_assert!(in_order);
                    last_with_position = records[read as usize].1.then(|| position(read)).or(last_with_position);
                    read += 1;
                }
                prop_assert_eq!(last, last_with_position);
                if framing != Framing::WebSocket {
                    let id = last.map(|position| token::encode(&position, CONTRACT).to_string());
                    prop_assert_eq!(&message.id, &id);
                }
            }
            prop_assert_eq!(read as usize, records.len());
        }
    }
}
