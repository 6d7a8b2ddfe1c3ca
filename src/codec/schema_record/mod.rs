//! Schema records: JSON Schema draft-04 of every kind of record, exactly as this stream's options make it.
//!
//! A schema record is sent before the first record that it describes. It has no `op_type`; clients know it by `id` and
//! `$schema`. Of which bytes a record consists is `json`'s business; the property test here holds the two together.

mod column;
mod dml;
mod fixed;
#[cfg(test)]
mod tests;

pub use column::described_field;
pub(in crate::codec) use column::{
    meta_enum as meta_field_enum, meta_schema as meta_field_schema, static_schema as static_field_schema,
};
pub use dml::{dml_properties, dml_schema};
pub use fixed::{
    caught_up_schema, ddl_schema, drain_schema, group_assignment_schema, heartbeat_schema, object_metadata_schema,
    stream_metadata_schema,
};

use serde_json::{Map, Value, json};

/// What stands before the kind in the `id` of each schema record that is none of a table: a table's `id` has no colon.
pub const KIND_ID_PREFIX: &str = "trailcast:schema:";

/// What `$schema` says.
pub const DRAFT_04: &str = "http://json-schema.org/draft-04/schema#";

/// A schema record. `required` is left out when nothing is: draft-04 allows no empty list.
pub(in crate::codec) fn schema_record(
    id: &str,
    title: &str,
    definitions: Map<String, Value>,
    properties: Map<String, Value>,
    required: Vec<String>,
) -> Value {
    let mut record = json!({
        "id": id,
        "title": title,
        "$schema": DRAFT_04,
        "type": "object",
        "definitions": definitions,
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    });
    if required.is_empty()
        && let Some(members) = record.as_object_mut()
    {
        members.shift_remove("required");
    }
    record
}
