//! What the masks of an extract mean at its source, as the catalogue shows it now: columns that they name, and what about
//! them would not hold.
//!
//! For who makes or looks at an extract. What is streamed is judged by itself, when it comes: see `masked_table`.

use super::catalogue::{Catalogue, unexpected};
use super::connection::{Row, literal};
use super::error::PostgresError;
use super::source_tables::{SourceTable, Tables};
use super::target::Target;
use crate::capture::error::Fault;
use crate::capture::mask::Named;
use crate::catalog::extract::columns::ColumnMask;
use crate::limits;

/// A column that an entry of `"columns"` names.
#[derive(Debug, Clone, PartialEq, Eq)]
struct MaskedColumn {
    /// The entry's place.
    entry: usize,
    table: Named,
    column: String,
    /// It belongs to what records call the key.
    key: bool,
}

/// Every column of the source that a mask names.
#[derive(Debug, Default)]
pub(super) struct MasksAtSource {
    columns: Vec<MaskedColumn>,
}

impl MasksAtSource {
    /// Reads the catalogue; without masks nothing is asked.
    pub(super) async fn read(target: &Target, catalogue: &mut Catalogue) -> Result<Self, Fault> {
        let masks = &target.value_rules.masks;
        if masks.is_empty() {
            return Ok(Self::default());
        }
        let rows = catalogue.query(&target.address, &query(masks.entries())).await?;
        let columns = rows.iter().map(masked_column).collect::<Option<Vec<_>>>();
        Ok(Self { columns: columns.ok_or_else(|| unexpected("pg_attribute"))? })
    }

    /// What about the masks would not hold for the tables that are there.
    pub(super) fn objection(&self, target: &Target, tables: &Tables) -> Option<PostgresError> {
        let masks = &target.value_rules.masks;
        let captured = tables.captured(target);
        let find = |named: &Named| captured.iter().find(|table| (&table.schema, &table.name) == (&named.0, &named.1));
        for masked in self.columns.iter().filter(|masked| masked.key) {
            let Some(table) = find(&masked.table) else { continue };
            let mask = masks.of(std::slice::from_ref(&masked.table), &masked.column);
            if mask.is_some_and(|mask| !mask.tells_apart()) {
                return Some(PostgresError::MaskedKey { table: table.shown(), column: masked.column.clone() });
            }
        }
        for (at, entry) in masks.entries().enumerate().filter(|(_, entry)| entry.is_exact()) {
            let (schema, name) = entry.table.parts();
            let named = (schema.to_owned(), name.to_owned());
            if find(&named).is_some() {
                if !entry.optional && !self.columns.iter().any(|masked| masked.entry == at && masked.table == named) {
                    let table = format!("{schema}.{name}");
                    return Some(PostgresError::NoColumnToMask { table, column: entry.column.clone() });
                }
            } else if let Some(parent) = captured_above(target, tables, &captured, &named) {
                let (table, member) = (format!("{schema}.{name}"), "columns");
                return Some(PostgresError::PartitionNamed { table, parent: parent.shown(), member });
            }
        }
        None
    }

    /// Entries that name no column of a captured table, as `schema.table.column`.
    pub(super) fn unmatched(&self, target: &Target, tables: &Tables) -> Vec<String> {
        let captured = tables.captured(target);
        let is_captured =
            |(schema, name): &Named| captured.iter().any(|table| (&table.schema, &table.name) == (schema, name));
        let found = |at: usize| self.columns.iter().any(|masked| masked.entry == at && is_captured(&masked.table));
        let entries = target.value_rules.masks.entries().enumerate();
        entries.filter(|(at, _)| !found(*at)).map(|(_, entry)| entry.shown()).collect()
    }
}

/// The captured table under whose name the rows of that partition come. A publication that is the user's may give them under
/// the partition's own.
fn captured_above<'t>(
    target: &Target,
    tables: &'t Tables,
    captured: &[&'t SourceTable],
    (schema, name): &Named,
) -> Option<&'t SourceTable> {
    if target.publication_is_theirs {
        return None;
    }
    let table = tables.named(schema, name)?;
    captured.iter().find(|above| table.ancestors.contains(&above.oid)).copied()
}

/// Every column that an entry names, with the entry's place, and whether it belongs to the key.
fn query<'m>(entries: impl Iterator<Item = &'m ColumnMask>) -> String {
    let entry = |(at, entry): (usize, &ColumnMask)| {
        let (schema, table) = entry.table.parts();
        let patterns = [schema, table, &entry.column].map(|pattern| literal(&like(pattern)));
        format!("({at}, {})", patterns.join(", "))
    };
    let entries: Vec<_> = entries.enumerate().map(entry).collect();
    format!(
        "SELECT m.at, n.nspname, c.relname, a.attname, EXISTS (SELECT FROM pg_catalog.pg_index i \
         WHERE i.indrelid = c.oid AND a.attnum = ANY (i.indkey[0:i.indnkeyatts - 1]) \
         AND CASE c.relreplident WHEN 'i' THEN i.indisreplident ELSE i.indisprimary END) \
         FROM (VALUES {}) AS m(at, nspname, relname, attname) \
         JOIN pg_catalog.pg_namespace n ON n.nspname LIKE m.nspname \
         JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname LIKE m.relname \
         JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attname LIKE m.attname \
         WHERE c.relkind IN ('r', 'p') AND c.relpersistence = 'p' AND n.nspname <> 'information_schema' \
         AND n.nspname NOT LIKE 'pg\\_%' AND a.attnum > 0 AND NOT a.attisdropped \
         ORDER BY 1, 2, 3, a.attnum LIMIT {}",
        entries.join(", "),
        limits::SOURCE_QUERY_ROWS_MAX
    )
}

/// A pattern with `*` and `?` in the words of LIKE.
fn like(pattern: &str) -> String {
    let mut like = String::new();
    for character in pattern.chars() {
        match character {
            '*' => like.push('%'),
            '?' => like.push('_'),
            '%' | '_' | '\\' => like.extend(['\\', character]),
            other => like.push(other),
        }
    }
    like
}

fn masked_column(row: &Row) -> Option<MaskedColumn> {
    let [Some(entry), Some(schema), Some(table), Some(column), Some(key)] = &row[..] else { return None };
    let (entry, table) = (entry.parse().ok()?, (schema.clone(), table.clone()));
    Some(MaskedColumn { entry, table, column: column.clone(), key: key == "t" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::postgres::source_tables::Identity;
    use crate::record::ResourceName;
    use serde_json::{Value, json};

    fn target(columns: Value) -> Target {
        let config = json!({
            "source": {"type": "postgresql", "host": "h", "database": "d"}, "tables": ["public.*"], "trail": "t1",
            "columns": columns,
        });
        Target::new(&ResourceName::new("e1").unwrap(), &serde_json::from_value(config).unwrap(), None)
    }

    fn entry(table: &str, column: &str, mask: &str) -> Value {
        json!({"table": table, "column": column, "mask": mask, "key": "0123456789abcdef"})
    }

    fn tables() -> Tables {
        let part = SourceTable { ancestors: vec![1], ..SourceTable::of(2, Identity::None) };
        let root = SourceTable { is_partitioned: true, ..SourceTable::of(1, Identity::None) };
        Tables::new(vec![root, part])
    }

    fn column(entry: usize, table: &str, key: bool) -> MaskedColumn {
        MaskedColumn { entry, table: ("public".into(), table.into()), column: "c".into(), key }
    }

    fn objection(entry: Value, columns: Vec<MaskedColumn>) -> Option<String> {
        let objection = MasksAtSource { columns }.objection(&target(json!([entry])), &tables());
        objection.map(|objection| objection.to_string())
    }

    #[test]
    fn a_key_that_is_not_hashed_a_column_that_is_not_there_and_a_partition_are_told() {
        let said = objection(entry("public.t1", "c", "null"), vec![column(0, "t1", true)]).unwrap();
        assert!(said.starts_with("column c belongs to the key of public.t1"), "{said}");
        assert_eq!(objection(entry("public.t1", "c", "hash"), vec![column(0, "t1", true)]), None);
        assert_eq!(objection(entry("public.t1", "c", "null"), vec![column(0, "t1", false)]), None);
        let said = objection(entry("public.t1", "c", "null"), Vec::new()).unwrap();
        assert!(said.starts_with("columns: public.t1 has no column c"), "{said}");
        let said = objection(entry("public.t2", "c", "null"), vec![column(0, "t2", false)]).unwrap();
        assert!(said.contains("name public.t1 in columns"), "{said}");
        // It may be made later.
        assert_eq!(objection(entry("public.later", "c", "null"), Vec::new()), None);
        assert_eq!(objection(entry("public.*", "c", "null"), Vec::new()), None);
    }

    #[test]
    fn entries_that_name_nothing_captured_are_listed() {
        let target = target(json!([entry("public.*", "c", "null"), entry("*.*", "x*", "drop")]));
        let found = MasksAtSource { columns: vec![column(0, "t1", false), column(1, "t2", false)] };
        assert_eq!(found.unmatched(&target, &tables()), ["*.*.x*"]);
    }

    #[test]
    fn patterns_mean_the_same_to_like() {
        assert_eq!(like("a*b?c_d%e\\"), "a%b_c\\_d\\%e\\\\");
    }
}
