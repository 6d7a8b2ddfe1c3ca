//! The payload of a frame that says which of the source's transactions are prepared.
//!
//! ```text
//! u64 when it was prepared, microseconds since 1970 UTC                                each, up to the end
//! u32 hash of its content
//! u16 length of its global id, the id
//! u16 length of the source's coordinate where it begins, the coordinate
//! u16 length of the source's coordinate after its being prepared, the coordinate
//! ```
//!
//! Each such frame names all of them, the one with the lowest beginning first, and takes the place of the one before it; none
//! is prepared when the payload is empty. It stands before the source frame or the commit that goes beyond what it says, so
//! that no progress is durable without it.

use super::{BadFrame, push_text, read_text, u32_at, u64_at};
use crate::record::{PreparedTransaction, SourcePosition, Timestamp};

/// Appends the payload.
pub fn push(out: &mut Vec<u8>, prepared: &[PreparedTransaction]) {
    for transaction in prepared {
        out.extend_from_slice(&transaction.prepared_ts.micros().to_le_bytes());
        out.extend_from_slice(&transaction.hash.to_le_bytes());
        push_text(out, &transaction.xid);
        push_text(out, &transaction.begins_at.0);
        push_text(out, &transaction.prepared_at.0);
    }
}

/// Reads what [`push`] wrote.
pub fn read(mut payload: &[u8]) -> Result<Vec<PreparedTransaction>, BadFrame> {
    let mut prepared = Vec::new();
    while !payload.is_empty() {
        let (numbers, texts) = payload.split_at_checked(12).ok_or(BadFrame::Content)?;
        let (xid, texts) = read_text(texts)?;
        let (begins_at, texts) = read_text(texts)?;
        let (prepared_at, rest) = read_text(texts)?;
        prepared.push(PreparedTransaction {
            xid: xid.to_owned(),
            begins_at: SourcePosition(begins_at.to_owned()),
            prepared_at: SourcePosition(prepared_at.to_owned()),
            prepared_ts: Timestamp::from_micros(u64_at(numbers, 0).cast_signed()),
            hash: u32_at(numbers, 8),
        });
        payload = rest;
    }
    Ok(prepared)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_transaction() -> impl Strategy<Value = PreparedTransaction> {
        ("\\PC{1,20}", "\\PC{0,20}", "\\PC{0,20}", any::<i64>(), any::<u32>()).prop_map(
            |(xid, begins_at, prepared_at, micros, hash)| PreparedTransaction {
                xid,
                begins_at: SourcePosition(begins_at),
                prepared_at: SourcePosition(prepared_at),
                prepared_ts: Timestamp::from_micros(micros),
                hash,
            },
        )
    }

    proptest! {
        #[test]
        fn they_read_back_as_they_were_written(prepared in proptest::collection::vec(any_transaction(), 0..4)) {
            let mut payload = Vec::new();
            push(&mut payload, &prepared);
            prop_assert_eq!(read(&payload), Ok(prepared));
            // Cut anywhere, they are others or none, and never a panic.
            (0..payload.len()).for_each(|length| drop(read(&payload[..length])));
        }

        #[test]
        fn no_bytes_make_it_panic(payload in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = read(&payload);
        }
    }
}
