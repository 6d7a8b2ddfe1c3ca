//! The schema of one table's DML records. Its `id` is the qualified name.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value, json};

use crate::codec::json::{JsonOptions, Layout, MetaField, RowForm, TRUNCATED, UNCHANGED};
use crate::codec::schema_record::column::{column_schema, meta_enum, meta_schema, name_list, static_schema};
use crate::codec::schema_record::schema_record;
use crate::record::TableSchema;

/// Left as they are in an `id`; draft-04 wants a URI there, and a table's name may hold anything.
const URI_UNSAFE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'.').remove(b'_').remove(b'-').remove(b'~').remove(b'$');

/// The schema record of a table.
pub fn dml_schema(schema: &TableSchema, options: &JsonOptions) -> Value {
    let layout = Layout::of(schema, options);
    let name = schema.table.to_string();
    let id = utf8_percent_encode(&name, URI_UNSAFE).to_string();
    let mut definitions = Map::new();
    if let RowForm::Nested { .. } = layout.form {
        definitions.insert("row".into(), row_definition(schema, options));
    }
    let required = required(&layout);
    let mut properties = dml_properties(schema, options);
    if let RowForm::Nested { before, after } = &layout.form {
        for image in [before, after] {
            properties.insert(image.clone(), json!({"$ref": "#/definitions/row"}));
        }
    }
    schema_record(&id, &name, definitions, properties, required)
}

/// An image's columns. None is required: a column that was not captured is absent.
fn row_definition(schema: &TableSchema, options: &JsonOptions) -> Value {
    let columns: Map<_, _> =
        schema.columns.iter().map(|column| (column.name.clone(), column_schema(column, options))).collect();
    json!({"type": "object", "properties": columns, "additionalProperties": false})
}

/// The members of a table's DML records, images written out.
pub fn dml_properties(schema: &TableSchema, options: &JsonOptions) -> Map<String, Value> {
    let layout = Layout::of(schema, options);
    let mut properties = Map::new();
    for (field, name) in &layout.meta {
        let field_schema = match field {
            MetaField::OpType => meta_enum(*field, &options.operation_strings.dml_labels()),
            MetaField::QualifiedTable => meta_enum(*field, &[schema.table.to_string().as_str()]),
            _ => meta_schema(*field),
        };
        properties.insert(name.clone(), field_schema);
    }
    for (name, value) in &layout.static_fields {
        properties.insert(name.clone(), static_schema(value));
    }
    match &layout.form {
        RowForm::Nested { before, after } => {
            for image in [before, after] {
                properties.insert(image.clone(), row_definition(schema, options));
            }
        }
        RowForm::Flat { before, after } => {
            for prefix in [before, after] {
                insert_columns(&mut properties, schema, options, prefix);
            }
        }
        RowForm::Row => insert_columns(&mut properties, schema, options, ""),
    }
    properties.insert(layout.unchanged.clone(), name_list(UNCHANGED));
    properties.insert(layout.truncated, name_list(TRUNCATED));
    properties
}

fn insert_columns(properties: &mut Map<String, Value>, schema: &TableSchema, options: &JsonOptions, prefix: &str) {
    for column in &schema.columns {
        properties.insert(format!("{prefix}{}", column.name), column_schema(column, options));
    }
}

fn required(layout: &Layout) -> Vec<String> {
    let meta = layout.meta.iter().map(|(_, name)| name.clone());
    meta.chain(layout.static_fields.iter().map(|(name, _)| name.clone())).collect()
}
