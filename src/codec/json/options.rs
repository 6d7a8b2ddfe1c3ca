//! The options of `encoding.json` (contract section 2.1): members, ranges, defaults, and that no two fields share a name.

use std::collections::HashMap;

use serde_json::{Map, Value};

use crate::codec::json::{
    DDL_TEXT, HEARTBEAT, MetaField, MetaFields, OBJECT_METADATA, STREAM_METADATA, TRUNCATED, UNCHANGED,
};
use crate::codec::member::{ConfigError, Members};
use crate::limits;
use crate::record::Operation;

/// How a record holds its images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Model {
    /// Before and after image, each an object.
    Op,
    /// One image, its columns beside the metadata.
    Row,
}

/// How numeric columns are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decimals {
    /// As JSON numbers, with every digit.
    Number,
    /// As strings, for clients whose numbers are floats.
    String,
}

/// What stands in `op_type` for each operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperationStrings([String; 6]);

impl Default for OperationStrings {
    fn default() -> Self {
        Self(Operation::ALL.map(|operation| operation.as_str().to_owned()))
    }
}

impl OperationStrings {
    /// The operation's label.
    pub fn label(&self, operation: Operation) -> &str {
        self.0.get(operation as usize - 1).map_or("", |label| label)
    }

    /// The labels of all operations but DDL, each once.
    pub fn dml_labels(&self) -> Vec<&str> {
        let mut labels = Vec::new();
        for operation in Operation::ALL.into_iter().filter(|operation| *operation != Operation::Ddl) {
            let label = self.label(operation);
            if !labels.contains(&label) {
                labels.push(label);
            }
        }
        labels
    }

    fn parse(path: &str, value: &Value) -> Result<Self, ConfigError> {
        let members = Members::of(path, value, &Operation::ALL.map(Operation::as_str))?;
        let mut strings = Self::default();
        for (operation, label) in Operation::ALL.into_iter().zip(&mut strings.0) {
            if let Some(text) = members.text(operation.as_str(), 1, limits::FIELD_NAME_CHARS_MAX)? {
                if [STREAM_METADATA, OBJECT_METADATA, HEARTBEAT].contains(&text) {
                    return Err(members.error(operation.as_str(), "is the op_type of another kind of record"));
                }
                text.clone_into(label);
            }
        }
        if strings.dml_labels().contains(&strings.label(Operation::Ddl)) {
            return Err(members.error("DDL", "must differ from the other operations: it tells the kind of a record"));
        }
        Ok(strings)
    }
}

/// How records are written.
#[derive(Debug, Clone, PartialEq)]
pub struct JsonOptions {
    /// Op or row.
    pub model: Model,
    /// Name of the before image.
    pub before_name: String,
    /// Name of the after image.
    pub after_name: String,
    /// Op model only: columns at record level as `before.COL`. Holds the delimiter.
    pub flatten: Option<String>,
    /// Leaves out columns that are NULL.
    pub omit_null: bool,
    /// Makes each value but NULL a string.
    pub all_as_strings: bool,
    /// Fields with a fixed value, in DML and DDL records: name, and value as JSON text.
    pub static_fields: Vec<(String, String)>,
    /// Labels of operations.
    pub operation_strings: OperationStrings,
    /// Whether schema records are sent.
    pub schema_records: bool,
    /// Whether `OBJECT_METADATA` records are sent.
    pub object_metadata: bool,
    /// Whether `STREAM_METADATA` is sent.
    pub stream_metadata: bool,
    /// Longest value of a column, in bytes.
    pub lob_bytes_max: Option<usize>,
    /// Longest text of a statement, in bytes.
    pub ddl_bytes_max: Option<usize>,
    /// Longest record, in bytes.
    pub record_bytes_max: Option<usize>,
    /// Whether what is too long is cut, and listed; otherwise it is an error.
    pub truncate: bool,
    /// Metadata fields.
    pub meta: MetaFields,
    /// From `trailcast.decimals`, which stands outside `encoding.json`.
    pub decimals: Decimals,
}

impl Default for JsonOptions {
    fn default() -> Self {
        Self {
            model: Model::Op,
            before_name: "before".into(),
            after_name: "after".into(),
            flatten: None,
            omit_null: false,
            all_as_strings: false,
            static_fields: Vec::new(),
            operation_strings: OperationStrings::default(),
            schema_records: true,
            object_metadata: true,
            stream_metadata: true,
            lob_bytes_max: None,
            ddl_bytes_max: None,
            record_bytes_max: None,
            truncate: true,
            meta: MetaFields::default(),
            decimals: Decimals::Number,
        }
    }
}

const MEMBERS: [&str; 19] = [
    "$schema",
    "model",
    "beforeImageName",
    "afterImageName",
    "flatten",
    "flattenDelimiter",
    "omitNullColumnValues",
    "treatAllColumnsAsStrings",
    "staticFields",
    "operationStrings",
    "includeJSONSchemaRecord",
    "includeObjectMetadataRecords",
    "includeStreamMetadataRecord",
    "maxLobSize",
    "maxDDLTextSize",
    "maxRecordSize",
    "truncateOrChunk",
    "delimiter",
    "metaFields",
];

/// Members of `STREAM_METADATA` and `OBJECT_METADATA`, beside which the operation and the table stand.
const METADATA_MEMBERS: [&str; 5] = ["producer", "database", "machine", "source", "columns"];

impl JsonOptions {
    /// Reads the object at `path`.
    pub fn parse(path: &str, value: &Value) -> Result<Self, ConfigError> {
        let members = Members::of(path, value, &MEMBERS)?;
        members.choice("$schema", &[("ogg:outputFormatJson", ())])?;
        let mut options = Self::default();
        options.read_model(&members)?;
        options.read_limits(&members)?;
        options.omit_null = members.boolean("omitNullColumnValues", false)?;
        options.all_as_strings = members.boolean("treatAllColumnsAsStrings", false)?;
        options.schema_records = members.boolean("includeJSONSchemaRecord", true)?;
        options.object_metadata = members.boolean("includeObjectMetadataRecords", true)?;
        options.stream_metadata = members.boolean("includeStreamMetadataRecord", true)?;
        members.text("delimiter", 0, limits::IMAGE_NAME_CHARS_MAX)?;
        if let Some(strings) = members.get("operationStrings") {
            options.operation_strings = OperationStrings::parse(&members.path_of("operationStrings"), strings)?;
        }
        if let Some(fields) = members.get("metaFields") {
            options.meta = MetaFields::parse(&members.path_of("metaFields"), fields)?;
        }
        options.static_fields = read_static_fields(&members)?;
        options.check_names(&members)?;
        Ok(options)
    }

    fn read_model(&mut self, members: &Members<'_>) -> Result<(), ConfigError> {
        self.model = members.choice("model", &[("op", Model::Op), ("row", Model::Row)])?.unwrap_or(Model::Op);
        let chars_max = limits::IMAGE_NAME_CHARS_MAX;
        if let Some(name) = members.text("beforeImageName", 1, chars_max)? {
            name.clone_into(&mut self.before_name);
        }
        if let Some(name) = members.text("afterImageName", 1, chars_max)? {
            name.clone_into(&mut self.after_name);
        }
        let delimiter = members.text("flattenDelimiter", 0, chars_max)?.unwrap_or(".");
        // "Op model only": in the row model these members have nothing to act on, and are not an error.
        if members.boolean("flatten", false)? && self.model == Model::Op {
            self.flatten = Some(delimiter.to_owned());
        }
        Ok(())
    }

    fn read_limits(&mut self, members: &Members<'_>) -> Result<(), ConfigError> {
        let in_memory = |bytes: Option<u64>| bytes.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        let lob_bytes_max = members.large_number("maxLobSize", 1, limits::LOB_BYTES_CONFIGURED_MAX)?;
        self.lob_bytes_max = lob_bytes_max.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        self.ddl_bytes_max = in_memory(members.number("maxDDLTextSize", 1, u64::from(u32::MAX))?);
        self.record_bytes_max =
            in_memory(members.number("maxRecordSize", limits::BUFFER_BYTES_MIN, limits::BUFFER_BYTES_MAX)?);
        match members.get("truncateOrChunk").map(Value::as_str) {
            None => {}
            Some(Some("truncate")) => self.truncate = true,
            Some(Some("fail")) => self.truncate = false,
            Some(Some("chunk")) => {
                let message = "\"chunk\" is not supported; only \"truncate\" or \"fail\"";
                return Err(members.error("truncateOrChunk", message));
            }
            Some(_) => return Err(members.error("truncateOrChunk", "must be \"truncate\" or \"fail\"")),
        }
        Ok(())
    }

    /// No two fields of a record may have one name, whatever the tables are.
    fn check_names(&self, members: &Members<'_>) -> Result<(), ConfigError> {
        // Fields that some kind of record always has, and their owners: not to be taken by another.
        let mut taken: HashMap<&str, &str> =
            [(UNCHANGED, "a fixed field"), (TRUNCATED, "a fixed field"), (DDL_TEXT, "a fixed field")].into();
        let always = [MetaField::OpType, MetaField::QualifiedTable, MetaField::OpTs, MetaField::Pos]
            .into_iter()
            .filter(|field| !self.meta.is_sent(*field))
            .map(|field| self.meta.name(field));
        let renamed = self.meta.sent().map(|(_, name)| name).chain(always);
        let images = [self.before_name.as_str(), self.after_name.as_str()];
        let nested = self.model == Model::Op && self.flatten.is_none();
        let named = renamed
            .map(|name| (name, "metaFields"))
            .chain(images.into_iter().filter(|_| nested).map(|name| (name, "an image")))
            .chain(self.static_fields.iter().map(|(name, _)| (name.as_str(), "staticFields")));
        for (name, owner) in named {
            if let Some(first) = taken.insert(name, owner) {
                let member = match owner {
                    "metaFields" | "staticFields" => owner,
                    _ if name == self.after_name => "afterImageName",
                    _ => "beforeImageName",
                };
                return Err(
                    members.error(member, format!("two fields would be named \"{name}\"; the other is {first}"))
                );
            }
        }
        for field in [MetaField::OpType, MetaField::QualifiedTable] {
            if METADATA_MEMBERS.contains(&self.meta.name(field)) {
                let message = format!("a metadata record has a field named \"{}\" already", self.meta.name(field));
                return Err(members.error("metaFields", message));
            }
        }
        self.check_flattened_names(members)
    }

    fn check_flattened_names(&self, members: &Members<'_>) -> Result<(), ConfigError> {
        let Some(delimiter) = &self.flatten else { return Ok(()) };
        let before = format!("{}{delimiter}", self.before_name);
        let after = format!("{}{delimiter}", self.after_name);
        if before.starts_with(&after) || after.starts_with(&before) {
            let message = "columns of the before and the after image could get one name; choose others";
            return Err(members.error("flattenDelimiter", message));
        }
        Ok(())
    }
}

fn read_static_fields(members: &Members<'_>) -> Result<Vec<(String, String)>, ConfigError> {
    let fields = match members.get("staticFields") {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Object(fields)) if fields.len() <= limits::STATIC_FIELDS_MAX => fields,
        Some(_) => {
            let allowed = format!("must be an object of at most {} fields", limits::STATIC_FIELDS_MAX);
            return Err(members.error("staticFields", allowed));
        }
    };
    read_fields(members, fields)
}

fn read_fields(members: &Members<'_>, fields: &Map<String, Value>) -> Result<Vec<(String, String)>, ConfigError> {
    let mut read = Vec::with_capacity(fields.len());
    for (name, value) in fields {
        let text = match value {
            Value::String(text) => crate::codec::json_text::quoted(text),
            Value::Number(_) | Value::Bool(_) => value.to_string(),
            _ => String::new(),
        };
        let name_fits = (1..=limits::FIELD_NAME_CHARS_MAX).contains(&name.chars().count());
        if !name_fits || text.is_empty() || text.len() > limits::STATIC_VALUE_BYTES_MAX {
            let allowed = format!(
                "a field has a name of 1 to {} characters and a string, number or boolean of at most {} bytes",
                limits::FIELD_NAME_CHARS_MAX,
                limits::STATIC_VALUE_BYTES_MAX
            );
            return Err(members.error(&format!("staticFields.{name}"), allowed));
        }
        read.push((name.clone(), text));
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn error_of(value: Value) -> String {
        JsonOptions::parse("encoding.json", &value).unwrap_err().member
    }

    #[test]
    fn nothing_given_is_the_default() {
        assert_eq!(JsonOptions::parse("encoding.json", &json!({})).unwrap(), JsonOptions::default());
    }

    #[test]
    fn every_violation_names_its_member() {
        for (value, member) in [
            (json!({"models": "op"}), "models"),
            (json!({"model": "tree"}), "model"),
            (json!({"beforeImageName": ""}), "beforeImageName"),
            (json!({"afterImageName": "x".repeat(33)}), "afterImageName"),
            (json!({"flatten": "yes"}), "flatten"),
            (json!({"flattenDelimiter": "x".repeat(33)}), "flattenDelimiter"),
            (json!({"omitNullColumnValues": 1}), "omitNullColumnValues"),
            (json!({"staticFields": []}), "staticFields"),
            (json!({"staticFields": {"a": null}}), "staticFields.a"),
            (json!({"operationStrings": {"MERGE": "M"}}), "operationStrings.MERGE"),
            (json!({"operationStrings": {"INSERT": "HEARTBEAT"}}), "operationStrings.INSERT"),
            (json!({"operationStrings": {"INSERT": "DDL"}}), "operationStrings.DDL"),
            (json!({"maxRecordSize": 131_071}), "maxRecordSize"),
            (json!({"maxRecordSize": 10_485_761}), "maxRecordSize"),
            (json!({"maxLobSize": 0}), "maxLobSize"),
            (json!({"maxDDLTextSize": -1}), "maxDDLTextSize"),
            (json!({"maxLobSize": 18_446_744_073_709_552_001_u128}), "maxLobSize"),
            (json!({"truncateOrChunk": "chunk"}), "truncateOrChunk"),
            (json!({"truncateOrChunk": null}), "truncateOrChunk"),
            (json!({"$schema": "ogg:dataStream"}), "$schema"),
            (json!({"metaFields": {"env": true}}), "metaFields.env"),
            (json!({"metaFields": {"sys": "s"}}), "metaFields.sys"),
            (json!({"metaFields": {"pos": 1}}), "metaFields.pos"),
            (json!({"metaFields": {"position": true}}), "metaFields.position"),
        ] {
            assert_eq!(error_of(value.clone()), format!("encoding.json.{member}"), "{value}");
        }
    }

    #[test]
    fn a_limit_alone_cuts_and_fail_is_asked_for_by_name() {
        let cuts = |value| JsonOptions::parse("encoding.json", &value).unwrap().truncate;
        assert!(cuts(json!({"maxLobSize": 64_000})));
        assert!(cuts(json!({"maxLobSize": 64_000, "truncateOrChunk": "truncate"})));
        assert!(!cuts(json!({"maxLobSize": 64_000, "truncateOrChunk": "fail"})));
        let unset = JsonOptions::parse("encoding.json", &json!({})).unwrap();
        assert_eq!((unset.lob_bytes_max, unset.ddl_bytes_max, unset.record_bytes_max), (None, None, None));
    }

    #[test]
    fn two_fields_of_one_name_are_refused() {
        for (value, member) in [
            (json!({"beforeImageName": "after"}), "afterImageName"),
            (json!({"beforeImageName": "pos"}), "beforeImageName"),
            (json!({"metaFields": {"xid": "pos"}}), "metaFields"),
            (json!({"metaFields": {"xid": "unchanged"}}), "metaFields"),
            (json!({"metaFields": {"pos": false, "xid": "pos"}}), "metaFields"),
            (json!({"metaFields": {"opType": "columns"}}), "metaFields"),
            (json!({"staticFields": {"op_ts": "x"}}), "staticFields"),
            (json!({"staticFields": {"ddl": "x"}}), "staticFields"),
            (
                json!({"flatten": true, "flattenDelimiter": "", "beforeImageName": "a", "afterImageName": "ab"}),
                "flattenDelimiter",
            ),
            (json!({"flatten": true, "beforeImageName": "a", "afterImageName": "a"}), "flattenDelimiter"),
        ] {
            assert_eq!(error_of(value.clone()), format!("encoding.json.{member}"), "{value}");
        }
        let row = json!({"model": "row", "beforeImageName": "after"});
        assert!(JsonOptions::parse("encoding.json", &row).is_ok(), "the row model has no image names");
    }
}
