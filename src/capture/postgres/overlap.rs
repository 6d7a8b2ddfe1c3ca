//! Where the stream and the trail meet: what the server sends again must be what the trail took last.
//!
//! A server that runs on an older copy of its data has the same name, the same timeline and our slot, and writes its log anew
//! over places that the trail has passed: what it commits there would be left out as known. So a stream begins at the last
//! transaction that the trail took, as far as the slot still has it, and that one has to come: with the same id, time and
//! rows. Between it and the trail's position there was nothing, so nothing may come. Owns that comparison and its words.

use std::fmt;

use super::lsn::Lsn;
use crate::capture::source::CaptureError;
use crate::record::Timestamp;
use crate::trail::SourceMark;

/// A transaction of which the server sent rows, as it can be known again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    /// Where its commit record starts.
    pub(super) commit_lsn: Lsn,
    pub(super) commit_ts: Timestamp,
    /// 0 stands for no transaction: the server has sent none since `commit_lsn`.
    pub(super) xid: u32,
    /// See [`RowsHash`].
    pub(super) hash: u32,
}

impl Mark {
    /// That a stream through these publications has brought no transaction since `at`.
    pub(super) fn none_since(at: Lsn, publications: u8) -> Self {
        let hash = RowsHash::default().finish(publications);
        Self { commit_lsn: at, commit_ts: Timestamp::from_micros(0), xid: 0, hash }
    }

    /// From what the trail holds.
    pub(super) fn of_trail(mark: &SourceMark) -> Option<Self> {
        let position = Lsn::of_position(&mark.source)?;
        let (xid, commit_lsn) = match mark.xid.as_str() {
            "" => (0, position),
            xid => (xid.parse().ok()?, Lsn(position.0.checked_sub(1)?)),
        };
        Some(Self { commit_lsn, commit_ts: mark.commit_ts, xid, hash: mark.hash })
    }

    /// As the trail holds it.
    pub(super) fn to_trail(self) -> SourceMark {
        let (xid, position) = match self.xid {
            0 => (String::new(), self.commit_lsn),
            xid => (xid.to_string(), self.commit_lsn.after_commit()),
        };
        SourceMark { source: position.to_position(), xid, commit_ts: self.commit_ts, hash: self.hash }
    }
}

/// The hash of a transaction's rows in the server's own words, of tables that are not captured too: the patterns of an
/// extract may change between two readings. Tables are described anew in each session, and origins are not asked for: neither
/// takes part. Its first eight bits say through which publications the rows came, as others give other rows.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct RowsHash(u32);

impl RowsHash {
    /// Takes in the message of one row, or of a truncate.
    pub(super) fn add(&mut self, message: &[u8]) {
        self.0 = crc32c::crc32c_append(self.0, message);
    }

    /// The hash, for rows that came through publications of that [`publications_hash`].
    pub(super) fn finish(self, publications: u8) -> u32 {
        u32::from(publications) << 24 | self.0 >> 8
    }
}

/// Stands for the publications that a stream names.
pub(super) fn publications_hash(names: &str) -> u8 {
    crc32c::crc32c(names.as_bytes()) as u8
}

/// What is compared while the server sends again what the trail has.
#[derive(Debug)]
pub(super) struct Overlap {
    /// Every transaction whose commit record starts before it is in the trail.
    taken: Lsn,
    start: Lsn,
    /// What the trail took last; none if that is not known.
    mark: Option<Mark>,
    /// The mark's transaction has to come.
    awaited: bool,
    publications: u8,
}

impl Overlap {
    /// Of a trail that has everything before `taken`, `mark` last, with a slot that was confirmed up to `confirmed`.
    pub(super) fn new(taken: Lsn, confirmed: Lsn, mark: Option<Mark>, publications: u8) -> Self {
        // Of another set of publications the same transactions have other rows, or none. A mark that is ahead of the position
        // was written for one that did not become durable.
        let durable = |mark: &Mark| mark.commit_lsn < taken || (mark.xid == 0 && mark.commit_lsn == taken);
        let comparable = |mark: &Mark| durable(mark) && mark.hash >> 24 == u32::from(publications);
        let mark = mark.filter(|mark| comparable(mark) && !super::trusts_source());
        let awaited = mark.is_some_and(|mark| mark.xid != 0 && mark.commit_lsn >= confirmed);
        let start = mark.map_or(taken, |mark| mark.commit_lsn.max(confirmed).min(taken));
        Self { taken, start, mark, awaited, publications }
    }

    /// A transaction of this stream, of which these rows came.
    pub(super) fn mark(&self, commit_lsn: Lsn, commit_ts: Timestamp, xid: u32, rows: RowsHash) -> Mark {
        Mark { commit_lsn, commit_ts, xid, hash: rows.finish(self.publications) }
    }

    /// Every transaction whose commit record starts before it is in the trail.
    pub(super) fn taken(&self) -> Lsn {
        self.taken
    }

    /// Where the stream has to begin.
    pub(super) fn start(&self) -> Lsn {
        self.start
    }

    /// The server has sent every transaction whose commit record starts before `lsn`.
    pub(super) fn passed(&self, lsn: Lsn) -> Result<(), CaptureError> {
        match self.mark {
            Some(mark) if self.awaited && lsn > mark.commit_lsn => {
                Err(self.rewound(format!("{mark}, which the trail took last, is no longer in its log")))
            }
            _ => Ok(()),
        }
    }

    /// The server has sent a transaction that the trail should have.
    pub(super) fn sent_again(&mut self, found: Mark) -> Result<(), CaptureError> {
        let Some(mark) = self.mark else { return Ok(()) };
        if found == mark {
            self.awaited = false;
            return Ok(());
        }
        let same = Mark { hash: mark.hash, ..found } == mark;
        Err(self.rewound(if same {
            format!("{mark}, which the trail took last, has other rows there")
        } else {
            format!("it sends {found}; what the trail took last is {mark}")
        }))
    }

    /// The trail goes on behind what the server still sends: nothing of that is known.
    pub(super) fn pass_over(&mut self) {
        (self.mark, self.awaited) = (None, false);
    }

    fn rewound(&self, found: String) -> CaptureError {
        CaptureError::SourceRewound { found, position: self.taken.to_string() }
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { commit_lsn, commit_ts, xid, .. } = self;
        match xid {
            0 => write!(f, "no transaction since {commit_lsn}"),
            xid => write!(f, "transaction {xid} of {commit_ts}, committed at {commit_lsn}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PUBLICATIONS: u8 = 7;

    fn mark(at: u64, xid: u32, rows: &[u8]) -> Mark {
        let mut hash = RowsHash::default();
        hash.add(rows);
        let hash = hash.finish(PUBLICATIONS);
        Mark { commit_lsn: Lsn(at), commit_ts: Timestamp::from_micros(i64::from(xid)), xid, hash }
    }

    fn overlap(taken: u64, confirmed: u64, mark: Mark) -> Overlap {
        Overlap::new(Lsn(taken), Lsn(confirmed), Some(mark), PUBLICATIONS)
    }

    #[test]
    fn the_transaction_taken_last_is_asked_for_again_and_has_to_come() {
        let last = mark(100, 5, b"row");
        let mut overlap = overlap(101, 40, last);
        assert_eq!(overlap.start(), Lsn(100));
        overlap.passed(Lsn(100)).unwrap();
        assert!(overlap.passed(Lsn(101)).unwrap_err().to_string().contains("no longer in its log"));
        overlap.sent_again(last).unwrap();
        overlap.passed(Lsn(5_000)).unwrap();
    }

    #[test]
    fn another_place_time_id_or_row_is_a_source_that_went_back() {
        let last = mark(100, 5, b"row");
        for (found, said) in [
            (mark(99, 5, b"row"), "it sends transaction 5"),
            (mark(100, 6, b"row"), "it sends transaction 6"),
            (Mark { commit_ts: Timestamp::from_micros(4), ..last }, "it sends transaction 5"),
            (mark(100, 5, b"wor"), "has other rows there"),
        ] {
            let error = overlap(101, 40, last).sent_again(found).unwrap_err();
            assert_eq!(error.reason(), "source_rewound");
            assert!(error.to_string().contains(said), "{error}");
        }
    }

    #[test]
    fn nothing_may_come_between_the_transaction_taken_last_and_the_position() {
        // Confirmed since, so it does not come again.
        let mut overlap = overlap(300, 200, mark(100, 5, b"row"));
        assert_eq!(overlap.start(), Lsn(200));
        overlap.passed(Lsn(250)).unwrap();
        assert!(overlap.sent_again(mark(260, 9, b"new")).is_err());
    }

    #[test]
    fn a_trail_that_took_nothing_yet_awaits_nothing_and_takes_nothing_for_known() {
        let none = Mark::none_since(Lsn(100), PUBLICATIONS);
        let mut overlap = overlap(300, 100, none);
        assert_eq!(overlap.start(), Lsn(100));
        overlap.passed(Lsn(400)).unwrap();
        assert!(overlap.sent_again(mark(150, 9, b"new")).unwrap_err().to_string().contains("no transaction since"));
    }

    #[test]
    fn a_mark_comes_back_from_the_trail_as_it_went() {
        for mark in [mark(100, 5, b"row"), Mark::none_since(Lsn(100), PUBLICATIONS)] {
            assert_eq!(Mark::of_trail(&mark.to_trail()), Some(mark));
        }
        let foreign = SourceMark { xid: "put-1".into(), ..mark(100, 5, b"row").to_trail() };
        assert_eq!(Mark::of_trail(&foreign), None);
    }

    #[test]
    fn what_cannot_be_compared_is_not() {
        let last = mark(100, 5, b"row");
        let other_publications = Overlap::new(Lsn(101), Lsn(40), Some(last), PUBLICATIONS + 1);
        let unknown = Overlap::new(Lsn(101), Lsn(40), None, PUBLICATIONS);
        let ahead = overlap(99, 40, last);
        for (mut overlap, taken) in [(other_publications, 101), (unknown, 101), (ahead, 99)] {
            assert_eq!((overlap.start(), overlap.taken()), (Lsn(taken), Lsn(taken)));
            overlap.passed(Lsn(5_000)).unwrap();
            overlap.sent_again(mark(50, 9, b"")).unwrap();
        }
    }

    #[test]
    fn the_hash_says_through_which_publications_the_rows_came() {
        let mut hash = RowsHash::default();
        hash.add(b"a");
        hash.add(b"b");
        assert_eq!(hash.finish(1) & 0xFF_FFFF, hash.finish(2) & 0xFF_FFFF);
        assert_ne!(hash.finish(1), hash.finish(2));
        assert_ne!(publications_hash("\"a\""), publications_hash("\"b\""));
    }
}
