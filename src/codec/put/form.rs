//! What an operation of a put is made of: a form, which it mostly shares with others, and its values.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use super::{Fault, PutTransaction, fault, shown};
use crate::codec::json_text;
use crate::limits;
use crate::record::{Operation, TableName};

/// Everything of an operation but its values: operations of one transaction mostly share it.
#[derive(Debug, Clone, PartialEq)]
pub struct PutForm<'a> {
    /// What it does.
    pub operation: Operation,
    /// The table.
    pub table: TableName,
    /// Names of the key's columns.
    pub key: Arc<[String]>,
    /// Columns of the before image, none twice, in the order given.
    pub before: Option<Vec<Cow<'a, str>>>,
    /// Columns of the after image, likewise.
    pub after: Option<Vec<Cow<'a, str>>>,
}

/// One operation of a put. Its values are in its transaction.
#[derive(Debug)]
pub struct PutOperation {
    /// Which of the transaction's forms it has; none where it is a message.
    pub form: usize,
    /// Which of the transaction's messages it is, if it is one.
    pub message: Option<usize>,
    /// Where its values begin: those of the before image, then those of the after image.
    pub cells_at: usize,
    /// Tokens: a JSON object of strings, compact.
    pub tokens: Option<String>,
    /// The statement of a DDL operation.
    pub ddl: Option<String>,
}

/// A value of a column: JSON without white space around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PutCell<'a> {
    /// The text as it came.
    pub json: &'a str,
    /// It surely holds nothing that compacting would change.
    pub compact: bool,
}

impl<'a> PutCell<'a> {
    /// The cell with that text.
    pub(super) fn new(json: &'a str) -> Self {
        Self { json, compact: json_text::is_compact(json) }
    }
}

impl<'a> PutForm<'a> {
    /// The columns of both images.
    pub fn columns(&self) -> impl Iterator<Item = &Cow<'a, str>> {
        [&self.after, &self.before].into_iter().flatten().flatten()
    }

    /// Each operation has the members it needs and none that would mean nothing.
    pub(super) fn check(&self, tokens: Option<&str>, ddl: Option<&str>) -> Result<(), Fault> {
        use Operation::{Ddl, Delete, Insert, Truncate, Update, Upsert};
        let operation = self.operation;
        let needs_after = matches!(operation, Insert | Update | Upsert);
        let takes_before = matches!(operation, Update | Delete | Upsert);
        let rules = [
            (needs_after && self.after.is_none(), "after", "is required"),
            (!needs_after && self.after.is_some(), "after", "is not taken"),
            (operation == Delete && self.before.is_none(), "before", "is required"),
            (!takes_before && self.before.is_some(), "before", "is not taken"),
            (operation == Ddl && ddl.is_none_or(str::is_empty), "ddl", "is required"),
            (operation != Ddl && ddl.is_some(), "ddl", "is not taken"),
            (operation == Ddl && tokens.is_some(), "tokens", "is not taken"),
            (matches!(operation, Ddl | Truncate) && !self.key.is_empty(), "key", "is not taken"),
        ];
        if let Some((_, member, what)) = rules.iter().find(|(broken, _, _)| *broken) {
            return fault(*member, format!("{what} by {}", operation.as_str()));
        }
        if let Some(name) = twice(&self.key) {
            return fault("key", format!("column {:?} stands twice", shown(name)));
        }
        for name in self.key.iter() {
            let mut images = [&self.before, &self.after].into_iter().flatten();
            if images.any(|image| !image.iter().any(|column| column == name)) {
                return fault("key", format!("column {:?} is missing from an image", shown(name)));
            }
        }
        Ok(())
    }
}

/// A name that stands twice.
fn twice(names: &[String]) -> Option<&String> {
    if names.len() < 2 {
        return None;
    }
    let mut earlier = HashSet::new();
    names.iter().find(|name| !earlier.insert(*name))
}

/// An image has columns, not too many, and each a name of a fitting length.
pub(super) fn check_columns<'n, 'a: 'n>(
    columns: impl ExactSizeIterator<Item = &'n Cow<'a, str>>,
    member: &str,
) -> Result<(), Fault> {
    if !(1..=limits::TABLE_COLUMNS_MAX).contains(&columns.len()) {
        return fault(member, format!("must have 1 to {} columns", limits::TABLE_COLUMNS_MAX));
    }
    let fits = |name: &str| (1..=limits::IDENTIFIER_BYTES_MAX).contains(&name.len()) && !name.contains('\0');
    if let Some(name) = columns.into_iter().find(|name| !fits(name)) {
        let max = limits::IDENTIFIER_BYTES_MAX;
        return fault(member, format!("column {:?}: a name has 1 to {max} bytes", shown(name)));
    }
    Ok(())
}

impl<'a> PutTransaction<'a> {
    /// Adds an operation whose values, the last ones, begin at `cells_at`.
    pub(super) fn push(&mut self, form: PutForm<'a>, cells_at: usize, tokens: Option<String>, ddl: Option<String>) {
        if self.forms.last() != Some(&form) {
            self.forms.push(form);
        }
        self.operations.push(PutOperation { form: self.forms.len() - 1, message: None, cells_at, tokens, ddl });
    }
}
