//! Gaps: where a trail says that something is missing.
//!
//! Owns what a gap frame says, its payload, and the position behind which reading goes on. Two things leave gaps: a repair,
//! where damage took transactions, and a capture that learns that its source did not give it some tables' rows for a while.

use std::fmt;
use std::sync::Arc;

use crate::codec::frame::{self, BadFrame, Frame, FrameKind};
use crate::record::{Epoch, Position, TableName};

/// What the positions of gaps have for a record number; no transaction has as many records.
pub(super) const GAP_RECORD: u32 = u32::MAX;

/// Something is missing between the entry before it and the one after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// Commit number of the first transaction that is missing; of the gap itself where rows of tables are.
    pub first: u64,
    /// Commit number of the next one there; the same as `first` when it is not known how many are missing.
    pub next: u64,
    /// The tables whose rows may be missing; none where damage took whole transactions.
    pub missing: Option<Arc<Missing>>,
}

/// Rows that the source may have had and did not give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// Of these tables; of any when there are none.
    pub tables: Vec<TableName>,
    /// From this coordinate of the source's log on, in the source's own words.
    pub from: String,
    /// Up to this one; empty while it is not known where the rows come again.
    pub to: String,
}

impl Missing {
    fn push(&self, out: &mut Vec<u8>) {
        frame::push_text(out, &self.from);
        frame::push_text(out, &self.to);
        self.tables.iter().for_each(|table| frame::push_text(out, &table.to_string()));
    }

    fn read(texts: &[u8]) -> Result<Self, BadFrame> {
        let (from, texts) = frame::read_text(texts)?;
        let (to, mut texts) = frame::read_text(texts)?;
        let mut tables = Vec::new();
        while !texts.is_empty() {
            let (table, rest) = frame::read_text(texts)?;
            tables.push(TableName::parse(table).map_err(|_| BadFrame::Content)?);
            texts = rest;
        }
        Ok(Self { tables, from: from.to_owned(), to: to.to_owned() })
    }
}

impl Gap {
    /// A gap between transactions in what was captured, with this commit number.
    pub(super) fn in_capture(commit: u64, missing: Missing) -> Self {
        Self { first: commit, next: commit + 1, missing: Some(Arc::new(missing)) }
    }

    /// Appends the payload of its frame.
    pub(super) fn push(&self, out: &mut Vec<u8>) {
        frame::push_numbers(out, &[self.first, self.next]);
        if let Some(missing) = &self.missing {
            missing.push(out);
        }
    }

    /// What a gap frame says; none when it is no gap frame, or a malformed one.
    pub(super) fn of(frame: &Frame<'_>) -> Option<Self> {
        if frame.header.kind != FrameKind::Gap {
            return None;
        }
        let (numbers, texts) = frame.payload.split_at_checked(16)?;
        let [first, next] = frame::read_numbers(numbers).ok()?;
        let missing = if texts.is_empty() { None } else { Some(Arc::new(Missing::read(texts).ok()?)) };
        let has_own_number = missing.is_none() || next == first + 1;
        (first >= 1 && next >= first && has_own_number).then_some(Self { first, next, missing })
    }

    /// The position of the gap itself: reading goes on behind it.
    pub fn position(&self, epoch: Epoch) -> Position {
        Position { epoch, commit: self.next - 1, record: GAP_RECORD, xid_hash: 0 }
    }
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.missing, self.next - self.first) {
            (Some(missing), _) => missing.fmt(f),
            (None, 0) => write!(f, "transactions before commit number {} were lost", self.next),
            (None, 1) => write!(f, "transaction {} was lost", self.first),
            (None, _) => write!(f, "transactions {} to {} were lost", self.first, self.next - 1),
        }
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.tables.as_slice() {
            [] => write!(f, "rows of any table")?,
            [table] => write!(f, "rows of table {table}")?,
            [table, others @ ..] => write!(f, "rows of table {table} and {} more", others.len())?,
        }
        match self.to.as_str() {
            "" => write!(f, " may be missing, from {} of the source's log on", self.from),
            to => write!(f, " may be missing, from {} to {to} of the source's log", self.from),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::codec::frame::FrameHeader;

    fn read_back(header: FrameHeader, payload: &[u8]) -> Option<Gap> {
        Gap::of(&Frame { header, payload })
    }

    proptest! {
        #[test]
        fn a_gap_reads_back_as_it_was_written(
            commit in 1..u64::MAX,
            names in proptest::collection::vec("[a-z.\"]{1,8}", 0..5),
            from in "[0-9A-F/]{0,20}",
            to in ".{0,20}",
        ) {
            let tables = names.iter().map(|name| TableName::from_parts(&["public", name]).unwrap()).collect();
            let gap = Gap::in_capture(commit, Missing { tables, from, to });
            let mut payload = Vec::new();
            gap.push(&mut payload);
            let header = FrameHeader::new(FrameKind::Gap);
            prop_assert_eq!(read_back(header, &payload), Some(gap));
            prop_assert_eq!(read_back(FrameHeader::new(FrameKind::Mark), &payload), None);
            // Cut anywhere, it is another gap or none, and never a panic.
            (0..payload.len()).for_each(|length| drop(read_back(header, &payload[..length])));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = read_back(FrameHeader::new(FrameKind::Gap), &bytes);
        }
    }

    #[test]
    fn a_gap_of_damage_has_numbers_alone() {
        let gap = Gap { first: 3, next: 9, missing: None };
        let mut payload = Vec::new();
        gap.push(&mut payload);
        assert_eq!(payload.len(), 16);
        assert_eq!(read_back(FrameHeader::new(FrameKind::Gap), &payload), Some(gap));
    }

    #[test]
    fn it_says_what_is_missing() {
        let missing = |tables: &[&str]| Missing {
            tables: tables.iter().map(|table| TableName::parse(table).unwrap()).collect(),
            from: "0/1".into(),
            to: "0/2".into(),
        };
        let told = |tables: &[&str]| Gap::in_capture(7, missing(tables)).to_string();
        assert_eq!(told(&[]), "rows of any table may be missing, from 0/1 to 0/2 of the source's log");
        assert_eq!(told(&["a.b"]), "rows of table a.b may be missing, from 0/1 to 0/2 of the source's log");
        assert_eq!(
            told(&["a.b", "c"]),
            "rows of table a.b and 1 more may be missing, from 0/1 to 0/2 of the source's log"
        );
    }
}
