//! One cell on its way to a client: copied as it is, made a string, or cut.

use crate::codec::json::{Decimals, JsonOptions};
use crate::codec::json_text::push_string;
use crate::record::{Column, JsonKind};

/// How a column's cells are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::codec) enum Sent {
    /// As they are.
    AsIs,
    /// Each as a string.
    AsString,
    /// One that is a number as a string, any other as it is.
    NumberAsString,
    /// Each number in it as a string, however deep.
    NumbersAsStrings,
}

impl Sent {
    /// How this column's cells are sent under these options.
    pub(in crate::codec) fn of(column: &Column, options: &JsonOptions) -> Self {
        if options.all_as_strings {
            return Self::AsString;
        }
        match (options.decimals, column.kind) {
            (Decimals::Number, _) | (_, JsonKind::String | JsonKind::Boolean | JsonKind::Object) => Self::AsIs,
            (Decimals::String, JsonKind::Number | JsonKind::Float) => Self::AsString,
            (Decimals::String, JsonKind::Any) => Self::NumberAsString,
            (Decimals::String, JsonKind::Array) if is_array_of_numbers(&column.sql_type) => Self::NumbersAsStrings,
            (Decimals::String, JsonKind::Array) => Self::AsIs,
        }
    }

    /// Appends a cell as it is sent.
    #[inline]
    pub(super) fn push(self, out: &mut Vec<u8>, json: &str) {
        match self {
            Self::AsIs => out.extend_from_slice(json.as_bytes()),
            Self::AsString => push_as_string(out, json),
            Self::NumberAsString if starts_number(json.as_bytes()) => push_as_string(out, json),
            Self::NumberAsString => out.extend_from_slice(json.as_bytes()),
            Self::NumbersAsStrings => push_numbers_as_strings(out, json.as_bytes()),
        }
    }
}

/// Whether a type's name, as sources write it, is that of an array of numbers: `numeric(12,2)[]`.
fn is_array_of_numbers(sql_type: &str) -> bool {
    let Some(element) = sql_type.strip_suffix("[]") else { return false };
    let element = element.split_once('(').map_or(element, |(name, _)| name);
    matches!(element, "smallint" | "integer" | "bigint" | "numeric" | "real" | "double precision" | "oid")
}

fn starts_number(json: &[u8]) -> bool {
    matches!(json.first(), Some(b'-' | b'0'..=b'9'))
}

fn push_numbers_as_strings(out: &mut Vec<u8>, mut json: &[u8]) {
    while let Some(first) = json.first() {
        let length = match first {
            b'"' => string_length(json),
            _ if starts_number(json) => {
                let is_of_number = |byte: &&u8| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
                json.iter().take_while(is_of_number).count()
            }
            _ => 1,
        };
        let (token, rest) = json.split_at(length);
        if starts_number(token) {
            out.push(b'"');
            out.extend_from_slice(token);
            out.push(b'"');
        } else {
            out.extend_from_slice(token);
        }
        json = rest;
    }
}

/// Bytes of the JSON string that stands at the start, quotes included.
fn string_length(json: &[u8]) -> usize {
    let mut at = 1;
    while let Some(byte) = json.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    json.len()
}

/// Appends a cell as a string: a string as it is, anything else as its JSON text in quotes.
pub(super) fn push_as_string(out: &mut Vec<u8>, json: &str) {
    if json.starts_with('"') {
        out.extend_from_slice(json.as_bytes());
    } else {
        push_string(out, json);
    }
}

/// Bytes of a value: of a string those that it stands for, of anything else those of its JSON text.
pub(super) fn value_bytes(json: &str) -> usize {
    match string_content(json) {
        Some(content) => Characters { rest: content.as_bytes() }.map(|(_, bytes)| bytes).sum(),
        None => json.len(),
    }
}

/// Appends the longest start of a JSON string that stands for at most `bytes_max` bytes and ends between characters.
/// False, and nothing appended, if `json` is no string.
pub(super) fn push_cut(out: &mut Vec<u8>, json: &str, bytes_max: usize) -> bool {
    let Some(content) = string_content(json) else { return false };
    let mut kept = 0;
    let mut stands_for = 0;
    for (length, bytes) in (Characters { rest: content.as_bytes() }) {
        if stands_for + bytes > bytes_max {
            break;
        }
        stands_for += bytes;
        kept += length;
    }
    out.push(b'"');
    out.extend_from_slice(&content.as_bytes()[..kept]);
    out.push(b'"');
    true
}

fn string_content(json: &str) -> Option<&str> {
    json.strip_prefix('"')?.strip_suffix('"')
}

/// The characters of a JSON string's content: length of the text, and bytes in UTF-8 that it stands for.
struct Characters<'a> {
    rest: &'a [u8],
}

impl Iterator for Characters<'_> {
    type Item = (usize, usize);

    fn next(&mut self) -> Option<(usize, usize)> {
        let (length, bytes) = match *self.rest {
            [] => return None,
            [b'\\', b'u', ..] => match escape_code(self.rest) {
                // A pair of surrogates is one character.
                Some(0xD800..=0xDBFF) if matches!(self.rest.get(6..).and_then(escape_code), Some(0xDC00..=0xDFFF)) => {
                    (12, 4)
                }
                Some(0..=0x7F) => (6, 1),
                Some(0x80..=0x7FF) => (6, 2),
                _ => (6, 3),
            },
            [b'\\', ..] => (2, 1),
            [0..=0x7F, ..] => (1, 1),
            [0xF0..=0xFF, ..] => (4, 4),
            [0xE0..=0xEF, ..] => (3, 3),
            _ => (2, 2),
        };
        let length = length.min(self.rest.len());
        self.rest = &self.rest[length..];
        Some((length, bytes))
    }
}

fn escape_code(text: &[u8]) -> Option<u32> {
    let hex = text.strip_prefix(b"\\u")?.get(..4)?;
    u32::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::json_text::quoted;

    proptest::proptest! {
        #[test]
        fn a_cut_string_is_a_start_of_the_value_and_as_long_as_it_may_be(text in "(\\PC|[\u{1}\n\"\\\\\u{2028}😀é€]){0,40}", max in 0..60_usize) {
            let json = quoted(&text);
            proptest::prop_assert_eq!(value_bytes(&json), text.len());
            let mut out = Vec::new();
            proptest::prop_assert!(push_cut(&mut out, &json, max));
            let cut: String = serde_json::from_slice(&out).unwrap();
            proptest::prop_assert!(text.starts_with(&cut) && cut.len() <= max);
            let next = text[cut.len()..].chars().next();
            proptest::prop_assert!(next.is_none_or(|next| cut.len() + next.len_utf8() > max));
        }
    }

    #[test]
    fn a_pair_of_surrogates_is_not_torn() {
        let mut out = Vec::new();
        push_cut(&mut out, r#""a\ud83d\ude00b""#, 4);
        assert_eq!(out, b"\"a\"");
        assert_eq!(value_bytes(r#""a\ud83d\ude00b""#), 6);
    }

    #[test]
    fn numbers_in_arrays_become_strings_and_nothing_else_does() {
        for (json, sent) in [
            ("[1,-2.50,null,1e-7]", r#"["1","-2.50",null,"1e-7"]"#),
            ("[[1],[],[\"NaN\"]]", r#"[["1"],[],["NaN"]]"#),
            (r#"["1","a\"2","\\",3,true]"#, r#"["1","a\"2","\\","3",true]"#),
            ("[]", "[]"),
        ] {
            let mut out = Vec::new();
            Sent::NumbersAsStrings.push(&mut out, json);
            assert_eq!(String::from_utf8(out).unwrap(), sent);
        }
    }

    #[test]
    fn arrays_of_numbers_are_known_by_their_type() {
        for numbers in ["integer[]", "numeric(12,2)[]", "double precision[]"] {
            assert!(is_array_of_numbers(numbers), "{numbers}");
        }
        for other in ["", "integer", "text[]", "jsonb[]", "interval(3)[]", "timestamp(3) without time zone[]"] {
            assert!(!is_array_of_numbers(other), "{other}");
        }
    }

    #[test]
    fn objects_become_their_text_in_quotes() {
        let mut out = Vec::new();
        push_as_string(&mut out, r#"{"a":[1.10,"x"]}"#);
        assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), r#"{"a":[1.10,"x"]}"#);
    }
}
