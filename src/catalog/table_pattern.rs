//! A pattern over table names: `schema.table` with `*` (any characters) and `?` (one character) in either part.

use serde::{Deserialize, Serialize};

use crate::record::{InvalidName, TableName};

/// A pattern of two parts. A part in double quotes may hold a dot; case counts, as in the source's catalogue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TablePattern {
    schema: String,
    table: String,
}

/// The text is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPattern {
    /// Not in the form of a name at all.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// One part, or three.
    #[error("a pattern of tables has two parts, schema.table, each with * and ? as wildcards")]
    Parts,
}

impl TablePattern {
    /// Reads `schema.table`.
    pub fn parse(text: &str) -> Result<Self, InvalidPattern> {
        let name = TableName::parse(text)?;
        match name.parts() {
            [schema, table] => Ok(Self { schema: schema.to_string(), table: table.to_string() }),
            _ => Err(InvalidPattern::Parts),
        }
    }

    /// Whether it takes in that table.
    pub fn matches(&self, schema: &str, table: &str) -> bool {
        let matches = |pattern: &str, name: &str| wild_match(pattern.chars().map(Glyph::from), name.chars());
        matches(&self.schema, schema) && matches(&self.table, table)
    }

    /// Whether it takes in one table at most.
    pub fn is_one(&self) -> bool {
        ![&self.schema, &self.table].into_iter().any(|part| part.contains(['*', '?']))
    }

    /// Whether it takes in every table.
    pub fn is_everything(&self) -> bool {
        self.schema == "*" && self.table == "*"
    }

    /// Whether it names one table, without a wildcard.
    pub fn is_exact(&self) -> bool {
        ![&self.schema, &self.table].into_iter().any(|part| part.contains(['*', '?']))
    }

    /// The schema and the table, as they stand in it.
    pub fn parts(&self) -> (&str, &str) {
        (&self.schema, &self.table)
    }

    /// The schema, if the pattern is "every table of this one schema".
    pub fn whole_schema(&self) -> Option<&str> {
        (self.table == "*" && !self.schema.contains(['*', '?'])).then_some(self.schema.as_str())
    }
}

impl TryFrom<String> for TablePattern {
    type Error = InvalidPattern;

    fn try_from(text: String) -> Result<Self, InvalidPattern> {
        Self::parse(&text)
    }
}

impl From<TablePattern> for String {
    fn from(pattern: TablePattern) -> Self {
        TableName::from_parts(&[&pattern.schema, &pattern.table]).map(|name| name.to_string()).unwrap_or_default()
    }
}

/// What a pattern asks for at one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Glyph {
    /// Any characters, also none: `*`.
    Any,
    /// One character: `?`.
    One,
    /// This character itself.
    Is(char),
}

impl From<char> for Glyph {
    fn from(character: char) -> Self {
        match character {
            '*' => Self::Any,
            '?' => Self::One,
            other => Self::Is(other),
        }
    }
}

/// Whether a text is as the pattern says. Linear but for the product of the two
/// lengths: on a mismatch only the last `*` is tried again, one character on.
pub fn wild_match(
    mut pattern: impl Iterator<Item = Glyph> + Clone,
    mut text: impl Iterator<Item = char> + Clone,
) -> bool {
    let mut retry = None;
    loop {
        let text_before = text.clone();
        match (pattern.next(), text.next()) {
            (None, None) => return true,
            (Some(Glyph::Any), _) => {
                text = text_before;
                retry = Some((pattern.clone(), text.clone()));
            }
            (Some(Glyph::One), Some(_)) => {}
            (Some(Glyph::Is(wanted)), Some(found)) if wanted == found => {}
            _ => {
                let Some((after_star, mut from)) = retry.take() else { return false };
                if from.next().is_none() {
                    return false;
                }
                pattern = after_star.clone();
                text = from.clone();
                retry = Some((after_star, from));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_match_as_in_a_shell() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("*", "abc", true),
            ("a*c", "abbc", true),
            ("a*c", "abbd", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*a*b*", "xxaxxbxx", true),
            ("*ab", "aab", true),
            ("", "", true),
            ("", "a", false),
            ("ä?", "äß", true),
            ("abc", "ABC", false),
            ("a", "ab", false),
            ("ab", "a", false),
        ] {
            assert_eq!(wild_match(pattern.chars().map(Glyph::from), text.chars()), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn many_stars_stay_fast() {
        let (pattern, text) = ("*a".repeat(200), "a".repeat(199).replace('a', "ab"));
        assert!(!wild_match(pattern.chars().map(Glyph::from), text.chars()));
    }

    #[test]
    fn a_pattern_has_two_parts_and_reads_back_as_printed() {
        for bad in ["", "orders", "a.b.c", "a."] {
            assert!(TablePattern::parse(bad).is_err(), "{bad}");
        }
        let pattern = TablePattern::parse("\"we.ird\".ord*").unwrap();
        assert!(pattern.matches("we.ird", "orders"));
        assert!(!pattern.matches("weird", "orders"));
        assert_eq!(TablePattern::parse(&String::from(pattern.clone())), Ok(pattern));
        assert_eq!(TablePattern::parse("public.*").unwrap().whole_schema(), Some("public"));
        assert!(TablePattern::parse("*.*").unwrap().is_everything());
    }
}
