//! The hash of a stream's source and rules that its positions carry.

use serde_json::Value;

use crate::codec::json_text::push_string;
use crate::codec::token::ContractHash;

/// CRC-32C of source and rules as given, in canonical form. Encoding and buffer size change no position.
pub(super) fn contract_hash(given: &Value) -> ContractHash {
    let mut text = Vec::new();
    for member in ["source", "rules"] {
        push_canonical(&mut text, given.get(member).unwrap_or(&Value::Null));
        text.push(b'\n');
    }
    ContractHash(crc32c::crc32c(&text))
}

/// Compact, members in the order of their names.
fn push_canonical(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Object(members) => {
            let mut sorted: Vec<_> = members.iter().collect();
            sorted.sort_unstable_by_key(|(name, _)| *name);
            out.push(b'{');
            for (name, value) in sorted {
                push_string(out, name);
                out.push(b':');
                push_canonical(out, value);
                out.push(b',');
            }
            out.push(b'}');
        }
        Value::Array(values) => {
            out.push(b'[');
            for value in values {
                push_canonical(out, value);
                out.push(b',');
            }
            out.push(b']');
        }
        Value::String(text) => push_string(out, text),
        Value::Null | Value::Bool(_) | Value::Number(_) => out.extend_from_slice(value.to_string().as_bytes()),
    }
}
