//! What a column's value, or any text of a put or a message, may hold beyond being JSON: whole characters, and no deeper nesting than
//! readers can follow.
//!
//! Nothing here calls itself, however deep a value is, and no number is decoded, however large it is.

use std::fmt;

use crate::limits::NESTING_MAX;

/// Why a value is refused although it is JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::codec) enum Unfit {
    /// `\ud800` without its other half: no client could decode it.
    HalfPair,
    /// Arrays and objects inside one another beyond [`NESTING_MAX`].
    TooDeep,
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HalfPair => f.write_str("holds half of a surrogate pair, which is no character"),
            Self::TooDeep => write!(f, "is nested deeper than {NESTING_MAX} levels"),
        }
    }
}

/// What is wrong with a value that is known to be JSON, if anything is.
pub(in crate::codec) fn unfit(json: &str) -> Option<Unfit> {
    if json.starts_with(['{', '[']) && depth(json) > NESTING_MAX {
        return Some(Unfit::TooDeep);
    }
    has_half_pair(json).then_some(Unfit::HalfPair)
}

/// Levels of arrays and objects in JSON.
fn depth(json: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let mut bytes = json.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'{' | b'[' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => skip_string(&mut bytes),
            _ => {}
        }
    }
    deepest
}

/// Takes the rest of a string.
fn skip_string(bytes: &mut std::str::Bytes<'_>) {
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => return,
            b'\\' => drop(bytes.next()),
            _ => {}
        }
    }
}

/// Whether JSON (a backslash stands in its strings only) has an escaped half of a surrogate pair without the other.
pub(super) fn has_half_pair(json: &str) -> bool {
    let bytes = json.as_bytes();
    let mut at = 0;
    while let Some(found) = memchr::memchr(b'\\', &bytes[at..]) {
        at += found;
        let Some(unit) = escaped_unit(bytes, at) else {
            // Whatever else is escaped, a backslash among it, is one byte.
            at = (at + 2).min(bytes.len());
            continue;
        };
        at += ESCAPED_UNIT_BYTES;
        match unit {
            0xD800..=0xDBFF => match escaped_unit(bytes, at) {
                Some(0xDC00..=0xDFFF) => at += ESCAPED_UNIT_BYTES,
                _ => return true,
            },
            0xDC00..=0xDFFF => return true,
            _ => {}
        }
    }
    false
}

/// Bytes of `\uXXXX`.
const ESCAPED_UNIT_BYTES: usize = 6;

/// The unit of UTF-16 that is escaped there, if one is.
fn escaped_unit(bytes: &[u8], at: usize) -> Option<u16> {
    let digits = bytes.get(at..at + ESCAPED_UNIT_BYTES)?.strip_prefix(b"\\u")?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn half_of_a_pair_is_what_no_decoder_takes(
            text in "(\\\\[\"\\\\/bfnrt]|\\\\u(00e4|2028|[dD][89abAB]3d|[dD][c-fC-F]00|d83d\\\\ude00)|u|[ -!]|d8|é){0,9}",
        ) {
            let json = format!("\"{text}\"");
            proptest::prop_assert_eq!(has_half_pair(&json), serde_json::from_str::<String>(&json).is_err(), "{}", json);
        }
    }

    #[test]
    fn brackets_in_strings_are_no_levels() {
        assert_eq!(depth(r#"{"a[{\"[":[1,{"b":"]]\\"},[]],"c":{}}"#), 3);
        assert_eq!(depth(&("[".repeat(100_000) + &"]".repeat(100_000))), 100_000);
    }
}
