//! A line of COPY's text form, as the values of a row in the stream's form: so that one code writes both.
//!
//! Sans-IO. The server escapes a tab, a new line and a backslash inside a value, so that a tab is always the end of one.

/// Appends the row in `line`, which ends with a new line, as a tuple of that many values; none if it is no such row.
pub(super) fn push_tuple(out: &mut Vec<u8>, line: &[u8], columns: usize) -> Option<()> {
    let count = u16::try_from(columns).ok()?;
    out.extend_from_slice(&count.to_be_bytes());
    let line = line.strip_suffix(b"\n")?;
    let (mut begin, mut pushed, mut is_escaped) = (0, 0, false);
    // One way through the line for both: values are short, and each search costs more than what it passes.
    for at in memchr::memchr2_iter(b'\t', b'\\', line) {
        if line[at] == b'\\' {
            is_escaped = true;
            continue;
        }
        push_value(out, &line[begin..at], is_escaped)?;
        (begin, pushed, is_escaped) = (at + 1, pushed + 1, false);
    }
    // A table without columns has an empty line.
    if columns > 0 || !line.is_empty() {
        push_value(out, &line[begin..], is_escaped)?;
        pushed += 1;
    }
    (pushed == columns).then_some(())
}

fn push_value(out: &mut Vec<u8>, value: &[u8], is_escaped: bool) -> Option<()> {
    if !is_escaped {
        out.push(b't');
        out.extend_from_slice(&u32::try_from(value.len()).ok()?.to_be_bytes());
        out.extend_from_slice(value);
        return Some(());
    }
    if value == b"\\N" {
        out.push(b'n');
        return Some(());
    }
    out.push(b't');
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    let mut rest = value;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        out.extend_from_slice(&rest[..at]);
        out.push(match rest.get(at + 1)? {
            b'b' => 8,
            b't' => 9,
            b'n' => 10,
            b'v' => 11,
            b'f' => 12,
            b'r' => 13,
            other => *other,
        });
        rest = &rest[at + 2..];
    }
    out.extend_from_slice(rest);
    let length = u32::try_from(out.len() - start - 4).ok()?;
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
    Some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::capture::postgres::pgoutput::{Tuple, TupleValue};

    /// As the server writes a value.
    fn escaped(value: Option<&[u8]>) -> Vec<u8> {
        let Some(value) = value else { return b"\\N".to_vec() };
        let mut out = Vec::new();
        for byte in value {
            match byte {
                8 => out.extend(b"\\b"),
                9 => out.extend(b"\\t"),
                10 => out.extend(b"\\n"),
                11 => out.extend(b"\\v"),
                12 => out.extend(b"\\f"),
                13 => out.extend(b"\\r"),
                b'\\' => out.extend(b"\\\\"),
                other => out.push(*other),
            }
        }
        out
    }

    proptest! {
        #[test]
        fn a_row_reads_back_as_the_server_wrote_it(
            row in proptest::collection::vec(
                proptest::option::of(proptest::collection::vec(prop_oneof![any::<u8>(), 7..=13_u8, Just(b'\\'), Just(b'N')], 0..20)), 1..8),
        ) {
            let line: Vec<Vec<u8>> = row.iter().map(|value| escaped(value.as_deref())).collect();
            let line = [line.join(&b'\t'), b"\n".to_vec()].concat();
            let mut out = Vec::new();
            prop_assert!(push_tuple(&mut out, &line, row.len()).is_some());
            let tuple = Tuple::decode(&out).unwrap();
            let values: Vec<_> = tuple.values().map(|value| match value {
                TupleValue::Null => None,
                TupleValue::Text(text) => Some(text.to_vec()),
                TupleValue::Unchanged => panic!("nothing is unchanged"),
            }).collect();
            prop_assert_eq!(values, row.clone());
            prop_assert!(push_tuple(&mut Vec::new(), &line, row.len() + 1).is_none());
            prop_assert!(row.len() == 1 || push_tuple(&mut Vec::new(), &line, row.len() - 1).is_none());
        }

        #[test]
        fn no_line_makes_it_panic(line in proptest::collection::vec(any::<u8>(), 0..40), columns in 0..5_usize) {
            let mut out = Vec::new();
            if push_tuple(&mut out, &line, columns).is_some() {
                prop_assert_eq!(Tuple::decode(&out).unwrap().len(), columns);
            }
        }
    }
}
