//! The schemas of the kinds of record that no table shapes: DDL, metadata, what a session says of itself.

use serde_json::{Map, Value, json};

use crate::codec::json::{
    CAUGHT_UP, CAUGHT_UP_FIELDS, DDL_TEXT, DRAIN, DRAIN_FIELDS, GROUP_ASSIGNMENT, HEARTBEAT, JsonOptions, MetaField,
    OBJECT_METADATA, RETRY_AFTER_MS, STREAM_METADATA, TRUNCATED,
};
use crate::codec::schema_record::column::{meta_enum, meta_schema, name_list, static_schema};
use crate::codec::schema_record::{KIND_ID_PREFIX, schema_record};
use crate::record::Operation;

/// The schema record of DDL records.
pub fn ddl_schema(options: &JsonOptions) -> Value {
    let mut properties = Map::new();
    let mut required = vec![DDL_TEXT.to_owned()];
    for (field, name) in options.meta.sent() {
        let field_schema = match field {
            MetaField::PrimaryKeys => continue,
            MetaField::OpType => meta_enum(field, &[options.operation_strings.label(Operation::Ddl)]),
            _ => meta_schema(field),
        };
        // A statement need not name a table.
        let of_table =
            matches!(field, MetaField::QualifiedTable | MetaField::Catalog | MetaField::Schema | MetaField::Table);
        if !of_table {
            required.push(name.to_owned());
        }
        properties.insert(name.to_owned(), field_schema);
    }
    for (name, value) in &options.static_fields {
        properties.insert(name.clone(), static_schema(value));
        required.push(name.clone());
    }
    properties.insert(DDL_TEXT.into(), json!({"type": "string"}));
    properties.insert(TRUNCATED.into(), name_list(TRUNCATED));
    schema_record(&format!("{KIND_ID_PREFIX}ddl"), "DDL", Map::new(), properties, required)
}

/// The schema record of heartbeats.
pub fn heartbeat_schema(options: &JsonOptions) -> Value {
    let mut properties = Map::new();
    properties.insert(options.meta.name(MetaField::OpType).into(), meta_enum(MetaField::OpType, &[HEARTBEAT]));
    for field in [MetaField::Pos, MetaField::OpTs] {
        properties.insert(options.meta.name(field).into(), meta_schema(field));
    }
    let required = properties.keys().cloned().collect();
    schema_record(&format!("{KIND_ID_PREFIX}heartbeat"), HEARTBEAT, Map::new(), properties, required)
}

/// The schema record of what a member of a consumer group is told of its partitions.
pub fn group_assignment_schema(options: &JsonOptions) -> Value {
    let mut properties = Map::new();
    properties.insert(options.meta.name(MetaField::OpType).into(), meta_enum(MetaField::OpType, &[GROUP_ASSIGNMENT]));
    properties.insert(options.meta.name(MetaField::OpTs).into(), meta_schema(MetaField::OpTs));
    properties.insert("group".into(), json!({"type": "string"}));
    properties.insert("member".into(), json!({"type": "string"}));
    let partition = json!({"type": "integer", "minimum": 0, "maximum": u16::MAX});
    properties.insert("partitions".into(), json!({"type": "array", "items": partition}));
    let required = properties.keys().cloned().collect();
    schema_record(&format!("{KIND_ID_PREFIX}group_assignment"), GROUP_ASSIGNMENT, Map::new(), properties, required)
}

/// The schema record of `CAUGHT_UP` records.
pub fn caught_up_schema(options: &JsonOptions) -> Value {
    let mut properties = notice_fields(CAUGHT_UP, &CAUGHT_UP_FIELDS, options);
    if let Some(time) = properties.get_mut(options.meta.name(MetaField::OpTs)) {
        time["type"] = json!(["string", "null"]);
    }
    let required = properties.keys().cloned().collect();
    schema_record(&format!("{KIND_ID_PREFIX}caught_up"), CAUGHT_UP, Map::new(), properties, required)
}

/// The schema record of `DRAIN` records.
pub fn drain_schema(options: &JsonOptions) -> Value {
    let mut properties = notice_fields(DRAIN, &DRAIN_FIELDS, options);
    properties.insert(RETRY_AFTER_MS.into(), json!({"type": "integer", "minimum": 0}));
    let required = properties.keys().cloned().collect();
    schema_record(&format!("{KIND_ID_PREFIX}drain"), DRAIN, Map::new(), properties, required)
}

fn notice_fields(op_type: &str, fields: &[MetaField], options: &JsonOptions) -> Map<String, Value> {
    let schema = |field| match field {
        MetaField::OpType => meta_enum(field, &[op_type]),
        _ => meta_schema(field),
    };
    fields.iter().map(|field| (options.meta.name(*field).to_owned(), schema(*field))).collect()
}

/// The schema record of `OBJECT_METADATA` records.
pub fn object_metadata_schema(options: &JsonOptions) -> Value {
    let column = json!({
        "type": "object",
        "properties": {
            "type": {"enum": ["string", "number", "boolean", "object", "array"]},
            "null": {"type": "boolean"},
            "key": {"type": "boolean"},
            "sqlType": {"type": "string"},
        },
        "required": ["type", "null", "key"],
        "additionalProperties": false,
    });
    let mut definitions = Map::new();
    definitions.insert("column".into(), column);
    let mut properties = Map::new();
    properties.insert(options.meta.name(MetaField::OpType).into(), meta_enum(MetaField::OpType, &[OBJECT_METADATA]));
    let table = meta_schema(MetaField::QualifiedTable);
    properties.insert(options.meta.name(MetaField::QualifiedTable).into(), table);
    properties
        .insert("columns".into(), json!({"type": "object", "additionalProperties": {"$ref": "#/definitions/column"}}));
    let required = properties.keys().cloned().collect();
    schema_record(&format!("{KIND_ID_PREFIX}object_metadata"), OBJECT_METADATA, definitions, properties, required)
}

/// The schema record of `STREAM_METADATA`.
pub fn stream_metadata_schema(options: &JsonOptions) -> Value {
    let mut properties = Map::new();
    properties.insert(options.meta.name(MetaField::OpType).into(), meta_enum(MetaField::OpType, &[STREAM_METADATA]));
    properties.insert("producer".into(), texts(&["name", "version"]));
    properties.insert("database".into(), texts(&["name", "version", "charset", "timeZone"]));
    properties.insert("machine".into(), texts(&["node", "system", "release", "version", "hardware"]));
    let mut source = texts(&["file", "uri", "uriHistory", "creationTime", "compatibility"]);
    source["properties"]["uriHistory"] = json!({"type": "array", "items": {"type": "string"}});
    properties.insert("source".into(), source);
    let required = properties.keys().cloned().collect();
    schema_record(&format!("{KIND_ID_PREFIX}stream_metadata"), STREAM_METADATA, Map::new(), properties, required)
}

fn texts(names: &[&str]) -> Value {
    let properties: Map<_, _> = names.iter().map(|name| ((*name).to_owned(), json!({"type": "string"}))).collect();
    json!({"type": "object", "properties": properties, "required": names, "additionalProperties": false})
}
