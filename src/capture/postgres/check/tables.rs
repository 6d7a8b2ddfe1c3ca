//! The tables that an extract's patterns take in: whether there are any, what identifies their rows, which of their columns are
//! generated, which are partitioned.

use super::privileges::Privileges;
use super::wording::{counted, listed};
use crate::capture::error::Fault;
use crate::capture::finding::Finding;
use crate::capture::postgres::catalogue::Catalogue;
use crate::capture::postgres::connection::identifier;
use crate::capture::postgres::publication::Publication;
use crate::capture::postgres::publication_report::columns_left_out;
use crate::capture::postgres::publisher::{Publications, planned};
use crate::capture::postgres::replica_identity::{RefusedWrites, SERVER_VERSION_GENERATED, refused_of};
use crate::capture::postgres::row_filters::RowFilters;
use crate::capture::postgres::source_tables::{Identity, SourceTable, Tables};
use crate::capture::postgres::target::Target;
use crate::catalog::extract::WithoutIdentity;
use crate::catalog::table_pattern::TablePattern;

/// The tables, the publications and the rights as they are now.
#[derive(Debug)]
pub(super) struct Captured {
    pub(super) version: u32,
    pub(super) tables: Tables,
    pub(super) now: Publications,
    /// Those that were tried; none of a table that is not there.
    pub(super) filters: RowFilters,
    pub(super) privileges: Privileges,
}

impl Captured {
    pub(super) async fn read(target: &Target, catalogue: &mut Catalogue, version: u32) -> Result<Self, Fault> {
        let tables = Tables::read(catalogue, &target.address).await?;
        Ok(Self {
            version,
            filters: RowFilters::read(target, catalogue, version, &tables).await?,
            tables,
            now: Publications::read(target, catalogue, version).await?,
            privileges: Privileges::read(target, catalogue).await?,
        })
    }

    /// Those that the patterns take in.
    pub(super) fn list(&self, target: &Target) -> Vec<&SourceTable> {
        self.tables.captured(target)
    }

    /// The publication that gives a table, or is to give it, as it will be when the extract runs.
    fn publication_of(&self, target: &Target, table: &SourceTable) -> Publication {
        let planned = planned(target, self.version, &self.filters);
        match &self.now.main {
            Some(main) if main.given(&self.tables, table).is_some() => {
                // Our own is brought to what we would make.
                let generated = main.generated || (!target.publication_is_theirs && planned.generated);
                Publication { generated, ..main.clone() }
            }
            _ => planned,
        }
    }

    /// Tables with rows of `table` of which the application could not change rows if it is published.
    pub(super) fn refused(&self, target: &Target, table: &SourceTable) -> Vec<RefusedWrites> {
        refused_of(&self.tables, table, &self.publication_of(target, table), self.version)
    }
}

/// Whether the patterns take in tables, each of them some, and which of these cannot be captured.
pub(super) async fn matched(
    target: &Target,
    catalogue: &mut Catalogue,
    captured: &Captured,
) -> Result<Vec<Finding>, Fault> {
    const WHAT: &str = "tables";
    let tables = captured.list(target);
    let database = &target.address.source.database;
    let mut found = Vec::new();
    let takes_none =
        |pattern: &&TablePattern| !captured.tables.any(|table| pattern.matches(&table.schema, &table.name));
    let idle: Vec<String> = target.tables.iter().filter(takes_none).cloned().map(String::from).collect();
    if tables.is_empty() {
        let message = format!(
            "no table of the database {database} is taken in by tables ({}): look at the spelling, or make the tables; the \
             extract waits for them",
            listed(&idle)
        );
        found.push(Finding::error(WHAT, message));
    } else {
        found.push(Finding::ok(WHAT, format!("{} of {database} will be captured", counted(tables.len(), "table"))));
        if !idle.is_empty() {
            let message = format!("these of tables take in nothing: {}; look at their spelling", listed(&idle));
            found.push(Finding::warning(WHAT, message));
        }
    }
    found.extend(not_logged(target, catalogue).await?);
    Ok(found)
}

/// Tables that the patterns take in and that the server's log does not have, and what looks like a table and is none, where a
/// pattern has it by its name.
async fn not_logged(target: &Target, catalogue: &mut Catalogue) -> Result<Vec<Finding>, Fault> {
    let sql = "SELECT n.nspname, c.relname, pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname), \
               CASE c.relkind WHEN 'v' THEN 'a view' WHEN 'm' THEN 'a materialized view' WHEN 'f' THEN 'a foreign table' END \
               FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
               WHERE (c.relkind IN ('v', 'm', 'f') OR c.relkind IN ('r', 'p') AND c.relpersistence = 'u') \
               AND n.nspname <> 'information_schema' AND n.nspname NOT LIKE 'pg\\_%' ORDER BY 1, 2";
    let mut found = Vec::new();
    let mut others = Vec::new();
    for row in catalogue.query(&target.address, sql).await? {
        let [Some(schema), Some(name), Some(sql_name), kind] = &row[..] else { continue };
        let by_name = |pattern: &TablePattern| pattern.is_one() && pattern.matches(schema, name);
        match kind {
            Some(kind) if target.tables.iter().any(by_name) => others.push(format!("{schema}.{name} ({kind})")),
            None if target.captures(schema, name) => found.push(
                Finding::warning(
                    "tables",
                    format!("{schema}.{name} is unlogged: its changes are not in the log, and it is not captured before the statement"),
                )
                .mended_by(format!("ALTER TABLE {sql_name} SET LOGGED")),
            ),
            _ => {}
        }
    }
    if !others.is_empty() {
        let message =
            format!("these are no tables and are not captured: {}; name the tables below them", listed(&others));
        found.push(Finding::warning("tables", message));
    }
    Ok(found)
}

/// What identifies the rows of each table.
pub(super) fn identities(target: &Target, captured: &Captured) -> Vec<Finding> {
    const WHAT: &str = "replicaIdentity";
    let tables = captured.list(target);
    let mut found: Vec<Finding> = Vec::new();
    for refused in tables.iter().flat_map(|table| captured.refused(target, table)) {
        let RefusedWrites { table, why, mend } = refused;
        found.push(match target.without_identity {
            None => Finding::error(
                WHAT,
                format!(
                    "{table}: {why}; once it is published, the server refuses the application's UPDATE and DELETE on it. Its owner \
                     runs the statement, or leave the table out"
                ),
            ),
            Some(WithoutIdentity::Skip) => {
                Finding::warning(WHAT, format!("{table}: {why}; it is not captured, as withoutIdentity is \"skip\""))
            }
            Some(WithoutIdentity::InsertsOnly) => {
                let message = format!("{table}: {why}; only its INSERTs are captured, as withoutIdentity is \"insertsOnly\"");
                Finding::warning(WHAT, message)
            }
        }
        .mended_by(mend));
    }
    if found.is_empty() && !tables.is_empty() {
        let whole = tables.iter().filter(|table| table.identity == Identity::Full).count();
        let whole = match whole {
            0 => String::new(),
            count => format!("; of {} that is the whole row, which makes its changes longer", counted(count, "table")),
        };
        found.push(Finding::ok(WHAT, format!("the rows of every table are identified{whole}")));
    }
    found
}

/// Generated columns that records come without.
pub(super) fn generated(target: &Target, captured: &Captured) -> Vec<Finding> {
    const WHAT: &str = "generatedColumns";
    let (mut stored, mut computed) = (Vec::new(), Vec::new());
    let mut can_be_published = false;
    for table in captured.list(target) {
        let publication = captured.publication_of(target, table);
        let listed = publication.given(&captured.tables, table).and_then(|(_, listed)| listed.columns);
        let given = publication.generated && captured.version >= SERVER_VERSION_GENERATED;
        for column in columns_left_out(table, given, listed.as_deref()) {
            let is_computed = table.virtual_columns.iter().any(|name| column == format!("{}.{name}", table.shown()));
            can_be_published |= !is_computed && listed.is_none();
            if is_computed { &mut computed } else { &mut stored }.push(column);
        }
    }
    let mut found = Vec::new();
    if !stored.is_empty() && captured.version < SERVER_VERSION_GENERATED {
        let message = format!("records come without generated columns before PostgreSQL 18: {}", listed(&stored));
        found.push(Finding::warning(WHAT, message));
    } else if !stored.is_empty() {
        let name = &target.publication;
        let message =
            format!("the publication {name} leaves out generated columns: {}; its owner adds them", listed(&stored));
        let finding = Finding::warning(WHAT, message);
        let set = format!("ALTER PUBLICATION {} SET (publish_generated_columns = stored)", identifier(name));
        found.push(if can_be_published { finding.mended_by(set) } else { finding });
    }
    if !computed.is_empty() {
        let message = format!("the server never sends virtual columns: records come without {}", listed(&computed));
        found.push(Finding::warning(WHAT, message));
    }
    if found.is_empty() {
        found.push(Finding::ok(WHAT, "no column is left out because it is generated"));
    }
    found
}

/// Partitioned tables, whose rows come under one name.
pub(super) fn partitions(target: &Target, captured: &Captured) -> Vec<Finding> {
    const WHAT: &str = "partitions";
    let partitioned = captured.list(target).into_iter().filter(|table| table.is_partitioned);
    let names: Vec<String> = partitioned.map(SourceTable::shown).collect();
    if names.is_empty() {
        return vec![Finding::ok(WHAT, "no table is partitioned")];
    }
    let message = format!(
        "the rows of all partitions come under the table's name: {}. A TRUNCATE of a single partition is not sent: delete its \
         rows instead, or truncate the whole table",
        listed(&names)
    );
    vec![Finding::ok(WHAT, message)]
}
