//! One comparison of a rule with one value.

use std::cmp::Ordering;

use regex::Regex;

use super::pattern::{self, BadPattern};
use crate::catalog::stream::Comparison;
use crate::codec::decimal::Decimal;

/// A comparison, compiled.
#[derive(Debug)]
pub(super) enum Comparer {
    /// In an order, with these outcomes counting.
    Order {
        text: String,
        number: Option<Decimal>,
        counts: fn(Ordering) -> bool,
    },
    /// By a pattern.
    Pattern(Regex),
    IsNull,
    NotNull,
}

impl Comparer {
    pub(super) fn compile(operator: Comparison, value: Option<&str>) -> Result<Self, BadPattern> {
        let text = value.unwrap_or_default();
        let counts: fn(Ordering) -> bool = match operator {
            Comparison::Eq => Ordering::is_eq,
            Comparison::Ne => Ordering::is_ne,
            Comparison::Lt => Ordering::is_lt,
            Comparison::Le => Ordering::is_le,
            Comparison::Gt => Ordering::is_gt,
            Comparison::Ge => Ordering::is_ge,
            Comparison::Like => return pattern::like(text).map(Self::Pattern),
            Comparison::Regex => return pattern::regular_expression(text).map(Self::Pattern),
            Comparison::IsNull => return Ok(Self::IsNull),
            Comparison::NotNull => return Ok(Self::NotNull),
        };
        Ok(Self::Order { text: text.to_owned(), number: Decimal::parse(text), counts })
    }

    /// Whether it holds for a value, given as JSON text; `null` meets `ISNULL` only.
    pub(super) fn holds(&self, json: &str) -> bool {
        let is_null = json == "null";
        match self {
            Self::IsNull => is_null,
            Self::NotNull => !is_null,
            _ if is_null => false,
            Self::Pattern(pattern) => pattern.is_match(&plain_text(json)),
            Self::Order { text, number, counts } => match (json.as_bytes().first(), number) {
                (Some(b'-' | b'0'..=b'9'), Some(number)) => {
                    Decimal::parse(json).is_some_and(|value| counts(value.cmp(number)))
                }
                // A number and a text that is none have no order; they only differ.
                (Some(b'-' | b'0'..=b'9'), None) => counts(Ordering::Less) && counts(Ordering::Greater),
                _ => counts(plain_text(json).as_str().cmp(text)),
            },
        }
    }
}

/// What a JSON string stands for; of anything else its JSON text.
fn plain_text(json: &str) -> String {
    if json.starts_with('"') {
        return serde_json::from_str(json).unwrap_or_default();
    }
    json.to_owned()
}
