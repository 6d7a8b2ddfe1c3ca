//! What is remembered of a captured trail's coverage: what was published when it was last in order, a loss that nobody has
//! accepted yet, the gaps that were written, and which columns were masked.
//!
//! Kept by the trail's name, so that an extract which is deleted and made again does not forget a loss. Owns the form on the
//! shelf; what was published is the business of the source's product, and stands here as it gave it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::limits;

/// All that is remembered.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct CoverageRecord {
    /// The last look that found everything in order, or found what was then accepted; null before the first.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub known: Value,
    /// When that was: places in the source's log.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub looks: Value,
    /// What stopped the extract, until a person accepts it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost: Option<LostCoverage>,
    /// Tables that do not flow as asked although the extract runs, and why.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub degraded: BTreeMap<String, String>,
    /// The last gaps written, the latest last.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gaps: Vec<CoverageGap>,
    /// How many were written in all.
    pub gaps_written: u64,
    /// Tables with masked columns, by the source's number, as the source's product gave them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub masked: BTreeMap<u32, Value>,
    /// Row filters that the source has understood, as its product gave them; null without any.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub filters: Value,
    /// Tells the masks in force from others; empty without masks.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub masks: String,
    /// The place in the source's log from which on the trail was written with these masks.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub masks_since: String,
}

/// Tables that stopped flowing.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LostCoverage {
    /// The tables, and why each is here.
    pub tables: BTreeMap<String, String>,
    /// The first place in the source's log where a transaction may be without rows of them.
    pub from: String,
    /// Where they were covered again; none while they are not.
    pub to: Option<String>,
    /// A person has said to go on with a gap.
    pub accepted: bool,
    /// The source cannot show the rest of the range at all: it is passed over as a whole.
    pub skip: bool,
}

/// A gap that stands in the trail.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct CoverageGap {
    /// The tables, and why each is here.
    pub tables: BTreeMap<String, String>,
    /// The first place in the source's log where a transaction may be without rows of them.
    pub from: String,
    /// Up to where; none while it goes on.
    pub to: Option<String>,
    /// Those of its tables that were loaded since, and the place in the source's log that their load began behind: what the gap
    /// lacks of rows that are there has come, and of rows that were deleted inside it nothing is told.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub loaded: BTreeMap<String, String>,
}

impl CoverageRecord {
    /// Notes a gap that was written; the end of one that stands here replaces it.
    pub fn note_gap(&mut self, gap: CoverageGap) {
        let ends = |open: &CoverageGap| {
            open.to.is_none() && gap.to.is_some() && open.from == gap.from && open.tables.keys().eq(gap.tables.keys())
        };
        self.gaps.retain(|open| !ends(open));
        self.gaps.push(gap);
        let surplus = self.gaps.len().saturating_sub(limits::COVERAGE_GAPS_SHOWN_MAX);
        self.gaps.drain(..surplus);
        self.gaps_written += 1;
    }

    /// A table was loaded as a whole, by a load that began at `began`: notes it with every gap of that table which ended before, as
    /// `is_before` tells two places.
    pub fn note_loaded(&mut self, table: &str, began: &str, is_before: impl Fn(&str, &str) -> bool) {
        let heals = |gap: &&mut CoverageGap| {
            gap.tables.contains_key(table) && gap.to.as_deref().is_some_and(|to| is_before(to, began))
        };
        for gap in self.gaps.iter_mut().filter(heals) {
            gap.loaded.insert(table.to_owned(), began.to_owned());
        }
    }

    /// Whether anything but the place of the last looks differs, which is worth a write at once.
    pub fn differs_from(&self, other: &Self) -> bool {
        let rest = |record: &Self| Self { looks: Value::Null, ..record.clone() };
        rest(self) != rest(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gap(from: &str, to: Option<&str>) -> CoverageGap {
        let tables = BTreeMap::from([("public.t".to_owned(), "it is not published".to_owned())]);
        CoverageGap { tables, from: from.into(), to: to.map(Into::into), ..CoverageGap::default() }
    }

    #[test]
    fn the_end_of_a_gap_stands_in_place_of_its_beginning_and_the_oldest_are_forgotten() {
        let mut record = CoverageRecord::default();
        record.note_gap(gap("0/1", None));
        record.note_gap(gap("0/1", Some("0/2")));
        assert_eq!((record.gaps.clone(), record.gaps_written), (vec![gap("0/1", Some("0/2"))], 2));
        for number in 0..100 {
            record.note_gap(gap(&format!("0/{number}"), Some("1/0")));
        }
        assert_eq!((record.gaps.len(), record.gaps_written), (limits::COVERAGE_GAPS_SHOWN_MAX, 102));
    }

    #[test]
    fn a_load_heals_the_gaps_of_its_table_that_had_ended_when_it_began() {
        let mut record = CoverageRecord::default();
        let gaps = [gap("0/1", Some("0/2")), gap("0/3", Some("0/5")), gap("0/1", None)];
        gaps.into_iter().for_each(|gap| record.note_gap(gap));
        let is_before = |to: &str, began: &str| to <= began;
        record.note_loaded("public.other", "0/4", is_before);
        assert!(record.gaps.iter().all(|gap| gap.loaded.is_empty()));
        record.note_loaded("public.t", "0/4", is_before);
        let healed: Vec<bool> = record.gaps.iter().map(|gap| gap.loaded.contains_key("public.t")).collect();
        assert_eq!(healed, [true, false, false]);
    }

    #[test]
    fn what_an_earlier_build_did_not_write_reads_as_nothing_known() {
        assert_eq!(serde_json::from_str::<CoverageRecord>("{}").unwrap(), CoverageRecord::default());
    }
}
