//! The payload of a load-progress frame.
//!
//! ```text
//! u8 0: the rows behind the key are left; 1: none are, the table has been loaded
//! u64 rows of the table that the trail has
//! u16 length of the table's name, the name
//! u16 length of the source's coordinate, the coordinate
//! the key, up to the end; empty before the first row, and when none are left
//! ```
//!
//! The frame stands behind the rows that it counts, in their transaction and before its commit, and counts only with it; or
//! between transactions. A segment's head repeats the last one of every table. An empty payload says that the load has ended:
//! what was said before need not be known any more.

use super::{BadFrame, push_text, read_text, u64_at};
use crate::record::{LoadLeft, LoadProgress, SourcePosition, TableName};

const BEHIND: u8 = 0;
const NOTHING: u8 = 1;

/// Appends the payload; none where the load has ended.
pub fn push(out: &mut Vec<u8>, progress: Option<&LoadProgress>) {
    let Some(progress) = progress else { return };
    let (left, key) = match &progress.left {
        LoadLeft::Behind(key) => (BEHIND, key.as_str()),
        LoadLeft::Nothing => (NOTHING, ""),
    };
    out.push(left);
    out.extend_from_slice(&progress.rows.to_le_bytes());
    push_text(out, &progress.table.to_string());
    push_text(out, &progress.at.0);
    out.extend_from_slice(key.as_bytes());
}

/// Reads what [`push`] wrote; none where the load has ended.
pub fn read(payload: &[u8]) -> Result<Option<LoadProgress>, BadFrame> {
    if payload.is_empty() {
        return Ok(None);
    }
    let (numbers, texts) = payload.split_at_checked(9).ok_or(BadFrame::Content)?;
    let (table, texts) = read_text(texts)?;
    let (at, key) = read_text(texts)?;
    let key = std::str::from_utf8(key).map_err(|_| BadFrame::Content)?;
    let left = match (numbers[0], key) {
        (BEHIND, key) => LoadLeft::Behind(key.to_owned()),
        (NOTHING, "") => LoadLeft::Nothing,
        _ => return Err(BadFrame::Content),
    };
    let table = TableName::parse(table).map_err(|_| BadFrame::Content)?;
    Ok(Some(LoadProgress { table, left, rows: u64_at(numbers, 1), at: SourcePosition(at.to_owned()) }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_progress() -> impl Strategy<Value = LoadProgress> {
        let left = prop_oneof!["\\PC{0,30}".prop_map(LoadLeft::Behind), Just(LoadLeft::Nothing)];
        let parts = proptest::collection::vec("[a-z.\"ä]{1,8}", 1..=3);
        (parts, left, any::<u64>(), "\\PC{0,20}").prop_map(|(parts, left, rows, at)| LoadProgress {
            table: TableName::from_parts(&parts).unwrap(),
            left,
            rows,
            at: SourcePosition(at),
        })
    }

    proptest! {
        #[test]
        fn progress_reads_back_as_it_was_written(progress in proptest::option::of(any_progress())) {
            let mut payload = Vec::new();
            push(&mut payload, progress.as_ref());
            prop_assert_eq!(read(&payload), Ok(progress));
            // Cut anywhere, it is another one or none, and never a panic.
            (0..payload.len()).for_each(|length| drop(read(&payload[..length])));
        }

        #[test]
        fn no_bytes_make_it_panic(payload in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = read(&payload);
        }
    }
}
