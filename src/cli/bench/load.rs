//! The transactions that a run puts: rows of one table, of one size, numbered.

use std::fmt::Write as _;

use crate::limits;

/// What the default encoding adds to the column `note` in one record, the comma behind it included.
const RECORD_BYTES_BESIDE_NOTE: usize = limits::BENCH_RECORD_BYTES_MIN;

/// The first row's `id`. All ids have as many digits, so that a transaction is made by overwriting another's: the client
/// must not be what is measured.
pub(super) const FIRST_ID: u64 = 1_000_000_000;
const ID_DIGITS: usize = 10;

/// Makes transactions as `put` takes them.
#[derive(Debug, Clone)]
pub(super) struct Load {
    note: String,
    template: Vec<u8>,
    /// Where the ids stand in it.
    ids: Vec<usize>,
}

impl Load {
    /// Transactions of so many inserts, whose records have about so many bytes in a subscriber's message.
    pub(super) fn new(operations: u32, record_bytes: usize) -> Self {
        let note = "lorem ipsum dolor sit amet ".chars().cycle();
        let note: String = note.take(record_bytes.saturating_sub(RECORD_BYTES_BESIDE_NOTE)).collect();
        let mut template = String::from("{\"operations\":[");
        let mut ids = Vec::new();
        for row in 0..operations {
            template.push_str(if row == 0 { "" } else { "," });
            template.push_str("{\"op\":\"INSERT\",\"table\":\"bench.rows\",\"key\":[\"id\"],\"after\":{\"id\":");
            ids.push(template.len());
            // Writing to a String does not fail.
            let _ =
                write!(template, "{FIRST_ID},\"amount\":{}.{:02},\"note\":\"{note}\"}}}}", row % 900 + 100, row % 100);
        }
        template.push_str("]}\n");
        Self { note, template: template.into_bytes(), ids }
    }

    /// What the column `note` holds.
    pub(super) fn note(&self) -> &str {
        &self.note
    }

    /// Operations in each.
    pub(super) fn operations(&self) -> u64 {
        self.ids.len() as u64
    }

    /// Appends transaction number `number`, from 1, as one line; its rows' ids go on where those of the one before ended.
    pub(super) fn push_line(&self, out: &mut Vec<u8>, number: u64) {
        let start = out.len();
        out.extend_from_slice(&self.template);
        let first = FIRST_ID + (number - 1) * self.operations();
        for (id, at) in (first..).zip(&self.ids) {
            let mut rest = id;
            for digit in out[start + at..start + at + ID_DIGITS].iter_mut().rev() {
                *digit = b'0' + (rest % 10) as u8;
                rest /= 10;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_go_on_from_transaction_to_transaction() {
        let load = Load::new(3, 200);
        for (number, ids) in [(1, [0, 1, 2]), (2, [3, 4, 5])] {
            let mut line = b" ".to_vec();
            load.push_line(&mut line, number);
            let transaction: serde_json::Value = serde_json::from_slice(&line).unwrap();
            let operations = transaction["operations"].as_array().unwrap();
            let found: Vec<_> = operations.iter().map(|operation| operation["after"]["id"].as_u64().unwrap()).collect();
            assert_eq!(found, ids.map(|id| FIRST_ID + id));
        }
    }
}
