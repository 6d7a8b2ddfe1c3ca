//! What of the source is published for an extract: makes the publication, and adds to our own the tables that it lacks.
//!
//! Owns CREATE and ALTER PUBLICATION, and the warnings about tables that cannot be published without harm; leaves the slot
//! to `setup`. A publication that the user named is theirs: it is never altered.

use tracing::{info, warn};

use super::Target;
use super::catalogue::{Catalogue, scalar, unexpected};
use super::connection::{identifier, literal};
use super::server_error::ServerError;
use crate::capture::source::{CaptureError, Fault};
use crate::catalog::table_pattern::TablePattern;

/// First server that can publish whole schemas.
const SERVER_VERSION_SCHEMAS: u32 = 150_000;

/// Makes or extends the publication and warns of what is published and cannot work as one would think.
pub(super) async fn prepare(
    target: &Target,
    catalogue: &mut Catalogue,
    version: u32,
    has_slot: bool,
) -> Result<(), Fault> {
    make_or_extend(target, catalogue, version, has_slot).await?;
    warn_of_tables_without_identity(target, catalogue).await?;
    warn_of_partitioned_tables(target, catalogue).await
}

/// Makes the publication, or adds to our own the tables that it lacks.
async fn make_or_extend(target: &Target, catalogue: &mut Catalogue, version: u32, has_slot: bool) -> Result<(), Fault> {
    let sql =
        format!("SELECT puballtables FROM pg_catalog.pg_publication WHERE pubname = {}", literal(&target.publication));
    let rows = catalogue.query(&target.address, &sql).await?;
    match scalar(&rows) {
        Some("t") => Ok(()),
        Some(_) => add_tables(target, catalogue).await,
        None if has_slot => {
            let message = format!(
                "publication {} is missing while slot {} exists; make the publication, or drop the slot",
                target.publication, target.slot
            );
            Err(CaptureError::Refused(message).into())
        }
        None => create_publication(target, catalogue, version).await,
    }
}

async fn create_publication(target: &Target, catalogue: &mut Catalogue, version: u32) -> Result<(), Fault> {
    let name = identifier(&target.publication);
    if let Some(objects) = whole_objects(&target.tables, version) {
        match catalogue.try_execute(&target.address, &create(&name, &objects)).await? {
            Ok(()) => return Ok(()),
            Err(error) => {
                warn!(publication = target.publication, %error, "publishing table by table; later tables are added at the next start");
            }
        }
    }
    let tables = matching_tables(target, catalogue, "true").await?;
    if tables.is_empty() {
        // Tables may still be made: the extract waits for them.
        return Err(Fault::Passing("no table of the source matches tables yet".into()));
    }
    catalogue.query(&target.address, &create(&name, &format!("FOR TABLE {}", tables.join(", ")))).await?;
    Ok(())
}

fn create(name: &str, objects: &str) -> String {
    // Rows of a partitioned table carry the table's name, not that of a partition which may come and go.
    format!("CREATE PUBLICATION {name} {objects} WITH (publish_via_partition_root = true)")
}

/// How to publish all that the patterns take in, later tables too, if they allow it; it needs a superuser.
fn whole_objects(patterns: &[TablePattern], version: u32) -> Option<String> {
    if patterns.iter().any(TablePattern::is_everything) {
        return Some("FOR ALL TABLES".into());
    }
    let schemas: Option<Vec<_>> = patterns.iter().map(|pattern| pattern.whole_schema().map(identifier)).collect();
    let schemas = schemas.filter(|_| version >= SERVER_VERSION_SCHEMAS)?;
    Some(format!("FOR TABLES IN SCHEMA {}", schemas.join(", ")))
}

/// Adds matching tables that the publication lacks, unless it was named by the user and is theirs to keep.
async fn add_tables(target: &Target, catalogue: &mut Catalogue) -> Result<(), Fault> {
    let lacking = format!(
        "NOT EXISTS (SELECT FROM pg_catalog.pg_publication_tables p WHERE p.pubname = {} \
         AND p.schemaname = n.nspname AND p.tablename = c.relname)",
        literal(&target.publication)
    );
    let tables = matching_tables(target, catalogue, &lacking).await?;
    if tables.is_empty() {
        return Ok(());
    }
    if target.publication_is_theirs {
        warn!(publication = target.publication, tables = tables.len(), "tables match but are not published");
        return Ok(());
    }
    let sql = format!("ALTER PUBLICATION {} ADD TABLE {}", identifier(&target.publication), tables.join(", "));
    match catalogue.try_execute(&target.address, &sql).await? {
        Ok(()) => info!(publication = target.publication, tables = tables.len(), "published more tables"),
        Err(error) => warn_not_added(target, &error),
    }
    Ok(())
}

fn warn_not_added(target: &Target, error: &ServerError) {
    warn!(publication = target.publication, %error, "matching tables could not be added to the publication");
}

/// PostgreSQL refuses UPDATE and DELETE on a published table that has no replica identity: whoever owns the application
/// must hear of it from us and not from its users.
async fn warn_of_tables_without_identity(target: &Target, catalogue: &mut Catalogue) -> Result<(), Fault> {
    let sql = format!(
        "SELECT p.schemaname || '.' || p.tablename FROM pg_catalog.pg_publication_tables p \
         JOIN pg_catalog.pg_namespace n ON n.nspname = p.schemaname \
         JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = p.tablename \
         WHERE p.pubname = {} AND (c.relreplident = 'n' OR (c.relreplident = 'd' AND NOT EXISTS \
         (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid AND i.indisprimary))) ORDER BY 1 LIMIT 20",
        literal(&target.publication)
    );
    let rows = catalogue.query(&target.address, &sql).await?;
    let tables: Vec<_> = rows.iter().filter_map(|row| row.first()?.as_deref()).collect();
    if !tables.is_empty() {
        warn!(
            publication = target.publication,
            tables = tables.join(", "),
            "PostgreSQL refuses UPDATE and DELETE on these published tables: give each a primary key or ALTER TABLE … \
             REPLICA IDENTITY FULL"
        );
    }
    Ok(())
}

/// PostgreSQL sends the rows of a partition under its table's name, and no TRUNCATE of a partition at all.
async fn warn_of_partitioned_tables(target: &Target, catalogue: &mut Catalogue) -> Result<(), Fault> {
    let sql = format!(
        "SELECT p.schemaname, p.tablename FROM pg_catalog.pg_publication_tables p \
         JOIN pg_catalog.pg_namespace n ON n.nspname = p.schemaname \
         JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = p.tablename \
         WHERE p.pubname = {} AND c.relkind = 'p' ORDER BY 1, 2",
        literal(&target.publication)
    );
    let rows = catalogue.query(&target.address, &sql).await?;
    let named = rows.iter().filter_map(|row| match &row[..] {
        [Some(schema), Some(table)] if target.captures(schema, table) => Some(format!("{schema}.{table}")),
        _ => None,
    });
    let tables: Vec<_> = named.take(20).collect();
    if !tables.is_empty() {
        warn!(
            publication = target.publication,
            tables = tables.join(", "),
            "these published tables are partitioned: PostgreSQL sends no TRUNCATE of a single partition; delete its rows \
             instead, or truncate the whole table"
        );
    }
    Ok(())
}

/// The tables that the patterns take in, as SQL names. Partitions of a table that is taken in stand under its name.
async fn matching_tables(target: &Target, catalogue: &mut Catalogue, condition: &str) -> Result<Vec<String>, Fault> {
    let sql = format!(
        "SELECT n.nspname, c.relname, rn.nspname, r.relname \
         FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         LEFT JOIN pg_catalog.pg_class r ON c.relispartition AND r.oid = pg_catalog.pg_partition_root(c.oid) \
         LEFT JOIN pg_catalog.pg_namespace rn ON rn.oid = r.relnamespace \
         WHERE c.relkind IN ('r', 'p') AND c.relpersistence = 'p' AND n.nspname <> 'information_schema' \
         AND n.nspname NOT LIKE 'pg\\_%' AND {condition} ORDER BY 1, 2"
    );
    let rows = catalogue.query(&target.address, &sql).await?;
    let mut tables = Vec::new();
    for row in &rows {
        let [Some(schema), Some(table), root_schema, root] = &row[..] else { return Err(unexpected("pg_class")) };
        let root_is_captured = match (root_schema, root) {
            (Some(schema), Some(root)) => target.captures(schema, root),
            _ => false,
        };
        if target.captures(schema, table) && !root_is_captured {
            tables.push(format!("{}.{}", identifier(schema), identifier(table)));
        }
    }
    Ok(tables)
}
