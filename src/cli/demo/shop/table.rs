//! A table of the shop in memory: what its rows are now, and each change of it as an operation of a put.

use std::collections::BTreeMap;

use super::random::Random;
use crate::codec::json_text;

/// The values of a row's key columns, in their order.
pub(super) type Key = Vec<u64>;
/// The cells of a row with their columns' names, in the order of the columns.
pub(super) type Row = Vec<(String, Cell)>;
/// Columns and their new values.
pub(super) type Changes<'c> = &'c [(&'c str, Cell)];

/// One value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Cell {
    Null,
    Number(u64),
    Text(String),
    /// An amount in cents, shown with its two decimals.
    Money(u64),
}

impl Cell {
    fn json(&self) -> String {
        match self {
            Self::Null => "null".into(),
            Self::Number(number) => number.to_string(),
            Self::Text(text) => json_text::quoted(text),
            Self::Money(cents) => format!("{}.{:02}", cents / 100, cents % 100),
        }
    }
}

/// A table with its rows.
#[derive(Debug)]
pub(super) struct Table {
    name: &'static str,
    key: &'static [&'static str],
    rows: BTreeMap<Key, Row>,
}

impl Table {
    pub(super) fn new(name: &'static str, key: &'static [&'static str]) -> Self {
        Self { name, key, rows: BTreeMap::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// A new row; its key is not in the table yet.
    pub(super) fn insert(&mut self, key: Key, row: Row) -> String {
        let operation = self.operation("INSERT", None, Some(&row));
        self.rows.insert(key, row);
        operation
    }

    /// The row of an [`insert`](Self::insert) that was there before anything happened, with the tokens that an initial load gives
    /// its rows.
    pub(super) fn loaded(insert: &str, is_last: bool) -> String {
        let snapshot = if is_last { "last" } else { "true" };
        let open = insert.strip_suffix('}').unwrap_or(insert);
        format!("{open},\"tokens\":{{\"snapshot\":\"{snapshot}\",\"chunk\":\"1\"}}}}")
    }

    /// Changes cells of a row; nothing when there is no such row or all cells have these values already.
    pub(super) fn update(&mut self, key: &Key, changes: Changes<'_>) -> Option<String> {
        let before = self.rows.get(key)?;
        let mut after = before.clone();
        for (name, cell) in after.iter_mut() {
            if let Some((_, changed)) = changes.iter().find(|(column, _)| column == name) {
                *cell = changed.clone();
            }
        }
        if after == *before {
            return None;
        }
        let operation = self.operation("UPDATE", Some(before), Some(&after));
        self.rows.insert(key.clone(), after);
        Some(operation)
    }

    /// Removes a row; nothing when it is not there.
    pub(super) fn delete(&mut self, key: &Key) -> Option<String> {
        let before = self.rows.remove(key)?;
        Some(self.operation("DELETE", Some(&before), None))
    }

    /// Gives every row a further column, null.
    pub(super) fn add_column(&mut self, column: &str) {
        self.rows.values_mut().for_each(|row| row.push((column.into(), Cell::Null)));
    }

    /// Takes a column from every row.
    pub(super) fn drop_column(&mut self, column: &str) {
        self.rows.values_mut().for_each(|row| row.retain(|(name, _)| name != column));
    }

    /// The key of some row.
    pub(super) fn any_key(&self, random: &mut Random) -> Option<Key> {
        self.rows.keys().nth(random.below(self.rows.len() as u64) as usize).cloned()
    }

    /// The lowest keys.
    pub(super) fn first_keys(&self, count: usize) -> Vec<Key> {
        self.rows.keys().take(count).cloned().collect()
    }

    /// Keys of the rows with this value, in order.
    pub(super) fn keys_where(&self, column: &str, value: &Cell) -> Vec<Key> {
        let matching =
            self.rows.iter().filter(|(_, row)| row.iter().any(|(name, cell)| name == column && cell == value));
        matching.map(|(key, _)| key.clone()).collect()
    }

    /// A number of a row.
    pub(super) fn number(&self, key: &Key, column: &str) -> Option<u64> {
        match self.cell(key, column)? {
            Cell::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// An amount of a row, in cents.
    pub(super) fn money(&self, key: &Key, column: &str) -> Option<u64> {
        match self.cell(key, column)? {
            Cell::Money(cents) => Some(*cents),
            _ => None,
        }
    }

    fn cell(&self, key: &Key, column: &str) -> Option<&Cell> {
        self.rows.get(key)?.iter().find(|(name, _)| name == column).map(|(_, cell)| cell)
    }

    fn operation(&self, operation: &str, before: Option<&Row>, after: Option<&Row>) -> String {
        let key: Vec<String> = self.key.iter().map(|column| json_text::quoted(column)).collect();
        let mut json = format!("{{\"op\":\"{operation}\",\"table\":\"{}\",\"key\":[{}]", self.name, key.join(","));
        for (image, row) in [("before", before), ("after", after)] {
            if let Some(row) = row {
                let cells = row.iter().map(|(name, cell)| format!("{}:{}", json_text::quoted(name), cell.json()));
                json.push_str(&format!(",\"{image}\":{{{}}}", cells.collect::<Vec<_>>().join(",")));
            }
        }
        json.push('}');
        json
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_update_shows_both_images_and_nothing_when_nothing_changes() {
        let mut table = Table::new("shop.a", &["id"]);
        table.insert(vec![1], vec![("id".into(), Cell::Number(1)), ("m".into(), Cell::Money(105))]);
        assert_eq!(table.update(&vec![1], &[("m", Cell::Money(105))]), None);
        assert_eq!(table.update(&vec![2], &[("m", Cell::Null)]), None);
        let operation = table.update(&vec![1], &[("m", Cell::Null)]).unwrap();
        let expected =
            r#"{"op":"UPDATE","table":"shop.a","key":["id"],"before":{"id":1,"m":1.05},"after":{"id":1,"m":null}}"#;
        assert_eq!(operation, expected);
    }
}
