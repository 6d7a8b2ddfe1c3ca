//! The configuration as a JSON Schema (draft-04), for the metadata catalog. It agrees with the checks of this module
//! but for what a schema cannot say: that two fields would get one name, and that a pattern compiles.

use serde_json::{Map, Value, json};

use super::rule::{COMPARISONS, OPERATION_WORDS};
use crate::codec::json::{HEARTBEAT, MetaFields, OBJECT_METADATA, STREAM_METADATA};
use crate::limits;
use crate::record::Operation;

/// The schema of `ogg:dataStream`.
pub fn config_schema() -> Value {
    json!({
        "id": "ogg:dataStream",
        "$schema": "http://json-schema.org/draft-04/schema#",
        "title": "dataStream",
        "description": "The configuration of a data stream",
        "type": "object",
        "properties": {
            "$schema": {"enum": ["ogg:dataStream"]},
            "source": source(),
            "description": text(0, limits::DESCRIPTION_CHARS_MAX),
            "rules": {"type": "array", "minItems": 1, "maxItems": limits::RULES_MAX, "items": rule()},
            "encoding": {"oneOf": [
                {"enum": ["json"]},
                {"type": "object", "properties": {"json": encoding()}, "required": ["json"], "additionalProperties": false},
            ]},
            "bufferSize": number(limits::BUFFER_BYTES_MIN, limits::BUFFER_BYTES_MAX, Some(limits::BUFFER_BYTES_DEFAULT)),
            "qualityOfService": {"enum": ["exactlyOnce", "atLeastOnce", "atMostOnce"], "default": "exactlyOnce"},
            "cloudEventsFormat": flag(false),
            "tcpKeepAliveTimeout":
                number(1, limits::TCP_KEEP_ALIVE_SECONDS_MAX, Some(limits::TCP_KEEP_ALIVE_SECONDS_DEFAULT)),
            "trailcast": extensions(),
        },
        "required": ["source"],
        "additionalProperties": false,
    })
}

fn text(min: usize, max: usize) -> Value {
    json!({"type": "string", "minLength": min, "maxLength": max})
}

fn number(min: u64, max: impl Into<u128>, default: Option<u64>) -> Value {
    let mut schema = json!({"type": "integer", "minimum": min, "maximum": max.into()});
    if let Some(default) = default {
        schema["default"] = default.into();
    }
    schema
}

fn flag(default: bool) -> Value {
    json!({"type": "boolean", "default": default})
}

fn object(properties: Value, required: &[&str]) -> Value {
    let mut schema = json!({"type": "object", "properties": properties, "additionalProperties": false});
    if !required.is_empty() {
        schema["required"] = json!(required);
    }
    schema
}

/// A list of 1 to the most values that a rule takes.
fn values(items: Value) -> Value {
    json!({"type": "array", "minItems": 1, "maxItems": limits::RULE_VALUES_MAX, "items": items})
}

fn source() -> Value {
    let mut trail = text(limits::TRAIL_NAME_CHARS_MIN, limits::TRAIL_REFERENCE_CHARS_MAX);
    trail["pattern"] = json!("^[a-zA-Z0-9_#$/-]*$");
    object(json!({"trail": trail}), &["trail"])
}

fn extensions() -> Value {
    let mut prefix = text(1, limits::FIELD_NAME_CHARS_MAX);
    prefix["pattern"] = json!("^[A-Za-z0-9._-]*$");
    prefix["default"] = json!(super::TYPE_PREFIX_DEFAULT);
    let properties = json!({
        "framing": {"enum": ["array", "record"], "default": "array"},
        "heartbeat": number(1, limits::HEARTBEAT_SECONDS_MAX, None),
        "caughtUp": flag(false),
        "drain": flag(false),
        "decimals": {"enum": ["number", "string"], "default": "number"},
        "cloudEventsTypePrefix": prefix,
        "exposeHost": flag(false),
    });
    object(properties, &[])
}

fn encoding() -> Value {
    let image = |default: &str| {
        let mut name = text(1, limits::IMAGE_NAME_CHARS_MAX);
        name["default"] = json!(default);
        name
    };
    let mut delimiter = text(0, limits::IMAGE_NAME_CHARS_MAX);
    delimiter["default"] = json!(".");
    let properties = json!({
        "$schema": {"enum": ["ogg:outputFormatJson"]},
        "model": {"enum": ["op", "row"], "default": "op"},
        "beforeImageName": image("before"),
        "afterImageName": image("after"),
        "flatten": flag(false),
        "flattenDelimiter": delimiter,
        "omitNullColumnValues": flag(false),
        "treatAllColumnsAsStrings": flag(false),
        "staticFields": static_fields(),
        "operationStrings": operation_strings(),
        "includeJSONSchemaRecord": flag(true),
        "includeObjectMetadataRecords": flag(true),
        "includeStreamMetadataRecord": flag(true),
        "maxLobSize": number(1, limits::LOB_BYTES_CONFIGURED_MAX, None),
        "maxDDLTextSize": number(1, u32::MAX, None),
        "maxRecordSize": number(limits::BUFFER_BYTES_MIN, limits::BUFFER_BYTES_MAX, None),
        "truncateOrChunk": {"enum": ["truncate", "fail"], "default": "truncate"},
        "delimiter": text(0, limits::IMAGE_NAME_CHARS_MAX),
        "metaFields": meta_fields(),
    });
    object(properties, &[])
}

fn static_fields() -> Value {
    json!({
        "type": ["object", "null"],
        "maxProperties": limits::STATIC_FIELDS_MAX,
        "patternProperties": {
            format!("^[\\s\\S]{{1,{}}}$", limits::FIELD_NAME_CHARS_MAX): {
                "type": ["string", "number", "boolean"],
                "maxLength": limits::STATIC_VALUE_BYTES_MAX - 2,
            },
        },
        "additionalProperties": false,
    })
}

fn operation_strings() -> Value {
    let mut label = text(1, limits::FIELD_NAME_CHARS_MAX);
    label["not"] = json!({"enum": [STREAM_METADATA, OBJECT_METADATA, HEARTBEAT]});
    let labels: Map<_, _> = Operation::ALL.iter().map(|one| (one.as_str().to_owned(), label.clone())).collect();
    object(labels.into(), &[])
}

fn meta_fields() -> Value {
    let field = |on: bool| json!({"default": on, "anyOf": [{"type": ["boolean", "null"]}, text(1, limits::FIELD_NAME_CHARS_MAX)]});
    let mut fields: Map<_, _> = MetaFields::members().map(|(member, on)| (member.to_owned(), field(on))).collect();
    for refused in ["env", "sys"] {
        fields.insert(refused.to_owned(), json!({"enum": [false, null], "default": null}));
    }
    object(fields.into(), &[])
}

fn rule() -> Value {
    let chars_max = limits::RULE_TEXT_CHARS_MAX;
    let filter = json!({
        "objectNames": values(text(1, chars_max)),
        "objectTypes": values(json!({"enum": OPERATION_WORDS})),
        "operationTypes": values(json!({"enum": OPERATION_WORDS})),
        "columnValues": values(condition("column", json!({
            "table": text(1, chars_max),
            "image": {"enum": ["after", "before", "either"], "default": "after"},
        }))),
        "userTokens": values(condition("name", json!({}))),
        "tags": values(json!({"anyOf": [text(1, chars_max), condition("name", json!({}))]})),
        "partitionNames": values(text(1, chars_max)),
    });
    let properties = json!({
        "name": text(1, chars_max),
        "description": text(0, limits::DESCRIPTION_CHARS_MAX),
        "action": {"enum": ["include", "exclude"]},
        "filter": object(filter, &[]),
    });
    object(properties, &["action", "filter"])
}

/// A comparison; `ISNULL` and `NOTNULL` take no value, the others need one.
fn condition(subject: &str, more: Value) -> Value {
    let chars_max = limits::RULE_TEXT_CHARS_MAX;
    let operators: Vec<_> = COMPARISONS.iter().map(|(word, _)| *word).collect();
    let mut properties = json!({
        subject: text(1, chars_max),
        "operator": {"enum": operators},
        "value": {"anyOf": [text(0, chars_max), {"type": ["number", "boolean", "null"]}]},
    });
    if let (Some(properties), Value::Object(more)) = (properties.as_object_mut(), more) {
        properties.extend(more);
    }
    let mut schema = object(properties, &[subject, "operator"]);
    let alone = json!({"enum": ["ISNULL", "NOTNULL"]});
    let absent = json!({"type": "null"});
    schema["oneOf"] = json!([
        {"properties": {"operator": alone, "value": absent}},
        {"properties": {"operator": {"not": alone}, "value": {"not": absent}}, "required": ["value"]},
    ]);
    schema
}
