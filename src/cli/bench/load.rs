//! The transactions that a run puts: rows of one table, of one size, numbered.

use std::fmt::Write as _;

/// What the default encoding adds to the column `note` in one record, the comma behind it included.
const RECORD_BYTES_BESIDE_NOTE: usize = 188;

/// Makes transactions as `put` takes them.
#[derive(Debug, Clone)]
pub(super) struct Load {
    operations: u32,
    note: String,
}

impl Load {
    /// Transactions of so many inserts, whose records have about so many bytes in a subscriber's message.
    pub(super) fn new(operations: u32, record_bytes: usize) -> Self {
        let note = "lorem ipsum dolor sit amet ".chars().cycle();
        Self { operations, note: note.take(record_bytes.saturating_sub(RECORD_BYTES_BESIDE_NOTE)).collect() }
    }

    /// Operations in each.
    pub(super) fn operations(&self) -> u32 {
        self.operations
    }

    /// What the column `note` holds.
    pub(super) fn note(&self) -> &str {
        &self.note
    }

    /// Transaction number `number`, from 1, as one line; its rows' ids go on where those of the one before ended.
    pub(super) fn line(&self, number: u64) -> Vec<u8> {
        let mut line = String::with_capacity(64 + self.operations as usize * (self.note.len() + 120));
        line.push_str("{\"operations\":[");
        let first = (number - 1) * u64::from(self.operations) + 1;
        for id in first..first + u64::from(self.operations) {
            let comma = if id == first { "" } else { "," };
            // Writing to a String does not fail.
            let _ = write!(
                line,
                "{comma}{{\"op\":\"INSERT\",\"table\":\"bench.rows\",\"key\":[\"id\"],\"after\":\
                 {{\"id\":{id},\"amount\":{}.{:02},\"note\":\"{}\"}}}}",
                id % 900 + 100,
                id % 100,
                self.note
            );
        }
        line.push_str("]}\n");
        line.into_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_go_on_from_transaction_to_transaction() {
        let load = Load::new(3, 200);
        for (number, ids) in [(1, [1, 2, 3]), (2, [4, 5, 6])] {
            let transaction: serde_json::Value = serde_json::from_slice(&load.line(number)).unwrap();
            let operations = transaction["operations"].as_array().unwrap();
            let found: Vec<_> = operations.iter().map(|operation| operation["after"]["id"].as_u64().unwrap()).collect();
            assert_eq!(found, ids);
        }
    }
}
