//! Who may append to a trail, for its whole life.
//!
//! Owns the kinds that there are, and how `trail.json` says them: a kind alone (`"puts"`), or a kind with the name of whoever it
//! is (`{"extract": "e1"}`). A kind that a later program made is kept as it is: its trail can be read and looked at, and nobody
//! here takes its end.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::record::ResourceName;

/// Who may append to a trail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
pub enum Writer {
    /// Puts over HTTP: rows and statements.
    Puts,
    /// The extract of that name.
    Extract(ResourceName),
    /// Producers of messages, by whatever protocol.
    Topic,
    /// The sink of that name: messages that it could not deliver.
    DeadLetters(ResourceName),
    /// The load of that name: tables as they were at one time, without the changes that followed.
    Load(ResourceName),
    /// A kind that this program does not know.
    Other {
        /// What it is called.
        kind: String,
        /// Whose it is, if that is said.
        name: Option<String>,
    },
}

impl Writer {
    /// Whether it appends messages, which are shown as rows of a table of their own.
    pub fn appends_messages(&self) -> bool {
        matches!(self, Self::Topic | Self::DeadLetters(_))
    }
}

impl fmt::Display for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Puts => f.write_str("puts"),
            Self::Extract(name) => write!(f, "extract {name}"),
            Self::Topic => f.write_str("topic"),
            Self::DeadLetters(name) => write!(f, "dead letters of {name}"),
            Self::Load(name) => write!(f, "load {name}"),
            Self::Other { kind, name: None } => f.write_str(kind),
            Self::Other { kind, name: Some(name) } => write!(f, "{kind} {name}"),
        }
    }
}

impl TryFrom<Value> for Writer {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        let (kind, name) = match value {
            Value::String(kind) => (kind, None),
            Value::Object(members) if members.len() == 1 => match members.into_iter().next() {
                Some((kind, Value::String(name))) => (kind, Some(name)),
                _ => return Err(MALFORMED.to_owned()),
            },
            _ => return Err(MALFORMED.to_owned()),
        };
        let named = |of: fn(ResourceName) -> Self, name: &str| {
            ResourceName::new(name).map(of).map_err(|error| format!("the writer's name is malformed: {error}"))
        };
        match (kind.as_str(), name.as_deref()) {
            ("puts", None) => Ok(Self::Puts),
            ("topic", None) => Ok(Self::Topic),
            ("extract", Some(name)) => named(Self::Extract, name),
            ("deadLetters", Some(name)) => named(Self::DeadLetters, name),
            ("load", Some(name)) => named(Self::Load, name),
            ("puts" | "topic" | "extract" | "deadLetters" | "load", _) => Err(MALFORMED.to_owned()),
            _ => Ok(Self::Other { kind, name }),
        }
    }
}

const MALFORMED: &str = "the writer is neither a kind nor one kind with a name";

impl From<Writer> for Value {
    fn from(writer: Writer) -> Self {
        match writer {
            Writer::Puts => "puts".into(),
            Writer::Topic => "topic".into(),
            Writer::Extract(name) => json!({ "extract": name }),
            Writer::DeadLetters(name) => json!({ "deadLetters": name }),
            Writer::Load(name) => json!({ "load": name }),
            Writer::Other { kind, name: None } => kind.into(),
            Writer::Other { kind, name: Some(name) } => json!({ kind: name }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Writer, serde_json::Error> {
        serde_json::from_str(text)
    }

    #[test]
    fn every_kind_reads_back_as_it_was_written_and_one_of_a_later_program_is_kept() {
        for (text, shown) in [
            (r#""puts""#, "puts"),
            (r#"{"extract":"e1"}"#, "extract e1"),
            (r#""topic""#, "topic"),
            (r#"{"deadLetters":"s1"}"#, "dead letters of s1"),
            (r#"{"load":"l1"}"#, "load l1"),
            (r#""mirror""#, "mirror"),
            (r#"{"mirror":"of what it likes"}"#, "mirror of what it likes"),
        ] {
            let writer = read(text).unwrap();
            assert_eq!((serde_json::to_string(&writer).unwrap().as_str(), writer.to_string().as_str()), (text, shown));
        }
    }

    #[test]
    fn what_no_program_writes_is_refused() {
        for text in ["null", "{}", r#"{"puts":"a"}"#, r#""extract""#, r#"{"extract":"1/"}"#, r#"{"a":"b","c":"d"}"#] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
