//! Counts records by a text that each of them holds exactly once, without reading JSON.
//!
//! `"pos":"`, or what the stream has renamed it to, stands in every record with a position. Quotes inside strings are
//! escaped, so it stands nowhere else but where an image has a column of that name with a text.

use memchr::memmem::Finder;

/// Counts a marker in bytes that come in pieces.
#[derive(Debug, Clone)]
pub(super) struct MarkerCount {
    finder: Finder<'static>,
    /// The last bytes of the piece before, fewer than a marker has.
    tail: Vec<u8>,
}

impl MarkerCount {
    /// Counts where this member, given as JSON has its name (`"pos"`), stands with a text.
    pub(super) fn of(member: &str) -> Self {
        let marker = format!("{member}:\"");
        Self { finder: Finder::new(&marker).into_owned(), tail: Vec::with_capacity(2 * marker.len()) }
    }

    /// How many markers end in this piece.
    pub(super) fn count(&mut self, piece: &[u8]) -> u64 {
        let keep = self.finder.needle().len() - 1;
        let mut count = 0;
        if !self.tail.is_empty() {
            // Between two pieces lies at most one marker: the tail is too short for a whole one.
            self.tail.extend_from_slice(&piece[..piece.len().min(keep)]);
            count += u64::from(self.finder.find(&self.tail).is_some());
        }
        count += self.finder.find_iter(piece).count() as u64;
        if piece.len() >= keep {
            self.tail.clear();
            self.tail.extend_from_slice(&piece[piece.len() - keep..]);
        } else {
            if self.tail.is_empty() {
                self.tail.extend_from_slice(piece);
            }
            self.tail.drain(..self.tail.len().saturating_sub(keep));
        }
        count
    }

    /// What comes next does not continue what came before.
    pub(super) fn restart(&mut self) {
        self.tail.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_marker_is_counted_once_however_the_bytes_are_cut(
            gaps in proptest::collection::vec("[a-z\":]{0,9}x", 0..20),
            cuts in proptest::collection::vec(1_usize..20, 1..200),
        ) {
            let text = gaps.join("\"pos\":\"");
            let mut counter = MarkerCount::of("\"pos\"");
            let (mut count, mut rest) = (0, text.as_bytes());
            for cut in cuts.iter().cycle() {
                let (now, later) = rest.split_at((*cut).min(rest.len()));
                count += counter.count(now);
                rest = later;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(count, text.matches("\"pos\":\"").count() as u64);
        }
    }
}
