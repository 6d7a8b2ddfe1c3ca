//! The catalogue's answers to "what is published now, who writes now, was this ever written to".
//!
//! Owns the SQL of coverage; what the rows mean is `facts`'s business. Everything that a look compares comes from one
//! statement, so from one snapshot; the ends of the log around it come from statements of their own, because a role may
//! have all of a transaction see one snapshot.

use std::collections::BTreeSet;

use super::facts::{Given, Rows, Seen};
use crate::capture::error::Fault;
use crate::capture::postgres::catalogue::{Catalogue, scalar, unexpected};
use crate::capture::postgres::connection::literal;
use crate::capture::postgres::lsn::Lsn;
use crate::capture::postgres::row_filters::RowFilters;
use crate::capture::postgres::source_tables::Tables;
use crate::capture::postgres::target::Target;
use crate::limits;

/// First server with column lists, row filters and whole schemas, as `server_version_num`.
const SERVER_VERSION_LISTS: u32 = 150_000;

/// The end of the log; a standby has no end of its own.
const END_OF_LOG: &str = "SELECT CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn() \
                          ELSE pg_catalog.pg_current_wal_insert_lsn() END::text";

/// The end of the log now.
pub(super) async fn end_of_log(target: &Target, catalogue: &mut Catalogue) -> Result<Lsn, Fault> {
    let rows = catalogue.query(&target.address, END_OF_LOG).await?;
    scalar(&rows).and_then(Lsn::parse).ok_or_else(|| unexpected("the end of the log"))
}

/// One look. `filters` are read anew where what is published is not what they say: a column that was renamed, say, makes
/// another text of the same filter.
pub(super) async fn look(
    target: &Target,
    catalogue: &mut Catalogue,
    version: u32,
    filters: &mut RowFilters,
) -> Result<Seen, Fault> {
    let before = end_of_log(target, catalogue).await?;
    let rows = catalogue.query(&target.address, &statement(target, version)).await?;
    let text = scalar(&rows).ok_or_else(|| unexpected("the publications"))?;
    let rows: Rows = serde_json::from_str(text).map_err(|_| unexpected("the publications"))?;
    let captures = |schema: &str, table: &str| target.captures(schema, table);
    let mut seen = rows.seen(captures, filters);
    let number_of = |schema: &str, name: &str| {
        rows.tables.iter().find(|table| table.schema == schema && table.name == name).map(|table| table.oid)
    };
    let differs = |given: &Given| given.missing.rows || given.missing.filter;
    let are_stale = || filters.are_others(target, number_of) || seen.tables.values().any(differs);
    if target.row_filters.is_empty() && !filters.is_empty() {
        *filters = RowFilters::default();
        seen = rows.seen(captures, filters);
    } else if !target.row_filters.is_empty() && are_stale() {
        let tables = Tables::read(catalogue, &target.address).await?;
        *filters = RowFilters::read(target, catalogue, version, &tables).await?;
        seen = rows.seen(captures, filters);
    }
    (seen.before, seen.after) = (before, end_of_log(target, catalogue).await?);
    Ok(seen)
}

/// Everything that is compared, as one JSON text.
fn statement(target: &Target, version: u32) -> String {
    let inserts = target.inserts_publication().map_or_else(|| "NULL".to_owned(), |name| literal(&name));
    let publications = format!("{}, {inserts}", literal(&target.publication));
    let has_lists = version >= SERVER_VERSION_LISTS;
    let filter = if has_lists { "pg_catalog.pg_get_expr(e.prqual, e.prrelid)" } else { "NULL" };
    let left_out = if has_lists {
        "CASE WHEN e.prattrs IS NULL THEN NULL ELSE (SELECT coalesce(json_agg(a.attname), '[]') \
         FROM pg_catalog.pg_attribute a WHERE a.attrelid = e.prrelid AND a.attnum > 0 AND NOT a.attisdropped \
         AND a.attgenerated = '' AND NOT a.attnum = ANY(e.prattrs)) END"
    } else {
        "NULL"
    };
    let schemas = if has_lists {
        "SELECT coalesce(json_agg(json_build_object('oid', e.oid::bigint, 'xmin', e.xmin::text::bigint, \
         'publication', e.pnpubid::bigint, 'schema', e.pnnspid::bigint)), '[]') \
         FROM pg_catalog.pg_publication_namespace e JOIN p ON p.oid = e.pnpubid"
    } else {
        "SELECT '[]'::json"
    };
    format!(
        "WITH p AS (SELECT oid, xmin, pubname, pubowner, puballtables, pubinsert, pubupdate, pubdelete, pubtruncate, \
         pubviaroot FROM pg_catalog.pg_publication WHERE pubname IN ({publications})) \
         SELECT json_build_object(\
         'xmin', pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())::text::bigint, \
         'xmax', pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())::text::bigint, \
         'publications', (SELECT coalesce(json_agg(json_build_object('oid', p.oid::bigint, \
         'xmin', p.xmin::text::bigint, 'name', p.pubname, 'owner', p.pubowner::bigint, 'all', p.puballtables, \
         'insert', p.pubinsert, 'update', p.pubupdate, 'delete', p.pubdelete, 'truncate', p.pubtruncate, \
         'via_root', p.pubviaroot, 'inserts_only', coalesce(p.pubname = {inserts}, false))), '[]') FROM p), \
         'relations', (SELECT coalesce(json_agg(json_build_object('oid', e.oid::bigint, \
         'xmin', e.xmin::text::bigint, 'publication', e.prpubid::bigint, 'table', e.prrelid::bigint, \
         'filter', {filter}, 'left_out', {left_out})), '[]') \
         FROM pg_catalog.pg_publication_rel e JOIN p ON p.oid = e.prpubid), \
         'schemas', ({schemas}), \
         'tables', (SELECT coalesce(json_agg(json_build_object('oid', c.oid::bigint, 'schema', n.nspname, \
         'name', c.relname, 'schema_oid', n.oid::bigint, 'partitioned', c.relkind = 'p', \
         'naming', json_build_object('xmin', coalesce(t.xmin::text::bigint, 0), 'owner', c.relowner::bigint), \
         'ancestors', CASE WHEN c.relispartition THEN (SELECT coalesce(json_agg(x.relid::oid::bigint), '[]') \
         FROM pg_catalog.pg_partition_ancestors(c.oid) WITH ORDINALITY AS x(relid, at) WHERE x.relid <> c.oid) \
         ELSE '[]' END)), '[]') \
         FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         LEFT JOIN pg_catalog.pg_type t ON t.oid = c.reltype \
         WHERE c.relkind IN ('r', 'p') AND c.relpersistence = 'p' AND n.nspname <> 'information_schema' \
         AND n.nspname NOT LIKE 'pg\\_%'))::text"
    )
}

/// Those of the tables to which nobody has written since they were made.
pub(super) async fn untouched(
    target: &Target,
    catalogue: &mut Catalogue,
    tables: &BTreeSet<u32>,
) -> Result<BTreeSet<u32>, Fault> {
    // TRUNCATE and rewrites give a table another file; a partitioned one has none, and its rows may have gone with a
    // partition.
    let sql = format!(
        "SELECT c.oid::bigint FROM pg_catalog.pg_class c WHERE c.oid IN ({}) AND c.relkind = 'r' \
         AND pg_catalog.pg_relation_filenode(c.oid) = c.oid AND pg_catalog.pg_relation_size(c.oid) = 0",
        list(tables)
    );
    match catalogue.query(&target.address, &impatient(&sql)).await {
        Ok(rows) => Ok(rows.iter().filter_map(|row| row.first()?.as_deref()?.parse().ok()).collect()),
        // Somebody alters one of them: for all that is known, it was written to.
        Err(Fault::Passing(_)) => Ok(BTreeSet::new()),
        Err(fault) => Err(fault),
    }
}

/// A statement that gives up soon where somebody has locked what it needs: a client that goes away leaves its statement
/// waiting.
pub(super) fn impatient(sql: &str) -> String {
    format!("SET LOCAL lock_timeout = {}; {sql}", limits::COVERAGE_LOCK_MILLIS)
}

/// Transactions that have written to one of these tables or their partitions and have not ended, as `table oid, who`.
pub(super) async fn writers(
    target: &Target,
    catalogue: &mut Catalogue,
    tables: &BTreeSet<u32>,
) -> Result<Vec<(u32, String)>, Fault> {
    let sql = format!(
        "SELECT DISTINCT t.oid::bigint, l.virtualtransaction FROM pg_catalog.pg_locks l \
         JOIN pg_catalog.pg_class t ON t.oid IN ({}) \
         WHERE l.locktype = 'relation' AND l.granted AND l.mode IN ('RowExclusiveLock', 'ShareRowExclusiveLock', \
         'ExclusiveLock', 'AccessExclusiveLock') \
         AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()) \
         AND (l.relation = t.oid OR t.relkind = 'p' AND l.relation IN \
         (SELECT relid FROM pg_catalog.pg_partition_tree(t.oid)))",
        list(tables)
    );
    let rows = catalogue.query(&target.address, &sql).await?;
    let writer = |row: &Vec<Option<String>>| match &row[..] {
        [Some(table), Some(who)] => Some((table.parse().ok()?, who.clone())),
        _ => None,
    };
    Ok(rows.iter().filter_map(writer).collect())
}

/// Whether every transaction that had begun when `xmax` was the next number has ended.
pub(super) async fn all_ended_before(target: &Target, catalogue: &mut Catalogue, xmax: u64) -> Result<bool, Fault> {
    let sql = "SELECT pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())::text";
    let rows = catalogue.query(&target.address, sql).await?;
    let xmin: u64 = scalar(&rows).and_then(|text| text.parse().ok()).ok_or_else(|| unexpected("the snapshot"))?;
    Ok(xmin >= xmax)
}

fn list(tables: &BTreeSet<u32>) -> String {
    // No table has the oid 0.
    let oids = tables.iter().chain([&0]).map(u32::to_string);
    oids.collect::<Vec<_>>().join(", ")
}
