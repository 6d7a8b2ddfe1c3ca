//! A document that somebody sends, in JSON or in YAML, as a JSON value.
//!
//! What is JSON is read as JSON: its numbers keep their digits, and `\ud83d\ude00` is one character, while to YAML it is two
//! halves of one, which it refuses. In YAML a few bytes can stand for a document of any size, because an alias is a copy of
//! what it names; the library bounds how often it copies, not how much. Here the whole is bounded.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::codec::duplicate_member::duplicate_member;
use crate::limits::DOCUMENT_BYTES_MAX;

/// Why a text is no document. The text says where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UnreadableDocument(String);

/// Reads a document in JSON or YAML.
pub fn from_json_or_yaml(bytes: &[u8]) -> Result<Value, UnreadableDocument> {
    if let Ok(document) = serde_json::from_slice(bytes) {
        return match duplicate_member(bytes) {
            Some(member) => Err(UnreadableDocument(format!("the member {member} stands twice"))),
            None => Ok(document),
        };
    }
    let room = Room { left: Cell::new(DOCUMENT_BYTES_MAX) };
    let document = Within(&room).deserialize(serde_yaml::Deserializer::from_slice(bytes));
    document.map_err(|error: serde_yaml::Error| UnreadableDocument(error.to_string()))
}

/// Bytes that the rest of the document may have, each alias written out.
struct Room {
    left: Cell<usize>,
}

/// A value that has to find room.
#[derive(Clone, Copy)]
struct Within<'r>(&'r Room);

impl Within<'_> {
    /// Takes the room for a value or a name, which stands in a document with one character beside it at least.
    fn take<E: serde::de::Error>(self, bytes: usize) -> Result<(), E> {
        let rest = self.0.left.get().checked_sub(bytes + 2);
        let too_large =
            || E::custom(format!("it has more than {DOCUMENT_BYTES_MAX} bytes with each alias written out"));
        self.0.left.set(rest.ok_or_else(too_large)?);
        Ok(())
    }

    fn taken<E: serde::de::Error>(self, value: Value) -> Result<Value, E> {
        self.take(0).map(|()| value)
    }
}

impl<'de> DeserializeSeed<'de> for Within<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Within<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value that JSON has too")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Value, E> {
        self.taken(Value::Null)
    }

    fn visit_bool<E: serde::de::Error>(self, truth: bool) -> Result<Value, E> {
        self.taken(truth.into())
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Value, E> {
        self.taken(number.into())
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Value, E> {
        self.taken(number.into())
    }

    fn visit_u128<E: serde::de::Error>(self, number: u128) -> Result<Value, E> {
        self.taken(Number::from_u128(number).map_or(Value::Null, Value::Number))
    }

    fn visit_i128<E: serde::de::Error>(self, number: i128) -> Result<Value, E> {
        self.taken(Number::from_i128(number).map_or(Value::Null, Value::Number))
    }

    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Value, E> {
        let number = Number::from_f64(number).ok_or_else(|| E::custom("infinity and NaN are no numbers in JSON"))?;
        self.taken(Value::Number(number))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Value, E> {
        self.take(text.len())?;
        Ok(text.into())
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut values: S) -> Result<Value, S::Error> {
        self.take(0)?;
        let mut read = Vec::new();
        while let Some(value) = values.next_element_seed(self)? {
            read.push(value);
        }
        Ok(read.into())
    }

    fn visit_map<M: MapAccess<'de>>(self, mut members: M) -> Result<Value, M::Error> {
        self.take(0)?;
        let mut read = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            self.take(name.len())?;
            let value = members.next_value_seed(self)?;
            if read.contains_key(&name) {
                let shown: String = name.chars().take(64).collect();
                return Err(M::Error::custom(format!("the member {shown} stands twice")));
            }
            read.insert(name, value);
        }
        Ok(read.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(text: &str) -> Result<Value, String> {
        from_json_or_yaml(text.as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn yaml_and_json_are_the_same_document() {
        let expected = json!({"a": [1, -2, 0.5, true, null, "x"], "b": {"200": "ok"}});
        assert_eq!(read("a: [1, -2, 0.5, true, ~, x]\nb:\n  200: ok\n"), Ok(expected.clone()));
        assert_eq!(read(&expected.to_string()), Ok(expected));
    }

    #[test]
    fn json_keeps_the_digits_of_its_numbers_and_characters_in_two_escapes() {
        // The last is how Python's `json.dumps` writes a smile.
        let text = r#"{"a":12.50,"b":1e400,"c":123456789012345678901234567890123456789012,"d":-0,"e":"\ud83d\ude00"}"#;
        let document = read(text).unwrap();
        assert_eq!(document["e"], "😀");
        let numbers = ["a", "b", "c", "d"].map(|name| document[name].to_string());
        assert_eq!(numbers, ["12.50", "1e+400", "123456789012345678901234567890123456789012", "-0"]);
    }

    #[test]
    fn words_are_read_as_yaml_1_2_has_them() {
        let text = "[yes, no, on, off, y, 1:30, 2020-01-01, 0777, 1_000, '12', \"true\", 0x1F, 0o17]";
        let expected =
            json!(["yes", "no", "on", "off", "y", "1:30", "2020-01-01", "0777", "1_000", "12", "true", 31, 15]);
        assert_eq!(read(text), Ok(expected));
    }

    #[test]
    fn what_json_cannot_say_is_refused_instead_of_becoming_something_else() {
        for (text, says) in [
            ("a: .inf", "infinity"),
            ("a: -.inf", "infinity"),
            ("a: .nan", "infinity"),
            ("a: !thing 1", "a value that JSON has too"),
            ("[a]: 1", "string"),
            ("a: 1\na: 2", "a stands twice"),
            (r#"{"a": {"b": 1, "b": 2}}"#, "a.b stands twice"),
            ("--- 1\n--- 2", "more than one document"),
            ("a: *b", "anchor"),
            ("a: [", "line"),
        ] {
            let refusal = read(text).unwrap_err();
            assert!(refusal.contains(says), "{text}: {refusal}");
        }
    }

    /// The JSON library marks numbers by this name when they pass between its parts.
    #[test]
    fn a_member_that_is_named_like_the_mark_of_a_number_is_a_member() {
        let text = "$serde_json::private::Number: '12'\n";
        assert_eq!(read(text).unwrap(), json!({"$serde_json::private::Number": "12"}));
    }

    #[test]
    fn control_an_alias_is_a_copy() {
        let text = "a: &a {x: [1, 2]}\nb: *a\nc: [*a, *a]\n";
        let a = json!({"x": [1, 2]});
        assert_eq!(read(text), Ok(json!({"a": a, "b": a, "c": [a, a]})));
    }

    #[test]
    fn aliases_of_aliases_end_at_a_limit() {
        let mut text = format!("a0: &a0 [{}]\n", "x, ".repeat(9));
        for level in 1..30 {
            text += &format!("a{level}: &a{level} [{}]\n", format!("*a{}, ", level - 1).repeat(9));
        }
        let refusal = read(&text).unwrap_err();
        assert!(refusal.contains("each alias written out") || refusal.contains("repetition"), "{refusal}");
        let itself = read("a: &a [*a]").unwrap_err();
        assert!(itself.contains("recursion"), "{itself}");
    }

    /// The library lets each of these aliases through: it counts them, and not what they stand for.
    #[test]
    fn many_aliases_of_one_long_list_end_at_a_limit() {
        let text = format!("a: &a [{}]\nb: [{}]\n", "1,".repeat(20_000), "*a,".repeat(2_000));
        let refusal = read(&text).unwrap_err();
        assert!(refusal.contains("4194304 bytes with each alias written out"), "{refusal}");
        let fits = format!("a: &a [{}]\nb: [{}]\n", "1,".repeat(20_000), "*a,".repeat(50));
        assert_eq!(read(&fits).unwrap()["b"][49].as_array().unwrap().len(), 20_000);
    }
}
