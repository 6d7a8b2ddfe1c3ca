//! What the role may do: with the database, and with each of its tables.

use std::collections::HashMap;

use crate::capture::error::Fault;
use crate::capture::postgres::catalogue::{Catalogue, unexpected};
use crate::capture::postgres::connection::Row;
use crate::capture::postgres::target::Target;

/// What the role may do with one table.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct OnTable {
    /// Names of its schema can be used.
    pub(super) uses_schema: bool,
    pub(super) selects: bool,
    /// It may read some columns at least.
    pub(super) selects_some: bool,
    pub(super) owns: bool,
    /// Row security leaves rows out for it, without a word.
    pub(super) sees_some_rows: bool,
}

/// What the role may do.
#[derive(Debug, Default)]
pub(super) struct Privileges {
    pub(super) is_superuser: bool,
    /// It may make publications, of tables that it owns.
    pub(super) creates: bool,
    tables: HashMap<u32, OnTable>,
}

impl Privileges {
    pub(super) async fn read(target: &Target, catalogue: &mut Catalogue) -> Result<Self, Fault> {
        let sql = "SELECT r.rolsuper, pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE') \
                   FROM pg_catalog.pg_roles r WHERE r.rolname = current_user";
        let rows = catalogue.query(&target.address, sql).await?;
        let Some([Some(superuser), Some(creates)]) = rows.first().map(|row| &row[..]) else {
            return Err(unexpected("pg_roles"));
        };
        let sql = "SELECT c.oid, pg_catalog.has_schema_privilege(c.relnamespace, 'USAGE'), \
                   pg_catalog.has_table_privilege(c.oid, 'SELECT'), pg_catalog.has_any_column_privilege(c.oid, 'SELECT'), \
                   pg_catalog.pg_has_role(c.relowner, 'USAGE'), pg_catalog.row_security_active(c.oid) \
                   FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
                   WHERE c.relkind IN ('r', 'p') AND c.relpersistence = 'p' AND n.nspname <> 'information_schema' \
                   AND n.nspname NOT LIKE 'pg\\_%'";
        let rows = catalogue.query(&target.address, sql).await?;
        Ok(Self {
            is_superuser: superuser == "t",
            creates: creates == "t",
            tables: rows.iter().filter_map(on_table).collect(),
        })
    }

    /// With that table; with one that was made a moment ago nothing.
    pub(super) fn on(&self, table: u32) -> OnTable {
        self.tables.get(&table).copied().unwrap_or_default()
    }

    /// Whether it may put that table into a publication of its own.
    pub(super) fn publishes(&self, table: u32) -> bool {
        self.is_superuser || self.on(table).owns
    }
}

fn on_table(row: &Row) -> Option<(u32, OnTable)> {
    let [Some(oid), uses_schema, selects, selects_some, owns, row_security] = &row[..] else { return None };
    // What is asked of a table that is dropped meanwhile is NULL.
    let is = |flag: &Option<String>| flag.as_deref() == Some("t");
    let on = OnTable {
        uses_schema: is(uses_schema),
        selects: is(selects),
        selects_some: is(selects_some),
        owns: is(owns),
        sees_some_rows: is(row_security),
    };
    Some((oid.parse().ok()?, on))
}
