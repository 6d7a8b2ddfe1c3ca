//! Messages of one record each (`trailcast.framing: "record"`): told apart by `discriminator` and `const`.

use serde_json::{Map, Value, json};

use super::names::{identify, pascal_case};
use super::payload::{Kind, message, reference, schema_name};
use super::{DocumentInput, examples};
use crate::codec::cloudevents::EventContext;
use crate::codec::json::{
    CAUGHT_UP, DRAIN, GROUP_ASSIGNMENT, HEARTBEAT, MetaField, Model, OBJECT_METADATA, STREAM_METADATA,
};
use crate::codec::schema_record::DRAFT_04;
use crate::record::Operation;

/// A value by which a client knows a message: what follows the kind in the message's name, the member, its value.
type Sign = (String, String, String);

pub(super) fn messages(input: &DocumentInput<'_>, kinds: &[Kind]) -> Map<String, Value> {
    let mut messages = Map::new();
    let mut examples: std::collections::HashMap<_, _> = examples::records(input).into_iter().collect();
    for kind in kinds {
        let schema = reference(&schema_name(input, kind));
        let signs = signs(input, kind);
        for (suffix, member, value) in &signs {
            let name = format!("{}{suffix}", kind.name);
            let mut payload = json!({
                "type": "object",
                "discriminator": member,
                "properties": {member.as_str(): {"type": "string", "const": value}},
                "required": [member],
                "allOf": [schema],
            });
            identify(&mut payload, &format!("Payload{name}"), &mut std::collections::HashSet::new());
            let summary = format!("One record whose {member} is {value}");
            let example = examples.remove(name.as_str());
            messages.insert(name.clone(), message(&name, &summary, payload, example));
        }
        if let Some(name) = unsigned(input, kind, &signs) {
            let known: Vec<_> = signs.iter().map(|(_, member, value)| known_by(member, value)).collect();
            let mut payload = json!({"$id": format!("Payload{name}"), "allOf": [schema]});
            if !known.is_empty() {
                payload["not"] = json!({"anyOf": known});
            }
            messages.insert(name.clone(), message(&name, "A record that no member tells from others", payload, None));
        }
    }
    messages
}

fn known_by(member: &str, value: &str) -> Value {
    json!({"required": [member], "properties": {member: {"enum": [value]}}})
}

fn signs(input: &DocumentInput<'_>, kind: &Kind) -> Vec<Sign> {
    if let Some(prefix) = input.event_type_prefix {
        let context = EventContext::new(input.stream, prefix);
        let several = kind.events.len() > 1;
        let sign = |event: &crate::codec::cloudevents::EventKind| {
            let last = event.as_str().rsplit('.').next().unwrap_or_default();
            let suffix = if several { pascal_case(last) } else { String::new() };
            (suffix, "type".to_owned(), context.event_type(*event))
        };
        return kind.events.iter().map(sign).collect();
    }
    let op_type = input.options.meta.name(MetaField::OpType);
    let by_op_type = |suffix: &str, value: &str| (suffix.to_owned(), op_type.to_owned(), value.to_owned());
    let strings = &input.options.operation_strings;
    match kind.name {
        "StreamMetadataRecord" => vec![by_op_type("", STREAM_METADATA)],
        "ObjectMetadataRecord" => vec![by_op_type("", OBJECT_METADATA)],
        "GroupAssignmentRecord" => vec![by_op_type("", GROUP_ASSIGNMENT)],
        "HeartbeatRecord" => vec![by_op_type("", HEARTBEAT)],
        "CaughtUpRecord" => vec![by_op_type("", CAUGHT_UP)],
        "DrainRecord" => vec![by_op_type("", DRAIN)],
        "SchemaRecord" => vec![(String::new(), "$schema".to_owned(), DRAFT_04.to_owned())],
        _ if !input.options.meta.is_sent(MetaField::OpType) => Vec::new(),
        "DdlRecord" => vec![by_op_type("", strings.label(Operation::Ddl))],
        _ => {
            let mut signs: Vec<Sign> = Vec::new();
            for operation in Operation::ALL.into_iter().filter(|operation| *operation != Operation::Ddl) {
                let label = strings.label(operation);
                if signs.iter().all(|(_, _, known)| known != label) {
                    signs.push(by_op_type(&pascal_case(&operation.as_str().to_ascii_lowercase()), label));
                }
            }
            signs
        }
    }
}

/// The message of records that no sign tells: those without an operation, and, at record level, those whose table has a
/// column of that name.
fn unsigned(input: &DocumentInput<'_>, kind: &Kind, signs: &[Sign]) -> Option<String> {
    let columns_beside = input.options.model == Model::Row || input.options.flatten.is_some();
    let displaced = kind.name == "DmlRecord" && columns_beside && input.event_type_prefix.is_none();
    if signs.is_empty() {
        return Some(kind.name.to_owned());
    }
    displaced.then(|| format!("{}Other", kind.name))
}
