//! A JSON document as YAML text, every number with the digits that it has.
//!
//! The YAML library knows numbers of 64 bits and floats only. Any other is written as a mark, for which the digits are put
//! in afterwards.

use std::cell::RefCell;

use serde::{Serialize, Serializer};
use serde_json::Value;

/// Stands for a number; made longer for a document that has this text.
const MARK: &str = "exactNumber";

pub(super) fn text(document: &Value) -> Result<String, serde_yaml::Error> {
    let plain = document.to_string();
    let mut mark = MARK.to_owned();
    while plain.contains(&mark) {
        mark.push('_');
    }
    let numbers = RefCell::default();
    let marked = serde_yaml::to_string(&Node { value: document, mark: &mark, numbers: &numbers })?;
    let mut pieces = marked.split(&mark);
    let mut text = pieces.next().unwrap_or_default().to_owned();
    for (number, piece) in numbers.into_inner().into_iter().zip(pieces) {
        text.push_str(number);
        text.push_str(piece);
    }
    Ok(text)
}

/// A value, and the numbers marked so far.
#[derive(Clone, Copy)]
struct Node<'v, 'n> {
    value: &'v Value,
    mark: &'n str,
    numbers: &'n RefCell<Vec<&'v str>>,
}

impl<'v> Node<'v, '_> {
    fn with(self, value: &'v Value) -> Self {
        Self { value, ..self }
    }
}

impl Serialize for Node<'_, '_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.value {
            Value::Null => serializer.serialize_unit(),
            Value::Bool(truth) => serializer.serialize_bool(*truth),
            Value::Number(number) => match (number.as_u64(), number.as_i64()) {
                (Some(whole), _) => serializer.serialize_u64(whole),
                // What is whole and negative; of zero the sign would be lost.
                (None, Some(whole)) if whole < 0 => serializer.serialize_i64(whole),
                _ => {
                    self.numbers.borrow_mut().push(number.as_str());
                    serializer.serialize_str(self.mark)
                }
            },
            Value::String(text) => serializer.serialize_str(text),
            Value::Array(values) => serializer.collect_seq(values.iter().map(|value| self.with(value))),
            Value::Object(members) => {
                serializer.collect_map(members.iter().map(|(name, value)| (name, self.with(value))))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_their_digits() {
        let json =
            r#"{"a":[12.50,123456789012345678901234567890,-0,1e+400,7,-7],"b":{"exactNumber":"exactNumber_"},"c":0.1}"#;
        let yaml = text(&serde_json::from_str(json).unwrap()).unwrap();
        assert_eq!(
            yaml,
            "a:\n- 12.50\n- 123456789012345678901234567890\n- -0\n- 1e+400\n- 7\n- -7\nb:\n  exactNumber: exactNumber_\nc: 0.1\n"
        );
    }
}
