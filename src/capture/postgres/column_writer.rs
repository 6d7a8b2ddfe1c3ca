//! How the values of one column that a source sends become a cell of a row image.
//!
//! Owns the choice between a value's own form and its mask; leaves the forms to `value`, masks to `capture::mask`, and how
//! large a row may be to `relation`.

use super::value::ValueKind;
use crate::capture::mask::{Keyed, Mask};

/// One column that is sent.
#[derive(Debug, Clone)]
pub(super) struct ColumnWriter {
    /// How its values become JSON, where no mask hides them.
    pub(super) kind: ValueKind,
    pub(super) mask: Option<Mask>,
    /// Its place among the columns of the table's schema; of one that is left out, the place that it would have.
    pub(super) place: usize,
}

impl ColumnWriter {
    /// How many bytes a text of that length becomes at least.
    pub(super) fn bytes_min_of_length(&self, length: usize) -> usize {
        match &self.mask {
            None => self.kind.bytes_min_of_length(length),
            // A value that is NULL has no length.
            Some(Mask::Hash(_)) if length > 0 => Keyed::JSON_BYTES,
            Some(_) => 0,
        }
    }

    /// Whether that of a text says about as much as its length does.
    pub(super) fn keeps_length(&self) -> bool {
        self.mask.is_none() && self.kind.keeps_length()
    }
}

#[cfg(test)]
impl ColumnWriter {
    /// Columns of these kinds, of which none is masked.
    pub(super) fn plain(kinds: impl IntoIterator<Item = ValueKind>) -> Vec<Self> {
        kinds.into_iter().enumerate().map(|(place, kind)| Self { kind, mask: None, place }).collect()
    }
}
