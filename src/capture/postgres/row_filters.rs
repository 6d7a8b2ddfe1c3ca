//! The row filters of an extract (`"where"`), as its source understands them.
//!
//! Owns the trial that every filter goes through before anything is made with it: a publication with it in a transaction that is
//! rolled back. So it is PostgreSQL that says whether the filter is right, which columns it looks at, and how it reads back from
//! the catalogue, which is what coverage compares. Leaves making publications to `publisher`, and whether the application's writes would be
//! refused for the filter's columns to `replica_identity`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::catalogue::{Catalogue, unexpected};
use super::connection::{identifier, literal};
use super::error::PostgresError;
use super::publication::{Listed, SERVER_VERSION_SCHEMAS};
use super::source_tables::{SourceTable, Tables, names};
use super::target::Target;
use crate::capture::error::Fault;
use crate::catalog::extract::row_filters::RowFilter as Configured;
use crate::limits;

/// SQLSTATE of a statement that would write where nothing may be written.
const READ_ONLY: &str = "25006";

/// A filter that the source has understood.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct RowFilter {
    /// As it is configured.
    text: String,
    /// As the catalogue shows it.
    expression: String,
    /// What it looks at.
    columns: Vec<String>,
}

/// The filters of one extract, by the number of their table. A table that is not there has none yet.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct RowFilters {
    filters: BTreeMap<u32, RowFilter>,
}

impl RowFilters {
    /// Tries every filter whose table is there. Without filters nothing is asked.
    pub(super) async fn read(
        target: &Target,
        catalogue: &mut Catalogue,
        version: u32,
        tables: &Tables,
    ) -> Result<Self, Fault> {
        let mut all = Self::default();
        for asked in &target.row_filters {
            let (schema, name) = asked.table.parts();
            let refused = |why: String| PostgresError::FilterRefused { table: format!("{schema}.{name}"), why };
            if version < SERVER_VERSION_SCHEMAS {
                let major = version / 10_000;
                return Err(refused(format!("PostgreSQL 15 or newer is required, this server is {major}")).into());
            }
            let Some(table) = tables.named(schema, name) else { continue };
            let captured = tables.captured(target);
            if !captured.iter().any(|captured| captured.oid == table.oid) {
                return Err(match captured.iter().find(|above| table.ancestors.contains(&above.oid)) {
                    Some(parent) => {
                        let parent = parent.shown();
                        PostgresError::PartitionNamed { table: table.shown(), parent, member: "where" }
                    }
                    None => refused("the extract's tables do not take it in".into()),
                }
                .into());
            }
            match try_on(target, catalogue, table, &asked.filter).await? {
                Ok(filter) => drop(all.filters.insert(table.oid, filter)),
                Err(why) => return Err(refused(why).into()),
            }
        }
        Ok(all)
    }

    /// As the source understood them before a restart: a trial locks the table and takes rights, so it is made where something is new.
    pub(super) fn kept(kept: &Value) -> Self {
        // Written by a build that knew more: as if none had been tried.
        Self::deserialize(kept).unwrap_or_default()
    }

    /// For [`Self::kept`]; null if there are none.
    pub(super) fn to_keep(&self) -> Value {
        if self.is_empty() { Value::Null } else { serde_json::to_value(self).unwrap_or_default() }
    }

    /// One that the source understood as that expression.
    #[cfg(test)]
    pub(super) fn of(table: u32, expression: &str) -> Self {
        let (text, columns) = (expression.to_owned(), Vec::new());
        let filter = RowFilter { text, expression: expression.to_owned(), columns };
        Self { filters: [(table, filter)].into() }
    }

    /// Whether these are not the filters that are asked for, of the tables that are there; `number_of` finds those by name.
    pub(super) fn are_others(&self, target: &Target, number_of: impl Fn(&str, &str) -> Option<u32>) -> bool {
        let asked: Vec<(u32, &Configured)> = target
            .row_filters
            .iter()
            .filter_map(|asked| {
                let (schema, name) = asked.table.parts();
                Some((number_of(schema, name)?, asked))
            })
            .collect();
        let is_tried = |(table, asked): &(u32, &Configured)| {
            self.filters.get(table).is_some_and(|filter| filter.text == asked.filter)
        };
        asked.len() != self.filters.len() || !asked.iter().all(is_tried)
    }

    /// Whether there is no filter for a table that is there.
    pub(super) fn is_empty(&self) -> bool {
        self.filters.is_empty()
    }

    /// What follows a table's name where it is published.
    pub(super) fn clause(&self, table: u32) -> String {
        self.filters.get(&table).map_or_else(String::new, |filter| format!(" WHERE ({})", filter.text))
    }

    /// How the catalogue shows a table's filter once it is published; none for a table without one.
    pub(super) fn expression(&self, table: u32) -> Option<&str> {
        self.filters.get(&table).map(|filter| filter.expression.as_str())
    }

    /// How the tables are listed in a publication that we would make.
    pub(super) fn listed(&self) -> impl Iterator<Item = (u32, Listed)> {
        self.filters.iter().map(|(table, filter)| {
            let listed = Listed { filter: Some(filter.columns.clone()), ..Listed::default() };
            (*table, Listed { expression: Some(filter.expression.clone()), ..listed })
        })
    }
}

/// Makes a publication with the filter and takes it back: what became of the filter, or why the server does not take it.
async fn try_on(
    target: &Target,
    catalogue: &mut Catalogue,
    table: &SourceTable,
    text: &str,
) -> Result<Result<RowFilter, String>, Fault> {
    // Nobody else sees it, and nothing of it stays.
    let name = format!("trailcast_trial_{}", target.slot);
    let make = format!(
        "BEGIN; SET LOCAL lock_timeout = {}; CREATE PUBLICATION {} FOR TABLE ONLY {} WHERE ({text})",
        limits::COVERAGE_LOCK_MILLIS,
        identifier(&name[..name.len().min(60)]),
        table.sql_name
    );
    if let Err(error) = catalogue.try_execute(&target.address, &make).await? {
        catalogue.query(&target.address, "ROLLBACK").await?;
        if error.code == READ_ONLY {
            let why = "a standby cannot try it, nor publish it: have the extract made and started against the primary, or make the \
                       publication with the filter there yourself, and name it in postgresql.publication in place of where";
            return Ok(Err(why.into()));
        }
        let why = error.to_string();
        return match Fault::from(error) {
            Fault::Stop(_) => Ok(Err(why)),
            passing => Err(passing),
        };
    }
    let look = format!(
        "SELECT pg_catalog.pg_get_expr(r.prqual, r.prrelid), (SELECT pg_catalog.json_agg(DISTINCT a.attname) \
         FROM pg_catalog.regexp_matches(r.prqual::text, ':varattno (\\d+)', 'g') AS m(number) \
         JOIN pg_catalog.pg_attribute a ON a.attrelid = r.prrelid AND a.attnum = m.number[1]::int) \
         FROM pg_catalog.pg_publication_rel r JOIN pg_catalog.pg_publication p ON p.oid = r.prpubid \
         WHERE p.pubname = {}",
        literal(&name[..name.len().min(60)])
    );
    let rows = catalogue.query(&target.address, &look).await;
    catalogue.query(&target.address, "ROLLBACK").await?;
    let rows = rows?;
    let Some([Some(expression), columns]) = rows.first().map(|row| &row[..]) else {
        return Err(unexpected("pg_publication_rel"));
    };
    let columns = names(columns).ok_or_else(|| unexpected("pg_publication_rel"))?;
    Ok(Ok(RowFilter { text: text.to_owned(), expression: expression.clone(), columns }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::ResourceName;
    use serde_json::json;

    fn target(filters: &[(&str, &str)]) -> Target {
        let filters: Vec<Value> =
            filters.iter().map(|(table, filter)| json!({"table": table, "filter": filter})).collect();
        let config = json!({
            "source": {"type": "postgresql", "host": "h", "database": "d"}, "tables": ["public.*"], "trail": "t1",
            "where": filters,
        });
        Target::new(&ResourceName::new("e1").unwrap(), &serde_json::from_value(config).unwrap(), None)
    }

    #[test]
    fn filters_that_were_tried_are_known_after_a_restart_until_other_ones_are_asked_for() {
        let kept = RowFilters::of(5, "id > 1").to_keep();
        let filters = RowFilters::kept(&kept);
        assert_eq!(filters, RowFilters::of(5, "id > 1"));
        let number = |_: &str, name: &str| match name {
            "t" => Some(5),
            "u" => Some(6),
            _ => None,
        };
        let are_others = |asked: &[(&str, &str)]| filters.are_others(&target(asked), number);
        assert!(!are_others(&[("public.t", "id > 1")]));
        assert!(!are_others(&[("public.t", "id > 1"), ("public.later", "id > 1")]), "it has none to be tried on");
        assert!(are_others(&[("public.t", "id > 2")]));
        assert!(are_others(&[("public.u", "id > 1")]));
        assert!(are_others(&[("public.t", "id > 1"), ("public.u", "id > 1")]));
        assert!(are_others(&[]), "one that was taken away holds no more");
        assert_eq!(RowFilters::kept(&Value::Null), RowFilters::default());
        assert_eq!(RowFilters::kept(&json!({"5": {"later": true}})), RowFilters::default());
        assert_eq!(RowFilters::default().to_keep(), Value::Null);
    }
}
