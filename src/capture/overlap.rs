//! Where the stream and the trail meet: what the source sends again must be what the trail took last.
//!
//! A source that runs on an older copy of its data has the same name and the same history, still knows us, and writes its log
//! anew over places that the trail has passed: what it commits there would be left out as known. So a stream begins at the last
//! transaction that the trail took, as far as the source still has it for us, and that one has to come: with the same id, time
//! and content. Between it and the trail's position there was nothing, so nothing may come. Owns that comparison and its words.

use std::fmt;

use super::coordinate::Coordinate;
use super::error::CaptureError;
use super::fault_injection;
use crate::record::Timestamp;
use crate::trail::SourceMark;

/// A transaction that the source has sent, as it can be known again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mark<C> {
    pub(super) at: C,
    pub(super) commit_ts: Timestamp,
    /// Empty for no transaction: the source has sent none since `at`.
    pub(super) xid: String,
    /// See [`ContentHash`].
    pub(super) hash: u32,
}

impl<C: Coordinate> Mark<C> {
    /// That a stream of this selection has brought no transaction since `at`.
    pub(super) fn none_since(at: C, selection: u8) -> Self {
        let hash = ContentHash::default().finish(selection);
        Self { at, commit_ts: Timestamp::from_micros(0), xid: String::new(), hash }
    }

    /// From what the trail holds.
    pub(super) fn of_trail(mark: &SourceMark) -> Option<Self> {
        let at = C::of_position(&mark.source)?;
        Some(Self { at, commit_ts: mark.commit_ts, xid: mark.xid.clone(), hash: mark.hash })
    }

    /// As the trail holds it.
    pub(super) fn to_trail(&self) -> SourceMark {
        let Self { at, commit_ts, xid, hash } = self;
        SourceMark { source: at.to_position(), xid: xid.clone(), commit_ts: *commit_ts, hash: *hash }
    }

    fn is_transaction(&self) -> bool {
        !self.xid.is_empty()
    }
}

/// The hash of a transaction's content in the source's own words, of tables that are not captured too: the patterns of an
/// extract may change between two readings. Whatever differs between two sessions that read the same takes no part, such as
/// how tables are described. Its first eight bits say of which selection of the source's tables the content is, as of another one
/// the same transactions have other rows.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ContentHash(u32);

impl ContentHash {
    /// Takes in what the source sent of one row, or of a truncate.
    pub(super) fn add(&mut self, message: &[u8]) {
        self.0 = crc32c::crc32c_append(self.0, message);
    }

    /// Takes in what another one has taken in, `length` bytes, behind what this one has.
    pub(super) fn join(&mut self, other: u32, length: u64) {
        self.0 = crc32c::crc32c_combine(self.0, other, usize::try_from(length).unwrap_or(usize::MAX));
    }

    /// What [`Self::join`] of another one asks for.
    pub(super) fn so_far(self) -> u32 {
        self.0
    }

    /// The hash, of a stream with that [`selection_hash`].
    pub(super) fn finish(self, selection: u8) -> u32 {
        u32::from(selection) << 24 | self.0 >> 8
    }
}

/// Stands for what a stream asks the source for.
pub(super) fn selection_hash(names: &str) -> u8 {
    crc32c::crc32c(names.as_bytes()) as u8
}

/// What is compared while the source sends again what the trail has.
#[derive(Debug)]
pub(super) struct Overlap<C> {
    /// Where the trail stands.
    taken: C,
    start: C,
    /// What the trail took last; none if that is not known.
    mark: Option<Mark<C>>,
    /// The mark's transaction has to come.
    awaited: bool,
    selection: u8,
}

impl<C: Coordinate> Overlap<C> {
    /// Of a trail that stands at `taken` and took `mark` last, with a source that may have forgotten what lies before
    /// `confirmed`.
    pub(super) fn new(taken: C, confirmed: C, mark: Option<Mark<C>>, selection: u8) -> Self {
        // Of another selection the same transactions have other rows, or none. A mark that is ahead of the position was
        // written for one that did not become durable.
        let comparable = |mark: &Mark<C>| mark.at <= taken && mark.hash >> 24 == u32::from(selection);
        let mark = mark.filter(|mark| comparable(mark) && !fault_injection::trusts_source());
        let awaited = mark.as_ref().is_some_and(|mark| mark.is_transaction() && mark.at > confirmed);
        let start = match &mark {
            Some(mark) if mark.is_transaction() => mark.at.commit_place().max(confirmed).min(taken.clone()),
            Some(mark) => mark.at.clone().max(confirmed).min(taken.clone()),
            None => taken.clone(),
        };
        Self { taken, start, mark, awaited, selection }
    }

    /// Where the trail stands.
    pub(super) fn taken(&self) -> &C {
        &self.taken
    }

    /// Where the stream has to begin.
    pub(super) fn start(&self) -> &C {
        &self.start
    }

    /// What content of that hash is known by.
    pub(super) fn finish(&self, content: ContentHash) -> u32 {
        content.finish(self.selection)
    }

    /// The transaction at `at` comes, in the order of commits.
    pub(super) fn comes(&self, at: &C) -> Result<(), CaptureError> {
        self.refuse_if_passed(|mark| *at > mark.at)
    }

    /// The source has sent everything before `end`.
    pub(super) fn all_sent_before(&self, end: &C) -> Result<(), CaptureError> {
        self.refuse_if_passed(|mark| *end >= mark.at)
    }

    fn refuse_if_passed(&self, is_behind: impl FnOnce(&Mark<C>) -> bool) -> Result<(), CaptureError> {
        match &self.mark {
            Some(mark) if self.awaited && is_behind(mark) => {
                Err(self.rewound(format!("{mark}, which the trail took last, is no longer in its log")))
            }
            _ => Ok(()),
        }
    }

    /// The source has sent a transaction that the trail should have.
    pub(super) fn sent_again(&mut self, found: Mark<C>) -> Result<(), CaptureError> {
        let Some(mark) = &self.mark else { return Ok(()) };
        if found == *mark {
            self.awaited = false;
            return Ok(());
        }
        let same = Mark { hash: mark.hash, ..found.clone() } == *mark;
        Err(self.rewound(if same {
            format!("{mark}, which the trail took last, has other rows there")
        } else {
            format!("it sends {found}; what the trail took last is {mark}")
        }))
    }

    /// The trail goes on behind what the source still sends: nothing of that is known.
    pub(super) fn pass_over(&mut self) {
        (self.mark, self.awaited) = (None, false);
    }

    fn rewound(&self, found: String) -> CaptureError {
        CaptureError::SourceRewound { found, position: self.taken.to_string() }
    }
}

impl<C: Coordinate> fmt::Display for Mark<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, commit_ts, xid, .. } = self;
        match self.is_transaction() {
            false => write!(f, "no transaction since {at}"),
            true => write!(f, "transaction {xid} of {commit_ts}, committed at {}", at.commit_place()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::toy::EventNumber;

    const SELECTION: u8 = 7;

    fn mark(at: u64, xid: u32, rows: &[u8]) -> Mark<EventNumber> {
        let mut hash = ContentHash::default();
        hash.add(rows);
        let hash = hash.finish(SELECTION);
        Mark { at: EventNumber(at), commit_ts: Timestamp::from_micros(i64::from(xid)), xid: xid.to_string(), hash }
    }

    fn overlap(taken: u64, confirmed: u64, mark: Mark<EventNumber>) -> Overlap<EventNumber> {
        Overlap::new(EventNumber(taken), EventNumber(confirmed), Some(mark), SELECTION)
    }

    #[test]
    fn the_transaction_taken_last_is_asked_for_again_and_has_to_come() {
        let last = mark(101, 5, b"row");
        let mut overlap = overlap(101, 40, last.clone());
        assert_eq!(*overlap.start(), EventNumber(100));
        overlap.comes(&EventNumber(101)).unwrap();
        overlap.all_sent_before(&EventNumber(100)).unwrap();
        for passed in [overlap.comes(&EventNumber(102)), overlap.all_sent_before(&EventNumber(101))] {
            assert!(passed.unwrap_err().to_string().contains("no longer in its log"));
        }
        overlap.sent_again(last).unwrap();
        overlap.comes(&EventNumber(5_000)).unwrap();
        overlap.all_sent_before(&EventNumber(5_000)).unwrap();
    }

    #[test]
    fn another_place_time_id_or_row_is_a_source_that_went_back() {
        let last = mark(101, 5, b"row");
        for (found, said) in [
            (mark(100, 5, b"row"), "it sends transaction 5"),
            (mark(101, 6, b"row"), "it sends transaction 6"),
            (Mark { commit_ts: Timestamp::from_micros(4), ..last.clone() }, "it sends transaction 5"),
            (mark(101, 5, b"wor"), "has other rows there"),
        ] {
            let error = overlap(101, 40, last.clone()).sent_again(found).unwrap_err();
            assert_eq!(error.reason(), "source_rewound");
            assert!(error.to_string().contains(said), "{error}");
        }
    }

    #[test]
    fn nothing_may_come_between_the_transaction_taken_last_and_the_position() {
        // Confirmed since, so it does not come again.
        let mut overlap = overlap(300, 200, mark(101, 5, b"row"));
        assert_eq!(*overlap.start(), EventNumber(200));
        overlap.all_sent_before(&EventNumber(250)).unwrap();
        assert!(overlap.sent_again(mark(261, 9, b"new")).is_err());
    }

    #[test]
    fn a_trail_that_took_nothing_yet_awaits_nothing_and_takes_nothing_for_known() {
        let none = Mark::none_since(EventNumber(100), SELECTION);
        let mut overlap = overlap(300, 100, none);
        assert_eq!(*overlap.start(), EventNumber(100));
        overlap.all_sent_before(&EventNumber(400)).unwrap();
        assert!(overlap.sent_again(mark(151, 9, b"new")).unwrap_err().to_string().contains("no transaction since"));
    }

    #[test]
    fn a_mark_comes_back_from_the_trail_as_it_went() {
        for mark in [mark(101, 5, b"row"), Mark::none_since(EventNumber(100), SELECTION)] {
            assert_eq!(Mark::of_trail(&mark.to_trail()), Some(mark));
        }
        let mut foreign = mark(101, 5, b"row").to_trail();
        foreign.source.0 = "another product's".into();
        assert_eq!(Mark::<EventNumber>::of_trail(&foreign), None);
    }

    #[test]
    fn what_cannot_be_compared_is_not() {
        let last = mark(101, 5, b"row");
        let other_selection = Overlap::new(EventNumber(101), EventNumber(40), Some(last.clone()), SELECTION + 1);
        let unknown = Overlap::new(EventNumber(101), EventNumber(40), None, SELECTION);
        let ahead = overlap(99, 40, last);
        for (mut overlap, taken) in [(other_selection, 101), (unknown, 101), (ahead, 99)] {
            assert_eq!((overlap.start(), overlap.taken()), (&EventNumber(taken), &EventNumber(taken)));
            overlap.comes(&EventNumber(5_000)).unwrap();
            overlap.all_sent_before(&EventNumber(5_000)).unwrap();
            overlap.sent_again(mark(51, 9, b"")).unwrap();
        }
    }

    #[test]
    fn the_hash_says_of_which_selection_the_content_is() {
        let mut hash = ContentHash::default();
        hash.add(b"a");
        hash.add(b"b");
        assert_eq!(hash.finish(1) & 0xFF_FFFF, hash.finish(2) & 0xFF_FFFF);
        assert_ne!(hash.finish(1), hash.finish(2));
        assert_ne!(selection_hash("\"a\""), selection_hash("\"b\""));
    }

    #[test]
    fn parts_that_are_joined_hash_as_the_whole_does() {
        let (mut whole, mut joined) = (ContentHash::default(), ContentHash::default());
        for part in [b"row".as_slice(), b"", b"another row", &[0; 5_000]] {
            let mut of_part = ContentHash::default();
            of_part.add(part);
            whole.add(part);
            joined.join(of_part.so_far(), part.len() as u64);
        }
        assert_eq!(joined.finish(0), whole.finish(0));
    }
}
