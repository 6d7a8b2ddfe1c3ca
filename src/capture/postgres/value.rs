//! PostgreSQL's text form of a value -> JSON text that keeps every digit.
//!
//! Owns which JSON a type becomes. Leaves types that are not built in to `catalogue`, which reduces them (a domain to its
//! base, an array to its element) to a [`ValueKind`]. The lower bounds of an array (`[0:1]={…}`) are dropped: JSON has no
//! place for them. The session's settings fix the text forms: ISO dates, UTC, hexadecimal `bytea`, exact floats.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::array;
use super::unexpected_text::UnexpectedText;
use crate::codec::json_text;
use crate::record::JsonKind;

/// How a type's text form becomes JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ValueKind {
    Boolean,
    /// Digits and a sign.
    Integer,
    /// A number, or `NaN`, `Infinity`, `-Infinity`.
    Float,
    /// `\x` and hexadecimal digits; base64 in JSON.
    Bytes,
    Json,
    /// Everything else: a string of its text.
    Text,
    Array {
        element: Box<ValueKind>,
        /// What stands between two elements: `,`, but `;` for `box`.
        delimiter: u8,
    },
}

impl ValueKind {
    /// The kind of a built-in type that is no array.
    pub(super) fn of_builtin(type_id: u32) -> Option<Self> {
        Some(match type_id {
            16 => Self::Boolean,
            20 | 21 | 23 | 26 => Self::Integer,
            700 | 701 | 1700 => Self::Float,
            17 => Self::Bytes,
            114 | 3802 => Self::Json,
            // text, varchar, bpchar, name, "char", uuid, date, time, timestamp, timestamptz, timetz, interval, inet, cidr
            25 | 1043 | 1042 | 19 | 18 | 2950 | 1082 | 1083 | 1114 | 1184 | 1266 | 1186 | 869 | 650 => Self::Text,
            _ => return None,
        })
    }

    /// The same, but that what is JSON already becomes a string of its text: so JSON null is told from SQL NULL.
    pub(super) fn with_json_as_text(self) -> Self {
        match self {
            Self::Json => Self::Text,
            Self::Array { element, delimiter } => {
                Self::Array { element: Box::new(element.with_json_as_text()), delimiter }
            }
            other => other,
        }
    }

    /// Which JSON its values are.
    pub(super) fn json_kind(&self) -> JsonKind {
        match self {
            Self::Boolean => JsonKind::Boolean,
            Self::Integer => JsonKind::Number,
            Self::Float => JsonKind::Float,
            Self::Bytes | Self::Text => JsonKind::String,
            Self::Json => JsonKind::Any,
            Self::Array { .. } => JsonKind::Array,
        }
    }

    /// How many bytes a text of that length becomes at least.
    pub(super) fn bytes_min_of_length(&self, length: usize) -> usize {
        match self {
            Self::Boolean | Self::Integer | Self::Float => length,
            Self::Text => length + 2,
            Self::Bytes => length.saturating_sub(2) / 2 * 4 / 3,
            // White space between tokens is dropped.
            Self::Json => 1,
            // Its bounds are dropped, and the quotes around elements that need none in JSON.
            Self::Array { element, .. } => match **element {
                Self::Boolean | Self::Integer | Self::Float | Self::Text => {
                    length.saturating_sub(ARRAY_BOUNDS_BYTES_MAX)
                }
                Self::Bytes | Self::Json | Self::Array { .. } => 2,
            },
        }
    }

    /// Whether that of a text says about as much as its length does.
    pub(super) fn keeps_length(&self) -> bool {
        self.bytes_min_of_length(2 * ARRAY_BOUNDS_BYTES_MAX) >= ARRAY_BOUNDS_BYTES_MAX && !matches!(self, Self::Bytes)
    }

    /// How many bytes that text becomes at least; of a plain text, exactly.
    pub(super) fn bytes_min(&self, text: &str) -> usize {
        match self {
            Self::Text => json_text::string_bytes(text),
            _ => self.bytes_min_of_length(text.len()),
        }
    }

    /// Whether that text form is the JSON, as it stands.
    pub(super) fn is_json(&self, text: &[u8]) -> bool {
        matches!(self, Self::Integer | Self::Float) && is_json_number(text)
    }

    /// The text form of a value that [`Self::push_json`] made; none where that cannot be told, as of an array.
    pub(super) fn text_of_json(&self, json: &str) -> Option<String> {
        let unquoted = || serde_json::from_str::<String>(json).ok();
        match self {
            Self::Json => Some(json.to_owned()),
            Self::Boolean | Self::Integer | Self::Float if !json.starts_with('"') => Some(json.to_owned()),
            Self::Boolean | Self::Integer | Self::Float | Self::Text => unquoted(),
            Self::Bytes => {
                let bytes = STANDARD.decode(unquoted()?).ok()?;
                let digits = bytes.iter().map(|byte| format!("{byte:02x}"));
                Some(["\\x".to_owned()].into_iter().chain(digits).collect())
            }
            Self::Array { .. } => None,
        }
    }

    /// Appends `text` as JSON.
    pub(super) fn push_json(&self, out: &mut Vec<u8>, text: &str) -> Result<(), UnexpectedText> {
        match self {
            Self::Boolean => match text {
                "t" => out.extend_from_slice(b"true"),
                "f" => out.extend_from_slice(b"false"),
                _ => return Err(UnexpectedText),
            },
            Self::Integer if is_json_number(text.as_bytes()) => out.extend_from_slice(text.as_bytes()),
            Self::Integer => return Err(UnexpectedText),
            Self::Float if is_json_number(text.as_bytes()) => out.extend_from_slice(text.as_bytes()),
            Self::Float if matches!(text, "NaN" | "Infinity" | "-Infinity") => json_text::push_string(out, text),
            Self::Float => return Err(UnexpectedText),
            Self::Bytes => push_base64(out, text)?,
            Self::Json => push_checked_json(out, text),
            Self::Text => json_text::push_string(out, text),
            Self::Array { element, delimiter } => {
                array::push_json(out, text, *delimiter, |out, text| element.push_json(out, text))?;
            }
        }
        Ok(())
    }
}

/// Longest bounds in front of an array, in bytes: six dimensions of two numbers of ten digits and a sign.
const ARRAY_BOUNDS_BYTES_MAX: usize = 6 * (2 * 11 + 3) + 1;

/// Whether the bytes are a number by JSON's own grammar.
fn is_json_number(text: &[u8]) -> bool {
    let digits = |text: &[u8]| text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let rest = text.strip_prefix(b"-").unwrap_or(text);
    let whole = digits(rest);
    if whole == 0 || (whole > 1 && rest[0] == b'0') {
        return false;
    }
    let mut rest = &rest[whole..];
    if let Some(fraction) = rest.strip_prefix(b".") {
        let length = digits(fraction);
        if length == 0 {
            return false;
        }
        rest = &fraction[length..];
    }
    if let [b'e' | b'E', exponent @ ..] = rest {
        let exponent = exponent.strip_prefix(b"+").or_else(|| exponent.strip_prefix(b"-")).unwrap_or(exponent);
        let length = digits(exponent);
        return length > 0 && length == exponent.len();
    }
    rest.is_empty()
}

fn push_base64(out: &mut Vec<u8>, text: &str) -> Result<(), UnexpectedText> {
    let hex = text.strip_prefix("\\x").ok_or(UnexpectedText)?.as_bytes();
    let (pairs, rest) = hex.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(UnexpectedText);
    }
    let digit = |byte: u8| (byte as char).to_digit(16).map(|digit| digit as u8).ok_or(UnexpectedText);
    let bytes = pairs
        .iter()
        .map(|[high, low]| Ok(digit(*high)? << 4 | digit(*low)?))
        .collect::<Result<Vec<u8>, UnexpectedText>>()?;
    out.push(b'"');
    let start = out.len();
    out.resize(start + bytes.len().div_ceil(3) * 4, 0);
    let written = STANDARD.encode_slice(&bytes, &mut out[start..]).map_err(|_| UnexpectedText)?;
    out.truncate(start + written);
    out.push(b'"');
    Ok(())
}

/// PostgreSQL has checked it already; what our own reader would not take becomes a string rather than broken JSON.
fn push_checked_json(out: &mut Vec<u8>, text: &str) {
    if serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok() {
        json_text::push_compacted(out, text);
    } else {
        json_text::push_string(out, text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn json(kind: &ValueKind, text: &str) -> Result<String, UnexpectedText> {
        let mut out = Vec::new();
        kind.push_json(&mut out, text)?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn numbers_keep_every_digit() {
        for text in ["0", "-0", "1.10", "123456789012345678901234567890.00000000000000000001", "1e+20", "1.5e-07"] {
            assert_eq!(json(&ValueKind::Float, text).as_deref(), Ok(text));
        }
        assert_eq!(json(&ValueKind::Float, "NaN").as_deref(), Ok("\"NaN\""));
        assert_eq!(json(&ValueKind::Float, "-Infinity").as_deref(), Ok("\"-Infinity\""));
        for bad in ["", "-", "01", "1.", ".5", "1e", "1e+", "+1", "0x1", "1 ", "1_000"] {
            assert_eq!(json(&ValueKind::Float, bad), Err(UnexpectedText), "{bad}");
        }
    }

    #[test]
    fn json_as_text_tells_a_json_null_from_none() {
        let text = ValueKind::Json.with_json_as_text();
        for (value, expected) in
            [("null", r#""null""#), ("\"null\"", r#""\"null\"""#), ("{\"a\": 1}", r#""{\"a\": 1}""#)]
        {
            assert_eq!(json(&text, value).as_deref(), Ok(expected));
        }
        let array = ValueKind::Array { element: Box::new(ValueKind::Json), delimiter: b',' }.with_json_as_text();
        assert_eq!(json(&array, "{NULL,null,\"null\"}").as_deref(), Ok(r#"[null,null,"null"]"#));
    }

    #[test]
    fn json_keeps_huge_exponents_and_null_characters() {
        assert_eq!(json(&ValueKind::Json, "{ \"a\" : 1e100000 }").as_deref(), Ok("{\"a\":1e100000}"));
        assert_eq!(json(&ValueKind::Json, "\"\\u0000\\ud800\"").as_deref(), Ok("\"\\u0000\\ud800\""));
        assert_eq!(json(&ValueKind::Json, "{broken").as_deref(), Ok("\"{broken\""));
        let deep = format!("{}{}", "[".repeat(5_000), "]".repeat(5_000));
        assert_eq!(json(&ValueKind::Json, &deep), Ok(deep));
    }

    proptest! {
        #[test]
        fn a_number_is_taken_exactly_when_json_takes_it(text in "-?[0-9]{0,3}(\\.[0-9]{0,3})?([eE][+-]?[0-9]{0,2})?|\\PC{0,6}") {
            let valid = text.bytes().next().is_some_and(|byte| byte == b'-' || byte.is_ascii_digit())
                && serde_json::from_str::<&serde_json::value::RawValue>(&text).is_ok_and(|raw| raw.get().len() == text.len());
            prop_assert_eq!(is_json_number(text.as_bytes()), valid);
        }

        #[test]
        fn a_text_becomes_no_less_than_was_foretold(
            text in "[a\"\\\\\u{1}\u{2028}\u{e9}\n]{0,12}",
            numbers in proptest::collection::vec(any::<i32>(), 0..9),
            bytes in proptest::collection::vec(any::<u8>(), 0..30),
        ) {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            let quoted = text.replace('\\', "\\\\").replace('"', "\\\"");
            let array = |element| ValueKind::Array { element: Box::new(element), delimiter: b',' };
            let of_numbers = format!("{:?}", numbers).replace(['[', ' '], "{").replace("{{", "{").replace(']', "}");
            for (kind, text) in [
                (ValueKind::Text, text.clone()),
                (ValueKind::Bytes, format!("\\x{hex}")),
                (array(ValueKind::Text), format!("{{\"{quoted}\"}}")),
                (array(ValueKind::Integer), of_numbers.replace(",{", ",")),
            ] {
                let json = json(&kind, &text).unwrap();
                let (least, by_length) = (kind.bytes_min(&text), kind.bytes_min_of_length(text.len()));
                prop_assert!(by_length <= least && least <= json.len(), "{kind:?} {text} {json}");
                prop_assert!(kind != ValueKind::Text || least == json.len());
            }
        }

        #[test]
        fn the_text_of_a_key_is_found_back(text in "\\PC{0,8}", number: i64, bytes in proptest::collection::vec(any::<u8>(), 0..9)) {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            for (kind, text) in [
                (ValueKind::Text, text.clone()),
                (ValueKind::Bytes, format!("\\x{hex}")),
                (ValueKind::Integer, number.to_string()),
                (ValueKind::Float, "-Infinity".into()),
                (ValueKind::Float, format!("{number}.50")),
            ] {
                prop_assert_eq!(kind.text_of_json(&json(&kind, &text).unwrap()), Some(text));
            }
        }

        #[test]
        fn bytes_become_base64(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            let text: String = serde_json::from_str(&json(&ValueKind::Bytes, &format!("\\x{hex}")).unwrap()).unwrap();
            prop_assert_eq!(STANDARD.decode(text).unwrap(), bytes);
        }

        #[test]
        fn no_text_makes_it_panic_and_what_it_takes_is_json(text in "\\PC{0,20}|[{},\"\\\\NULa1x=:\\[\\] ]{0,20}") {
            let nested = ValueKind::Array { element: Box::new(ValueKind::Text), delimiter: b',' };
            for kind in [ValueKind::Boolean, ValueKind::Integer, ValueKind::Float, ValueKind::Bytes, ValueKind::Json,
                ValueKind::Text, nested] {
                if let Ok(json) = json(&kind, &text) {
                    prop_assert!(serde_json::from_str::<&serde_json::value::RawValue>(&json).is_ok());
                }
            }
        }
    }
}
