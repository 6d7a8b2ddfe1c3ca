//! `STREAM_METADATA` and `OBJECT_METADATA`: what a client hears before rows.

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::codec::json::cell::Sent;
use crate::codec::json::{JsonOptions, MetaField, OBJECT_METADATA, STREAM_METADATA};
use crate::record::{Column, JsonKind, TableSchema};

/// The source's database, as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DatabaseInfo {
    /// Its product, such as `PostgreSQL`.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its character set; what we send is UTF-8.
    pub charset: String,
    /// Its time zone; `op_ts` is in UTC.
    pub time_zone: String,
}

impl Default for DatabaseInfo {
    fn default() -> Self {
        Self { name: "unknown".into(), version: "unknown".into(), charset: "UTF-8".into(), time_zone: "UTC".into() }
    }
}

/// The server's machine. The default is what clients see unless the stream has `exposeHost`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MachineInfo {
    /// Host name.
    pub node: String,
    /// Operating system.
    pub system: String,
    /// Its release.
    pub release: String,
    /// Its version.
    pub version: String,
    /// Processor architecture.
    pub hardware: String,
}

impl Default for MachineInfo {
    fn default() -> Self {
        let hidden = || "hidden".to_owned();
        Self { node: "trailcast".into(), system: hidden(), release: hidden(), version: hidden(), hardware: hidden() }
    }
}

/// The trail behind the stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceInfo {
    /// The trail's name.
    pub file: String,
    /// Where the server is; replaced by a constant unless the stream has `exposeHost`.
    pub uri: String,
    /// Trails this one was made from.
    pub uri_history: Vec<String>,
    /// When the trail was made, RFC 3339.
    pub creation_time: String,
    /// Version of the trail's format.
    pub compatibility: String,
}

/// What `STREAM_METADATA` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamMetadata {
    /// The source's database.
    pub database: DatabaseInfo,
    /// The server's machine; sent only with `exposeHost`.
    pub machine: MachineInfo,
    /// The trail.
    pub source: SourceInfo,
}

/// The `STREAM_METADATA` record. `expose_host`: from `trailcast.exposeHost`.
pub fn stream_metadata(metadata: &StreamMetadata, options: &JsonOptions, expose_host: bool) -> Value {
    let mut source = metadata.source.clone();
    let mut machine = metadata.machine.clone();
    if !expose_host {
        source.uri = format!("trail:{}", source.file);
        source.uri_history = Vec::new();
        machine = MachineInfo::default();
    }
    json!({
        options.meta.name(MetaField::OpType): STREAM_METADATA,
        "producer": {"name": "trailcast", "version": env!("CARGO_PKG_VERSION")},
        "database": metadata.database,
        "machine": machine,
        "source": source,
    })
}

/// The `OBJECT_METADATA` record of a table.
pub fn object_metadata(schema: &TableSchema, options: &JsonOptions) -> Value {
    let mut columns = Map::new();
    for column in &schema.columns {
        let mut facts = json!({
            "type": column_type(column, options),
            "null": column.nullable,
            "key": column.key,
        });
        if !column.sql_type.is_empty() {
            facts["sqlType"] = column.sql_type.clone().into();
        }
        columns.insert(column.name.clone(), facts);
    }
    json!({
        options.meta.name(MetaField::OpType): OBJECT_METADATA,
        options.meta.name(MetaField::QualifiedTable): schema.table.to_string(),
        "columns": columns,
    })
}

/// A column's `type` in `OBJECT_METADATA`: the class of JSON that its values are sent as.
pub fn column_type(column: &Column, options: &JsonOptions) -> &'static str {
    if Sent::of(column, options) == Sent::AsString {
        return "string";
    }
    match column.kind {
        JsonKind::String => "string",
        JsonKind::Number | JsonKind::Float => "number",
        JsonKind::Boolean => "boolean",
        JsonKind::Array => "array",
        JsonKind::Object | JsonKind::Any => "object",
    }
}
