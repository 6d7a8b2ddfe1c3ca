//! What is said of a stream's records before they come: by its AsyncAPI document, and by schema records.

use std::collections::HashMap;
use std::sync::Arc;

use jsonschema::{Draft, Validator};
use serde_json::{Value, json};

use trailcast::catalog::stream::{Grouping, StreamConfig};
use trailcast::codec::asyncapi::{DocumentInput, DocumentLayout, SecurityScheme, document};
use trailcast::record::TableSchema;

use super::heard::stream;

/// Kinds of record, as the document names them.
const KINDS: [&str; 9] = [
    "DmlRecord",
    "DdlRecord",
    "HeartbeatRecord",
    "CaughtUpRecord",
    "DrainRecord",
    "GroupAssignmentRecord",
    "StreamMetadataRecord",
    "ObjectMetadataRecord",
    "SchemaRecord",
];

/// The document of a stream with this configuration.
pub fn document_of(config: &StreamConfig, tables: &[TableSchema], layout: DocumentLayout) -> Value {
    let stream = stream();
    let tables: Vec<_> = tables.iter().cloned().map(Arc::new).collect();
    let input = DocumentInput {
        stream: stream.as_str(),
        description: config.description.as_deref(),
        options: &config.json,
        event_type_prefix: config.cloud_events.then_some(config.cloud_events_type_prefix.as_str()),
        record_framing: config.framing == Grouping::Record,
        heartbeat: config.heartbeat_seconds.is_some(),
        caught_up: config.caught_up,
        drain: config.drain,
        host: "localhost:9002",
        secure: false,
        path: "/services/v2/stream/s-1",
        security: &[SecurityScheme::Basic],
        tables: &tables,
    };
    document(&input, layout)
}

/// The kinds of record in a document, each with its validator.
pub struct Described(Vec<(String, Validator)>);

impl Described {
    /// Reads a document as AsyncAPI does: references from its root, `$id`s only names.
    pub fn read(document: &Value) -> Self {
        let mut document = document.clone();
        strip_ids(&mut document);
        let messages = document["components"]["messages"].as_object().unwrap();
        let records = &messages.values().next().unwrap()["payload"];
        let kinds: Vec<(String, Value)> = if records["type"] == "array" {
            assert_eq!(messages.len(), 1);
            let items = records["items"]["oneOf"].as_array().unwrap();
            let name = |item: &Value| item["$ref"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
            items.iter().map(|item| (name(item), item.clone())).collect()
        } else {
            messages.iter().map(|(name, message)| (name.clone(), message["payload"].clone())).collect()
        };
        let examples =
            messages.values().flat_map(|message| message["examples"].as_array().cloned().unwrap_or_default());
        let examples = examples.map(|example| example["payload"].clone()).collect::<Vec<_>>();
        let compile = |(name, schema): (String, Value)| {
            let schema = json!({"allOf": [schema], "components": document["components"]});
            let validator = jsonschema::options().with_draft(Draft::Draft7).build(&schema);
            (name, validator.unwrap_or_else(|error| panic!("{error}: {document:#}")))
        };
        let described = Self(kinds.into_iter().map(compile).collect());
        for example in examples {
            let records = example.as_array().cloned().unwrap_or_else(|| vec![example]);
            for record in &records {
                let _ = described.kind_of(record);
            }
        }
        described
    }

    /// The one kind that a record is of.
    pub fn kind_of(&self, record: &Value) -> &'static str {
        let matching: Vec<_> = self.0.iter().filter(|(_, kind)| kind.is_valid(record)).map(|(name, _)| name).collect();
        let [name] = matching.as_slice() else { panic!("{record:#} is of the kinds {matching:?}") };
        KINDS.into_iter().find(|kind| name.starts_with(kind)).unwrap()
    }
}

fn strip_ids(value: &mut Value) {
    match value {
        Value::Object(members) => {
            if members.get("$id").is_some_and(Value::is_string) {
                members.shift_remove("$id");
            }
            members.values_mut().for_each(strip_ids);
        }
        Value::Array(values) => values.iter_mut().for_each(strip_ids),
        _ => {}
    }
}

/// The schema records that one connection has heard.
#[derive(Default)]
pub struct SchemasHeard {
    fixed: HashMap<String, Validator>,
    tables: HashMap<String, Validator>,
}

impl SchemasHeard {
    /// Takes a schema record, which must be a draft-04 schema.
    pub fn take(&mut self, record: &Value) {
        assert!(jsonschema::draft4::meta::is_valid(record), "no draft-04 schema: {record:#}");
        let validator = jsonschema::options().with_draft(Draft::Draft4).build(record).unwrap();
        let (id, title) = (record["id"].as_str().unwrap(), record["title"].as_str().unwrap());
        match id.strip_prefix("trailcast:schema:") {
            Some(kind) => self.fixed.insert(kind.to_owned(), validator),
            None => self.tables.insert(title.to_owned(), validator),
        };
    }

    /// Holds a record of a table against the last schema record of it.
    pub fn check_row(&self, table: &str, record: &Value) {
        valid(self.tables.get(table), table, record);
    }

    /// Holds a record of another kind against its schema record.
    pub fn check(&self, kind: &str, record: &Value) {
        let id = match kind {
            "DdlRecord" => "ddl",
            "HeartbeatRecord" => "heartbeat",
            "GroupAssignmentRecord" => "group_assignment",
            "CaughtUpRecord" => "caught_up",
            "DrainRecord" => "drain",
            "StreamMetadataRecord" => "stream_metadata",
            _ => "object_metadata",
        };
        valid(self.fixed.get(id), kind, record);
    }
}

fn valid(validator: Option<&Validator>, of: &str, record: &Value) {
    let validator = validator.unwrap_or_else(|| panic!("no schema record of {of} before {record:#}"));
    let errors: Vec<_> = validator.iter_errors(record).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{of}: {errors:?}: {record:#}");
}
