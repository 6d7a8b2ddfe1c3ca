//! The message and its schemas: the kinds of record, mutually exclusive under the stream's own options, and the tables.

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::names::{identify, pascal_case, unique};
use super::{DocumentInput, examples, single};
use crate::codec::cloudevents::{EventContext, EventKind};
use crate::codec::json::{JsonOptions, MetaField, Model, TRUNCATED, UNCHANGED};
use crate::codec::schema_record::{
    DRAFT_04, caught_up_schema, ddl_schema, dml_properties, drain_schema, group_assignment_schema, heartbeat_schema,
    meta_field_enum, meta_field_schema, object_metadata_schema, static_field_schema, stream_metadata_schema,
};
use crate::limits;
use crate::record::{Operation, TableSchema};

/// A kind of record: the name of its schema, and which events hold it.
pub(super) struct Kind {
    pub(super) name: &'static str,
    schema: Value,
    pub(super) events: Vec<EventKind>,
}

/// The messages: one of arrays of records; or, where a message is one record, one for each value of the member that
/// tells them apart, which is what AsyncAPI's generated clients choose a handler by.
pub(super) fn messages(input: &DocumentInput<'_>) -> Map<String, Value> {
    let kinds = kinds(input);
    if input.record_framing {
        return single::messages(input, &kinds);
    }
    let refs: Vec<_> = kinds.iter().map(|kind| reference(&schema_name(input, kind))).collect();
    let payload = json!({
        "$id": "RecordsPayload", "type": "array", "items": {"$id": "RecordsPayloadItem", "oneOf": refs},
    });
    let example = examples::records(input).into_iter().map(|(_, record)| record).collect();
    let summary = "Records in commit order; what a message holds together means nothing";
    Map::from_iter([("Records".to_owned(), message("Records", summary, payload, Some(example)))])
}

pub(super) fn message(name: &str, summary: &str, payload: Value, example: Option<Value>) -> Value {
    let mut message = json!({
        "name": name,
        "title": name,
        "summary": summary,
        "contentType": "application/json",
        "payload": payload,
    });
    if let Some(example) = example {
        message["examples"] = json!([{"name": format!("{name}Example"), "payload": example}]);
    }
    message
}

/// What a record is sent as: itself, or the event around it.
pub(super) fn schema_name(input: &DocumentInput<'_>, kind: &Kind) -> String {
    let suffix = if input.event_type_prefix.is_some() { "Event" } else { "" };
    format!("{}{suffix}", kind.name)
}

/// Every schema of the document.
pub(super) fn schemas(input: &DocumentInput<'_>) -> Map<String, Value> {
    let mut schemas = Map::new();
    let mut taken = HashSet::new();
    for kind in kinds(input) {
        let mut schema = kind.schema;
        identify(&mut schema, kind.name, &mut taken);
        schemas.insert(kind.name.to_owned(), schema);
        if let Some(prefix) = input.event_type_prefix {
            let name = format!("{}Event", kind.name);
            let mut event = event_schema(&EventContext::new(input.stream, prefix), kind.name, &kind.events);
            identify(&mut event, &name, &mut taken);
            schemas.insert(name, event);
        }
    }
    let mut columns = 0;
    let within_limits = |table: &&Arc<TableSchema>| {
        columns += table.columns.len();
        columns <= limits::ASYNCAPI_COLUMNS_MAX
    };
    for table in input.tables.iter().take(limits::ASYNCAPI_TABLES_MAX).take_while(within_limits) {
        let title = table.table.to_string();
        let mut schema = json!({
            "type": "object",
            "title": title,
            "properties": dml_properties(table, input.options),
        });
        let name = unique(format!("Table{}", pascal_case(&title)), &mut taken);
        taken.remove(&name.to_ascii_lowercase());
        identify(&mut schema, &name, &mut taken);
        schemas.insert(name, schema);
    }
    schemas
}

pub(super) fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

/// Every kind of record under these options with its schema, which stands for itself. Rows are those of the op model.
pub fn record_kinds(options: &JsonOptions) -> Vec<(&'static str, Value)> {
    kinds_under(options, [true; 3]).into_iter().map(|kind| (kind.name, kind.schema)).collect()
}

fn kinds(input: &DocumentInput<'_>) -> Vec<Kind> {
    kinds_under(input.options, [input.heartbeat, input.caught_up, input.drain])
}

fn kinds_under(options: &JsonOptions, [heartbeat, caught_up, drain]: [bool; 3]) -> Vec<Kind> {
    let kind = |name, schema, events| Kind { name, schema, events };
    let mut kinds = vec![kind("DdlRecord", inlined(ddl_schema(options)), vec![EventKind::Record(Operation::Ddl)])];
    if heartbeat {
        kinds.push(kind("HeartbeatRecord", inlined(heartbeat_schema(options)), vec![EventKind::Heartbeat]));
    }
    let assignment = inlined(group_assignment_schema(options));
    kinds.push(kind("GroupAssignmentRecord", assignment, vec![EventKind::GroupAssignment]));
    if caught_up {
        kinds.push(kind("CaughtUpRecord", inlined(caught_up_schema(options)), vec![EventKind::CaughtUp]));
    }
    if drain {
        kinds.push(kind("DrainRecord", inlined(drain_schema(options)), vec![EventKind::Drain]));
    }
    if options.stream_metadata {
        let schema = inlined(stream_metadata_schema(options));
        kinds.push(kind("StreamMetadataRecord", schema, vec![EventKind::StreamMetadata]));
    }
    if options.object_metadata {
        let schema = inlined(object_metadata_schema(options));
        kinds.push(kind("ObjectMetadataRecord", schema, vec![EventKind::ObjectMetadata]));
    }
    if options.schema_records {
        kinds.push(kind("SchemaRecord", schema_record_schema(), vec![EventKind::Schema]));
    }
    let others: Vec<_> = kinds.iter().map(|kind| reference(kind.name)).collect();
    let dml = Operation::ALL.into_iter().filter(|operation| *operation != Operation::Ddl);
    let events = dml.map(EventKind::Record).collect();
    kinds.insert(0, kind("DmlRecord", dml_record_schema(options, &others), events));
    kinds
}

/// A schema record as a schema of the document: no `id`, no `$schema`, references within it written out.
fn inlined(mut record: Value) -> Value {
    let definitions = record.get("definitions").cloned().unwrap_or_default();
    if let Some(members) = record.as_object_mut() {
        for member in ["id", "$schema", "definitions"] {
            members.shift_remove(member);
        }
    }
    inline_refs(&mut record, &definitions);
    record
}

fn inline_refs(value: &mut Value, definitions: &Value) {
    let target = value.get("$ref").and_then(Value::as_str).and_then(|path| path.strip_prefix("#/definitions/"));
    if let Some(definition) = target.and_then(|name| definitions.get(name)) {
        *value = definition.clone();
        return;
    }
    match value {
        Value::Object(members) => members.values_mut().for_each(|inner| inline_refs(inner, definitions)),
        Value::Array(values) => values.iter_mut().for_each(|inner| inline_refs(inner, definitions)),
        _ => {}
    }
}

/// DML of any table. In the op model the members are known. At record level a column may have any name, a metadata
/// field's included, so there it is told by being none of the others.
fn dml_record_schema(options: &JsonOptions, others: &[Value]) -> Value {
    if options.model == Model::Row || options.flatten.is_some() {
        return json!({
            "type": "object",
            "title": "DML",
            "description": "A row's columns beside the metadata fields",
            "additionalProperties": true,
            "not": {"anyOf": others},
        });
    }
    let mut properties = Map::new();
    let mut required = Vec::new();
    for (field, name) in options.meta.sent() {
        let schema = match field {
            MetaField::OpType => meta_field_enum(field, &options.operation_strings.dml_labels()),
            _ => meta_field_schema(field),
        };
        // A table of one part has no schema.
        if !matches!(field, MetaField::Catalog | MetaField::Schema) {
            required.push(name.to_owned());
        }
        properties.insert(name.to_owned(), schema);
    }
    for (name, value) in &options.static_fields {
        properties.insert(name.clone(), static_field_schema(value));
        required.push(name.clone());
    }
    for image in [&options.before_name, &options.after_name] {
        properties.insert(image.clone(), json!({"type": "object", "additionalProperties": true}));
    }
    for list in [UNCHANGED, TRUNCATED] {
        properties.insert(list.into(), json!({"type": "array", "items": {"type": "string"}}));
    }
    json!({
        "type": "object",
        "title": "DML",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

fn schema_record_schema() -> Value {
    json!({
        "type": "object",
        "title": "Schema record",
        "properties": {
            "id": {"type": "string"},
            "title": {"type": "string"},
            "$schema": {"enum": [DRAFT_04]},
            "type": {"enum": ["object"]},
            "definitions": {"type": "object"},
            "properties": {"type": "object"},
            "required": {"type": "array", "items": {"type": "string"}},
            "additionalProperties": {"type": "boolean"},
        },
        "required": ["id", "title", "$schema", "type", "definitions", "properties", "additionalProperties"],
        "additionalProperties": false,
    })
}

fn event_schema(context: &EventContext, data: &str, events: &[EventKind]) -> Value {
    let types: Vec<_> = events.iter().map(|kind| context.event_type(*kind)).collect();
    json!({
        "type": "object",
        "title": format!("CloudEvent of a {data}"),
        "properties": {
            "specversion": {"enum": ["1.0"]},
            "id": {"type": "string"},
            "source": {"type": "string"},
            "type": {"enum": types},
            "time": {"type": "string", "format": "date-time"},
            "subject": {"type": "string"},
            "datacontenttype": {"enum": ["application/json"]},
            "partitionkey": {"type": "string"},
            "sequence": {"type": "string"},
            "data": reference(data),
        },
        "required": ["specversion", "id", "source", "type", "datacontenttype", "data"],
        "additionalProperties": false,
    })
}
