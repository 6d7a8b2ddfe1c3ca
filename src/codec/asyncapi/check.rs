//! Whether a document that somebody wrote is AsyncAPI 3: its frame and its references. What it says of the records is
//! the writer's business.

use serde_json::{Map, Value};

/// Why a document is not AsyncAPI 3.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{member} {what}")]
pub struct InvalidDocument {
    member: String,
    what: &'static str,
}

fn invalid<T>(member: impl Into<String>, what: &'static str) -> Result<T, InvalidDocument> {
    Err(InvalidDocument { member: member.into(), what })
}

/// Checks a document.
pub fn check(document: &Value) -> Result<(), InvalidDocument> {
    let Some(root) = document.as_object() else { return invalid("the document", "must be an object") };
    match root.get("asyncapi").and_then(Value::as_str) {
        Some(version) if is_version_3(version) => {}
        _ => return invalid("asyncapi", "must be a version 3.x.y, as text"),
    }
    let info = object(root, "info")?;
    for member in ["title", "version"] {
        if !info.get(member).is_some_and(Value::is_string) {
            return invalid(format!("info.{member}"), "must be a string");
        }
    }
    for (name, channel) in object(root, "channels")? {
        if !channel.is_object() {
            return invalid(format!("channels.{name}"), "must be an object");
        }
    }
    for (name, operation) in object(root, "operations")? {
        check_operation(&format!("operations.{name}"), operation)?;
    }
    for member in ["servers", "components"] {
        if root.contains_key(member) {
            object(root, member)?;
        }
    }
    check_references(document, document)
}

fn is_version_3(version: &str) -> bool {
    let mut parts = version.split('.');
    let number = |part: Option<&str>| {
        part.is_some_and(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
    };
    parts.next() == Some("3") && number(parts.next()) && number(parts.next()) && parts.next().is_none()
}

fn object<'d>(root: &'d Map<String, Value>, member: &str) -> Result<&'d Map<String, Value>, InvalidDocument> {
    match root.get(member) {
        Some(Value::Object(members)) => Ok(members),
        Some(_) => invalid(member, "must be an object"),
        None => invalid(member, "is required"),
    }
}

fn check_operation(path: &str, operation: &Value) -> Result<(), InvalidDocument> {
    if operation.get("$ref").is_some() {
        return Ok(());
    }
    if !matches!(operation.get("action").and_then(Value::as_str), Some("send" | "receive")) {
        return invalid(format!("{path}.action"), "must be \"send\" or \"receive\"");
    }
    if operation.pointer("/channel/$ref").and_then(Value::as_str).is_none() {
        return invalid(format!("{path}.channel"), "must be a reference to a channel");
    }
    Ok(())
}

/// References within the document must lead somewhere; those to elsewhere are not followed.
fn check_references(document: &Value, within: &Value) -> Result<(), InvalidDocument> {
    match within {
        Value::Object(members) => {
            let target = members.get("$ref").and_then(Value::as_str).and_then(|target| target.strip_prefix('#'));
            if let Some(target) = target
                && document.pointer(target).is_none()
            {
                return invalid(format!("the reference #{target}"), "leads nowhere");
            }
            members.values().try_for_each(|inner| check_references(document, inner))
        }
        Value::Array(values) => values.iter().try_for_each(|inner| check_references(document, inner)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn good() -> Value {
        json!({
            "asyncapi": "3.0.0", "info": {"title": "T", "version": "1"}, "channels": {"c": {"address": "/"}},
            "operations": {"o": {"action": "receive", "channel": {"$ref": "#/channels/c"}}},
        })
    }

    #[test]
    fn a_document_of_version_3_passes_and_each_fault_is_named() {
        assert_eq!(check(&good()), Ok(()));
        for (pointer, value, says) in [
            ("/asyncapi", json!("2.6.0"), "asyncapi"),
            ("/asyncapi", json!(3), "asyncapi"),
            ("/asyncapi", json!("3.0"), "asyncapi"),
            ("/info", json!([]), "info"),
            ("/info/title", json!(1), "info.title"),
            ("/channels", Value::Null, "channels"),
            ("/channels/c", json!(1), "channels.c"),
            ("/operations/o/action", json!("subscribe"), "operations.o.action"),
            ("/operations/o/channel", json!({}), "operations.o.channel"),
            ("/operations/o/channel", json!({"$ref": "#/channels/d"}), "#/channels/d"),
        ] {
            let mut document = good();
            *document.pointer_mut(pointer).unwrap() = value;
            let error = check(&document).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
        assert!(check(&json!("text")).is_err());
    }
}
