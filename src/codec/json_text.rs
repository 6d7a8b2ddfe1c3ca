//! JSON text made once, at capture: strings escaped, foreign JSON cleaned.
//!
//! U+2028 and U+2029 are escaped too: Oracle's generated JavaScript client evaluates the text it gets.

/// Appends `text` as a JSON string, quotes included.
pub fn push_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    push_escaped(out, text.as_bytes());
    out.push(b'"');
}

/// How many bytes [`push_string`] appends.
pub fn string_bytes(text: &str) -> usize {
    let escaped: usize =
        text.as_bytes().iter().filter(|byte| needs_escape(**byte)).map(|byte| escape_bytes(*byte)).sum();
    // Two of the line separators' three bytes are counted as they are.
    let separators = text.matches(['\u{2028}', '\u{2029}']).count();
    text.len() + 2 + escaped + separators * 3
}

/// By how much an escape is longer than what it stands for.
fn escape_bytes(byte: u8) -> usize {
    match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' => 1,
        0xE2 => 0,
        _ => 5,
    }
}

/// `text` as a JSON string, quotes included.
pub fn quoted(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len() + 2);
    push_string(&mut out, text);
    // Escaping adds ASCII only, so UTF-8 stays UTF-8.
    String::from_utf8(out).unwrap_or_default()
}

fn push_escaped(out: &mut Vec<u8>, bytes: &[u8]) {
    let mut copied = 0;
    let mut at = 0;
    loop {
        at += plain(&bytes[at..]);
        let Some(&byte) = bytes.get(at) else { break };
        if byte == 0xE2 {
            let separator = match bytes.get(at + 1..at + 3) {
                Some([0x80, 0xA8]) => b"\\u2028",
                Some([0x80, 0xA9]) => b"\\u2029",
                _ => {
                    at += 1;
                    continue;
                }
            };
            out.extend_from_slice(&bytes[copied..at]);
            out.extend_from_slice(separator);
            at += 3;
        } else {
            out.extend_from_slice(&bytes[copied..at]);
            push_escape_of(out, byte);
            at += 1;
        }
        copied = at;
    }
    out.extend_from_slice(&bytes[copied..]);
}

/// How many bytes at the start need no escape.
fn plain(bytes: &[u8]) -> usize {
    // Sixteen at once, without a branch between them: the compiler makes one comparison of it.
    let clean = |block: &&[u8; 16]| !block.iter().fold(false, |found, byte| found | needs_escape(*byte));
    let blocks = bytes.as_chunks::<16>().0.iter().take_while(clean).count() * 16;
    blocks + bytes[blocks..].iter().take_while(|byte| !needs_escape(**byte)).count()
}

#[inline]
fn needs_escape(byte: u8) -> bool {
    (byte < 0x20) | (byte == b'"') | (byte == b'\\') | (byte == 0xE2)
}

fn push_escape_of(out: &mut Vec<u8>, byte: u8) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    match byte {
        b'"' => out.extend_from_slice(b"\\\""),
        b'\\' => out.extend_from_slice(b"\\\\"),
        b'\n' => out.extend_from_slice(b"\\n"),
        b'\r' => out.extend_from_slice(b"\\r"),
        b'\t' => out.extend_from_slice(b"\\t"),
        _ => {
            out.extend_from_slice(b"\\u00");
            out.push(HEX[usize::from(byte >> 4)]);
            out.push(HEX[usize::from(byte & 15)]);
        }
    }
}

/// Whether a JSON text without whitespace around it is surely what [`push_compacted`] makes of it: scalars mostly are.
pub fn is_compact(json: &str) -> bool {
    !json.starts_with(['{', '[']) && !json.as_bytes().contains(&0xE2)
}

/// Appends valid JSON as compact JSON: white space between tokens dropped, U+2028 and U+2029 escaped, every digit of
/// every number kept. The caller vouches that `json` is valid.
pub fn push_compacted(out: &mut Vec<u8>, json: &str) {
    let bytes = json.as_bytes();
    let mut in_string = false;
    let mut at = 0;
    while at < bytes.len() {
        let byte = bytes[at];
        match byte {
            b'\\' if in_string => {
                out.push(byte);
                at += 1;
                out.extend(bytes.get(at));
            }
            b'"' => {
                in_string = !in_string;
                out.push(byte);
            }
            b' ' | b'\n' | b'\r' | b'\t' if !in_string => {}
            0xE2 if matches!(bytes.get(at + 1..at + 3), Some([0x80, 0xA8 | 0xA9])) => {
                out.extend_from_slice(if bytes[at + 2] == 0xA8 { b"\\u2028" } else { b"\\u2029" });
                at += 2;
            }
            _ => out.push(byte),
        }
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn a_string_reads_back_and_holds_no_line_separator(text in "\\PC*|[\u{0}-\u{1f}\"\\\\\u{2028}\u{2029}\u{2027}]*") {
            let json = quoted(&text);
            let raw_separator = json.contains(['\u{2028}', '\u{2029}', '\n']);
            proptest::prop_assert!(!raw_separator);
            proptest::prop_assert_eq!(string_bytes(&text), json.len());
            proptest::prop_assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
        }
    }

    #[test]
    fn compacting_keeps_digits_and_strings() {
        let mut out = Vec::new();
        push_compacted(&mut out, "{ \"a b\" : [ 1.10, 1e400 , \"x\\\" \u{2028}\" ] ,\n\"c\": null }");
        assert_eq!(String::from_utf8(out).unwrap(), "{\"a b\":[1.10,1e400,\"x\\\" \\u2028\"],\"c\":null}");
    }
}
