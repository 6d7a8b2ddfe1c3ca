//! The rights to read tables themselves, which an initial load needs; changes come from the log, and need none of them.

use super::tables::Captured;
use super::wording::{first, listed};
use crate::capture::finding::Finding;
use crate::capture::postgres::connection::identifier;
use crate::capture::postgres::source_tables::{Identity, SourceTable};
use crate::capture::postgres::target::Target;

const WHAT: &str = "rights";

pub(super) fn look(target: &Target, captured: &Captured) -> Vec<Finding> {
    let tables = captured.list(target);
    let user = &target.address.user;
    let role = identifier(user);
    let rights = &captured.privileges;
    let with = |lacks: &dyn Fn(&SourceTable) -> bool| -> Vec<&SourceTable> {
        tables.iter().copied().filter(|table| lacks(table)).collect()
    };
    let mut found = Vec::new();
    let hidden = with(&|table| !rights.on(table.oid).uses_schema);
    let mut schemas: Vec<&str> = hidden.iter().map(|table| table.schema.as_str()).collect();
    schemas.dedup();
    for schema in schemas {
        let message = format!("the role {user} may not use the schema {schema}: its tables cannot be loaded");
        found
            .push(judged(target, message).mended_by(format!("GRANT USAGE ON SCHEMA {} TO {role}", identifier(schema))));
    }
    let unread = with(&|table| !rights.on(table.oid).selects && !rights.on(table.oid).selects_some);
    if !unread.is_empty() {
        let names: Vec<String> = unread.iter().map(|table| table.shown()).collect();
        let on: Vec<&str> = first(&unread).iter().map(|table| table.sql_name.as_str()).collect();
        let message =
            format!("the role {user} may not read these tables, and they cannot be loaded: {}", listed(&names));
        found.push(judged(target, message).mended_by(format!("GRANT SELECT ON {} TO {role}", on.join(", "))));
    }
    let partly = with(&|table| !rights.on(table.oid).selects && rights.on(table.oid).selects_some);
    if !partly.is_empty() {
        let names: Vec<String> = partly.iter().map(|table| table.shown()).collect();
        let message =
            format!("the role {user} may read some columns only of {}: the others cannot be loaded", listed(&names));
        found.push(Finding::warning(WHAT, message));
    }
    let filtered = with(&|table| rights.on(table.oid).sees_some_rows);
    if !filtered.is_empty() {
        let names: Vec<String> = filtered.iter().map(|table| table.shown()).collect();
        let message = format!(
            "row security hides rows of these tables from the role {user}, and a load would be without them: {}; a superuser \
             lets it see all",
            listed(&names)
        );
        found.push(judged(target, message).mended_by(format!("ALTER ROLE {role} BYPASSRLS")));
    }
    let keyless = with(&|table| !table.has_usable_key && !matches!(table.identity, Identity::Key(_)));
    if target.loads_first && !keyless.is_empty() {
        let names: Vec<String> = keyless.iter().map(|table| table.shown()).collect();
        let message = format!(
            "these tables cannot be loaded, as nothing puts their rows into an order: {}; give them a primary key, or a unique \
             index as their replica identity. Their changes are captured all the same",
            listed(&names)
        );
        found.push(Finding::warning(WHAT, message));
    }
    if found.is_empty() && !tables.is_empty() {
        found.push(Finding::ok(WHAT, format!("the role {user} may read every table")));
    }
    found
}

/// An error where tables are to be loaded first; else it is only worth knowing.
fn judged(target: &Target, message: String) -> Finding {
    if target.loads_first { Finding::error(WHAT, message) } else { Finding::warning(WHAT, message) }
}
