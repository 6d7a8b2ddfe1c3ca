//! Masks: what stands in a record in place of a column's value.
//!
//! Owns which mask holds for a column and what it makes of one value, whatever product the value comes from. Every way into
//! the trail goes through the same row-writing code of a product's folder, and that code asks here first: what a mask hides is
//! never made JSON, measured or named. That a masked column does not come under another name is the product's to see to.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::catalog::extract::columns::{ColumnMask, MaskKind};
use crate::codec::json_text;

/// A table's schema and name.
pub(super) type Named = (String, String);

/// What becomes of one column's values.
#[derive(Debug, Clone)]
pub(super) enum Mask {
    /// The column is no part of the record.
    LeftOut,
    /// NULL.
    Null,
    /// This JSON text, whatever the value is.
    Text(Box<[u8]>),
    /// A keyed hash of the value.
    Hash(Keyed),
}

impl Mask {
    fn of(config: &ColumnMask) -> Self {
        match config.mask {
            MaskKind::Drop => Self::LeftOut,
            MaskKind::Null => Self::Null,
            MaskKind::Text => {
                let mut json = Vec::new();
                json_text::push_string(&mut json, config.text.as_deref().unwrap_or_default());
                Self::Text(json.into())
            }
            // An extract with such a hash does not start; should one ever come here, nothing is shown.
            MaskKind::Hash => {
                config.key.as_ref().and_then(|key| Keyed::new(key.reveal())).map_or(Self::Null, Self::Hash)
            }
        }
    }

    /// Whether different values stay different, so that a row can still be found by them.
    pub(super) fn tells_apart(&self) -> bool {
        matches!(self, Self::Hash(_))
    }
}

/// HMAC-SHA-256 with a key.
#[derive(Clone)]
pub(super) struct Keyed(Hmac<Sha256>);

impl fmt::Debug for Keyed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keyed(…)")
    }
}

impl Keyed {
    fn new(key: &str) -> Option<Self> {
        Hmac::new_from_slice(key.as_bytes()).ok().map(Self)
    }

    /// Bytes of a hash as JSON: 64 digits in quotes.
    pub(super) const JSON_BYTES: usize = 66;

    /// Appends the hash of a value, in the text form that its source prints, as a JSON string of hexadecimal digits.
    pub(super) fn push_json(&self, out: &mut Vec<u8>, value: &[u8]) {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut mac = self.0.clone();
        mac.update(value);
        out.push(b'"');
        for byte in mac.finalize().into_bytes() {
            out.push(DIGITS[usize::from(byte >> 4)]);
            out.push(DIGITS[usize::from(byte & 15)]);
        }
        out.push(b'"');
    }
}

/// The masks of one extract.
#[derive(Debug, Clone, Default)]
pub(super) struct Masks {
    rules: Vec<(ColumnMask, Mask)>,
}

impl Masks {
    /// As they are configured, with the keys of hashes.
    pub(super) fn new(columns: &[ColumnMask]) -> Self {
        let rules = columns.iter().map(|config| (ColumnMask { key: None, ..config.clone() }, Mask::of(config)));
        Self { rules: rules.collect() }
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The mask of a column of a table that has, or inherits from tables that have, these names: of the first entry that
    /// names it.
    pub(super) fn of(&self, names: &[Named], column: &str) -> Option<&Mask> {
        self.rule_of(names, column).map(|(_, mask)| mask)
    }

    /// The entry that a column's mask is of.
    pub(super) fn entry_of(&self, names: &[Named], column: &str) -> Option<&ColumnMask> {
        self.rule_of(names, column).map(|(config, _)| config)
    }

    fn rule_of(&self, names: &[Named], column: &str) -> Option<&(ColumnMask, Mask)> {
        let is_of = |config: &ColumnMask| names.iter().any(|(schema, table)| config.table.matches(schema, table));
        self.rules.iter().find(|(config, _)| config.names_column(column) && is_of(config))
    }

    /// Every entry.
    pub(super) fn entries(&self) -> impl ExactSizeIterator<Item = &ColumnMask> {
        self.rules.iter().map(|(config, _)| config)
    }

    /// Entries that name one column of a table which has one of these names, and that the table has to have.
    pub(super) fn required(&self, names: &[Named]) -> impl Iterator<Item = &ColumnMask> {
        let is_of = |config: &ColumnMask| names.iter().any(|(schema, table)| config.table.matches(schema, table));
        self.entries().filter(move |config| config.is_exact() && !config.optional && is_of(config))
    }

    /// Tells these masks from others: what they make of a value differs, or may.
    pub(super) fn fingerprint(&self) -> String {
        let of = |(config, mask): &(ColumnMask, Mask)| {
            let mut text = serde_json::to_string(config).unwrap_or_default();
            if let Mask::Hash(keyed) = mask {
                let mut hash = Vec::new();
                keyed.push_json(&mut hash, b"fingerprint of a mask");
                text.push_str(&String::from_utf8_lossy(&hash));
            }
            text
        };
        let all: Vec<_> = self.rules.iter().map(of).collect();
        if all.is_empty() { String::new() } else { format!("{:08x}", crc32c::crc32c(all.join("\n").as_bytes())) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const KEY: &str = "0123456789abcdef";

    fn masks(entries: Value) -> Masks {
        Masks::new(&serde_json::from_value::<Vec<ColumnMask>>(entries).unwrap())
    }

    fn users() -> [Named; 1] {
        [("public".into(), "users".into())]
    }

    #[test]
    fn the_first_entry_that_names_a_column_holds() {
        let masks = masks(json!([
            {"table": "public.users", "column": "email", "mask": "drop"},
            {"table": "public.*", "column": "*", "mask": "null"},
        ]));
        assert!(matches!(masks.of(&users(), "email"), Some(Mask::LeftOut)));
        assert!(matches!(masks.of(&users(), "name"), Some(Mask::Null)));
        assert!(masks.of(&[("other".into(), "users".into())], "email").is_none());
        let partition = [("other".into(), "users_1".into()), users()[0].clone()];
        assert!(
            matches!(masks.of(&partition, "email"), Some(Mask::LeftOut)),
            "through the table that it inherits from"
        );
        assert_eq!(masks.required(&users()).map(ColumnMask::shown).collect::<Vec<_>>(), ["public.users.email"]);
    }

    #[test]
    fn a_hash_is_hmac_sha_256_in_hexadecimal_digits() {
        // RFC 4231, test case 2, with its key.
        let mut out = Vec::new();
        Keyed::new("Jefe").unwrap().push_json(&mut out, b"what do ya want for nothing?");
        assert_eq!(out, b"\"5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843\"");
        assert_eq!(out.len(), Keyed::JSON_BYTES);
    }

    #[test]
    fn a_fingerprint_tells_kinds_texts_and_keys_apart_and_holds_no_key() {
        let entry = |mask: Value| {
            let mut entry = json!({"table": "public.users", "column": "email"});
            crate::catalog::stream::merge_patch(&mut entry, &mask);
            masks(json!([entry])).fingerprint()
        };
        let all = [
            entry(json!({"mask": "drop"})),
            entry(json!({"mask": "null"})),
            entry(json!({"mask": "text", "text": "a"})),
            entry(json!({"mask": "text", "text": "b"})),
            entry(json!({"mask": "hash", "key": KEY})),
            entry(json!({"mask": "hash", "key": "another key of ours"})),
            Masks::default().fingerprint(),
        ];
        for (at, one) in all.iter().enumerate() {
            assert!(!all[..at].contains(one), "{at}");
        }
        assert_eq!(entry(json!({"mask": "hash", "key": KEY})), all[4]);
    }

    #[test]
    fn nothing_of_a_key_is_printed() {
        let masks = masks(json!([{"table": "a.b", "column": "c", "mask": "hash", "key": KEY}]));
        assert!(!format!("{masks:?}").contains(KEY));
        let without = super::super::mask::Masks::new(
            &serde_json::from_value::<Vec<ColumnMask>>(json!([{"table": "a.b", "column": "c", "mask": "hash"}]))
                .unwrap(),
        );
        assert!(matches!(without.of(&[("a".into(), "b".into())], "c"), Some(Mask::Null)), "and nothing is shown");
    }
}
