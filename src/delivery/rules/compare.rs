//! One comparison of a rule with one value.

use std::cmp::Ordering;

use super::pattern::{BadPattern, Room, TextPattern};
use crate::catalog::stream::Comparison;
use crate::codec::decimal::Number;
use crate::record::JsonKind;

/// A comparison, compiled.
#[derive(Debug)]
pub(super) enum Comparer {
    /// In an order, with these outcomes counting.
    Order {
        text: String,
        number: Option<Number>,
        counts: fn(Ordering) -> bool,
    },
    /// By a pattern.
    Pattern(TextPattern),
    IsNull,
    NotNull,
}

impl Comparer {
    pub(super) fn compile(operator: Comparison, value: Option<&str>, room: &mut Room) -> Result<Self, BadPattern> {
        let text = value.unwrap_or_default();
        let counts: fn(Ordering) -> bool = match operator {
            Comparison::Eq => Ordering::is_eq,
            Comparison::Ne => Ordering::is_ne,
            Comparison::Lt => Ordering::is_lt,
            Comparison::Le => Ordering::is_le,
            Comparison::Gt => Ordering::is_gt,
            Comparison::Ge => Ordering::is_ge,
            Comparison::Like => return TextPattern::like(text, room).map(Self::Pattern),
            Comparison::Regex => return TextPattern::regular_expression(text, room).map(Self::Pattern),
            Comparison::IsNull => return Ok(Self::IsNull),
            Comparison::NotNull => return Ok(Self::NotNull),
        };
        Ok(Self::Order { text: text.to_owned(), number: Number::parse(text), counts })
    }

    /// Whether it holds for a value of a column of that kind, given as JSON text; `null` meets `ISNULL` only.
    pub(super) fn holds(&self, json: &str, kind: JsonKind) -> bool {
        let is_null = json == "null";
        match self {
            Self::IsNull => is_null,
            Self::NotNull => !is_null,
            _ if is_null => false,
            Self::Pattern(pattern) => pattern.is_match(&plain_text(json)),
            Self::Order { text, number, counts } => match (number_in(json, kind), number) {
                (Some(value), Some(number)) => counts(value.cmp(number)),
                // A number and a text that is none have no order; they only differ.
                (Some(_), None) => counts(Ordering::Less) && counts(Ordering::Greater),
                (None, _) => counts(plain_text(json).as_str().cmp(text)),
            },
        }
    }
}

/// The value as a number, if it is one: JSON has no form for infinities and for what is no number, so they stand as strings
/// in columns that can hold them, and mean text everywhere else.
fn number_in(json: &str, kind: JsonKind) -> Option<Number> {
    match json.as_bytes().first() {
        Some(b'-' | b'0'..=b'9') => Number::parse(json),
        Some(b'"') if kind == JsonKind::Float => Number::parse(json.trim_matches('"')),
        _ => None,
    }
}

/// What a JSON string stands for; of anything else its JSON text.
fn plain_text(json: &str) -> String {
    if json.starts_with('"') {
        return serde_json::from_str(json).unwrap_or_default();
    }
    json.to_owned()
}
