//! Reads the members of a JSON object strictly: a wrong type, a value out of range and an unknown member are each an
//! error that names the member by its path and says what is allowed.
//!
//! Owns how a configuration's error is worded; which members there are is for whoever reads one.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::nearest::nearest;

/// A member of a configuration is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{member}: {message}")]
pub struct ConfigError {
    /// Its path, such as `encoding.json.model` or `rules[2].action`.
    pub member: String,
    /// What is allowed.
    pub message: String,
}

impl ConfigError {
    /// An error about one member.
    pub fn new(member: impl Into<String>, message: impl Into<String>) -> Self {
        Self { member: member.into(), message: message.into() }
    }
}

/// Reads a document into its type; the error names the member, as far as serde knows it.
pub fn typed<T: DeserializeOwned>(document: &Value) -> Result<T, ConfigError> {
    // From the text: of a number that keeps its digits, serde_json says what was expected only there.
    let text = document.to_string();
    let mut document = serde_json::Deserializer::from_str(&text);
    serde_path_to_error::deserialize(&mut document).map_err(|error| {
        let mut member = error.path().to_string();
        if member == "." {
            member.clear();
        }
        let message = error.into_inner().to_string();
        // The line and column are those of our own text.
        let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(message, _)| message);
        if let Some(missing) = message.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`')) {
            let dot = if member.is_empty() { "" } else { "." };
            return ConfigError::new(format!("{member}{dot}{missing}"), "is required");
        }
        ConfigError::new(if member.is_empty() { "body".to_owned() } else { member }, message)
    })
}

/// An object's members, and where the object stands.
#[derive(Debug, Clone)]
pub struct Members<'v> {
    path: String,
    map: &'v Map<String, Value>,
}

impl<'v> Members<'v> {
    /// The members of `value`, which stands at `path` (empty: the document itself); refuses a name not in `known`.
    pub fn of(path: &str, value: &'v Value, known: &[&str]) -> Result<Self, ConfigError> {
        let Value::Object(map) = value else {
            let member = if path.is_empty() { "body" } else { path };
            return Err(ConfigError::new(member, "must be an object"));
        };
        let members = Self { path: path.to_owned(), map };
        match map.keys().find(|name| !known.contains(&name.as_str())) {
            Some(unknown) => {
                let meant = nearest(unknown, known).map(|near| format!("; did you mean {near:?}?")).unwrap_or_default();
                let all = known.join(", ");
                Err(members.error(unknown, format!("unknown member{meant}; the members here are {all}")))
            }
            None => Ok(members),
        }
    }

    /// The path of a member.
    pub fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// An error about a member.
    pub fn error(&self, name: &str, message: impl Into<String>) -> ConfigError {
        ConfigError::new(self.path_of(name), message)
    }

    /// The member, if there.
    pub fn get(&self, name: &str) -> Option<&'v Value> {
        self.map.get(name)
    }

    /// A text of `min` to `max` characters.
    pub fn text(&self, name: &str, min: usize, max: usize) -> Result<Option<&'v str>, ConfigError> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) if (min..=max).contains(&text.chars().count()) => Ok(Some(text)),
            Some(_) => Err(self.error(name, format!("must be a string of {min} to {max} characters"))),
        }
    }

    /// A boolean.
    pub fn boolean(&self, name: &str, default: bool) -> Result<bool, ConfigError> {
        match self.get(name) {
            None => Ok(default),
            Some(Value::Bool(value)) => Ok(*value),
            Some(_) => Err(self.error(name, "must be true or false")),
        }
    }

    /// A whole number of `min` to `max`.
    pub fn number(&self, name: &str, min: u64, max: u64) -> Result<Option<u64>, ConfigError> {
        let number = self.large_number(name, min, max.into())?;
        Ok(number.map(|number| u64::try_from(number).unwrap_or(max)))
    }

    /// A whole number of `min` to `max`, which may be more than 64 bits hold.
    pub fn large_number(&self, name: &str, min: u64, max: u128) -> Result<Option<u128>, ConfigError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let number = value.as_number().and_then(|number| number.as_str().parse().ok());
        match number {
            Some(number) if (min.into()..=max).contains(&number) => Ok(Some(number)),
            _ => Err(self.error(name, format!("must be a whole number from {min} to {max}"))),
        }
    }

    /// One of a few words, each with what it stands for.
    pub fn choice<T: Copy>(&self, name: &str, choices: &[(&str, T)]) -> Result<Option<T>, ConfigError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let chosen = value.as_str().and_then(|word| choices.iter().find(|(choice, _)| *choice == word));
        match chosen {
            Some((_, meaning)) => Ok(Some(*meaning)),
            None => {
                let words: Vec<_> = choices.iter().map(|(word, _)| format!("\"{word}\"")).collect();
                Err(self.error(name, format!("must be {}", words.join(" or "))))
            }
        }
    }

    /// A list of `min` to `max` values.
    pub fn list(&self, name: &str, min: usize, max: usize) -> Result<Option<&'v [Value]>, ConfigError> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::Array(values)) if (min..=max).contains(&values.len()) => Ok(Some(values)),
            Some(_) => Err(self.error(name, format!("must be a list of {min} to {max} values"))),
        }
    }

    /// A list of 1 to `max` texts of 1 to `chars_max` characters.
    pub fn texts(&self, name: &str, max: usize, chars_max: usize) -> Result<Vec<&'v str>, ConfigError> {
        let values = self.list(name, 1, max)?.unwrap_or_default();
        let text = |(at, value): (usize, &'v Value)| match value {
            Value::String(text) if (1..=chars_max).contains(&text.chars().count()) => Ok(text.as_str()),
            _ => Err(self.error(&format!("{name}[{at}]"), format!("must be a string of 1 to {chars_max} characters"))),
        };
        values.iter().enumerate().map(text).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_number_out_of_range_or_in_place_of_something_else_is_called_so() {
        #[derive(Debug, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Inner {
            #[serde(rename = "port")]
            _port: u16,
        }
        #[derive(Debug, serde::Deserialize)]
        struct Outer {
            #[serde(rename = "source")]
            _source: Inner,
            #[serde(rename = "name")]
            _name: Option<String>,
        }
        let wrong = |text: &str| typed::<Outer>(&serde_json::from_str(text).unwrap()).unwrap_err().to_string();
        assert_eq!(wrong(r#"{"source":{"port":70000}}"#), "source.port: invalid value: integer `70000`, expected u16");
        assert!(wrong(r#"{"source":{"port":1.5}}"#).starts_with("source.port: invalid type: floating point `1.5`"));
        for text in [r#"{"source":12.50}"#, r#"{"source":{"port":1},"name":12.50}"#] {
            let said = wrong(text);
            assert!(said.contains("invalid type") && !said.contains('$') && !said.contains(" at line "), "{said}");
        }
        assert_eq!(wrong(r#"{"source":{}}"#), "source.port: is required");
    }

    #[test]
    fn an_error_names_the_member_by_its_path_and_the_range() {
        let value = json!({"size": 7, "model": "tree", "extra": 1});
        let unknown = Members::of("encoding.json", &value, &["size", "model"]).unwrap_err();
        assert_eq!(unknown.member, "encoding.json.extra");
        let members = Members::of("encoding.json", &value, &["size", "model", "extra"]).unwrap();
        let range = members.number("size", 8, 9).unwrap_err();
        assert_eq!(range.to_string(), "encoding.json.size: must be a whole number from 8 to 9");
        let choice = members.choice("model", &[("op", 1), ("row", 2)]).unwrap_err();
        assert_eq!(choice.to_string(), "encoding.json.model: must be \"op\" or \"row\"");
        assert_eq!(Members::of("", &json!([]), &[]).unwrap_err().member, "body");
    }
}
