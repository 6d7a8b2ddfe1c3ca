//! The hash of a stream's source and rules that its positions carry.

use serde_json::{Number, Value};

use crate::codec::decimal::Decimal;
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
        Value::Number(number) => out.extend_from_slice(canonical_number(number).as_bytes()),
        Value::Null | Value::Bool(_) => out.extend_from_slice(value.to_string().as_bytes()),
    }
}

/// A number that a float holds exactly is written as that float, whatever its digits look like; any other as given. Earlier
/// versions kept floats, so that positions given out then stay valid.
fn canonical_number(number: &Number) -> String {
    let text = number.as_str();
    let is_whole = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-') && text != "-0";
    if is_whole && (number.is_u64() || number.is_i64()) {
        return text.to_owned();
    }
    let nearest = number.as_f64().filter(|float| float.is_finite()).and_then(Number::from_f64);
    let exact = nearest.filter(|float| Decimal::parse(float.as_str()) == Decimal::parse(text));
    exact.map_or_else(|| text.to_owned(), |float| float.to_string())
}
