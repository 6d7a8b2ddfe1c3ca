//! A row that still comes in, judged by what is there of it: one that no trail takes is known long before its last byte.
//!
//! Sans-IO. Owns how much a row becomes at least; leaves what follows from it to `transactions`.

use super::column_writer::ColumnWriter;

/// The start of a message with a row.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PartialRow<'a> {
    /// The server's number of its table.
    pub(super) relation: u32,
    /// What is there of its images.
    images: &'a [u8],
    /// Bytes of its images that are still to come.
    missing: usize,
}

impl<'a> PartialRow<'a> {
    /// Of a message of `whole` bytes of which `there` has come; none if it is another message, or too little is there. Inside a
    /// block of a transaction a message has the transaction's number in it.
    pub(super) fn of(there: &'a [u8], whole: usize, in_block: bool) -> Option<Self> {
        let (kind, rest) = there.split_first()?;
        let rest = rest.get(if in_block { 4 } else { 0 }..)?;
        let (relation, images) = rest.split_first_chunk::<4>()?;
        let missing = whole.saturating_sub(there.len());
        let is_row = matches!(kind, b'I' | b'U' | b'D');
        is_row.then_some(Self { relation: u32::from_be_bytes(*relation), images, missing })
    }

    /// Bytes that its images become at least, by what becomes of the table's columns.
    pub(super) fn bytes_min(&self, columns: &[ColumnWriter]) -> usize {
        let mut rest = Rest { bytes: self.images, missing: self.missing };
        let mut least = 0;
        // At most an image before and one after. Where a header is not there yet, nothing behind it is known.
        for _ in 0..2 {
            let Some(values) = rest.image() else { break };
            for column in columns.iter().take(values) {
                match rest.value() {
                    Some(length) => least += column.bytes_min_of_length(length),
                    None => break,
                }
            }
        }
        if columns.iter().all(ColumnWriter::keeps_length) {
            // What is to come cannot become less, but for the headers of its values and the bounds of its arrays.
            least += rest.missing.saturating_sub(2 * columns.len() * VALUE_LOSS_BYTES_MAX);
        }
        least
    }
}

/// What one value may lose on its way to JSON: header and array bounds, generously.
const VALUE_LOSS_BYTES_MAX: usize = 512;

/// What is left of the images.
struct Rest<'a> {
    bytes: &'a [u8],
    /// Bytes behind these that are still to come.
    missing: usize,
}

impl Rest<'_> {
    /// The header of an image: its number of values.
    fn image(&mut self) -> Option<usize> {
        let ([_, high, low], rest) = self.bytes.split_first_chunk::<3>()?;
        self.bytes = rest;
        Some(usize::from(u16::from_be_bytes([*high, *low])))
    }

    /// The next value's length, 0 if it has none; it may reach beyond what is there.
    fn value(&mut self) -> Option<usize> {
        let (kind, rest) = self.bytes.split_first()?;
        if *kind != b't' {
            self.bytes = rest;
            return Some(0);
        }
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let length = u32::from_be_bytes(*length) as usize;
        let there = length.min(rest.len());
        self.bytes = &rest[there..];
        self.missing = self.missing.saturating_sub(length - there);
        Some(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::mask::Mask;
    use crate::capture::postgres::pgoutput::Message;
    use crate::capture::postgres::value::ValueKind;
    use crate::codec::byte_text::Charset;
    use proptest::prelude::*;

    fn insert(values: &[&[u8]]) -> Vec<u8> {
        let mut bytes = [b"I\0\0\0\x07N".as_slice(), &(values.len() as u16).to_be_bytes()].concat();
        for value in values {
            bytes.push(b't');
            bytes.extend_from_slice(&(value.len() as u32).to_be_bytes());
            bytes.extend_from_slice(value);
        }
        bytes
    }

    #[test]
    fn a_long_text_is_known_by_its_header() {
        let bytes = insert(&[b"7", &[b'x'; 100_000]]);
        let kinds = ColumnWriter::plain([ValueKind::Integer, ValueKind::Text]);
        // Behind the header of the second value.
        let there = PartialRow::of(&bytes[..19], bytes.len(), false).unwrap();
        assert_eq!(there.relation, 7);
        assert!((100_000..100_010).contains(&there.bytes_min(&kinds)));
        // One byte earlier its length is known by the message's.
        let earlier = PartialRow::of(&bytes[..18], bytes.len(), false).unwrap().bytes_min(&kinds);
        assert!((95_000..100_010).contains(&earlier), "{earlier}");
        // JSON of white space may become nothing: one has to see it.
        let kinds = ColumnWriter::plain([ValueKind::Integer, ValueKind::Json]);
        assert!(PartialRow::of(&bytes[..18], bytes.len(), false).unwrap().bytes_min(&kinds) < 10);
        // What a mask hides does not come, however long it is.
        let mut masked = ColumnWriter::plain([ValueKind::Integer, ValueKind::Text]);
        masked[1].mask = Some(Mask::LeftOut);
        assert!(there.bytes_min(&masked) < 10);
        assert_eq!(PartialRow::of(b"R\0\0\0\x01", 9, false), None);
        assert_eq!(PartialRow::of(b"I\0\0", 9, false), None);
    }

    proptest! {
        #[test]
        fn no_more_is_foretold_than_comes(
            values in proptest::collection::vec((0..4_u8, 0..3_000_usize), 1..5),
            cut in any::<proptest::sample::Index>(),
        ) {
            let kind = |form| match form {
                0 => ValueKind::Text,
                1 => ValueKind::Bytes,
                2 => ValueKind::Json,
                _ => ValueKind::Array { element: Box::new(ValueKind::Text), delimiter: b',' },
            };
            let kinds: Vec<_> = values.iter().map(|(form, _)| kind(*form)).collect();
            let columns = ColumnWriter::plain(kinds.clone());
            let texts: Vec<_> = values.iter().map(|(form, length)| match form {
                0 => "x".repeat(*length),
                1 => format!("\\x{}", "00".repeat(*length)),
                2 => format!("{}1", " ".repeat(*length)),
                _ => format!("[0:0]={{\"{}\"}}", "x".repeat(*length)),
            }).collect();
            let bytes = insert(&texts.iter().map(String::as_bytes).collect::<Vec<_>>());
            let there = &bytes[..cut.index(bytes.len())];
            let mut json = Vec::new();
            for (kind, text) in kinds.iter().zip(&texts) {
                kind.push_json(&mut json, text).unwrap();
            }
            if let Some(beginning) = PartialRow::of(there, bytes.len(), false) {
                prop_assert!(beginning.bytes_min(&columns) <= json.len());
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60), whole in 0..100_usize) {
            let kinds = ColumnWriter::plain([ValueKind::Text, ValueKind::Bytes]);
            let bytes = [b"U".as_slice(), &bytes].concat();
            if let Some(beginning) = PartialRow::of(&bytes, whole, whole % 2 == 0) {
                beginning.bytes_min(&kinds);
            }
            let _ = Message::decode(&bytes, Charset::Utf8);
        }
    }
}
