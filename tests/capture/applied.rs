//! What whoever applies the records of a trail in order has at its end, and whether a row ever went back on the way.

use std::collections::BTreeMap;

use trailcast::codec::image::{Cell, Image};
use trailcast::record::{Operation, TableSchema};
use trailcast::trail::{Begin, Entry, Fill, Trail};

/// The columns of a row, as JSON.
pub type Row = BTreeMap<String, String>;

/// The tables that a trail's records make, by name and key.
#[derive(Debug, Default)]
pub struct Applied {
    pub tables: BTreeMap<String, BTreeMap<String, Row>>,
    /// Rows that were loaded.
    pub loaded: u64,
    /// Rows that were streamed.
    pub streamed: u64,
    /// Tokens `snapshot` other than `true`, with their tables.
    pub last: Vec<String>,
    /// Rows that went back to an older version, values that nobody has ever said.
    pub wrong: Vec<String>,
    /// The version that each key was streamed with last; of a deleted one, one more than it had.
    versions: BTreeMap<(String, String), i64>,
}

impl Applied {
    /// Of everything that is durable now. A row's version is its column `v`, which grows with every change.
    pub async fn of(trail: &Trail) -> Self {
        let mut applied = Self::default();
        let mut reader = trail.read(Begin::Earliest).await.unwrap();
        while reader.fill().await.unwrap() != Fill::AtMark {
            let Some(Entry::Record(record)) = reader.next().unwrap() else { continue };
            let schema = record.schema.unwrap();
            let row = record.row().unwrap();
            let (before, after) =
                (row.before.map(|image| cells(schema, image)), row.after.map(|image| cells(schema, image)));
            let table = schema.table.to_string();
            if record.is_loaded() {
                let tokens: serde_json::Value = serde_json::from_str(row.tokens).unwrap();
                if tokens["snapshot"] != "true" {
                    applied.last.push(format!("{} {table}", tokens["snapshot"].as_str().unwrap()));
                }
            }
            applied.apply(schema, &table, record.operation, before, after, record.is_loaded());
        }
        applied
    }

    fn apply(
        &mut self,
        schema: &TableSchema,
        table: &str,
        operation: Operation,
        before: Option<Row>,
        after: Option<Row>,
        is_loaded: bool,
    ) {
        let key = |row: &Row| {
            let columns = schema.columns.iter().filter(|column| column.key);
            columns.map(|column| row.get(&column.name).cloned().unwrap_or_default()).collect::<Vec<_>>().join(",")
        };
        if operation == Operation::Truncate {
            for (key, row) in std::mem::take(self.tables.entry(table.into()).or_default()) {
                self.versions.insert((table.into(), key), version(&row) + 1);
            }
            return;
        }
        let old = before.as_ref().or(after.as_ref()).map(&key).unwrap();
        let rows = self.tables.entry(table.into()).or_default();
        let Some(mut after) = after else {
            self.streamed += 1;
            let had = rows.remove(&old).map_or(0, |row| version(&row));
            let known = self.versions.entry((table.into(), old)).or_default();
            *known = (*known).max(had) + 1;
            return;
        };
        let new = key(&after);
        if is_loaded {
            self.loaded += 1;
            let newest = self.versions.get(&(table.into(), new.clone())).copied().unwrap_or_default();
            if version(&after) < newest {
                self.wrong.push(format!("{table} {new} goes back from {newest} to {}", version(&after)));
            }
            rows.insert(new, after);
            return;
        }
        self.streamed += 1;
        let had = rows.remove(&old);
        for (name, value) in &mut after {
            if value == "~" {
                // What did not change and was not sent is what was there before, if it was.
                *value = had.as_ref().and_then(|row| row.get(name)).cloned().unwrap_or_else(|| "~".into());
            }
        }
        if old != new {
            let known = self.versions.entry((table.into(), old)).or_default();
            *known = (*known).max(version(&after));
        }
        self.versions.insert((table.into(), new.clone()), version(&after));
        rows.insert(new, after);
    }

    /// The rows of a table, as lines of its columns.
    pub fn lines(&self, table: &str, columns: &[&str]) -> Vec<String> {
        let rows = self.tables.get(table).into_iter().flat_map(BTreeMap::values);
        let text = |row: &Row, column: &&str| match row.get(*column).map(String::as_str) {
            None | Some("null") => String::new(),
            Some(json) => serde_json::from_str::<String>(json).unwrap_or_else(|_| json.to_owned()),
        };
        let mut lines: Vec<String> =
            rows.map(|row| columns.iter().map(|column| text(row, column)).collect::<Vec<_>>().join("|")).collect();
        lines.sort();
        lines
    }
}

fn version(row: &Row) -> i64 {
    row.get("v").and_then(|version| version.parse().ok()).unwrap_or_default()
}

/// A tilde for "unchanged", nothing for "absent".
fn cells(schema: &TableSchema, image: Image<'_>) -> Row {
    let mut row = Row::new();
    for (column, cell) in schema.columns.iter().zip(image.cells()) {
        let text = match cell.unwrap() {
            Cell::Absent => continue,
            Cell::Null => "null",
            Cell::Unchanged => "~",
            Cell::Json(text) => text,
        };
        row.insert(column.name.clone(), text.to_owned());
    }
    row
}
