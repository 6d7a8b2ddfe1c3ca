//! What there is to say of a change of an extract beside that it is done: what it does not do although one may think so, and
//! what the audit is told of it.

use super::stored::StoredExtract;
use crate::catalog::extract::columns::{self, ColumnMask};

/// What is said of one change.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChangeNotes {
    /// What the change does not do, in sentences.
    pub limits: Vec<&'static str>,
    /// Columns that show more than before, in words for the audit.
    pub unmasked: Option<String>,
}

impl ChangeNotes {
    /// Compares an extract before and after.
    pub(super) fn of(old: &StoredExtract, new: &StoredExtract) -> Self {
        let (before, after) = (&old.config, &new.config);
        let masks = (&before.columns, &old.mask_keys) != (&after.columns, &new.mask_keys);
        let mask_note = "The masks hold for what is captured from here on; what the trail holds already stays as it was written, \
                         until its retention takes it";
        let filters = before.row_filters != after.row_filters;
        let filter_note = "The row filters hold for what is committed once they are published; what was committed before comes \
                           as it was published then, and what the trail holds already stays";
        let limits = [masks.then_some(mask_note), filters.then_some(filter_note)].into_iter().flatten().collect();
        let unmasked: Vec<String> =
            columns::unmasked(&entries(old), &entries(new)).into_iter().map(ColumnMask::shown).collect();
        Self { limits, unmasked: (!unmasked.is_empty()).then(|| format!("unmasked {}", unmasked.join(", "))) }
    }
}

/// The masks of an extract, with their keys as they are kept: a key that was not given anew stays as it was sealed.
fn entries(stored: &StoredExtract) -> Vec<columns::Entry<'_>> {
    let key = |at: usize| stored.mask_keys.get(at).and_then(|key| key.as_deref());
    stored.config.columns.iter().enumerate().map(|(at, mask)| (mask, key(at))).collect()
}
