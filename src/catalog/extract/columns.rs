//! Columns whose values an extract does not take as they are: `"columns"` of its configuration.
//!
//! Owns the members, their ranges, and which of several masks holds for a column. What a mask makes of a value is the
//! business of `capture`; a key is kept like a password (see [`Secret`]).

use serde::{Deserialize, Serialize};

use super::{InvalidExtract, Secret, refuse};
use crate::catalog::table_pattern::{Glyph, TablePattern, wild_match};
use crate::limits;

/// One entry of `"columns"`: a mask for the columns that its patterns name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ColumnMask {
    /// Of which tables: `schema.table` with `*` and `?`.
    pub table: TablePattern,
    /// Which columns: a name with `*` and `?`; case counts.
    pub column: String,
    /// What becomes of their values.
    pub mask: MaskKind,
    /// What `text` writes in place of every value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// What `hash` is keyed with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Secret>,
    /// A table may come without the column that is named here.
    #[serde(default, skip_serializing_if = "super::is_default")]
    pub optional: bool,
}

/// What becomes of a masked column's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MaskKind {
    /// The column is left out of records and of the table's schema.
    Drop,
    /// Every value is NULL.
    Null,
    /// Every value is its HMAC-SHA-256, in hexadecimal digits; NULL stays NULL.
    Hash,
    /// Every value, NULL too, is one fixed text.
    Text,
}

impl ColumnMask {
    /// Whether it names that column of that table.
    pub fn names(&self, schema: &str, table: &str, column: &str) -> bool {
        self.table.matches(schema, table) && self.names_column(column)
    }

    /// Whether its pattern of columns takes that one in.
    pub fn names_column(&self, column: &str) -> bool {
        wild_match(self.column.chars().map(Glyph::from), column.chars())
    }

    /// Whether it names one column of one table, without a wildcard.
    pub fn is_exact(&self) -> bool {
        self.table.is_exact() && !self.column.contains(['*', '?'])
    }

    /// `schema.table.column`, for people.
    pub fn shown(&self) -> String {
        format!("{}.{}", String::from(self.table.clone()), self.column)
    }

    fn validate(&self, member: &str) -> Result<(), InvalidExtract> {
        let of = |name: &str| format!("{member}.{name}");
        super::text(&of("column"), &self.column, limits::SOURCE_IDENTIFIER_BYTES_MAX)?;
        match (self.mask, &self.text) {
            (MaskKind::Text, None) => return Err(refuse(&of("text"), "is required where mask is \"text\"")),
            (MaskKind::Text, Some(text)) if text.len() > limits::MASK_TEXT_BYTES_MAX => {
                return Err(refuse(&of("text"), format!("at most {} bytes", limits::MASK_TEXT_BYTES_MAX)));
            }
            (MaskKind::Text, Some(_)) | (_, None) => {}
            (_, Some(_)) => return Err(refuse(&of("text"), "only where mask is \"text\"")),
        }
        match (self.mask, &self.key) {
            (_, None) => Ok(()),
            (MaskKind::Hash, Some(key)) => {
                let (min, max) = (limits::MASK_KEY_BYTES_MIN, limits::MASK_KEY_BYTES_MAX);
                let fits = (min..=max).contains(&key.reveal().len());
                if fits { Ok(()) } else { Err(refuse(&of("key"), format!("{min} to {max} bytes"))) }
            }
            (_, Some(_)) => Err(refuse(&of("key"), "only where mask is \"hash\"")),
        }
    }
}

/// Checks every entry's ranges. Whether each hash has its key is another question: see [`missing_key`].
pub(super) fn validate(masks: &[ColumnMask]) -> Result<(), InvalidExtract> {
    if masks.len() > limits::EXTRACT_MASKS_MAX {
        return Err(refuse("columns", format!("at most {} entries", limits::EXTRACT_MASKS_MAX)));
    }
    for (at, mask) in masks.iter().enumerate() {
        let member = format!("columns[{at}]");
        mask.validate(&member)?;
        let same = |other: &&ColumnMask| other.table == mask.table && other.column == mask.column;
        if masks[..at].iter().any(|other| same(&other)) {
            return Err(refuse(&member, format!("{} is named twice", mask.shown())));
        }
    }
    Ok(())
}

/// A hash without a key, which nothing can be hashed with.
pub fn missing_key(masks: &[ColumnMask]) -> Option<InvalidExtract> {
    let at = masks.iter().position(|mask| mask.mask == MaskKind::Hash && mask.key.is_none())?;
    let (min, max) = (limits::MASK_KEY_BYTES_MIN, limits::MASK_KEY_BYTES_MAX);
    let message = format!("{min} to {max} bytes that the hash is keyed with are required where mask is \"hash\"");
    Some(refuse(&format!("columns[{at}].key"), message))
}

/// One entry of a list of masks, as two lists are compared: with what its key looks like where it is kept, none without a key.
pub type Entry<'m> = (&'m ColumnMask, Option<&'m str>);

/// Entries by which a column may show more after a change of the list, or be let through where it was not: those of `before`
/// that are gone, weaker, keyed otherwise or made optional, and those of `after` that came in front of one and hide less.
pub fn unmasked<'m>(before: &[Entry<'m>], after: &[Entry<'m>]) -> Vec<&'m ColumnMask> {
    let same = |one: &ColumnMask, other: &ColumnMask| one.table == other.table && one.column == other.column;
    let mut shown: Vec<&ColumnMask> = Vec::new();
    for (at, old) in before.iter().enumerate() {
        let Some(place) = after.iter().position(|new| same(new.0, old.0)) else {
            shown.push(old.0);
            continue;
        };
        if after.get(place).is_some_and(|new| shows_more(*old, *new)) {
            shown.push(old.0);
        }
        // The first entry that names a column holds: those that stand in front of it now, and did not before.
        let was_in_front = |new: &ColumnMask| before[..at].iter().any(|(other, _)| same(other, new));
        let in_front = after[..place].iter().filter(|new| !was_in_front(new.0) && may_meet(new.0, old.0));
        shown.extend(in_front.filter(|new| shows_more(*old, **new)).map(|(new, _)| *new));
    }
    let mut told: Vec<&ColumnMask> = Vec::new();
    for entry in shown {
        if !told.iter().any(|other| same(other, entry)) {
            told.push(entry);
        }
    }
    told
}

/// Whether a column may show more where `new` holds in place of `old`.
fn shows_more((old, old_key): Entry<'_>, (new, new_key): Entry<'_>) -> bool {
    let is_hash = |mask: &ColumnMask| mask.mask == MaskKind::Hash;
    // Who has the key of a hash can try out values.
    let is_keyed_anew = is_hash(old) && is_hash(new) && old_key != new_key;
    (is_hash(new) && !is_hash(old)) || is_keyed_anew || (new.optional && !old.optional)
}

/// Whether there may be a column that both name; who asks wants to hear of one too many rather than one too few.
fn may_meet(one: &ColumnMask, other: &ColumnMask) -> bool {
    let is_pattern = |mask: &ColumnMask| mask.column.contains(['*', '?']);
    let of_column = match (is_pattern(one), is_pattern(other)) {
        (false, _) => other.names_column(&one.column),
        (_, false) => one.names_column(&other.column),
        _ => true,
    };
    let of_table = match (one.table.is_exact(), other.table.is_exact()) {
        // A table may inherit from another.
        (true, true) => one.table == other.table,
        (true, false) => other.table.matches(one.table.parts().0, one.table.parts().1),
        (false, true) => one.table.matches(other.table.parts().0, other.table.parts().1),
        _ => true,
    };
    of_column && of_table
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn mask(extra: Value) -> ColumnMask {
        let mut all = json!({"table": "public.users", "column": "email", "mask": "drop"});
        for (member, value) in extra.as_object().unwrap() {
            all[member] = value.clone();
        }
        serde_json::from_value(all).unwrap()
    }

    #[test]
    fn a_mask_names_columns_by_patterns_and_case_counts() {
        for (table, column, expected) in [
            ("public.users", "email", true),
            ("public.*", "e*", true),
            ("*.*", "?mail", true),
            ("public.users", "Email", false),
            ("public.orders", "email", false),
        ] {
            let mask = mask(json!({"table": table, "column": column}));
            assert_eq!(mask.names("public", "users", "email"), expected, "{table} {column}");
        }
        assert!(mask(json!({})).is_exact());
        assert!(!mask(json!({"table": "public.*"})).is_exact() && !mask(json!({"column": "e*"})).is_exact());
    }

    #[test]
    fn each_kind_takes_its_own_members_alone() {
        let key = "0123456789abcdef";
        for (extra, member) in [
            (json!({"mask": "text"}), Some("text")),
            (json!({"mask": "text", "text": ""}), None),
            (json!({"mask": "text", "text": "x".repeat(5_000)}), Some("text")),
            (json!({"text": "x"}), Some("text")),
            (json!({"mask": "hash"}), None),
            (json!({"mask": "hash", "key": key}), None),
            (json!({"mask": "hash", "key": "short"}), Some("key")),
            (json!({"mask": "null", "key": key}), Some("key")),
            (json!({"column": ""}), Some("column")),
        ] {
            let refused = validate(&[mask(extra.clone())]).err().map(|refused| refused.member);
            assert_eq!(refused, member.map(|member| format!("columns[0].{member}")), "{extra}");
        }
        assert_eq!(validate(&[mask(json!({})), mask(json!({"mask": "null"}))]).unwrap_err().member, "columns[1]");
        assert_eq!(missing_key(&[mask(json!({"mask": "hash"}))]).unwrap().member, "columns[0].key");
    }

    /// What of a change is told; keys as they are kept.
    fn told(before: &[(&ColumnMask, &str)], after: &[(&ColumnMask, &str)]) -> Vec<String> {
        let entries = |list: &[(&ColumnMask, &str)]| -> Vec<_> {
            list.iter().map(|(mask, key)| ((*mask).clone(), (!key.is_empty()).then(|| (*key).to_owned()))).collect()
        };
        let (before, after) = (entries(before), entries(after));
        let borrowed = |list: &'static [(ColumnMask, Option<String>)]| -> Vec<Entry<'static>> {
            list.iter().map(|(mask, key)| (mask, key.as_deref())).collect()
        };
        unmasked(&borrowed(before.leak()), &borrowed(after.leak())).into_iter().map(ColumnMask::shown).collect()
    }

    #[test]
    fn what_shows_more_than_before_is_told() {
        let (drop, hash) = (mask(json!({})), mask(json!({"mask": "hash"})));
        let text = mask(json!({"mask": "text", "text": "x"}));
        let named = ["public.users.email"];
        assert_eq!(told(&[(&drop, "")], &[]), named);
        assert_eq!(told(&[(&hash, "k1")], &[]), named);
        assert_eq!(told(&[(&drop, "")], &[(&hash, "k1")]), named);
        assert!(told(&[(&drop, "")], &[(&text, "")]).is_empty());
        assert!(told(&[(&hash, "k1")], &[(&drop, "")]).is_empty());
        assert!(told(&[(&hash, "k1")], &[(&hash, "k1")]).is_empty());
    }

    #[test]
    fn another_key_a_column_that_may_be_missing_and_a_weaker_entry_in_front_are_told() {
        let (drop, hash) = (mask(json!({})), mask(json!({"mask": "hash"})));
        let named = ["public.users.email"];
        assert_eq!(told(&[(&hash, "k1")], &[(&hash, "k2")]), named);
        assert_eq!(told(&[(&drop, "")], &[(&mask(json!({"optional": true})), "")]), named);
        let wide = mask(json!({"table": "public.*", "column": "e*", "mask": "hash"}));
        assert_eq!(told(&[(&drop, "")], &[(&wide, "k1"), (&drop, "")]), ["public.*.e*"]);
        // Behind it, or of other columns, it takes nothing from it; nor does one that was in front before.
        assert!(told(&[(&drop, "")], &[(&drop, ""), (&wide, "k1")]).is_empty());
        let other = mask(json!({"column": "name", "mask": "hash"}));
        assert!(told(&[(&drop, "")], &[(&other, "k1"), (&drop, "")]).is_empty());
        assert!(told(&[(&wide, "k1"), (&drop, "")], &[(&wide, "k1"), (&drop, "")]).is_empty());
        assert_eq!(told(&[(&drop, ""), (&wide, "k1")], &[(&wide, "k1"), (&drop, "")]), ["public.*.e*"], "moved");
    }
}
