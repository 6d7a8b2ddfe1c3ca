//! Puts back what our own publications have lost, where the rights allow. A publication of the user's is theirs to mend.

use std::collections::BTreeSet;

use tracing::{info, warn};

use super::facts::{Given, Seen};
use super::query;
use crate::capture::error::Fault;
use crate::capture::postgres::catalogue::Catalogue;
use crate::capture::postgres::connection::identifier;
use crate::capture::postgres::publisher::{Publications, Publisher};
use crate::capture::postgres::row_filters::RowFilters;
use crate::capture::postgres::source_tables::Tables;
use crate::capture::postgres::target::Target;
use crate::record::TableName;
use crate::repeats::warn_rarely;

/// Whoever mends: it tells once what it may not do, and tries it again all the same.
#[derive(Debug)]
pub(super) struct Repair<'a> {
    target: &'a Target,
    version: u32,
    /// What was refused, and said.
    refused: BTreeSet<String>,
}

impl<'a> Repair<'a> {
    pub(super) fn new(target: &'a Target, version: u32) -> Self {
        Self { target, version, refused: BTreeSet::new() }
    }

    /// Brings publications that are there to what the extract needs, as when it was made.
    pub(super) async fn prepare(
        &mut self,
        catalogue: &mut Catalogue,
        seen: &Seen,
        known: &RowFilters,
    ) -> Result<(), Fault> {
        if !seen.publications.contains(&self.target.publication) {
            return Ok(());
        }
        let (tables, now, filters) = self.read(catalogue, known).await?;
        let publisher = &mut Publisher {
            target: self.target,
            catalogue,
            version: self.version,
            tables: &tables,
            filters: &filters,
        };
        publisher.prepare(&now, true).await
    }

    /// Makes our publication again if it is gone; says whether that was done.
    pub(super) async fn make_again(
        &mut self,
        catalogue: &mut Catalogue,
        seen: &Seen,
        known: &RowFilters,
    ) -> Result<bool, Fault> {
        let publication = &self.target.publication;
        if self.target.publication_is_theirs || seen.publications.contains(publication) {
            return Ok(false);
        }
        let (tables, now, filters) = self.read(catalogue, known).await?;
        let mut publisher =
            Publisher { target: self.target, catalogue, version: self.version, tables: &tables, filters: &filters };
        match publisher.prepare(&now, false).await {
            Ok(()) => {
                warn_rarely!(publication, publication, "the publication was gone and has been made again");
                Ok(true)
            }
            Err(error) => {
                if self.refused.insert(publication.clone()) {
                    warn!(publication, %error, "the publication is gone and could not be made again");
                }
                Ok(false)
            }
        }
    }

    /// Publishes whole schemas again that were published and are not, because they were dropped and made again.
    pub(super) async fn add_schemas(&self, catalogue: &mut Catalogue) -> Result<bool, Fault> {
        let mut added = false;
        for schema in self.target.tables.iter().filter_map(|pattern| pattern.whole_schema()) {
            let objects = format!("TABLES IN SCHEMA {}", identifier(schema));
            let sql = format!("ALTER PUBLICATION {} ADD {objects}", identifier(&self.target.publication));
            // Refused where it is published still, is not there yet, or we may not.
            added |= catalogue.try_execute(&self.target.address, &query::impatient(&sql)).await?.is_ok();
        }
        Ok(added)
    }

    /// Publishes each table as asked. Returns those that are not asked for: publishing them would have the application's
    /// writes refused, and the extract is to skip them.
    pub(super) async fn add_tables(
        &mut self,
        catalogue: &mut Catalogue,
        seen: &Seen,
        known: &RowFilters,
    ) -> Result<BTreeSet<u32>, Fault> {
        let mut skipped = BTreeSet::new();
        let (tables, now, filters) = self.read(catalogue, known).await?;
        let Some(main) = &now.main else { return Ok(skipped) };
        let altered = seen.tables.values().any(|given| given.missing.name || !given.missing.operations.is_empty());
        if altered && !self.target.publication_is_theirs {
            let sql = format!(
                "ALTER PUBLICATION {} SET (publish = 'insert, update, delete, truncate', \
                 publish_via_partition_root = true)",
                identifier(&main.name)
            );
            self.tried(catalogue, "the options of the publication", &sql).await?;
        }
        for (table, given) in &seen.tables {
            let Some(facts) = tables.get(given.oid) else { continue };
            let publisher =
                Publisher { target: self.target, catalogue, version: self.version, tables: &tables, filters: &filters };
            let home = publisher.home_of(main, facts);
            if home.is_none() && given.missing.everything && self.target.skips_without_identity() {
                skipped.insert(given.oid);
            }
            let is_ours = home.as_ref() != Some(&main.name) || !self.target.publication_is_theirs;
            match home.filter(|_| is_ours).and_then(|home| statement(&home, table, given, &filters)) {
                Some(sql) => self.tried(catalogue, table, &sql).await?,
                None => drop(self.refused.remove(table)),
            }
        }
        Ok(skipped)
    }

    /// `known`: the row filters as the last look knew them.
    async fn read(
        &self,
        catalogue: &mut Catalogue,
        known: &RowFilters,
    ) -> Result<(Tables, Publications, RowFilters), Fault> {
        let tables = Tables::read(catalogue, &self.target.address).await?;
        let now = Publications::read(self.target, catalogue, self.version).await?;
        // A table that came since must not be published without its own.
        let number_of = |schema: &str, name: &str| tables.named(schema, name).map(|table| table.oid);
        let filters = if known.are_others(self.target, number_of) {
            RowFilters::read(self.target, catalogue, self.version, &tables).await?
        } else {
            known.clone()
        };
        Ok((tables, now, filters))
    }

    async fn tried(&mut self, catalogue: &mut Catalogue, what: &str, sql: &str) -> Result<(), Fault> {
        let publication = &self.target.publication;
        match catalogue.try_execute(&self.target.address, &query::impatient(sql)).await? {
            Ok(()) => {
                self.refused.remove(what);
                info!(publication, what, "published again");
            }
            Err(error) => {
                if self.refused.insert(what.to_owned()) {
                    warn!(publication, what, %error, "could not be published");
                }
            }
        }
        Ok(())
    }
}

/// What puts a table back; none if nothing of it is missing that is the table's own.
pub(super) fn statement(publication: &str, table: &str, given: &Given, filters: &RowFilters) -> Option<String> {
    let name = TableName::parse(table).ok()?;
    let [schema, table] = name.parts() else { return None };
    let publication = identifier(publication);
    let table = format!("{}.{}", identifier(schema), identifier(table));
    let filter = filters.clause(given.oid);
    let add = format!("ALTER PUBLICATION {publication} ADD TABLE ONLY {table}{filter}");
    if given.missing.everything {
        return Some(add);
    }
    // Both in one transaction, so that nothing is written in between.
    let narrowed = given.missing.rows || given.missing.filter || !given.missing.columns.is_empty();
    narrowed.then(|| format!("ALTER PUBLICATION {publication} DROP TABLE ONLY {table}; {add}"))
}
