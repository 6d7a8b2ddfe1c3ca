//! The window: which rows the transactions that the stream has brought have changed, for as long as a chunk may be appended whose
//! snapshot does not show them.
//!
//! A commit is streamed before anybody can see it. So a chunk that is read now may be older than what the stream gave long ago, and no
//! two places in the log say which is which; whether the chunk's own snapshot shows a transaction does. Sans-IO. Owns what is
//! remembered and for how long; leaves what a snapshot shows to the product.

use std::collections::{HashMap, VecDeque};

use super::key::{Key, lacks_values};
use crate::codec::image::Image;
use crate::record::{Operation, TableName, TableSchema};
use crate::trail::RowParts;

/// What transactions have changed that a snapshot may not show.
#[derive(Debug)]
pub(in crate::capture) struct Window<C> {
    /// Nothing is remembered while no chunk is read, nor after there was too much: see [`Window::begin`].
    is_kept: bool,
    /// The transaction that is half in.
    open: Changes,
    /// Those that were committed, in the order of their commits.
    brought: VecDeque<Brought<C>>,
    bytes: usize,
    bytes_max: usize,
}

/// A transaction that the stream has brought.
#[derive(Debug)]
struct Brought<C> {
    xid: String,
    at: C,
    changes: Changes,
}

/// What one transaction has changed, by table.
#[derive(Debug, Default)]
struct Changes {
    tables: HashMap<TableName, OfTable>,
    bytes: usize,
}

#[derive(Debug, Default)]
struct OfTable {
    /// Which rows is not known, or all of them: none of a chunk that does not show the transaction can be appended.
    everything: bool,
    rows: HashMap<Key, Changed>,
}

/// What became of one row, under a key that it had before or has now.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Changed {
    /// The stream has not given all its values.
    lacks: bool,
    /// It has another key now, under which the stream has not given all its values.
    moved_to: Option<Key>,
}

/// A row that has another key, of which the stream has not given all values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::capture) struct Moved {
    pub(super) table: TableName,
    pub(super) from: Key,
    pub(super) to: Key,
}

/// What of a table's chunk may not be appended.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::capture) enum Hidden {
    /// Nothing of it: read it again.
    Everything,
    /// Rows with these keys.
    Rows(HiddenRows),
}

/// Rows that the stream has given newer than the chunk has them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::capture) struct HiddenRows(HashMap<Key, Vec<Changed>>);

impl HiddenRows {
    /// Whether there are none.
    pub(in crate::capture) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the row with that key is one. What has to be read again because of it is added to `again`.
    pub(in crate::capture) fn leaves_out(&self, key: &Key, again: &mut Vec<Key>) -> bool {
        let Some(changes) = self.0.get(key) else { return false };
        for changed in changes {
            if changed.lacks {
                again.push(key.clone());
            }
            again.extend(changed.moved_to.clone());
        }
        true
    }
}

impl<C> Window<C> {
    /// One that remembers so many bytes, about, and nothing yet.
    pub(in crate::capture) fn new(bytes_max: usize) -> Self {
        Self { is_kept: false, open: Changes::default(), brought: VecDeque::new(), bytes: 0, bytes_max }
    }

    /// Remembers what is committed from here on; no transaction may be half in. Those that were committed before, and that
    /// a snapshot may still not show, have to be waited for.
    pub(in crate::capture) fn begin(&mut self) {
        self.forget_all();
        self.is_kept = true;
    }

    /// Whether everything is remembered since [`Self::begin`].
    pub(in crate::capture) fn is_kept(&self) -> bool {
        self.is_kept
    }

    /// Remembers nothing any more.
    pub(in crate::capture) fn end(&mut self) {
        self.forget_all();
    }

    fn forget_all(&mut self) {
        self.is_kept = false;
        self.brought.clear();
        self.open = Changes::default();
        self.bytes = 0;
    }

    /// A row has changed in the transaction that is half in. Says where it has moved to, if the stream does not give all its values
    /// there.
    pub(super) fn change(&mut self, schema: &TableSchema, row: &RowParts<'_>, images: &[u8]) -> Option<Moved> {
        let read = ReadChange::of(schema, row, images);
        let moved = read.as_ref().and_then(|read| read.old.clone().zip(read.moved_to.clone()));
        if self.is_kept {
            self.remember(schema, read);
            if self.bytes + self.open.bytes > self.bytes_max {
                self.forget_all();
            }
        }
        moved.map(|(from, to)| Moved { table: schema.table.clone(), from, to })
    }

    fn remember(&mut self, schema: &TableSchema, read: Option<ReadChange>) {
        let open = &mut self.open;
        if !open.tables.contains_key(&schema.table) {
            open.bytes += size_of::<OfTable>() + schema.table.to_string().len();
        }
        let table = open.tables.entry(schema.table.clone()).or_default();
        let Some(ReadChange { old, new, lacks, moved_to }) = read else {
            table.everything = true;
            return;
        };
        let mut note = |key: Key, changed: Changed| {
            open.bytes += key.kept_bytes() + changed.moved_to.as_ref().map_or(0, Key::kept_bytes);
            let known = table.rows.entry(key).or_default();
            known.lacks |= changed.lacks;
            known.moved_to = changed.moved_to.or(known.moved_to.take());
        };
        if let Some(new) = new {
            note(new, Changed { lacks, moved_to: None });
        }
        if let Some(old) = old {
            note(old, Changed { lacks: false, moved_to });
        }
    }

    /// The transaction is committed.
    pub(super) fn commit(&mut self, xid: &str, at: &C)
    where
        C: Clone,
    {
        let changes = std::mem::take(&mut self.open);
        if self.is_kept && !changes.tables.is_empty() {
            self.bytes += changes.bytes;
            self.brought.push_back(Brought { xid: xid.to_owned(), at: at.clone(), changes });
        }
    }

    /// The transaction is dropped.
    pub(super) fn abort(&mut self) {
        self.open = Changes::default();
    }

    /// Every chunk that is still to be appended shows what `shows` says: that need not be remembered.
    pub(in crate::capture) fn forget(&mut self, shows: impl Fn(&str, &C) -> bool) {
        let bytes = &mut self.bytes;
        self.brought.retain(|brought| {
            let is_shown = shows(&brought.xid, &brought.at);
            if is_shown {
                *bytes -= brought.changes.bytes;
            }
            !is_shown
        });
    }

    /// What may not be appended of a chunk of that table whose snapshot shows what `shows` says.
    pub(in crate::capture) fn hidden(&self, table: &TableName, shows: impl Fn(&str, &C) -> bool) -> Hidden {
        let mut rows: HashMap<Key, Vec<Changed>> = HashMap::new();
        for brought in &self.brought {
            let Some(of_table) = brought.changes.tables.get(table) else { continue };
            if shows(&brought.xid, &brought.at) {
                continue;
            }
            if of_table.everything {
                return Hidden::Everything;
            }
            for (key, changed) in &of_table.rows {
                rows.entry(key.clone()).or_default().push(changed.clone());
            }
        }
        Hidden::Rows(HiddenRows(rows))
    }
}

/// The keys of one change.
struct ReadChange {
    old: Option<Key>,
    new: Option<Key>,
    lacks: bool,
    /// It has another key than before, and not all values.
    moved_to: Option<Key>,
}

impl ReadChange {
    /// None where it cannot be said which rows have changed.
    fn of(schema: &TableSchema, row: &RowParts<'_>, images: &[u8]) -> Option<Self> {
        if row.operation == Operation::Truncate {
            return None;
        }
        let (before, images) = match row.before {
            true => Image::split(images).ok().map(|(before, rest)| (Some(before), rest))?,
            false => (None, images),
        };
        let after = row.after.then_some(Image::whole(images));
        let old = match before {
            Some(before) => Some(Key::of(schema, before, None)?),
            None => None,
        };
        let new = match after {
            Some(after) => Some(Key::of(schema, after, before)?),
            None => None,
        };
        let lacks = after.is_some_and(lacks_values);
        let has_moved = old.is_some() && new.is_some() && old != new;
        let moved_to = new.clone().filter(|_| has_moved && lacks);
        Some(Self { old, new, lacks, moved_to })
    }
}
