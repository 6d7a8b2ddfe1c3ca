//! What people are told of an extract's publications: writes that PostgreSQL refuses because of them, tables and columns
//! that they leave out.
//!
//! Owns that list and the warnings for what is new in it; leaves altering publications to `publisher`.

use tracing::warn;

use super::catalogue::Catalogue;
use super::masks_at_source::MasksAtSource;
use super::publication::Publication;
use super::publisher::Publications;
use super::replica_identity::RefusedWrites;
use super::replica_identity::{SERVER_VERSION_GENERATED, refused_of};
use super::source_tables::{SourceTable, Tables};
use super::status::{PublicationStatus, SharedStatus};
use super::target::Target;
use crate::capture::error::Fault;
use crate::limits;
use crate::repeats::warn_rarely;

/// As [`refresh`], and warns of partitions: when a session begins.
pub(super) async fn report(
    target: &Target,
    catalogue: &mut Catalogue,
    version: u32,
    status: &SharedStatus,
) -> Result<(), Fault> {
    let tables = refresh(target, catalogue, version, status).await?;
    warn_of_partitions(target, &tables);
    Ok(())
}

/// Reads publications and tables as they are now, notes what is to be said of them, and logs what is new.
pub(super) async fn refresh(
    target: &Target,
    catalogue: &mut Catalogue,
    version: u32,
    status: &SharedStatus,
) -> Result<Tables, Fault> {
    let tables = Tables::read(catalogue, &target.address).await?;
    let now = Publications::read(target, catalogue, version).await?;
    let masks = MasksAtSource::read(target, catalogue).await?.unmatched(target, &tables);
    note(target, status, PublicationStatus { masks_unmatched: masks, ..compile(target, &tables, &now, version) });
    Ok(tables)
}

/// PostgreSQL sends the rows of a partition under its table's name, and no TRUNCATE of a partition at all.
fn warn_of_partitions(target: &Target, tables: &Tables) {
    let captured = tables.captured(target).into_iter().filter(|table| table.is_partitioned);
    let tables: Vec<_> = captured.take(limits::EXTRACT_NAMED_TABLES_MAX).map(SourceTable::shown).collect();
    if !tables.is_empty() {
        warn_rarely!(
            &target.publication,
            publication = target.publication,
            tables = tables.join(", "),
            "these tables are partitioned: PostgreSQL sends no TRUNCATE of a single partition; delete its rows instead, \
             or truncate the whole table"
        );
    }
}

/// What is to be said. Before there is a publication, nothing is.
fn compile(target: &Target, tables: &Tables, now: &Publications, version: u32) -> PublicationStatus {
    let mut said = PublicationStatus::default();
    let Some(main) = &now.main else { return said };
    let whole = Publication { everything: true, tables: Default::default(), ..main.clone() };
    for table in tables.captured(target) {
        let given = main.given(tables, table);
        let inserts = now.inserts.as_ref().is_some_and(|inserts| inserts.given(tables, table).is_some());
        match &given {
            Some(_) => said.refused_writes.extend(refused_of(tables, table, main, version)),
            None if inserts => said.inserts_only.push(table.shown()),
            None => said.left_out.extend(refused_of(tables, table, &whole, version)),
        }
        if given.is_some() || inserts {
            let generated = main.generated && version >= SERVER_VERSION_GENERATED;
            let listed = given.and_then(|(_, listed)| listed.columns);
            said.columns_left_out.extend(columns_left_out(table, generated, listed.as_deref()));
        }
    }
    said
}

/// Generated columns that no publication gives, as `schema.table.column`. A list of columns is what counts where there is one.
pub(super) fn columns_left_out(table: &SourceTable, generated: bool, listed: Option<&[String]>) -> Vec<String> {
    let given = |column: &String| listed.map_or(generated, |listed| listed.contains(column));
    let stored = table.stored_columns.iter().filter(|column| !given(column));
    stored.chain(&table.virtual_columns).map(|column| format!("{}.{column}", table.shown())).collect()
}

fn note(target: &Target, status: &SharedStatus, seen: PublicationStatus) {
    let mut before = PublicationStatus::default();
    status.update_own(|status| before = std::mem::replace(&mut status.publication, seen.clone()));
    let publication = target.publication.as_str();
    if let Some(tables) = shown(&news(&before.refused_writes, &seen.refused_writes)) {
        warn!(
            publication,
            tables, "PostgreSQL refuses the application's UPDATE and DELETE on these tables because they are published"
        );
    }
    if let Some(tables) = shown(&news(&before.left_out, &seen.left_out)) {
        warn!(
            publication,
            tables, "these tables are not published: the application's UPDATE and DELETE would be refused"
        );
    }
    let masks = news(&before.masks_unmatched, &seen.masks_unmatched);
    if !masks.is_empty() {
        let masks = masks.iter().take(limits::EXTRACT_NAMED_TABLES_MAX).map(|mask| mask.as_str());
        let masks = masks.collect::<Vec<_>>().join(", ");
        warn!(publication, masks, "these masks name no column of a captured table");
    }
    let columns = news(&before.columns_left_out, &seen.columns_left_out);
    if !columns.is_empty() {
        let columns = columns.iter().take(limits::EXTRACT_NAMED_TABLES_MAX).map(|column| column.as_str());
        let columns = columns.collect::<Vec<_>>().join(", ");
        warn!(publication, columns, "these generated columns are not published: records come without them");
    }
}

fn news<'a, T: PartialEq>(before: &[T], seen: &'a [T]) -> Vec<&'a T> {
    seen.iter().filter(|said| !before.contains(said)).collect()
}

fn shown(tables: &[&RefusedWrites]) -> Option<String> {
    let tables: Vec<_> = tables.iter().take(limits::EXTRACT_NAMED_TABLES_MAX).map(ToString::to_string).collect();
    (!tables.is_empty()).then(|| tables.join("; "))
}
