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

/// What `masks` hid of what `before` hid less, or not at all: the entries of `before` that are gone or weaker now.
pub fn unmasked<'m>(before: &'m [ColumnMask], masks: &[ColumnMask]) -> Vec<&'m ColumnMask> {
    let stays = |old: &ColumnMask| {
        let same = masks.iter().find(|new| new.table == old.table && new.column == old.column);
        same.is_some_and(|new| new.mask == old.mask || new.mask != MaskKind::Hash)
    };
    before.iter().filter(|old| !stays(old)).collect()
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

    #[test]
    fn what_shows_more_than_before_is_told() {
        let (drop, hash) = (mask(json!({})), mask(json!({"mask": "hash"})));
        let text = mask(json!({"mask": "text", "text": "x"}));
        let told = |before: &ColumnMask, after: &[ColumnMask]| unmasked(std::slice::from_ref(before), after).len();
        assert_eq!((told(&drop, &[]), told(&hash, &[])), (1, 1));
        assert_eq!(told(&drop, std::slice::from_ref(&hash)), 1);
        assert_eq!((told(&drop, std::slice::from_ref(&text)), told(&hash, &[drop.clone()])), (0, 0));
        assert_eq!(told(&hash, std::slice::from_ref(&hash)), 0);
    }
}
