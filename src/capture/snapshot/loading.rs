//! The loads that go on beside a stream: which tables are left, how far each is, and what the stream's transactions mean for them.
//!
//! Sans-IO. Owns when progress has to be said in the trail: with each chunk, and with a transaction of the stream after which more has to
//! be read again than before. Leaves the trail to `intake`, and reading to the product.

use std::collections::BTreeSet;

use super::key::Key;
use super::progress::TableProgress;
use super::window::{Hidden, HiddenRows, Moved, Window};
use crate::catalog::load::LoadOutcome;
use crate::limits;
use crate::record::{LoadProgress, SourcePosition, TableName, TableSchema};
use crate::trail::RowParts;

/// Every load that has not ended.
#[derive(Debug)]
pub(in crate::capture) struct Loading<C> {
    pub(in crate::capture) window: Window<C>,
    /// In the order in which they were asked for.
    tables: Vec<TableLoad>,
    /// Tables whose keys are not what the source has, as far as anybody has said.
    with_hidden_keys: BTreeSet<TableName>,
    /// Rows that the open transaction has moved.
    moved: Vec<Moved>,
    /// Transactions that have come since it was last asked for, while somebody wants to know.
    came: Option<Vec<String>>,
}

#[derive(Debug)]
struct TableLoad {
    progress: TableProgress,
    /// A chunk of it has been read, or is to be, and whoever had written to it before is waited for: what the stream moves to where it has been read is not met again.
    has_begun: bool,
    /// Its keys are not what the source has: no row can be asked for by one, and none may be kept.
    are_keys_hidden: bool,
    /// It has begun again, and the trail does not say so yet.
    is_unsaid: bool,
}

impl TableLoad {
    /// Nothing of it is read yet, nor is it known to have hidden keys.
    fn new(progress: TableProgress) -> Self {
        Self { progress, has_begun: false, are_keys_hidden: false, is_unsaid: false }
    }

    /// Its keys are hidden from here on, or are not. Those that were kept in the clear are kept no more.
    fn hide_keys(&mut self, are_hidden: bool) {
        self.are_keys_hidden = are_hidden;
        if are_hidden && self.progress.has_keys() {
            self.progress.begin_again();
            (self.has_begun, self.is_unsaid) = (false, true);
        }
    }

    /// These rows have to be read again, or all of the table.
    fn read_again(&mut self, keys: Vec<Key>) {
        let begins_again = if self.are_keys_hidden && !keys.is_empty() {
            self.progress.begin_again();
            true
        } else {
            self.progress.read_again(keys)
        };
        self.has_begun &= !begins_again;
    }
}

/// What was appended of one piece of a chunk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::capture) struct Appended {
    /// Rows.
    pub(in crate::capture) rows: u64,
    /// The key of the last row that was read; none if the rows were read by their keys.
    pub(in crate::capture) behind: Option<Key>,
    /// Rows that were read by their keys.
    pub(in crate::capture) read_again: Vec<Key>,
    /// Rows that were left out and have to be read again.
    pub(in crate::capture) again: Vec<Key>,
    /// There are no more rows behind these.
    pub(in crate::capture) is_last: bool,
}

impl<C: Clone> Loading<C> {
    /// Those that the trail says are left.
    pub(in crate::capture) fn of(kept: &[LoadProgress]) -> Self {
        let begun = |progress: TableProgress| {
            let has_begun = progress.left.behind.is_some() || progress.left.is_read;
            TableLoad { has_begun, ..TableLoad::new(progress) }
        };
        Self {
            window: Window::new(limits::LOAD_WINDOW_BYTES_MAX),
            tables: kept.iter().filter_map(TableProgress::of_trail).map(begun).collect(),
            with_hidden_keys: BTreeSet::new(),
            moved: Vec::new(),
            came: None,
        }
    }

    /// Whether there are any.
    #[inline]
    pub(in crate::capture) fn is_active(&self) -> bool {
        !self.tables.is_empty()
    }

    /// How far each is.
    pub(in crate::capture) fn tables(&self) -> impl Iterator<Item = &TableProgress> {
        self.tables.iter().map(|load| &load.progress)
    }

    /// How far one is.
    pub(in crate::capture) fn table(&self, table: &TableName) -> Option<&TableProgress> {
        self.tables().find(|progress| progress.table == *table)
    }

    /// One is to be loaded from its beginning. What the trail has to say of it.
    pub(in crate::capture) fn queue(&mut self, table: TableName, order: u64, is_filtered: bool) -> LoadProgress {
        self.tables.retain(|load| load.progress.table != table);
        let mut progress = TableProgress::new(table, order);
        progress.left.is_filtered = is_filtered;
        let said = progress.to_trail();
        let are_keys_hidden = self.with_hidden_keys.contains(&progress.table);
        self.tables.push(TableLoad { are_keys_hidden, ..TableLoad::new(progress) });
        said
    }

    /// One is not to be loaded any more. What the trail has to say of it, and how far it was.
    pub(in crate::capture) fn end(
        &mut self,
        table: &TableName,
        how: LoadOutcome,
    ) -> Option<(LoadProgress, TableProgress)> {
        let at = self.tables.iter().position(|load| load.progress.table == *table)?;
        let mut progress = self.tables.remove(at).progress;
        progress.left.how = Some(how);
        let mut ended = progress.clone();
        (ended.left.is_read, ended.left.again) = (true, Default::default());
        Some((ended.to_trail(), progress))
    }

    /// The others come before this one.
    pub(in crate::capture) fn postpone(&mut self, table: &TableName) {
        // The sort is stable.
        self.tables.sort_by_key(|load| load.progress.table == *table);
    }

    /// One begins again, from its beginning. What the trail has to say of it.
    pub(in crate::capture) fn begin_again(&mut self, table: &TableName) -> Option<LoadProgress> {
        let load = self.tables.iter_mut().find(|load| load.progress.table == *table)?;
        load.progress.begin_again();
        (load.has_begun, load.is_unsaid) = (false, false);
        Some(load.progress.to_trail())
    }

    /// From here on whoever changes one is not waited for before its chunks are read.
    pub(in crate::capture) fn begin(&mut self, table: &TableName) {
        self.tables.iter_mut().filter(|load| load.progress.table == *table).for_each(|load| load.has_begun = true);
    }

    /// Nothing of one is read yet, and what was committed before this place of the log will be seen.
    pub(in crate::capture) fn began_at(&mut self, table: &TableName, place: String) {
        if let Some(load) = self.tables.iter_mut().find(|load| load.progress.table == *table) {
            load.progress.left.began = place;
        }
    }

    /// Whether the keys of one are masked: then nothing of it is read again by its key, and after an interruption it begins again.
    /// To be said before the first row of it comes, of the stream or of a chunk; also of a table that may be loaded later.
    pub(in crate::capture) fn hide_keys(&mut self, table: &TableName, are_hidden: bool) {
        if are_hidden && !self.with_hidden_keys.contains(table) {
            self.with_hidden_keys.insert(table.clone());
        } else if !are_hidden {
            self.with_hidden_keys.remove(table);
        }
        let of_it = self.tables.iter_mut().filter(|load| load.progress.table == *table);
        of_it.for_each(|load| load.hide_keys(are_hidden));
    }

    /// Whether rows of that table are of interest.
    #[inline]
    pub(in crate::capture) fn concerns(&self, table: &TableName) -> bool {
        self.tables.iter().any(|load| load.progress.table == *table)
    }

    /// A row has changed in the transaction that is half in.
    pub(in crate::capture) fn change(&mut self, schema: &TableSchema, row: &RowParts<'_>, images: &[u8]) {
        if let Some(moved) = self.window.change(schema, row, images)
            && self.tables.iter().any(|load| load.has_begun && load.progress.table == moved.table)
        {
            self.moved.push(moved);
        }
    }

    /// The transaction is about to be committed: what has to be said in it of the loads.
    pub(in crate::capture) fn commit(&mut self, xid: &str, at: &C) -> Vec<LoadProgress> {
        self.window.commit(xid, at);
        let mut said = Vec::new();
        let moved = std::mem::take(&mut self.moved);
        for load in &mut self.tables {
            let mut is_other = load.is_unsaid;
            for Moved { table, from, to } in &moved {
                // Once all has been read, whoever reads the trail has every row, but for those that are to be read again.
                let left = &load.progress.left;
                if *table == load.progress.table && (!left.is_read || left.again.contains(from)) {
                    load.read_again(vec![to.clone()]);
                    is_other = true;
                }
            }
            if is_other {
                load.is_unsaid = false;
                said.push(load.progress.to_trail());
            }
        }
        said
    }

    /// A transaction that the trail did not have has come, whatever it held.
    pub(in crate::capture) fn came(&mut self, xid: &str) {
        if let Some(came) = &mut self.came {
            came.push(xid.to_owned());
        }
    }

    /// Begins to note which transactions come, or ends it.
    pub(in crate::capture) fn note_coming(&mut self, wanted: bool) {
        self.came = wanted.then(Vec::new);
    }

    /// The transactions that have come since it was last asked.
    pub(in crate::capture) fn take_came(&mut self) -> Vec<String> {
        self.came.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// The transaction is dropped.
    pub(in crate::capture) fn abort(&mut self) {
        self.window.abort();
        self.moved.clear();
    }

    /// What may not be appended of a chunk of that table.
    pub(in crate::capture) fn hidden(&self, table: &TableName, shows: impl Fn(&str, &C) -> bool) -> Hidden {
        if crate::capture::fault_injection::loads_by_place() {
            return Hidden::Rows(Default::default());
        }
        self.window.hidden(table, shows)
    }

    /// A piece of a chunk is about to be committed: what has to be said in it. `of` is what the product knows the table by, and
    /// `hidden` what was left out.
    pub(in crate::capture) fn appended(
        &mut self,
        table: &TableName,
        of: &str,
        at: &SourcePosition,
        mut appended: Appended,
        hidden: &HiddenRows,
    ) -> Option<LoadProgress> {
        let load = self.tables.iter_mut().find(|load| load.progress.table == *table)?;
        let progress = &mut load.progress;
        progress.rows += appended.rows;
        progress.at = at.clone();
        progress.left.chunk += 1;
        of.clone_into(&mut progress.left.of);
        if !load.are_keys_hidden {
            progress.left.behind = appended.behind.or(progress.left.behind.take());
        }
        progress.left.is_read |= appended.is_last;
        for key in &appended.read_again {
            progress.left.again.remove(key);
            // A row that was not there may be one that the chunk does not show yet.
            hidden.leaves_out(key, &mut appended.again);
        }
        load.read_again(appended.again);
        load.is_unsaid = false;
        let said = load.progress.to_trail();
        Some(said)
    }

    /// Takes out a load that has ended, once the trail says so.
    pub(in crate::capture) fn take_ended(&mut self) -> Option<TableProgress> {
        let at = self.tables.iter().position(|load| load.progress.left.is_nothing())?;
        Some(self.tables.remove(at).progress)
    }
}
