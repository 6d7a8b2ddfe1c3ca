//! One publication as the catalogue shows it, or as it is about to be made: what it takes in, and what it gives of that.
//!
//! Owns PostgreSQL's rule for which list of columns and which row filter hold for a partition; leaves making and altering
//! publications to `publisher`.

use std::collections::{HashMap, HashSet};

use super::catalogue::{Catalogue, unexpected};
use super::connection::{Address, Row, literal};
use super::source_tables::{SourceTable, Tables, names};
use crate::capture::error::Fault;

/// First server with publications of whole schemas, lists of columns and row filters, as `server_version_num`.
pub(super) const SERVER_VERSION_SCHEMAS: u32 = 150_000;

/// A publication.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Publication {
    pub(super) name: String,
    /// Every table, later ones too.
    pub(super) everything: bool,
    /// Every table of these schemas, later ones too.
    pub(super) schemas: HashSet<String>,
    /// Tables one by one, by their number.
    pub(super) tables: HashMap<u32, Listed>,
    pub(super) inserts: bool,
    pub(super) updates: bool,
    pub(super) deletes: bool,
    pub(super) truncates: bool,
    /// Rows of a partition come under the name of the topmost table above it that is published.
    pub(super) via_root: bool,
    /// Generated columns that are stored come too.
    pub(super) generated: bool,
}

/// How a table is listed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Listed {
    /// Only these columns.
    pub(super) columns: Option<Vec<String>>,
    /// Only rows that a filter lets through, which looks at these columns.
    pub(super) filter: Option<Vec<String>>,
    /// That filter, as the catalogue shows it.
    pub(super) expression: Option<String>,
}

impl Publication {
    /// The publication of that name; none if there is none.
    pub(super) async fn read(
        catalogue: &mut Catalogue,
        address: &Address,
        version: u32,
        name: &str,
    ) -> Result<Option<Self>, Fault> {
        // Not every version has every column.
        let sql = format!(
            "SELECT p.oid, p.puballtables, p.pubinsert, p.pubupdate, p.pubdelete, p.pubtruncate, p.pubviaroot, \
             coalesce(pg_catalog.to_jsonb(p) ->> 'pubgencols', 'n') = 's' \
             FROM pg_catalog.pg_publication p WHERE p.pubname = {}",
            literal(name)
        );
        let rows = catalogue.query(address, &sql).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let [Some(oid), Some(everything), flags @ ..] = &row[..] else { return Err(unexpected("pg_publication")) };
        let flag = |at: usize| flags.get(at).is_some_and(|flag| flag.as_deref() == Some("t"));
        let mut published = Self {
            name: name.to_owned(),
            everything: everything == "t",
            inserts: flag(0),
            updates: flag(1),
            deletes: flag(2),
            truncates: flag(3),
            via_root: flag(4),
            generated: flag(5),
            ..Self::default()
        };
        let newer = version >= SERVER_VERSION_SCHEMAS;
        for row in catalogue.query(address, &tables_of(oid, newer)).await? {
            let (table, listed) = listed(&row).ok_or_else(|| unexpected("pg_publication_rel"))?;
            published.tables.insert(table, listed);
        }
        if newer {
            let sql = format!(
                "SELECT n.nspname FROM pg_catalog.pg_publication_namespace pn \
                 JOIN pg_catalog.pg_namespace n ON n.oid = pn.pnnspid WHERE pn.pnpubid = {oid}"
            );
            let rows = catalogue.query(address, &sql).await?;
            published.schemas = rows.into_iter().filter_map(|row| row.into_iter().next().flatten()).collect();
        }
        Ok(Some(published))
    }

    /// The table by whose name the rows of `table` are published, and how it is listed; none if they are not published.
    pub(super) fn given<'a>(&self, tables: &'a Tables, table: &'a SourceTable) -> Option<(&'a SourceTable, Listed)> {
        let mut from_top = table.ancestors.iter().rev().filter_map(|above| tables.get(*above));
        let topmost = from_top.find(|above| self.names(above));
        if !self.names(table) && topmost.is_none() {
            return None;
        }
        let stands_as = topmost.filter(|_| self.via_root).unwrap_or(table);
        Some((stands_as, self.tables.get(&stands_as.oid).cloned().unwrap_or_default()))
    }

    /// Whether the publication names the table itself, alone or with its schema.
    pub(super) fn names(&self, table: &SourceTable) -> bool {
        self.everything || self.schemas.contains(&table.schema) || self.tables.contains_key(&table.oid)
    }
}

/// The tables that a publication lists, with the columns that are given and those that its filter looks at.
fn tables_of(publication: &str, newer: bool) -> String {
    let (columns, filter, expression) = if newer {
        (
            "CASE WHEN r.prattrs IS NOT NULL THEN (SELECT pg_catalog.json_agg(a.attname ORDER BY a.attnum) \
             FROM pg_catalog.pg_attribute a WHERE a.attrelid = r.prrelid AND a.attnum = ANY (r.prattrs)) END",
            // The expression's own tree is the only place that tells the filter's columns from the listed ones.
            "CASE WHEN r.prqual IS NOT NULL THEN coalesce((SELECT pg_catalog.json_agg(DISTINCT a.attname) \
             FROM pg_catalog.regexp_matches(r.prqual::text, ':varattno (\\d+)', 'g') AS m(number) \
             JOIN pg_catalog.pg_attribute a ON a.attrelid = r.prrelid AND a.attnum = m.number[1]::int), '[]'::json) END",
            "pg_catalog.pg_get_expr(r.prqual, r.prrelid)",
        )
    } else {
        ("NULL", "NULL", "NULL")
    };
    format!(
        "SELECT r.prrelid, {columns}, {filter}, {expression} \
         FROM pg_catalog.pg_publication_rel r WHERE r.prpubid = {publication}"
    )
}

fn listed(row: &Row) -> Option<(u32, Listed)> {
    let [Some(table), columns, filter, expression] = &row[..] else { return None };
    let given =
        |list: &Option<String>| list.is_some().then(|| names(list)).map_or(Some(None), |list| Some(Some(list?)));
    let expression = expression.clone();
    Some((table.parse().ok()?, Listed { columns: given(columns)?, filter: given(filter)?, expression }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::postgres::source_tables::Identity;

    fn table(oid: u32, ancestors: &[u32]) -> SourceTable {
        let schema = if oid == 1 { "top".into() } else { "public".into() };
        let is_partitioned = oid < 3;
        SourceTable { schema, is_partitioned, ancestors: ancestors.to_vec(), ..SourceTable::of(oid, Identity::None) }
    }

    #[test]
    fn a_partition_is_given_as_the_topmost_published_table_above_it() {
        let tables = Tables::new(vec![table(1, &[]), table(2, &[1]), table(3, &[2, 1])]);
        let only = |column: &str| Listed { columns: Some(vec![column.into()]), ..Listed::default() };
        let given = |published: &Publication| {
            published.given(&tables, tables.get(3).unwrap()).map(|(stands_as, listed)| (stands_as.oid, listed))
        };
        let mut published = Publication { via_root: true, ..Publication::default() };
        assert_eq!(given(&published), None);
        published.tables.insert(3, only("three"));
        assert_eq!(given(&published), Some((3, only("three"))));
        published.tables.insert(2, only("two"));
        assert_eq!(given(&published), Some((2, only("two"))));
        published.schemas.insert("top".into());
        assert_eq!(given(&published), Some((1, Listed::default())));
        published.via_root = false;
        assert_eq!(given(&published), Some((3, only("three"))));
    }
}
