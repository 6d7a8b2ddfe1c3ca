//! How far initial loads have come, as the frames so far say: what capture asks for when it goes on, and what every segment's
//! head repeats.

use crate::record::LoadProgress;

/// The progress of each table's load, in the order in which they began. Nothing when no load goes on.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Loads(Vec<LoadProgress>);

impl Loads {
    /// Takes note of what a frame says; none is the end of the load.
    pub(super) fn note(&mut self, said: Option<LoadProgress>) {
        let Some(progress) = said else { return self.0.clear() };
        match self.0.iter_mut().find(|known| known.table == progress.table) {
            Some(known) => *known = progress,
            None => self.0.push(progress),
        }
    }

    pub(super) fn all(&self) -> &[LoadProgress] {
        &self.0
    }
}

/// What frames of an open transaction say: it counts when the transaction is committed.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct LoadsSaid(Vec<Option<LoadProgress>>);

impl LoadsSaid {
    /// Takes note of what a frame says; of each table only the last counts.
    pub(super) fn note(&mut self, said: Option<LoadProgress>) {
        let Some(progress) = &said else {
            self.0.clear();
            return self.0.push(None);
        };
        let is_same = |known: &&mut Option<LoadProgress>| known.as_ref().is_some_and(|k| k.table == progress.table);
        match self.0.iter_mut().find(is_same) {
            Some(known) => *known = said,
            None => self.0.push(said),
        }
    }

    /// The transaction is committed.
    pub(super) fn settle(&mut self, loads: &mut Loads) {
        self.0.drain(..).for_each(|said| loads.note(said));
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn all(&self) -> impl Iterator<Item = Option<&LoadProgress>> {
        self.0.iter().map(Option::as_ref)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{LoadLeft, SourcePosition, TableName};

    fn progress(table: &str, rows: u64) -> Option<LoadProgress> {
        let (table, at) = (TableName::parse(table).unwrap(), SourcePosition::default());
        Some(LoadProgress { table, left: LoadLeft::Nothing, rows, at })
    }

    proptest::proptest! {
        #[test]
        fn what_is_noted_at_a_commit_is_what_would_have_been_noted_at_once(
            script in proptest::collection::vec((proptest::option::of("[a-c]"), 0..9_u64, proptest::bool::ANY), 0..30),
        ) {
            let (mut at_once, mut at_commits, mut said) = (Loads::default(), Loads::default(), LoadsSaid::default());
            for (table, rows, commit) in script {
                let frame = table.and_then(|table| progress(&table, rows));
                at_once.note(frame.clone());
                said.note(frame);
                if commit {
                    said.settle(&mut at_commits);
                    proptest::prop_assert_eq!(&at_commits, &at_once);
                }
            }
        }
    }
}
