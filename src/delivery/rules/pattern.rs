//! Names with wildcards, LIKE and REGEX, each compiled once by the linear-time `regex` crate under a size limit.

use regex::{Regex, RegexBuilder};

use crate::limits;
use crate::record::TableName;

/// Why a pattern does not compile.
#[derive(Debug)]
pub(super) struct BadPattern(pub(super) String);

/// A table's name with `*` and `?`, in 1 to 3 parts.
#[derive(Debug)]
pub(super) struct NamePattern(Vec<Regex>);

impl NamePattern {
    pub(super) fn compile(text: &str) -> Result<Self, BadPattern> {
        let parts = TableName::parse(text).map_err(|error| BadPattern(error.to_string()))?;
        let quoted = quoted_parts(text);
        let parts = parts.parts().iter().zip(quoted);
        parts.map(|(part, quoted)| wildcard(part, !quoted)).collect::<Result<_, _>>().map(Self)
    }

    /// Whether it matches the table's last parts. A pattern of more parts than the table has does not.
    pub(super) fn matches(&self, table: &TableName) -> bool {
        let parts = table.parts();
        let Some(skipped) = parts.len().checked_sub(self.0.len()) else { return false };
        self.0.iter().zip(&parts[skipped..]).all(|(pattern, part)| pattern.is_match(part))
    }
}

/// Which parts stand in double quotes; the text was parsed as a table's name before.
fn quoted_parts(text: &str) -> Vec<bool> {
    let mut parts = vec![text.starts_with('"')];
    let mut inside = false;
    let bytes = text.as_bytes();
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            // A doubled quote turns it twice, so it stays inside.
            b'"' => inside = !inside,
            b'.' if !inside => parts.push(bytes.get(at + 1) == Some(&b'"')),
            _ => {}
        }
    }
    parts
}

/// One name with `*` (any text) and `?` (one character).
pub(super) fn wildcard(text: &str, ignore_case: bool) -> Result<Regex, BadPattern> {
    let mut pattern = String::from("^");
    for character in text.chars() {
        match character {
            '*' => pattern.push_str(".*"),
            '?' => pattern.push('.'),
            other => pattern.push_str(&regex::escape(other.encode_utf8(&mut [0; 4]))),
        }
    }
    pattern.push('$');
    build(&pattern, ignore_case)
}

/// SQL's LIKE: `%` any text, `_` one character, `\` takes the next literally.
pub(super) fn like(text: &str) -> Result<Regex, BadPattern> {
    let mut pattern = String::from("^");
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '%' => pattern.push_str(".*"),
            '_' => pattern.push('.'),
            '\\' => {
                let literal = characters.next().ok_or_else(|| BadPattern("LIKE pattern ends in \\".into()))?;
                pattern.push_str(&regex::escape(literal.encode_utf8(&mut [0; 4])));
            }
            other => pattern.push_str(&regex::escape(other.encode_utf8(&mut [0; 4]))),
        }
    }
    pattern.push('$');
    build(&pattern, false)
}

/// A regular expression, found anywhere.
pub(super) fn regular_expression(text: &str) -> Result<Regex, BadPattern> {
    // The user's own: a dot does not match a line's end unless the expression says so.
    RegexBuilder::new(text)
        .size_limit(limits::PATTERN_BYTES_MAX)
        .dfa_size_limit(limits::PATTERN_BYTES_MAX)
        .build()
        .map_err(|error| describe(&error))
}

fn build(pattern: &str, ignore_case: bool) -> Result<Regex, BadPattern> {
    RegexBuilder::new(pattern)
        .case_insensitive(ignore_case)
        .dot_matches_new_line(true)
        .size_limit(limits::PATTERN_BYTES_MAX)
        .dfa_size_limit(limits::PATTERN_BYTES_MAX)
        .build()
        .map_err(|error| describe(&error))
}

fn describe(error: &regex::Error) -> BadPattern {
    match error {
        regex::Error::CompiledTooBig(limit) => BadPattern(format!("the pattern needs more than {limit} bytes")),
        other => BadPattern(format!("the pattern does not compile: {other}")),
    }
}
