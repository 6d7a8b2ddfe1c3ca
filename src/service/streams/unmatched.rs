//! Rules of a stream that match no table of its trail.

use std::fmt;

use crate::catalog::stream::StreamConfig;
use crate::delivery::rules::Rules;
use crate::limits;
use crate::record::{TableName, TrailName};
use crate::trail::Trail;

/// Rules of a stream that match no table of its trail. Not necessarily wrong: tables may come later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnmatchedRules {
    /// Their numbers, and their names where they have one.
    rules: Vec<(usize, Option<String>)>,
    trail: TrailName,
    tables: usize,
    /// One of the tables, to compare with.
    example: TableName,
}

impl fmt::Display for UnmatchedRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (at, name)) in self.rules.iter().take(limits::RULES_NAMED_MAX).enumerate() {
            let comma = if number == 0 { "" } else { ", " };
            write!(f, "{comma}rules[{at}]")?;
            if let Some(name) = name {
                write!(f, " ({})", name.chars().take(limits::RESOURCE_NAME_CHARS_MAX).collect::<String>())?;
            }
        }
        match self.rules.len().saturating_sub(limits::RULES_NAMED_MAX) {
            0 => {}
            others => write!(f, " and {others} more")?,
        }
        let matches = if self.rules.len() == 1 { "matches" } else { "match" };
        let tables = if self.tables == 1 { "table" } else { "tables" };
        let such_as = if self.tables == 1 { "which is" } else { "such as" };
        let Self { trail, example, .. } = self;
        write!(f, " {matches} none of the {} {tables} that the trail {trail} has now, {such_as} {example}", self.tables)
    }
}

impl UnmatchedRules {
    /// Compares rules with the tables that the trail knows now. Reads the disk.
    pub(super) fn find(config: &StreamConfig, trail: &Trail, compiled: &Rules) -> Option<Self> {
        let tables = trail.tables().ok()?;
        let example = tables.first()?.table.clone();
        let unmatched = compiled.without_table(tables.iter().map(|schema| &schema.table)).into_iter();
        let rules: Vec<_> = unmatched.map(|at| (at, config.rules[at].name.clone())).collect();
        let (trail, tables) = (trail.name().clone(), tables.len());
        (!rules.is_empty()).then_some(Self { rules, trail, tables, example })
    }
}
