//! Which partition each record of a put goes to.
//!
//! A message goes where it says, or where the hash of its key lies, or anywhere without a key. A row goes where the hash of its
//! partition key lies, which is what CloudEvents call its `partitionkey`: the text of its primary key, or the table's name without
//! one. So all changes of one row, and all rows of a table without a key, stay in order in one partition.

use std::sync::Arc;

use crate::codec::cloudevents::partition_key;
use crate::codec::image::Image;
use crate::codec::put::{BadPut, PutMessage, PutPlace, PutTransaction};
use crate::record::TableSchema;
use crate::trail::{Appender, PartitionMap};

/// Finds partitions for the records of one put.
pub(super) struct Placing {
    partitions: Arc<PartitionMap>,
    /// What the next message without a key is hashed from, once there was one.
    random: Option<u64>,
}

impl Placing {
    pub(super) fn new(partitions: Arc<PartitionMap>) -> Self {
        Self { partitions, random: None }
    }

    /// Whether there is one open partition only.
    pub(super) fn is_single(&self) -> bool {
        self.partitions.open().len() == 1
    }

    /// That one.
    pub(super) fn only(&self) -> u16 {
        self.partitions.for_hash(0)
    }

    /// The partition of a message.
    pub(super) fn of_message(&mut self, message: &PutMessage<'_>) -> u16 {
        match (message.place, &message.key) {
            (PutPlace::Partition(partition), _) => partition,
            (PutPlace::Hash(hash), _) => self.partitions.for_hash(hash),
            (PutPlace::Key, Some(key)) => self.partitions.for_key(key.as_bytes()),
            (PutPlace::Key, None) => {
                // Where no number is to be had, messages without a key begin at the same place: no worse than that.
                let random = self.random.unwrap_or_else(|| getrandom::u64().unwrap_or_default()).wrapping_add(1);
                self.random = Some(random);
                self.partitions.for_key(&random.to_le_bytes())
            }
        }
    }

    /// The partition of a row with these images, the one before first: that of its key as it is after, or was before.
    pub(super) fn of_row(&self, schema: &TableSchema, before: bool, after: bool, images: &[u8]) -> u16 {
        let image = match (before, after) {
            (false, false) => None,
            (true, true) => Image::split(images).ok().map(|(_, after)| Image::whole(after)),
            _ => Some(Image::whole(images)),
        };
        self.partitions.for_key(partition_key(schema, image).as_bytes())
    }
}

/// Sees to it that every partition that a message of the body names takes records, before anything of it is appended. What was put
/// before is acknowledged again, whatever has become of its partition.
pub(super) fn check(appender: &Appender, transactions: &[PutTransaction<'_>], body: &[u8]) -> Result<(), BadPut> {
    let is_known = |xid: &String| appender.find_xid(xid).is_some();
    let with_messages = transactions.iter().filter(|transaction| !transaction.messages.is_empty());
    for transaction in with_messages.filter(|transaction| !transaction.xid.as_ref().is_some_and(is_known)) {
        for (at, operation) in transaction.operations.iter().enumerate() {
            let message = operation.message.and_then(|message| transaction.messages.get(message));
            let Some(PutPlace::Partition(partition)) = message.map(|message| message.place) else { continue };
            let partitions = appender.partitions();
            let what = match partitions.get(partition) {
                Some(known) if known.is_open() => continue,
                Some(_) => format!("{partition} is closed: it was split or merged, and takes no more records"),
                None => format!("{partition} is none of the trail's, which are 0 to {}", partitions.all().len() - 1),
            };
            return Err(BadPut::of(transaction, body, &format!("operations[{at}].partition"), what));
        }
    }
    Ok(())
}
