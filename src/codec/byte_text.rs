//! Text of a source that need not be UTF-8, as text that loses nothing and shows where it is not.
//!
//! Each byte that stands for no character becomes U+FFFD, the sign for what cannot be shown, and its two digits in upper-case
//! hexadecimal: `caf` and the byte E9 become `caf�E9`. A U+FFFD of the source's own that would read as such a byte is
//! written as its three bytes, so that [`encode`] finds back what [`decode`] was given.

use std::borrow::Cow;

/// The sign in front of a byte's digits.
const SIGN: char = '\u{FFFD}';

/// What is known of the bytes of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Charset {
    /// They are UTF-8, or the source says so: a text that keeps the promise is taken as it is.
    #[default]
    Utf8,
    /// The source does not know: what is UTF-8 is taken for it.
    Undeclared,
}

/// Bytes as text.
#[inline]
pub fn decode(bytes: &[u8], charset: Charset) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) if charset == Charset::Utf8 || !text.contains(SIGN) => Cow::Borrowed(text),
        _ => Cow::Owned(escaped(bytes)),
    }
}

#[cold]
fn escaped(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() + 16);
    for chunk in bytes.utf8_chunks() {
        let valid = chunk.valid();
        for (at, character) in valid.char_indices() {
            if character == SIGN && hex_byte(&valid[at + SIGN.len_utf8()..]).is_some() {
                valid.as_bytes()[at..at + SIGN.len_utf8()].iter().for_each(|byte| push_byte(&mut text, *byte));
            } else {
                text.push(character);
            }
        }
        chunk.invalid().iter().for_each(|byte| push_byte(&mut text, *byte));
    }
    text
}

fn push_byte(text: &mut String, byte: u8) {
    use std::fmt::Write as _;
    // Writing to a String does not fail.
    let _ = write!(text, "{SIGN}{byte:02X}");
}

/// The byte whose digits stand at the start.
fn hex_byte(text: &str) -> Option<u8> {
    let digits = text.as_bytes().first_chunk::<2>()?;
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    };
    Some(digit(digits[0])? << 4 | digit(digits[1])?)
}

/// The bytes that [`decode`] was given, for a source of that charset: one that says it is UTF-8 is sent text as it is.
pub fn encode(text: &str, charset: Charset) -> Cow<'_, [u8]> {
    if charset == Charset::Utf8 || !text.contains(SIGN) {
        return Cow::Borrowed(text.as_bytes());
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(SIGN) {
        let (before, after) = (&rest[..at], &rest[at + SIGN.len_utf8()..]);
        bytes.extend_from_slice(before.as_bytes());
        match hex_byte(after) {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.extend_from_slice(SIGN.encode_utf8(&mut [0; 4]).as_bytes());
                rest = after;
            }
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    Cow::Owned(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_byte_that_is_no_character_shows_as_its_digits() {
        for (bytes, text) in [
            (b"caf\xE9".as_slice(), "caf\u{FFFD}E9"),
            (b"\x80\xFF", "\u{FFFD}80\u{FFFD}FF"),
            (b"\xC3\xA9 \xC3", "\u{e9} \u{FFFD}C3"),
            (b"plain", "plain"),
        ] {
            assert_eq!(decode(bytes, Charset::Undeclared), text);
            assert_eq!(decode(bytes, Charset::Utf8), text);
        }
        let own = "\u{FFFD}E9";
        assert_eq!(decode(own.as_bytes(), Charset::Undeclared), "\u{FFFD}EF\u{FFFD}BF\u{FFFD}BDE9");
        assert_eq!(decode(own.as_bytes(), Charset::Utf8), own);
        assert_eq!(encode(own, Charset::Utf8).as_ref(), own.as_bytes());
    }

    proptest! {
        #[test]
        fn nothing_is_lost(
            parts in proptest::collection::vec(prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..4),
                Just("\u{FFFD}".as_bytes().to_vec()),
                "[0-9A-Fa-f\u{e9}]{0,3}".prop_map(String::into_bytes),
            ], 0..12),
        ) {
            let bytes = parts.concat();
            let text = decode(&bytes, Charset::Undeclared);
            let found = encode(&text, Charset::Undeclared);
            prop_assert_eq!(found.as_ref(), bytes.as_slice());
        }
    }
}
