//! The publication: whether it gives every table as asked, or can be made so by us; where not, the statement for somebody who
//! may.

use super::tables::Captured;
use super::wording::{counted, listed};
use crate::capture::error::Fault;
use crate::capture::finding::Finding;
use crate::capture::postgres::catalogue::{Catalogue, scalar};
use crate::capture::postgres::connection::literal;
use crate::capture::postgres::coverage::{Lacking, lacking};
use crate::capture::postgres::publisher::{for_inserts, making};
use crate::capture::postgres::source_tables::SourceTable;
use crate::capture::postgres::target::Target;
use crate::catalog::extract::WithoutIdentity;

const WHAT: &str = "publication";

pub(super) async fn look(
    target: &Target,
    catalogue: &mut Catalogue,
    captured: &Captured,
) -> Result<Vec<Finding>, Fault> {
    match captured.now.main {
        None => Ok(to_be_made(target, captured)),
        Some(_) => coverage(target, catalogue, captured).await,
    }
}

/// There is none yet: the extract makes it, or somebody who may.
fn to_be_made(target: &Target, captured: &Captured) -> Vec<Finding> {
    let name = &target.publication;
    let tables = captured.list(target);
    let is_sound = |table: &&SourceTable| captured.refused(target, table).is_empty();
    let (sound, refused): (Vec<_>, Vec<_>) = tables.into_iter().partition(is_sound);
    if !refused.is_empty() && target.without_identity.is_none() {
        let message = format!("the publication {name} is made when the rows of every table are identified");
        return vec![Finding::error(WHAT, message)];
    }
    if sound.is_empty() && target.without_identity != Some(WithoutIdentity::InsertsOnly) {
        return vec![Finding::ok(WHAT, format!("the publication {name} is made when there is a table for it"))];
    }
    let may = |tables: &[&SourceTable]| {
        let rights = &captured.privileges;
        rights.is_superuser || rights.creates && tables.iter().all(|table| rights.publishes(table.oid))
    };
    let user = &target.address.user;
    let judged = |name: &str, tables: &[&SourceTable], statement: String| {
        if may(tables) {
            return Finding::ok(WHAT, format!("the extract will make the publication {name}"));
        }
        let message = format!(
            "the role {user} may not make the publication {name}: it does not own the tables, or may not create in the database. \
             A superuser makes it beforehand with the statement"
        );
        Finding::error(WHAT, message).mended_by(statement)
    };
    let mut found = vec![judged(name, &sound, making(target, captured.version, &captured.filters, &sound))];
    if let Some(inserts) = target.inserts_publication() {
        found.push(judged(&inserts, &refused, for_inserts(&inserts, captured.version, &captured.filters, &refused)));
    }
    found
}

/// What it does not give.
async fn coverage(target: &Target, catalogue: &mut Catalogue, captured: &Captured) -> Result<Vec<Finding>, Fault> {
    let name = &target.publication;
    let mut lacking = lacking(target, catalogue, captured.version, &mut captured.filters.clone()).await?;
    if target.skips_without_identity() {
        lacking.retain(|table| {
            captured.tables.get(table.oid).is_none_or(|table| captured.refused(target, table).is_empty())
        });
    }
    if lacking.is_empty() {
        let tables = captured.list(target);
        return Ok(vec![Finding::ok(
            WHAT,
            format!("the publication {name} gives {} as asked", counted(tables.len(), "table")),
        )]);
    }
    let owner = format!(
        "SELECT pg_catalog.pg_has_role(p.pubowner, 'USAGE') FROM pg_catalog.pg_publication p WHERE p.pubname = {}",
        literal(name)
    );
    let owns = scalar(&catalogue.query(&target.address, &owner).await?) == Some("t");
    let is_ours = !target.publication_is_theirs && (owns || captured.privileges.is_superuser);
    let mended_by_us = |table: &Lacking| is_ours && captured.privileges.publishes(table.oid);
    let (ours, theirs): (Vec<_>, Vec<_>) = lacking.into_iter().partition(mended_by_us);
    let mut found = Vec::new();
    for Lacking { table, why, statement, .. } in theirs {
        let message =
            format!("{table}: {why}. The owner of the publication {name} and of the table runs the statement");
        found.push(Finding::error(WHAT, message).mended_by(statement));
    }
    if !ours.is_empty() {
        let names: Vec<String> = ours.into_iter().map(|lacking| lacking.table).collect();
        let message = format!("the extract will add to its publication {name}: {}", listed(&names));
        found.push(Finding::ok(WHAT, message));
    }
    // A statement that mends several tables stands once.
    let mut said = std::collections::HashSet::new();
    found.retain(|finding| finding.statement.as_ref().is_none_or(|statement| said.insert(statement.clone())));
    Ok(found)
}
