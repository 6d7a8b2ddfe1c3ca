//! The schema of one column's values, and of the metadata fields.

use serde_json::{Value, json};

use crate::codec::json::{JsonOptions, MetaField, Sent, TransInd};
use crate::record::{Column, JsonKind};

/// What a column's values may be. NULL is allowed wherever it is sent, also where the source says "not null": an image
/// of a key may hold it for other columns.
pub(super) fn column_schema(column: &Column, options: &JsonOptions) -> Value {
    let sent = Sent::of(column, options);
    let kinds: &[&str] = if sent == Sent::AsString {
        &["string"]
    } else {
        match column.kind {
            JsonKind::String => &["string"],
            JsonKind::Number => &["number"],
            JsonKind::Float => &["number", "string"],
            JsonKind::Boolean => &["boolean"],
            JsonKind::Object => &["object"],
            JsonKind::Array => &["array"],
            // A value that is null in the source's own JSON is sent whatever becomes of NULL.
            JsonKind::Any if sent == Sent::NumberAsString => {
                return json!({"type": ["string", "boolean", "object", "array", "null"]});
            }
            JsonKind::Any => return json!({}),
        }
    };
    let mut kinds = kinds.to_vec();
    if !options.omit_null {
        kinds.push("null");
    }
    match kinds.as_slice() {
        [only] => json!({ "type": only }),
        _ => json!({ "type": kinds }),
    }
}

/// A list of column names.
pub(super) fn name_list() -> Value {
    json!({"type": "array", "items": {"type": "string"}, "uniqueItems": true})
}

/// What a metadata field may be, but for `op_type`, whose values depend on the kind of record.
pub(in crate::codec) fn meta_schema(field: MetaField) -> Value {
    match field {
        MetaField::OpTsMicroSecs | MetaField::CurrentTsMicroSecs | MetaField::OpSeqno => json!({"type": "integer"}),
        MetaField::Csn => json!({"type": "string", "pattern": "^[0-9]+$"}),
        MetaField::Pos => json!({"type": "string", "pattern": "^[A-Za-z0-9_-]{44}$"}),
        MetaField::TransInd => json!({"enum": TransInd::ALL.map(TransInd::as_str)}),
        MetaField::PrimaryKeys => name_list(),
        MetaField::Tokens => json!({"type": "object"}),
        MetaField::OpType
        | MetaField::QualifiedTable
        | MetaField::Catalog
        | MetaField::Schema
        | MetaField::Table
        | MetaField::OpTs
        | MetaField::CurrentTs
        | MetaField::Xid => json!({"type": "string"}),
    }
}

/// The only value of a static field.
pub(in crate::codec) fn static_schema(value: &str) -> Value {
    let value: Value = serde_json::from_str(value).unwrap_or_default();
    json!({ "enum": [value] })
}
