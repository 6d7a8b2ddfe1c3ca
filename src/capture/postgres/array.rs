//! PostgreSQL's text form of an array -> a JSON array.
//!
//! `{1,NULL,"a,b",{…}}`, with bounds before it (`[0:1]={…}`) when they do not start at 1. Walked with a depth instead of
//! recursion: the nesting is the input's to choose.

use super::unexpected_text::UnexpectedText;

/// Appends `text` as a JSON array, nested as it is; `push` appends one of its elements.
pub(super) fn push_json(
    out: &mut Vec<u8>,
    text: &str,
    delimiter: u8,
    push: impl Fn(&mut Vec<u8>, &str) -> Result<(), UnexpectedText>,
) -> Result<(), UnexpectedText> {
    let bytes = without_bounds(text)?.as_bytes();
    let mut unquoted = Vec::new();
    let mut depth = 0_u32;
    let mut at = 0;
    // Whether an element or a nested array may start here.
    let mut expects_value = true;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'{' if expects_value => {
                out.push(b'[');
                depth += 1;
                at += 1;
            }
            b'}' if depth > 0 && (!expects_value || out.last() == Some(&b'[')) => {
                out.push(b']');
                depth -= 1;
                at += 1;
                expects_value = false;
                if depth == 0 {
                    break;
                }
            }
            _ if byte == delimiter && !expects_value => {
                out.push(b',');
                at += 1;
                expects_value = true;
            }
            _ if expects_value && depth > 0 => {
                at += push_element(out, &bytes[at..], delimiter, &mut unquoted, &push)?;
                expects_value = false;
            }
            _ => return Err(UnexpectedText),
        }
    }
    if depth == 0 && at == bytes.len() && at > 0 { Ok(()) } else { Err(UnexpectedText) }
}

/// Cuts `[0:1]=` off.
fn without_bounds(text: &str) -> Result<&str, UnexpectedText> {
    if !text.starts_with('[') {
        return Ok(text);
    }
    text.split_once("]=").map(|(_, array)| array).ok_or(UnexpectedText)
}

/// Appends the element at the start of `bytes`; says how many bytes it took.
fn push_element(
    out: &mut Vec<u8>,
    bytes: &[u8],
    delimiter: u8,
    unquoted: &mut Vec<u8>,
    push: &impl Fn(&mut Vec<u8>, &str) -> Result<(), UnexpectedText>,
) -> Result<usize, UnexpectedText> {
    unquoted.clear();
    let quoted = bytes.first() == Some(&b'"');
    let mut at = usize::from(quoted);
    loop {
        match *bytes.get(at).ok_or(UnexpectedText)? {
            b'"' if quoted => {
                at += 1;
                break;
            }
            b'\\' => {
                unquoted.push(*bytes.get(at + 1).ok_or(UnexpectedText)?);
                at += 2;
            }
            b'{' | b'"' if !quoted => return Err(UnexpectedText),
            byte if !quoted && (byte == delimiter || byte == b'}') => break,
            byte => {
                unquoted.push(byte);
                at += 1;
            }
        }
    }
    if !quoted && unquoted.is_empty() {
        // An empty text is printed in quotes.
        return Err(UnexpectedText);
    }
    if !quoted && unquoted.eq_ignore_ascii_case(b"NULL") {
        out.extend_from_slice(b"null");
    } else {
        let text = std::str::from_utf8(unquoted).map_err(|_| UnexpectedText)?;
        push(out, text)?;
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::postgres::value::ValueKind;
    use proptest::prelude::*;

    fn json(element: ValueKind, text: &str) -> Result<String, UnexpectedText> {
        let mut out = Vec::new();
        push_json(&mut out, text, b',', |out, text| element.push_json(out, text))?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn nested_null_and_bounded_arrays_become_json() {
        for (element, text, expected) in [
            (ValueKind::Integer, "{}", "[]"),
            (ValueKind::Integer, "{1,NULL,-3}", "[1,null,-3]"),
            (ValueKind::Integer, "{{1,2},{3,4}}", "[[1,2],[3,4]]"),
            (ValueKind::Integer, "[0:1]={5,6}", "[5,6]"),
            (ValueKind::Integer, "[1:1][-2:-1]={{5,6}}", "[[5,6]]"),
            (
                ValueKind::Text,
                "{\"NULL\",null,\"\",\"a,b\",\"}\",\"\\\"\\\\\"}",
                r#"["NULL",null,"","a,b","}","\"\\"]"#,
            ),
            (ValueKind::Boolean, "{t,f}", "[true,false]"),
            (ValueKind::Json, "{\"{\\\"a\\\": [1, 2]}\"}", "[{\"a\":[1,2]}]"),
        ] {
            assert_eq!(json(element, text).as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn malformed_arrays_are_errors() {
        for bad in
            ["", "1", "{", "}", "{1", "{1}}", "{1,}", "{,1}", "{{1}", "{\"a}", "{1}x", "{1\"2\"}", "[0:1", "{1}{2}"]
        {
            assert!(json(ValueKind::Text, bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_texts_come_through(texts in proptest::collection::vec(proptest::option::of("\\PC{0,8}"), 0..6)) {
            let quoted: Vec<_> = texts.iter().map(|text| match text {
                None => "NULL".to_owned(),
                Some(text) => format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")),
            }).collect();
            let json = json(ValueKind::Text, &format!("{{{}}}", quoted.join(","))).unwrap();
            prop_assert_eq!(serde_json::from_str::<Vec<Option<String>>>(&json).unwrap(), texts);
        }
    }
}
