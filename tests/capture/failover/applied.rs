//! What a trail's records make of an empty table when they are applied in order.

use std::collections::{BTreeMap, BTreeSet};

use crate::capture::rig::Rig;

/// What the records of a trail make of an empty table, and every row that they insert.
#[derive(Debug, Default)]
pub struct Applied {
    rows: BTreeMap<u64, u64>,
    pub inserted: BTreeSet<u64>,
}

impl Applied {
    pub async fn of(rig: &Rig) -> Self {
        let mut applied = Self::default();
        for line in rig.all().await.concat() {
            applied.apply(&line);
        }
        applied
    }

    /// A record as the rig prints it.
    fn apply(&mut self, line: &str) {
        let number =
            |name: &str| -> Option<u64> { line.rsplit_once(&format!(" {name}="))?.1.split(' ').next()?.parse().ok() };
        let id = number("id").unwrap();
        match line.split(' ').next().unwrap() {
            "INSERT" => {
                assert!(self.inserted.insert(id), "twice: {line}");
                self.rows.insert(id, number("v").unwrap());
            }
            "UPDATE" => *self.rows.get_mut(&id).unwrap_or_else(|| panic!("of no row: {line}")) = number("v").unwrap(),
            "DELETE" => assert!(self.rows.remove(&id).is_some(), "of no row: {line}"),
            other => panic!("{other}"),
        }
    }

    pub fn table(&self) -> String {
        self.rows.iter().map(|(id, v)| format!("{id}|{v}")).collect::<Vec<_>>().join("\n")
    }
}
