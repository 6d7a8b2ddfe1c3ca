//! What is remembered of the initial loads of a captured trail beside what the trail itself says: orders that somebody gave, whether loads
//! rest, and how they ended.
//!
//! Kept by the trail's name. Owns the form on the shelf; how far a load is stands in the trail, with the rows that it counts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

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

    /// The load of a table has ended.
    pub fn end(&mut self, table: &str, order: u64, end: LoadEnd) {
        self.cancelled.retain(|cancelled| cancelled != table);
        // A later order is another load.
        if self.orders.get(table).is_some_and(|known| known.number <= order) {
            self.orders.remove(table);
        }
        self.ended.insert(table.to_owned(), end);
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
        assert_eq!(serde_json::from_str::<LoadRecord>("{}").unwrap(), LoadRecord::default());
    }
}
