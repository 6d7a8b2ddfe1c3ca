//! The schema of one column's values, and of the metadata fields.
//!
//! A metadata field may be renamed, and is named otherwise beside a column of its name. So that clients need not guess, the
//! `description` of each says which it is: `metaFields.pos`.

use serde_json::{Value, json};

use crate::codec::json::{JsonOptions, MetaField, Sent, TransInd};
use crate::codec::token::TOKEN_PATTERN;
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

/// What stands before the field in the `description` of a metadata field.
const META_DESCRIPTION: &str = "metaFields.";

/// A list of column names that is no metadata field; its `description` is the name that it has unless a column has it.
pub(super) fn name_list(usual_name: &str) -> Value {
    described(names(), usual_name)
}

fn names() -> Value {
    json!({"type": "array", "items": {"type": "string"}, "uniqueItems": true})
}

fn described(mut schema: Value, description: &str) -> Value {
    schema["description"] = description.into();
    schema
}

/// The schema of a metadata field that is one of these texts.
pub(in crate::codec) fn meta_enum(field: MetaField, texts: &[&str]) -> Value {
    described(json!({ "enum": texts }), &format!("{META_DESCRIPTION}{}", field.member()))
}

/// The metadata field that a property of a schema record stands for, by its `description`.
pub fn described_field(description: &str) -> Option<MetaField> {
    let member = description.strip_prefix(META_DESCRIPTION)?;
    MetaField::all().find(|field| field.member() == member)
}

/// What a metadata field may be, but for `op_type`, whose values depend on the kind of record.
pub(in crate::codec) fn meta_schema(field: MetaField) -> Value {
    described(meta_values(field), &format!("{META_DESCRIPTION}{}", field.member()))
}

fn meta_values(field: MetaField) -> Value {
    match field {
        MetaField::OpTsMicroSecs | MetaField::CurrentTsMicroSecs | MetaField::OpSeqno => json!({"type": "integer"}),
        MetaField::Csn => json!({"type": "string", "pattern": "^[0-9]+$"}),
        MetaField::Pos => json!({"type": "string", "pattern": TOKEN_PATTERN}),
        MetaField::TransInd => json!({"enum": TransInd::ALL.map(TransInd::as_str)}),
        MetaField::PrimaryKeys => names(),
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
