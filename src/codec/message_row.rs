//! A message as a row of the table `messages.<trail>`, for protocols that have nothing but rows.
//!
//! Owns what becomes of a message's bytes: `key` is a text, or base64 where it is no UTF-8, or null without one; `value` is the
//! JSON value if the bytes are one JSON text, the text if they are UTF-8, else base64; `encoding` says which of the three;
//! `partition` is its number. Headers have no column. The table's schema is [`messages_schema`](crate::record::messages_schema).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::value::RawValue;

use crate::codec::image::ImageWriter;
use crate::codec::json_text::{is_compact, push_compacted, push_string};
use crate::codec::put::value::unfit;
use crate::record::Message;

/// How the bytes of a value are shown.
#[derive(Debug, Clone, Copy)]
enum Shown<'a> {
    Json(&'a str),
    Text(&'a str),
    Base64(&'a [u8]),
}

impl<'a> Shown<'a> {
    fn of(bytes: &'a [u8]) -> Self {
        let json: Result<&RawValue, _> = serde_json::from_slice(bytes);
        match (json, std::str::from_utf8(bytes)) {
            // JSON that clients could not read, because of half a character or its depth, is shown as the text that it is.
            (Ok(json), _) if unfit(json.get()).is_none() => Self::Json(json.get()),
            (_, Ok(text)) => Self::Text(text),
            (_, Err(_)) => Self::Base64(bytes),
        }
    }

    fn encoding(self) -> &'static str {
        match self {
            Self::Json(_) => "json",
            Self::Text(_) => "text",
            Self::Base64(_) => "base64",
        }
    }

    fn push_json(self, out: &mut Vec<u8>) {
        match self {
            Self::Json(json) => push_compacted(out, json),
            Self::Text(text) => push_string(out, text),
            Self::Base64(bytes) => push_string(out, &STANDARD.encode(bytes)),
        }
    }

    fn push(self, row: &mut ImageWriter<'_>) {
        match self {
            Self::Json("null") => row.null(),
            Self::Json(json) if is_compact(json) => row.json(json.as_bytes()),
            _ => row.json_with(|out| self.push_json(out)),
        }
    }
}

/// Bytes as a JSON value, and what became of them: `json`, `text` or `base64`.
pub fn shown(bytes: &[u8]) -> (String, &'static str) {
    let (shown, mut json) = (Shown::of(bytes), Vec::new());
    shown.push_json(&mut json);
    // What is pushed is UTF-8.
    (String::from_utf8(json).unwrap_or_default(), shown.encoding())
}

/// Appends the row's image.
pub fn push_row(out: &mut Vec<u8>, message: &Message<'_>, partition: u16) {
    let mut row = ImageWriter::new(out);
    match message.key.map(|key| std::str::from_utf8(key).map_err(|_| key)) {
        None => row.null(),
        Some(Ok(text)) => Shown::Text(text).push(&mut row),
        Some(Err(bytes)) => Shown::Base64(bytes).push(&mut row),
    }
    let value = Shown::of(message.value);
    value.push(&mut row);
    row.json_with(|out| push_string(out, value.encoding()));
    row.json(partition.to_string().as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::image::{Cell, Image};
    use crate::record::{TrailName, messages_schema};
    use proptest::prelude::*;

    fn cells(key: Option<&[u8]>, value: &[u8], partition: u16) -> Vec<String> {
        let mut image = Vec::new();
        push_row(&mut image, &Message { key, headers: Vec::new(), value }, partition);
        let text = |cell| match cell {
            Cell::Json(json) => json.to_owned(),
            Cell::Null => "null".to_owned(),
            Cell::Absent | Cell::Unchanged => panic!("a cell without a value"),
        };
        Image::whole(&image).cells().map(|cell| text(cell.unwrap())).collect()
    }

    #[test]
    fn a_value_is_shown_as_json_as_text_or_as_base64() {
        let deep = ["[".repeat(1_000), "]".repeat(1_000)].concat();
        let deep_text = format!("\"{deep}\"");
        for (value, shown, encoding) in [
            (&b" {\"a\": 1.10, \"b\":\"\xE2\x80\xA8\"}\n"[..], "{\"a\":1.10,\"b\":\"\\u2028\"}", "json"),
            (b"null", "null", "json"),
            (b"1e400", "1e400", "json"),
            (b"\"x\"", "\"x\"", "json"),
            (b"007", "\"007\"", "text"),
            (b"", "\"\"", "text"),
            (b"{} {}", "\"{} {}\"", "text"),
            (b"a\0\"\xE2\x80\xA8", "\"a\\u0000\\\"\\u2028\"", "text"),
            (b"\"\\ud800\"", "\"\\\"\\\\ud800\\\"\"", "text"),
            (deep.as_bytes(), deep_text.as_str(), "text"),
            (b"\xFF\x00", "\"/wA=\"", "base64"),
        ] {
            let expected = ["\"k\"".to_owned(), shown.to_owned(), format!("\"{encoding}\""), "3".to_owned()];
            assert_eq!(cells(Some(b"k"), value, 3), expected);
        }
        assert_eq!(cells(None, b"1", 0)[0], "null");
        assert_eq!(cells(Some(b"\xFF"), b"1", 0)[0], "\"/w==\"");
        assert_eq!(cells(Some(b"7"), b"1", 65_535)[..2], ["\"7\"", "1"]);
    }

    proptest! {
        #[test]
        fn whatever_the_bytes_are_the_row_fits_its_table_and_its_values_give_them_back(
            key in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..9)),
            value in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..30),
                "\\PC{0,30}".prop_map(String::into_bytes),
                "[\\[\\]{}\":,0-9truenl ]{0,12}".prop_map(String::into_bytes),
            ],
        ) {
            let cells = cells(key.as_deref(), &value, 1);
            prop_assert_eq!(cells.len(), messages_schema(&TrailName::new("a1").unwrap()).columns.len());
            let text = |json: &str| serde_json::from_str::<String>(json).unwrap();
            let shown: serde_json::Value = serde_json::from_str(&cells[1]).unwrap();
            match text(&cells[2]).as_str() {
                "json" => prop_assert_eq!(Ok(shown), serde_json::from_slice(&value).map_err(|error| error.to_string())),
                "text" => prop_assert_eq!(text(&cells[1]).into_bytes(), value),
                _ => prop_assert_eq!(STANDARD.decode(text(&cells[1])).unwrap(), value),
            }
        }
    }
}
