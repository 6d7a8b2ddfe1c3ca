//! Which tables somebody means who wants a load, and whether his condition means anything: asked before anything is ordered.

use super::super::catalogue::Catalogue;
use super::super::connection::identifier;
use super::super::publisher::Publications;
use super::super::setup::server_version;
use super::super::source_tables::Tables;
use super::super::target::Target;
use super::condition;
use crate::capture::error::{CaptureError, Fault};
use crate::catalog::extract::InvalidExtract;
use crate::catalog::table_pattern::TablePattern;
use crate::limits;
use crate::record::TableName;

/// The captured tables that the patterns take in, once the source has said that the condition means something for each.
pub(in crate::capture::postgres) async fn loadable(
    target: &Target,
    patterns: &[TablePattern],
    condition: Option<&str>,
) -> Result<Vec<String>, Fault> {
    if let Some(condition) = condition {
        condition::check(condition).map_err(|error| refuse("where", error.to_string()))?;
    }
    let mut catalogue = Catalogue::default();
    let address = &target.address;
    let version = server_version(target, &mut catalogue).await?;
    let tables = Tables::read(&mut catalogue, address).await?;
    let given = Publications::read(target, &mut catalogue, version).await?;
    let mut found = Vec::new();
    for pattern in patterns {
        let is_meant = |schema: &str, name: &str| pattern.matches(schema, name);
        let captured = tables.captured(target).into_iter().filter(|table| given.give(&tables, table));
        let meant: Vec<_> = captured.filter(|table| is_meant(&table.schema, &table.name)).collect();
        if meant.is_empty() {
            let pattern = String::from(pattern.clone());
            let message = format!("{pattern} names no table that this extract captures and that is published for it");
            return Err(refuse("tables", message));
        }
        for table in meant {
            if let Some(condition) = condition {
                // It is read and planned, alone, and not run.
                let only = if table.is_partitioned { "" } else { "ONLY " };
                let sql = format!(
                    "BEGIN TRANSACTION READ ONLY; SET LOCAL statement_timeout = {}; EXPLAIN SELECT 1 FROM {only}{}.{} \
                     WHERE ({condition}\n); COMMIT",
                    limits::SOURCE_PREFLIGHT_SECONDS_MAX * 1_000,
                    identifier(&table.schema),
                    identifier(&table.name),
                );
                if let Err(error) = catalogue.try_execute(address, &sql).await? {
                    return Err(refuse("where", format!("the source does not take it for {}: {error}", table.shown())));
                }
            }
            let name = TableName::from_parts(&[&table.schema, &table.name]);
            found.extend(name.ok().map(|name| name.to_string()));
        }
    }
    catalogue.close().await;
    found.sort();
    found.dedup();
    Ok(found)
}

fn refuse(member: &str, message: String) -> Fault {
    CaptureError::Configuration(InvalidExtract { member: member.into(), message }).into()
}
