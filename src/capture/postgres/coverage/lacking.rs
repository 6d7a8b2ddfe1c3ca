//! What is not given as asked, with the statement that mends it: for people, before an extract is made or while it runs.
//!
//! Owns which statement that is; leaves what is lacking to `facts`, and mending our own publications to `repair`.

use super::facts::Given;
use super::query;
use super::repair::statement;
use crate::capture::error::Fault;
use crate::capture::postgres::catalogue::Catalogue;
use crate::capture::postgres::connection::identifier;
use crate::capture::postgres::row_filters::RowFilters;
use crate::capture::postgres::target::Target;

/// A table that is not given as asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::capture::postgres) struct Lacking {
    pub(in crate::capture::postgres) oid: u32,
    /// Schema and name.
    pub(in crate::capture::postgres) table: String,
    /// What is lacking.
    pub(in crate::capture::postgres) why: String,
    /// What mends it.
    pub(in crate::capture::postgres) statement: String,
}

/// Looks once. The publication is there.
pub(in crate::capture::postgres) async fn lacking(
    target: &Target,
    catalogue: &mut Catalogue,
    version: u32,
    filters: &mut RowFilters,
) -> Result<Vec<Lacking>, Fault> {
    let seen = query::look(target, catalogue, version, filters).await?;
    let not_as_asked = seen.tables.into_iter().filter(|(_, given)| !given.missing.is_nothing());
    let lacking = not_as_asked.map(|(table, given)| Lacking {
        oid: given.oid,
        why: given.missing.to_string(),
        statement: mending(&target.publication, &table, &given, filters),
        table,
    });
    Ok(lacking.collect())
}

fn mending(publication: &str, table: &str, given: &Given, filters: &RowFilters) -> String {
    let name = identifier(publication);
    let missing = &given.missing;
    if !missing.operations.is_empty() {
        return format!("ALTER PUBLICATION {name} SET (publish = 'insert, update, delete, truncate')");
    }
    match statement(publication, table, given, filters) {
        Some(statement) => statement,
        // Under another name come the rows of a table's partitions, or those of a partition.
        None => format!("ALTER PUBLICATION {name} SET (publish_via_partition_root = {})", !given.parts.is_empty()),
    }
}
