//! Names: of trails, of streams and extracts, of tables.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::limits;

/// A name is out of its allowed range; says which range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidName(String);

impl InvalidName {
    /// Says which range.
    pub(super) fn new(range: String) -> Self {
        Self(range)
    }
}

/// Name of a trail that this server makes: 2 to 64 of `A-Z a-z 0-9 _ # $ -`. It is a folder name too.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TrailName(Arc<str>);

impl TrailName {
    /// Checks the range.
    pub fn new(name: &str) -> Result<Self, InvalidName> {
        let length_fits = (limits::TRAIL_NAME_CHARS_MIN..=limits::TRAIL_NAME_CHARS_MAX).contains(&name.len());
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'#' | b'$' | b'-');
        if length_fits && name.bytes().all(legal) {
            return Ok(Self(name.into()));
        }
        Err(InvalidName("a trail's name has 2 to 64 characters of A-Z a-z 0-9 _ # $ -".into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Name of a stream or an extract: 1 to 32 characters, a letter first, then letters, digits, `_`, `.` or `-`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ResourceName(Arc<str>);

impl ResourceName {
    /// Checks the range.
    pub fn new(name: &str) -> Result<Self, InvalidName> {
        let length_fits = (1..=limits::RESOURCE_NAME_CHARS_MAX).contains(&name.len());
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
        if length_fits && name.as_bytes()[0].is_ascii_alphabetic() && name.bytes().all(legal) {
            return Ok(Self(name.into()));
        }
        Err(InvalidName("a name has 1 to 32 characters, a letter first, then letters, digits, _ . or -".into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

macro_rules! text_name {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidName;

            fn try_from(name: String) -> Result<Self, InvalidName> {
                Self::new(&name)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0.as_ref().into()
            }
        }
    };
}

text_name!(TrailName);
text_name!(ResourceName);

/// One part of a table's name, unquoted.
pub type NamePart = Arc<str>;

/// A table's name in 1 to 3 parts: `orders`, `public.orders`, `PDB2.AR.ORDERS`.
///
/// Printed with dots between; a part that itself holds a dot or a double quote is printed in double quotes, a quote in
/// it doubled, and read back the same way.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TableName(Arc<[NamePart]>);

impl TableName {
    /// From parts that need no parsing; checks their number and lengths.
    pub fn from_parts<S: AsRef<str>>(parts: &[S]) -> Result<Self, InvalidName> {
        let number_fits = (1..=limits::TABLE_NAME_PARTS_MAX).contains(&parts.len());
        let part_fits = |part: &S| {
            (1..=limits::IDENTIFIER_BYTES_MAX).contains(&part.as_ref().len()) && !part.as_ref().contains('\0')
        };
        if number_fits && parts.iter().all(part_fits) {
            return Ok(Self(parts.iter().map(|part| NamePart::from(part.as_ref())).collect()));
        }
        Err(InvalidName("a table's name has 1 to 3 parts of 1 to 512 bytes with dots between".into()))
    }

    /// The table that a trail's messages are shown as: `messages.<trail>`.
    pub fn of_messages(trail: &TrailName) -> Self {
        Self([NamePart::from("messages"), trail.0.clone()].into())
    }

    /// Reads the printed form.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        let mut parts = Vec::new();
        let mut rest = text;
        loop {
            let (part, after) = next_part(rest)?;
            parts.push(part);
            match after.strip_prefix('.') {
                Some(more) => rest = more,
                None if after.is_empty() => return Self::from_parts(&parts),
                None => return Err(InvalidName("text after a quoted part of a table's name".into())),
            }
        }
    }

    /// The parts, unquoted, the table last.
    pub fn parts(&self) -> &[NamePart] {
        &self.0
    }

    /// The last part: the table itself.
    pub fn table(&self) -> &str {
        self.0.last().map_or("", |part| part)
    }

    /// The part before the table, if any.
    pub fn schema(&self) -> Option<&str> {
        self.0.len().checked_sub(2).map(|at| self.0[at].as_ref())
    }

    /// The first of three parts, if there are three.
    pub fn catalog(&self) -> Option<&str> {
        self.0.len().checked_sub(3).map(|at| self.0[at].as_ref())
    }
}

fn next_part(text: &str) -> Result<(String, &str), InvalidName> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find('.').unwrap_or(text.len());
        if text[..end].contains('"') {
            return Err(InvalidName("a double quote inside an unquoted part of a table's name".into()));
        }
        return Ok((text[..end].to_owned(), &text[end..]));
    };
    let mut part = String::new();
    let mut characters = quoted.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        if character != '"' {
            part.push(character);
        } else if characters.next_if(|(_, next)| *next == '"').is_some() {
            part.push('"');
        } else {
            return Ok((part, &quoted[at + 1..]));
        }
    }
    Err(InvalidName("a quoted part of a table's name has no closing quote".into()))
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, part) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str(".")?;
            }
            if part.contains(['.', '"']) {
                write!(f, "\"{}\"", part.replace('"', "\"\""))?;
            } else {
                f.write_str(part)?;
            }
        }
        Ok(())
    }
}

impl TryFrom<String> for TableName {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        Self::parse(&text)
    }
}

impl From<TableName> for String {
    fn from(name: TableName) -> Self {
        name.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trail_name_is_never_a_path() {
        for bad in ["", "a", "..", "a/b", "a\0b", "a.b", "ä1", &"a".repeat(65), &"a".repeat(10_000)] {
            assert!(TrailName::new(bad).is_err(), "{bad}");
        }
        for good in ["a1", "A_#$-9", &"a".repeat(64)] {
            assert!(TrailName::new(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn a_resource_name_starts_with_a_letter() {
        for bad in ["", "1a", "_a", "..", "a/b", "a b", &"a".repeat(33)] {
            assert!(ResourceName::new(bad).is_err(), "{bad}");
        }
        for good in ["a", "s1", "a..b", "A-b_c.d", &"a".repeat(32)] {
            assert!(ResourceName::new(good).is_ok(), "{good}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_table_name_reads_back_as_printed(parts in proptest::collection::vec("[a-zA-Z.\"ä ]{1,8}", 1..=3)) {
            let name = TableName::from_parts(&parts).unwrap();
            proptest::prop_assert_eq!(TableName::parse(&name.to_string()).unwrap(), name);
        }
    }

    #[test]
    fn malformed_table_names_are_refused() {
        for bad in ["", ".", "a.", "a.b.c.d", "\"a", "a\"b", "\"a\"b"] {
            assert!(TableName::parse(bad).is_err(), "{bad}");
        }
    }
}
