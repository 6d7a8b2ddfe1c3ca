//! What is remembered of the initial loads of a captured trail beside what the trail itself says: orders that somebody gave, whether loads
//! rest, and how they ended.
//!
//! Kept by the trail's name. Owns the form on the shelf; how far a load is stands in the trail, with the rows that it counts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::extract::InvalidExtract;
use super::table_pattern::TablePattern;
use crate::limits;

/// All that is remembered.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LoadRecord {
    /// Orders that were given in all: the number of the last one.
    pub last_order: u64,
    /// Orders that have not ended, by table.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub orders: BTreeMap<String, LoadOrder>,
    /// Tables whose load is to end where it is.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cancelled: Vec<String>,
    /// Whether loads rest until they are told to go on.
    pub paused: bool,
    /// How the last load of each table ended.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub ended: BTreeMap<String, LoadEnd>,
}

/// Somebody wants a table to be loaded.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LoadOrder {
    /// Its number.
    pub number: u64,
    /// Only rows for which this condition holds.
    #[serde(rename = "where", skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
}

/// How the load of a table ended.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LoadEnd {
    /// How.
    pub how: LoadOutcome,
    /// Rows of it that came into the trail.
    pub rows: u64,
    /// Why it failed, and what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// How a load ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LoadOutcome {
    /// The trail has the table.
    #[default]
    Loaded,
    /// Somebody ended it.
    Cancelled,
    /// It could not be loaded.
    Failed,
}

/// What somebody wants to be loaded.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LoadRequest {
    /// Patterns of tables, as an extract has them.
    pub tables: Vec<TablePattern>,
    /// Only rows for which this condition holds, in the source's own language.
    #[serde(default, rename = "where")]
    pub condition: Option<String>,
}

/// What is to become of loads.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LoadPatch {
    /// What.
    pub status: LoadWish,
    /// Of these tables only; where all of them can be meant only, they may not be named.
    #[serde(default)]
    pub tables: Option<Vec<TablePattern>>,
}

/// What loads are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LoadWish {
    /// Go on.
    Running,
    /// Rest.
    Paused,
    /// End where you are.
    Cancelled,
}

impl LoadRequest {
    /// Checks the range of each member.
    pub fn validate(&self) -> Result<(), InvalidExtract> {
        check_number(&self.tables)
    }
}

impl LoadPatch {
    /// Checks the range of each member.
    pub fn validate(&self) -> Result<(), InvalidExtract> {
        match (&self.tables, self.status) {
            (None, _) => Ok(()),
            (Some(tables), LoadWish::Cancelled) => check_number(tables),
            (Some(_), _) => {
                let message = "only beside the status \"cancelled\": loads rest and go on together".to_owned();
                Err(InvalidExtract { member: "tables".into(), message })
            }
        }
    }
}

fn check_number(tables: &[TablePattern]) -> Result<(), InvalidExtract> {
    if (1..=limits::EXTRACT_TABLES_MAX).contains(&tables.len()) {
        return Ok(());
    }
    let message = format!("1 to {} patterns", limits::EXTRACT_TABLES_MAX);
    Err(InvalidExtract { member: "tables".into(), message })
}

impl LoadRecord {
    /// A load of these tables is wanted, each from its beginning.
    pub fn order(&mut self, tables: impl IntoIterator<Item = String>, condition: Option<&str>) {
        self.last_order += 1;
        for table in tables {
            self.cancelled.retain(|cancelled| *cancelled != table);
            let order = LoadOrder { number: self.last_order, condition: condition.map(str::to_owned) };
            self.orders.insert(table, order);
        }
    }

    /// Loads of these tables are to end where they are.
    pub fn cancel(&mut self, tables: impl IntoIterator<Item = String>) {
        for table in tables {
            if !self.cancelled.contains(&table) {
                self.cancelled.push(table);
            }
        }
    }

    /// Whether the trail says that the load of a table has ended, by that order's number, and this does not: nobody could note it.
    pub fn lacks_end(&self, table: &str, order: u64) -> bool {
        match self.orders.get(table) {
            Some(known) => known.number == order,
            None => !self.ended.contains_key(table),
        }
    }

    /// The load of a table has ended.
    pub fn end(&mut self, table: &str, order: u64, end: LoadEnd) {
        self.cancelled.retain(|cancelled| cancelled != table);
        // A later order is another load.
        if self.orders.get(table).is_some_and(|known| known.number <= order) {
            self.orders.remove(table);
        }
        self.ended.insert(table.to_owned(), end);
        if self.ended.len() > limits::LOAD_TABLES_MAX {
            self.ended.pop_first();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_load_is_not_the_end_of_one_that_was_asked_for_since() {
        let mut record = LoadRecord::default();
        record.order(["public.t".to_owned()], Some("id > 5"));
        record.order(["public.t".to_owned()], None);
        record.end("public.t", 1, LoadEnd::default());
        assert_eq!(record.orders["public.t"], LoadOrder { number: 2, condition: None });
        record.end("public.t", 2, LoadEnd::default());
        assert!(record.orders.is_empty() && record.ended.contains_key("public.t"));
        assert!(!record.lacks_end("public.t", 2) && record.lacks_end("public.other", 0));
        record.order(["public.t".to_owned()], None);
        assert!(record.lacks_end("public.t", 3), "killed before its end was noted");
        assert!(!record.lacks_end("public.t", 2), "that is of an earlier load");
        assert_eq!(serde_json::from_str::<LoadRecord>("{}").unwrap(), LoadRecord::default());
    }
}
