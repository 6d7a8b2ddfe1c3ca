//! How far the load of one table is, as the trail keeps it: behind which key, which rows have to be read again, by whose order.
//!
//! Owns the text that stands in a load-progress frame. It is written in the transaction of the rows that it counts; what the stream
//! adds to it (a row that has moved to where nothing is read any more) is written in the stream's own transaction.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::key::Key;
use crate::catalog::load::LoadOutcome;
use crate::limits;
use crate::record::{LoadLeft, LoadProgress, SourcePosition, TableName};

/// How far the load of a table is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::capture) struct TableProgress {
    pub(in crate::capture) table: TableName,
    /// Rows that the trail has.
    pub(in crate::capture) rows: u64,
    /// The place in the source's log that the last rows are as new as.
    pub(in crate::capture) at: SourcePosition,
    pub(in crate::capture) left: Left,
}

/// What is left to be read.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::capture) struct Left {
    /// Number of the order that asked for the load; 0 if it is the extract's own.
    pub(in crate::capture) order: u64,
    /// Only rows for which its order's condition holds.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(in crate::capture) is_filtered: bool,
    /// A place in the source's log: what was committed before it can be seen by whoever reads the table. Gaps that ended there are
    /// healed by the load. Empty where that was not noted.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(in crate::capture) began: String,
    /// Which of the source's tables it is, and what its key is, in the product's words: under the same name there may be another.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(in crate::capture) of: String,
    /// The rows behind this key; all while there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::capture) behind: Option<Key>,
    /// No rows behind any key are left.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(in crate::capture) is_read: bool,
    /// Rows to be read again: the stream has not given all their values.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub(in crate::capture) again: BTreeSet<Key>,
    /// Transactions of the trail that its rows came in.
    pub(in crate::capture) chunk: u64,
    /// Times that it began again.
    #[serde(skip_serializing_if = "is_zero")]
    pub(in crate::capture) restarts: u64,
    /// How it has ended: what is left is not to come.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::capture) how: Option<LoadOutcome>,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Left {
    /// Whether nothing is.
    pub(in crate::capture) fn is_nothing(&self) -> bool {
        self.is_read && self.again.is_empty()
    }
}

impl TableProgress {
    /// All of the table is left.
    pub(in crate::capture) fn new(table: TableName, order: u64) -> Self {
        let left = Left { order, ..Left::default() };
        Self { table, rows: 0, at: SourcePosition::default(), left }
    }

    /// From what the trail holds; none if nothing of the table is left. What cannot be read is loaded from the beginning.
    pub(in crate::capture) fn of_trail(kept: &LoadProgress) -> Option<Self> {
        let LoadLeft::Behind(text) = &kept.left else { return None };
        let (table, rows, at) = (kept.table.clone(), kept.rows, kept.at.clone());
        // A list would read as the members in their order.
        let left =
            Some(text).filter(|text| text.starts_with('{')).and_then(|text| serde_json::from_str::<Left>(text).ok());
        if left.as_ref().is_some_and(Left::is_nothing) {
            return None;
        }
        Some(left.map_or_else(|| Self::new(kept.table.clone(), 0), |left| Self { table, rows, at, left }))
    }

    /// A load that has ended, as the trail holds it; none if something of the table is left.
    pub(in crate::capture) fn ended_of_trail(kept: &LoadProgress) -> Option<Self> {
        let left = match &kept.left {
            LoadLeft::Nothing => Left { is_read: true, ..Left::default() },
            LoadLeft::Behind(text) => serde_json::from_str::<Left>(text).ok().filter(Left::is_nothing)?,
        };
        Some(Self { table: kept.table.clone(), rows: kept.rows, at: kept.at.clone(), left })
    }

    /// As the trail holds it.
    pub(in crate::capture) fn to_trail(&self) -> LoadProgress {
        let text = if self.left.is_nothing() {
            // Whose order that was, and no key.
            let Left { order, is_filtered, chunk, restarts, how, .. } = self.left;
            let (how, began) = (how.or(Some(LoadOutcome::Loaded)), self.left.began.clone());
            let ended = Left { order, is_filtered, began, chunk, restarts, is_read: true, how, ..Left::default() };
            serde_json::to_string(&ended)
        } else {
            serde_json::to_string(&self.left)
        };
        let left = LoadLeft::Behind(text.unwrap_or_default());
        LoadProgress { table: self.table.clone(), left, rows: self.rows, at: self.at.clone() }
    }

    /// Whether keys of rows stand in it.
    pub(super) fn has_keys(&self) -> bool {
        self.left.behind.is_some() || !self.left.again.is_empty()
    }

    /// It begins again: with all of the table.
    pub(in crate::capture) fn begin_again(&mut self) {
        let Left { order, is_filtered, chunk, restarts, .. } = self.left;
        self.rows = 0;
        self.left = Left { order, is_filtered, chunk, restarts: restarts + 1, ..Left::default() };
    }

    /// These rows have to be read again. Where there are too many, all of the table has; says whether that is so.
    pub(super) fn read_again(&mut self, keys: impl IntoIterator<Item = Key>) -> bool {
        self.left.again.extend(keys);
        let bytes: usize = self.left.again.iter().map(Key::kept_bytes).sum();
        let is_too_much = bytes > limits::LOAD_AGAIN_BYTES_MAX;
        if is_too_much {
            self.begin_again();
        }
        is_too_much
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_reads_back_from_the_trail_and_nothing_left_is_no_progress() {
        let key = |text: &str| Key(text.into());
        let mut progress = TableProgress::new(TableName::parse("public.t").unwrap(), 3);
        assert_eq!(TableProgress::of_trail(&progress.to_trail()), Some(progress.clone()));
        progress.left.behind = Some(key("[7,\"x\"]"));
        progress.left.of = "16385 id".into();
        progress.left.chunk = 4;
        assert!(!progress.read_again([key("[3,\"y\"]")]));
        progress.rows = 9;
        assert_eq!(TableProgress::of_trail(&progress.to_trail()), Some(progress.clone()));
        progress.left.is_read = true;
        assert_eq!(TableProgress::of_trail(&progress.to_trail()), Some(progress.clone()));
        progress.left.again.clear();
        let ended = progress.to_trail();
        assert_eq!(TableProgress::of_trail(&ended), None);
        let of_ended = TableProgress::ended_of_trail(&ended).unwrap();
        assert_eq!((of_ended.left.order, of_ended.left.how, of_ended.rows), (3, Some(LoadOutcome::Loaded), 9));
        assert!(!format!("{ended:?}").contains("[7"), "no key stays behind");
        let nothing = LoadProgress { left: LoadLeft::Nothing, ..ended };
        assert_eq!(TableProgress::of_trail(&nothing), None);
        assert!(TableProgress::ended_of_trail(&nothing).is_some_and(|of| of.left.how.is_none()));
        let mut kept = progress.to_trail();
        for text in ["", "[5]", "{\"order\":1,\"later\":2}"] {
            kept.left = LoadLeft::Behind(text.into());
            let scratch = TableProgress::of_trail(&kept).unwrap();
            assert_eq!((scratch.rows, scratch.left), (0, Left::default()), "{text}");
        }
    }

    #[test]
    fn a_table_with_too_many_rows_to_be_read_again_begins_again() {
        let mut progress = TableProgress::new(TableName::parse("public.t").unwrap(), 1);
        (progress.rows, progress.left.chunk) = (5, 2);
        let keys = (0..limits::LOAD_AGAIN_BYTES_MAX / 64).map(|number| Key(format!("[{number}]").into()));
        assert!(progress.read_again(keys));
        let expected = Left { order: 1, chunk: 2, restarts: 1, ..Left::default() };
        assert_eq!((progress.rows, progress.left), (0, expected));
    }
}
