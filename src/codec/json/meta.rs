//! The metadata fields of a record: which are sent, and under what name.

use serde_json::Value;

use crate::codec::member::{ConfigError, Members};
use crate::limits;

/// A metadata field, in the order in which a record holds them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(usize)]
pub enum MetaField {
    /// What the record does.
    OpType,
    /// The table's name with all its parts.
    QualifiedTable,
    /// The first of three parts of the table's name.
    Catalog,
    /// The part before the table.
    Schema,
    /// The last part.
    Table,
    /// The source's commit time.
    OpTs,
    /// The same in microseconds since 1970.
    OpTsMicroSecs,
    /// When the record was encoded.
    CurrentTs,
    /// The same in microseconds since 1970.
    CurrentTsMicroSecs,
    /// The position.
    Pos,
    /// The commit number, as a string: it may pass what a JavaScript number holds.
    Csn,
    /// The source's transaction id.
    Xid,
    /// The record's number within the trail's transaction.
    OpSeqno,
    /// Its place among the records sent of its transaction.
    TransInd,
    /// Names of the key's columns.
    PrimaryKeys,
    /// User tokens.
    Tokens,
}

/// Member of `metaFields`, name in a record, whether on by default.
const FIELDS: [(MetaField, &str, &str, bool); 16] = [
    (MetaField::OpType, "opType", "op_type", true),
    (MetaField::QualifiedTable, "qualifiedTable", "qual_table", true),
    (MetaField::Catalog, "catalog", "catalog", false),
    (MetaField::Schema, "schema", "schema", false),
    (MetaField::Table, "table", "table", false),
    (MetaField::OpTs, "opTs", "op_ts", true),
    (MetaField::OpTsMicroSecs, "opTsMicroSecs", "op_ts_micro_secs", false),
    (MetaField::CurrentTs, "currentTs", "current_ts", false),
    (MetaField::CurrentTsMicroSecs, "currentTsMicroSecs", "current_ts_micro_secs", false),
    (MetaField::Pos, "pos", "pos", true),
    (MetaField::Csn, "csn", "csn", false),
    (MetaField::Xid, "xid", "xid", false),
    (MetaField::OpSeqno, "opSeqno", "op_seqno", false),
    (MetaField::TransInd, "transInd", "trans_ind", false),
    (MetaField::PrimaryKeys, "primaryKeys", "primary_keys", false),
    (MetaField::Tokens, "tokens", "tokens", false),
];

/// Which metadata fields are sent, and their names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetaFields {
    names: Vec<(bool, String)>,
}

impl MetaField {
    /// Every field, in the order in which a record holds them.
    pub fn all() -> impl Iterator<Item = Self> {
        FIELDS.iter().map(|(field, ..)| *field)
    }

    /// The member of `metaFields` that stands for it.
    pub fn member(self) -> &'static str {
        FIELDS.get(self as usize).map_or("", |(_, member, ..)| member)
    }

    /// Its name in a record unless it is renamed.
    pub fn usual_name(self) -> &'static str {
        FIELDS.get(self as usize).map_or("", |(_, _, name, _)| name)
    }
}

impl Default for MetaFields {
    fn default() -> Self {
        Self { names: FIELDS.iter().map(|(_, _, name, on)| (*on, (*name).to_owned())).collect() }
    }
}

impl MetaFields {
    /// Reads `metaFields`, standing at `path`.
    pub fn parse(path: &str, value: &Value) -> Result<Self, ConfigError> {
        let mut known: Vec<_> = FIELDS.iter().map(|(_, member, _, _)| *member).collect();
        known.extend(["env", "sys"]);
        let members = Members::of(path, value, &known)?;
        for refused in ["env", "sys"] {
            if !matches!(members.get(refused), None | Some(Value::Null | Value::Bool(false))) {
                let message = "not supported: it would tell of the server's host; only false or null";
                return Err(members.error(refused, message));
            }
        }
        let mut fields = Self::default();
        for ((_, member, _, _), slot) in FIELDS.iter().zip(&mut fields.names) {
            match members.get(member) {
                // Where the documentation shows a field's default as null, that may be spelled out.
                None | Some(Value::Null) => {}
                Some(Value::Bool(on)) => slot.0 = *on,
                Some(Value::String(name)) if (1..=limits::FIELD_NAME_CHARS_MAX).contains(&name.chars().count()) => {
                    *slot = (true, name.clone());
                }
                Some(_) => {
                    let allowed = format!(
                        "must be true, false, null or a name of 1 to {} characters",
                        limits::FIELD_NAME_CHARS_MAX
                    );
                    return Err(members.error(member, allowed));
                }
            }
        }
        Ok(fields)
    }

    /// Every member of `metaFields` that can be switched on, and whether it is on by default.
    pub fn members() -> impl Iterator<Item = (&'static str, bool)> {
        FIELDS.iter().map(|(_, member, _, on)| (*member, *on))
    }

    /// The fields that are sent, in record order, with their names.
    pub fn sent<'s>(&'s self) -> impl Iterator<Item = (MetaField, &'s str)> {
        let on = |((field, _, _, _), (on, name)): (&(MetaField, &str, &str, bool), &'s (bool, String))| {
            on.then_some((*field, name.as_str()))
        };
        FIELDS.iter().zip(&self.names).filter_map(on)
    }

    /// Whether the field is sent.
    pub fn is_sent(&self, field: MetaField) -> bool {
        self.names.get(field as usize).is_some_and(|(on, _)| *on)
    }

    /// The field's name, renamed or not, sent or not: records of metadata have some fields always.
    pub fn name(&self, field: MetaField) -> &str {
        self.names.get(field as usize).map_or("", |(_, name)| name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_field_stands_at_its_own_number() {
        for (at, (field, ..)) in FIELDS.iter().enumerate() {
            assert_eq!(*field as usize, at);
        }
    }
}
