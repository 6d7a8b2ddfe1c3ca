//! Entries in the file of positions, as bytes. Sans-IO.
//!
//! ```text
//! entry:  length u32 | CRC-32C of the rest u32 | kind u8 | key length u16 | key | value      numbers little-endian
//! kinds:  1 set   2 remove   3 mark: the value is how far the file was durable when its flush group was written, u64
//! ```

use super::store::Change;
use crate::limits;

/// What the file begins with: its kind and the version of its format.
pub(super) const HEAD: &[u8; 8] = b"TCCURS\x00\x01";
/// The part of the head that stays the same in every version.
pub(super) const HEAD_KIND: &[u8] = b"TCCURS";

const SET: u8 = 1;
const REMOVE: u8 = 2;
const MARK: u8 = 3;
/// Bytes before what the checksum covers.
const PREFIX_BYTES: usize = 8;
/// Bytes before the key, behind the prefix.
const FIELDS_BYTES: usize = 3;
/// Longest entry, without its prefix.
const ENTRY_BYTES_MAX: usize = FIELDS_BYTES + limits::CURSOR_KEY_BYTES_MAX + limits::CURSOR_VALUE_BYTES_MAX;

/// An entry.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Entry<'a> {
    /// A key has a value from here on.
    Set(&'a str, &'a [u8]),
    /// A key has none from here on.
    Remove(&'a str),
    /// The file was durable up to that byte when what follows was written.
    Mark(u64),
}

/// Appends a change.
pub(super) fn push_change(out: &mut Vec<u8>, change: &Change) {
    match &change.value {
        Some(value) => push(out, SET, change.key.as_bytes(), value),
        None => push(out, REMOVE, change.key.as_bytes(), &[]),
    }
}

/// Appends a key with its value.
pub(super) fn push_set(out: &mut Vec<u8>, key: &str, value: &[u8]) {
    push(out, SET, key.as_bytes(), value);
}

/// Appends a mark.
pub(super) fn push_mark(out: &mut Vec<u8>, durable: u64) {
    push(out, MARK, &[], &durable.to_le_bytes());
}

fn push(out: &mut Vec<u8>, kind: u8, key: &[u8], value: &[u8]) {
    let start = out.len();
    let length = (FIELDS_BYTES + key.len() + value.len()) as u32;
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.push(kind);
    out.extend_from_slice(&(key.len() as u16).to_le_bytes());
    out.extend_from_slice(key);
    out.extend_from_slice(value);
    let crc = crc32c::crc32c(&out[start + PREFIX_BYTES..]);
    out[start + 4..start + PREFIX_BYTES].copy_from_slice(&crc.to_le_bytes());
}

/// The entry that `bytes` begin with, and its length; none where there is no whole one.
pub(super) fn read(bytes: &[u8]) -> Option<(Entry<'_>, usize)> {
    let word = |at: usize| bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes);
    let (length, crc) = (word(0)? as usize, word(4)?);
    if !(FIELDS_BYTES..=ENTRY_BYTES_MAX).contains(&length) {
        return None;
    }
    let entry = bytes.get(PREFIX_BYTES..PREFIX_BYTES + length)?;
    if crc32c::crc32c(entry) != crc {
        return None;
    }
    let key_length = usize::from(u16::from_le_bytes([*entry.get(1)?, *entry.get(2)?]));
    let key = std::str::from_utf8(entry.get(FIELDS_BYTES..FIELDS_BYTES + key_length)?).ok()?;
    let value = entry.get(FIELDS_BYTES + key_length..)?;
    let read = match *entry.first()? {
        SET => Entry::Set(key, value),
        REMOVE => Entry::Remove(key),
        MARK => Entry::Mark(u64::from_le_bytes(value.try_into().ok()?)),
        _ => return None,
    };
    Some((read, PREFIX_BYTES + length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_read_back_and_a_changed_or_cut_one_does_not() {
        let mut bytes = Vec::new();
        push_set(&mut bytes, "stream/s/g/0", b"value");
        let first = bytes.len();
        push_change(&mut bytes, &Change::remove("k".into()));
        let second = bytes.len();
        push_mark(&mut bytes, 77);
        assert_eq!(read(&bytes), Some((Entry::Set("stream/s/g/0", b"value"), first)));
        assert_eq!(read(&bytes[first..]), Some((Entry::Remove("k"), second - first)));
        assert_eq!(read(&bytes[second..]), Some((Entry::Mark(77), bytes.len() - second)));
        for cut in 0..first {
            assert_eq!(read(&bytes[..cut]), None);
        }
        for at in 0..first {
            let mut changed = bytes[..first].to_vec();
            changed[at] ^= 0x10;
            assert_eq!(read(&changed), None, "byte {at}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(0u8.., 0..200)) {
            let _ = read(&bytes);
        }
    }
}
