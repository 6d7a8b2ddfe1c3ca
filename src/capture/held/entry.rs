//! What is kept of one change of a transaction that comes in pieces, as bytes that may lie on the disk for a while.
//!
//! ```text
//! u8 kind | u32 length of what follows | …
//! part      u64 which part of the transaction the entries behind it belong to
//! part end  u32 hash of what the source sent of these, u64 length of that
//! row       u32 schema | u8 operation | u8 images it has | both images
//! ddl       u32 length of the table's name | the name | the statement
//! message   u32 length of the key | the key | the value
//! ```
//!
//! Little-endian. These bytes never outlive the session that wrote them, so there is one version.

use crate::record::Operation;

const HEADER_BYTES: usize = 5;
const PART: u8 = 1;
const PART_END: u8 = 2;
const ROW: u8 = 3;
const DDL: u8 = 4;
const MESSAGE: u8 = 5;
const ROW_HEAD_BYTES: usize = 6;
const BEFORE: u8 = 1;
const AFTER: u8 = 2;

/// One entry.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::capture) enum Entry<'a> {
    /// What follows belongs to that part.
    Part(u64),
    /// The part goes no further here.
    PartEnd {
        hash: u32,
        length: u64,
    },
    Row(HeldRow<'a>),
    Ddl {
        table: &'a str,
        statement: &'a str,
    },
    Message {
        key: &'a [u8],
        value: &'a [u8],
    },
}

/// A row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::capture) struct HeldRow<'a> {
    /// Which of the transaction's descriptions of tables it was read by.
    pub(in crate::capture) schema: u32,
    pub(in crate::capture) operation: Operation,
    /// It has a before image.
    pub(in crate::capture) before: bool,
    /// It has an after image.
    pub(in crate::capture) after: bool,
    /// Both, the before image first.
    pub(in crate::capture) images: &'a [u8],
}

/// Bytes that are no entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoEntry;

/// Appends an entry that `write` appends the rest of; if that fails, nothing is appended.
fn push<E>(out: &mut Vec<u8>, kind: u8, write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Result<(), E> {
    let start = out.len();
    out.extend_from_slice(&[kind, 0, 0, 0, 0]);
    if let Err(error) = write(out) {
        out.truncate(start);
        return Err(error);
    }
    // No change is that large: the source's messages have a cap.
    let length = u32::try_from(out.len() - start - HEADER_BYTES).unwrap_or(u32::MAX);
    out[start + 1..start + HEADER_BYTES].copy_from_slice(&length.to_le_bytes());
    Ok(())
}

fn push_all(out: &mut Vec<u8>, kind: u8, parts: &[&[u8]]) {
    let Ok(()) = push(out, kind, |out| -> Result<(), std::convert::Infallible> {
        parts.iter().for_each(|part| out.extend_from_slice(part));
        Ok(())
    });
}

pub(super) fn push_part(out: &mut Vec<u8>, part: u64) {
    push_all(out, PART, &[&part.to_le_bytes()]);
}

pub(super) fn push_part_end(out: &mut Vec<u8>, hash: u32, length: u64) {
    push_all(out, PART_END, &[&hash.to_le_bytes(), &length.to_le_bytes()]);
}

/// Appends a row whose images, the before image first, `write` appends.
pub(super) fn push_row<E>(
    out: &mut Vec<u8>,
    schema: u32,
    operation: Operation,
    (before, after): (bool, bool),
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
) -> Result<(), E> {
    push(out, ROW, |out| {
        out.extend_from_slice(&schema.to_le_bytes());
        out.extend_from_slice(&[operation as u8, (u8::from(before) * BEFORE) | (u8::from(after) * AFTER)]);
        write(out)
    })
}

pub(super) fn push_ddl(out: &mut Vec<u8>, table: &str, statement: &str) {
    push_all(out, DDL, &[&length(table.as_bytes()), table.as_bytes(), statement.as_bytes()]);
}

pub(super) fn push_message(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    push_all(out, MESSAGE, &[&length(key), key, value]);
}

fn length(bytes: &[u8]) -> [u8; 4] {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes()
}

/// The entry that the bytes begin with, and how many of them it takes; none while its end is missing.
pub(super) fn read(bytes: &[u8]) -> Result<Option<(Entry<'_>, usize)>, NoEntry> {
    let Some((header, rest)) = bytes.split_first_chunk::<HEADER_BYTES>() else { return Ok(None) };
    let length = u32::from_le_bytes([header[1], header[2], header[3], header[4]]) as usize;
    let Some(content) = rest.get(..length) else { return Ok(None) };
    entry(header[0], content).map(|entry| Some((entry, HEADER_BYTES + length))).ok_or(NoEntry)
}

fn entry(kind: u8, content: &[u8]) -> Option<Entry<'_>> {
    match kind {
        PART => Some(Entry::Part(u64::from_le_bytes(content.try_into().ok()?))),
        PART_END => {
            let (hash, length) = content.split_first_chunk::<4>()?;
            let (hash, length) = (u32::from_le_bytes(*hash), u64::from_le_bytes(length.try_into().ok()?));
            Some(Entry::PartEnd { hash, length })
        }
        ROW => {
            let (head, images) = content.split_first_chunk::<ROW_HEAD_BYTES>()?;
            let [a, b, c, d, operation, has] = *head;
            Some(Entry::Row(HeldRow {
                schema: u32::from_le_bytes([a, b, c, d]),
                operation: Operation::from_code(operation)?,
                before: has & BEFORE != 0,
                after: has & AFTER != 0,
                images,
            }))
        }
        DDL => {
            let (table, statement) = split(content)?;
            let text = |bytes| std::str::from_utf8(bytes).ok();
            Some(Entry::Ddl { table: text(table)?, statement: text(statement)? })
        }
        MESSAGE => split(content).map(|(key, value)| Entry::Message { key, value }),
        _ => None,
    }
}

fn split(content: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = content.split_first_chunk::<4>()?;
    rest.split_at_checked(u32::from_le_bytes(*length) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn entries_read_back_as_they_were_pushed_and_half_of_one_is_none_yet() {
        let mut bytes = Vec::new();
        push_part(&mut bytes, 7);
        let images = |out: &mut Vec<u8>| -> Result<(), ()> {
            out.extend_from_slice(b"both");
            Ok(())
        };
        push_row(&mut bytes, 3, Operation::Update, (true, true), images).unwrap();
        assert_eq!(push_row(&mut bytes, 3, Operation::Insert, (false, true), |_| Err("refused")), Err("refused"));
        push_ddl(&mut bytes, "public.t", "alter table t …");
        push_message(&mut bytes, b"k", b"");
        push_part_end(&mut bytes, 9, 1 << 40);
        let row = HeldRow { schema: 3, operation: Operation::Update, before: true, after: true, images: b"both" };
        let expected = [
            Entry::Part(7),
            Entry::Row(row),
            Entry::Ddl { table: "public.t", statement: "alter table t …" },
            Entry::Message { key: b"k", value: b"" },
            Entry::PartEnd { hash: 9, length: 1 << 40 },
        ];
        let mut rest = bytes.as_slice();
        for expected in expected {
            let (entry, length) = read(rest).unwrap().unwrap();
            assert_eq!(entry, expected);
            for cut in 0..length {
                assert_eq!(read(&rest[..cut]), Ok(None));
            }
            rest = &rest[length..];
        }
        assert_eq!(read(rest), Ok(None));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60), kind in 0..7_u8, length in 0..50_u8) {
            let _ = read(&bytes);
            let _ = read(&[&[kind, length, 0, 0, 0], &bytes[..]].concat());
        }
    }
}
