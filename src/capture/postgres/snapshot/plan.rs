//! What a table looks like, as the stream would say it, and the statements that read it in chunks.
//!
//! Owns the question to the catalogue and the text of these statements. The description has the form of the stream's own, so that a loaded
//! row and a streamed one have one schema; whether it still holds is asked again in each chunk's transaction, by its
//! fingerprint.

use super::super::catalogue::unexpected;
use super::super::column_types::Types;
use super::super::connection::{Connection, Row, identifier, literal};
use super::super::masked_table;
use super::super::pgoutput::{RelationColumn, RelationMessage};
use super::super::table_facts::{self, Facts};
use super::super::target::Target;
use super::super::value::ValueKind;
use crate::capture::error::Fault;
use crate::capture::postgres::catalogue::Catalogue;
use crate::capture::snapshot::key::Key;
use crate::limits;
use crate::record::TableName;

/// `server_version_num` from which on a publication may have column lists and row filters.
const SERVER_VERSION_LISTS: u32 = 150_000;
/// The same from which on it may give generated columns.
const SERVER_VERSION_GENERATED: u32 = 180_000;

/// What a table looks like, and how its chunks are read.
#[derive(Debug)]
pub(in crate::capture::postgres) struct Plan {
    pub(in crate::capture::postgres) table: TableName,
    /// As the stream would describe it.
    pub(in crate::capture::postgres) message: RelationMessage<'static>,
    pub(in crate::capture::postgres) facts: Facts,
    /// The source's own number of the table and its key: another table by the same name has another.
    pub(in crate::capture::postgres) of: String,
    pub(super) estimated_rows: Option<u64>,
    pub(in crate::capture::postgres) is_standby: bool,
    pub(super) fingerprint: String,
    /// The question for it.
    asks_fingerprint: String,
    /// The table as SQL, after FROM.
    from: String,
    columns: Vec<String>,
    /// The key's columns in the order of its index.
    key: Vec<KeyColumn>,
    /// What else has to hold of a row.
    conditions: Vec<String>,
    has_condition: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct KeyColumn {
    sql: String,
    /// Its place among the columns that are read.
    at: usize,
    kind: ValueKind,
}

/// A key's values in the source's text form, in the order of the index.
pub(super) type KeyTexts = Vec<String>;

/// What came of planning.
#[derive(Debug)]
pub(super) enum Planned {
    Plan(Box<Plan>),
    /// It is not there, or not published, which may change in a moment: why, and what to do.
    Missing(String),
    /// It cannot be loaded: why, and what to do.
    Refused(String),
}

/// Asks what the table looks like.
pub(super) async fn plan(
    target: &Target,
    version: u32,
    connection: &mut Connection,
    catalogue: &mut Catalogue,
    table: &TableName,
    condition: Option<&str>,
) -> Result<Planned, Fault> {
    let [schema, name] = table.parts() else { return Err(unexpected("a table of two parts")) };
    let rows = connection.query(&question(target, version, schema, name)).await?;
    let refused = |what: String| Ok(Planned::Refused(format!("table {table} {what}")));
    let missing = |what: &str| Ok(Planned::Missing(format!("table {table} {what}")));
    let Some(first) = rows.first() else {
        return missing("is not there any more, or has no columns: make it again, then load it");
    };
    let described = Described::of(first, rows.iter()).ok_or_else(|| unexpected("pg_attribute"))?;
    if !described.is_published {
        return missing(
            "is not published for this extract, so that its changes would be missing: publish it, then load it",
        );
    }
    let message = RelationMessage {
        id: described.oid,
        schema: schema.to_string().into(),
        table: name.to_string().into(),
        replica_identity: described.replica_identity,
        columns: described.columns.iter().map(|column| column.message.clone()).collect(),
    };
    let mut types = Types::default();
    let facts = table_facts::ask(&message, None, false, &mut types, catalogue, &target.address).await?;
    let key = match described.key(&facts) {
        Ok(key) => key,
        Err(why) => return refused(why),
    };
    let known_as = masked_table::names_of(&message, &facts.table);
    let is_changed = |column: &KeyColumn| {
        let sent = message.columns.get(column.at).map_or("", |sent| &*sent.name);
        target.value_rules.changes(&known_as, sent, column.kind == ValueKind::Json)
    };
    // A key that was kept before it was masked is no place to go on behind, and is kept no more.
    let hidden = if key.iter().any(is_changed) { " masked" } else { "" };
    // Rows that an earlier filter kept back would be missing behind a wider one.
    let filtered = described.filter_mark.as_deref().map(|mark| format!(" where {mark}")).unwrap_or_default();
    let of = format!("{} {}{hidden}{filtered}", described.oid, described.known_by(&key));
    let only = if described.is_partitioned { "" } else { "ONLY " };
    let mut conditions: Vec<String> = described.filter.clone().into_iter().collect();
    // The line ends before the parenthesis does.
    conditions.extend(condition.map(|condition| format!("({condition}\n)")));
    Ok(Planned::Plan(Box::new(Plan {
        table: table.clone(),
        facts,
        of,
        estimated_rows: described.estimated_rows,
        is_standby: described.is_standby,
        fingerprint: described.fingerprint,
        asks_fingerprint: fingerprint(target, version, schema, name),
        from: format!("{only}{}.{}", identifier(schema), identifier(name)),
        columns: message.columns.iter().map(|column| identifier(&column.name)).collect(),
        key,
        conditions,
        has_condition: condition.is_some(),
        message,
    })))
}

/// What changes when the stream would describe the table in another way, of the table `c`.
const FINGERPRINT: &str = "(SELECT pg_catalog.md5(coalesce(pg_catalog.string_agg(pg_catalog.concat_ws(',', a.attnum, \
    a.attname, a.atttypid, a.atttypmod, a.attnotnull, a.attgenerated, a.attcollation), ';' ORDER BY a.attnum), '')) \
    FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) \
    || pg_catalog.concat_ws(' ', '', c.oid, c.relkind, c.relreplident, '') || coalesce((SELECT pg_catalog.string_agg(\
    pg_catalog.concat_ws(',', i.indexrelid, i.indisprimary, i.indisreplident, i.indkey), ';' ORDER BY i.indexrelid) \
    FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid AND (i.indisprimary OR i.indisreplident)), '')";

/// What changes when the stream would describe or give the table in another way, of the table `c`.
fn fingerprint(target: &Target, version: u32, schema: &str, name: &str) -> String {
    let published = published(target, version, schema, name);
    format!(
        "{FINGERPRINT} || ' ' || pg_catalog.md5(coalesce((SELECT pg_catalog.string_agg(pg_catalog.concat_ws(',', p.pubname, \
         p.attnames::text, p.rowfilter), ';' ORDER BY p.pubname) FROM ({published}) p), ''))"
    )
}

/// What is published of the table, a row a publication.
fn published(target: &Target, version: u32, schema: &str, name: &str) -> String {
    let publications: Vec<String> = [Some(target.publication.clone()), target.inserts_publication()]
        .iter()
        .flatten()
        .map(|name| literal(name))
        .collect();
    let lists = if version >= SERVER_VERSION_LISTS {
        "p.attnames, p.rowfilter"
    } else {
        "NULL::pg_catalog.name[] AS attnames, NULL::text AS rowfilter"
    };
    format!(
        "SELECT p.pubname, {lists} FROM pg_catalog.pg_publication_tables p WHERE p.pubname IN ({}) \
         AND p.schemaname = {} AND p.tablename = {}",
        publications.join(", "),
        literal(schema),
        literal(name),
    )
}

fn named(schema: &str, name: &str) -> String {
    format!(
        "FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE n.nspname = {} AND c.relname = {} AND c.relkind IN ('r', 'p')",
        literal(schema),
        literal(name)
    )
}

/// One row a column.
fn question(target: &Target, version: u32, schema: &str, name: &str) -> String {
    let published = published(target, version, schema, name);
    let fingerprint = fingerprint(target, version, schema, name);
    // A publication without a list gives all columns that can be given, which the server says itself where that changed.
    let given = if version >= SERVER_VERSION_GENERATED { "true" } else { "a.attgenerated = ''" };
    format!(
        "WITH p AS MATERIALIZED ({published}), \
         t AS MATERIALIZED (SELECT c.oid, c.relkind, c.relreplident, c.reltuples::bigint AS rows, {fingerprint} AS fingerprint {}), \
         i AS MATERIALIZED (SELECT i.indisprimary, i.indimmediate, (i.indkey::pg_catalog.int2[])[0:i.indnkeyatts - 1] AS key, \
         (SELECT pg_catalog.bool_and(o.opcdefault AND k.of_column = a.attcollation) FROM ROWS FROM (\
         pg_catalog.unnest((i.indkey::pg_catalog.int2[])[0:i.indnkeyatts - 1]), pg_catalog.unnest(i.indclass::pg_catalog.oid[]), \
         pg_catalog.unnest(i.indcollation::pg_catalog.oid[])) AS k(attnum, class, of_column) \
         JOIN pg_catalog.pg_opclass o ON o.oid = k.class \
         JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum) AS plain \
         FROM pg_catalog.pg_index i JOIN t ON i.indrelid = t.oid \
         WHERE CASE t.relreplident WHEN 'i' THEN i.indisreplident ELSE i.indisprimary END AND i.indisvalid) \
         SELECT t.oid, t.relkind, t.relreplident, t.rows, t.fingerprint, pg_catalog.pg_is_in_recovery(), \
         EXISTS (SELECT FROM p), (SELECT pg_catalog.string_agg('(' || p.rowfilter || ')', ' OR ') FROM p \
         HAVING pg_catalog.bool_and(p.rowfilter IS NOT NULL)), \
         (SELECT pg_catalog.md5(pg_catalog.string_agg(p.rowfilter, ' OR ' ORDER BY p.rowfilter)) FROM p \
         HAVING pg_catalog.bool_and(p.rowfilter IS NOT NULL)), \
         a.attcollation, a.attname, a.atttypid, a.atttypmod, CASE t.relreplident WHEN 'f' THEN true WHEN 'n' THEN false \
         ELSE coalesce(a.attnum = ANY (i.key) AND i.indimmediate, false) END, \
         pg_catalog.array_position(i.key, a.attnum), coalesce(i.plain, false) \
         FROM t JOIN pg_catalog.pg_attribute a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped LEFT JOIN i ON true \
         WHERE {given} AND coalesce((SELECT pg_catalog.bool_or(a.attname = ANY (p.attnames)) FROM p), true) ORDER BY a.attnum",
        named(schema, name),
    )
}

/// What the catalogue says of a table.
struct Described {
    oid: u32,
    is_partitioned: bool,
    replica_identity: u8,
    estimated_rows: Option<u64>,
    fingerprint: String,
    is_standby: bool,
    is_published: bool,
    filter: Option<String>,
    /// What tells it from another one, without the values that may stand in it.
    filter_mark: Option<String>,
    columns: Vec<DescribedColumn>,
    /// The index compares as the columns themselves do.
    has_plain_key: bool,
}

struct DescribedColumn {
    message: RelationColumn<'static>,
    /// Its place in the key's index.
    place: Option<u32>,
    /// The source's number of the order that it compares by, which texts have many of.
    collation: u32,
}

impl Described {
    fn of<'r>(first: &Row, rows: impl Iterator<Item = &'r Row>) -> Option<Self> {
        let [
            Some(oid),
            Some(kind),
            Some(replica_identity),
            Some(estimate),
            Some(fingerprint),
            Some(standby),
            Some(published),
            filter,
            filter_mark,
            ..,
        ] = &first[..]
        else {
            return None;
        };
        let columns = rows.map(DescribedColumn::of).collect::<Option<Vec<_>>>()?;
        Some(Self {
            oid: oid.parse().ok()?,
            is_partitioned: kind == "p",
            replica_identity: replica_identity.bytes().next()?,
            // Below zero where nobody has counted yet.
            estimated_rows: estimate.parse().ok(),
            fingerprint: fingerprint.clone(),
            is_standby: standby == "t",
            is_published: published == "t",
            filter_mark: filter_mark.clone(),
            filter: filter.as_ref().map(|filter| format!("({filter})")),
            has_plain_key: first.last()?.as_deref() == Some("t"),
            columns,
        })
    }

    /// What a key that was noted is good for: behind it lies something else where one of its columns has another type or collation.
    fn known_by(&self, key: &[KeyColumn]) -> String {
        let of = |column: &KeyColumn| {
            let described = self.columns.get(column.at)?;
            let RelationColumn { type_id, type_modifier, .. } = described.message;
            Some(format!("{} {type_id} {type_modifier} {}", column.sql, described.collation))
        };
        key.iter().filter_map(of).collect::<Vec<_>>().join(",")
    }

    /// The key's columns in the order of its index, or why there is no key to load by.
    fn key(&self, facts: &Facts) -> Result<Vec<KeyColumn>, String> {
        let mut key: Vec<(u32, KeyColumn)> = Vec::new();
        for (at, (column, of)) in self.columns.iter().zip(&facts.types).enumerate() {
            let Some(place) = column.place else { continue };
            let sql = identifier(&column.message.name);
            let kind = of.kind.clone().unwrap_or(ValueKind::Text);
            if matches!(kind, ValueKind::Array { .. }) {
                return Err(format!(
                    "has an array in its key ({sql}), by which no chunk can be told from another: give it a key of other columns"
                ));
            }
            key.push((place, KeyColumn { sql, at, kind }));
        }
        key.sort_by_key(|(place, _)| *place);
        if key.is_empty() {
            return Err(
                "has nothing that identifies its rows, and cannot be loaded: give it a primary key, or a unique index as its \
                        replica identity, and load it then"
                    .into(),
            );
        }
        if !self.has_plain_key {
            return Err(
                "has a key whose index compares in another way than its columns do (a collation or an operator class of its own), \
                        and cannot be loaded: give it an index that does not"
                    .into(),
            );
        }
        Ok(key.into_iter().map(|(_, column)| column).collect())
    }
}

impl DescribedColumn {
    fn of(row: &Row) -> Option<Self> {
        let [.., Some(collation), Some(name), Some(type_id), Some(modifier), Some(identity), place, Some(_)] = &row[..]
        else {
            return None;
        };
        let message = RelationColumn {
            identity: identity == "t",
            name: name.clone().into(),
            type_id: type_id.parse().ok()?,
            type_modifier: modifier.parse().ok()?,
        };
        let place = match place {
            Some(place) => Some(place.parse().ok()?),
            None => None,
        };
        Some(Self { message, place, collation: collation.parse().ok()? })
    }
}

impl Plan {
    /// Number of columns that are read.
    pub(super) fn width(&self) -> usize {
        self.columns.len()
    }

    /// The places of the key's columns among those that are read, in the order of the index.
    pub(super) fn key_places(&self) -> impl Iterator<Item = usize> {
        self.key.iter().map(|column| column.at)
    }

    /// A key as the trail has it, in the source's text form; none if it is no key of this table.
    pub(super) fn texts(&self, key: &Key) -> Option<KeyTexts> {
        let values: Vec<&serde_json::value::RawValue> = serde_json::from_str(&key.0).ok()?;
        // The trail has them in the order of the columns.
        let mut in_order: Vec<&KeyColumn> = self.key.iter().collect();
        in_order.sort_by_key(|column| column.at);
        if values.len() != in_order.len() {
            return None;
        }
        let mut texts = Vec::new();
        for column in &self.key {
            let value = in_order.iter().position(|other| other.at == column.at).map(|at| values[at].get())?;
            texts.push(column.kind.text_of_json(value)?);
        }
        Some(texts)
    }

    /// The statements that read the rows behind a key, at most so many.
    pub(super) fn chunk(&self, behind: Option<&KeyTexts>, rows: u64) -> String {
        let mut conditions = self.conditions.clone();
        conditions.extend(behind.map(|texts| format!("{} > {}", self.key_row(), row(texts))));
        self.statements(&conditions, &format!(" LIMIT {rows}"))
    }

    /// The statements that read the rows with these keys.
    pub(super) fn with_keys(&self, keys: &[KeyTexts]) -> String {
        let mut conditions = self.conditions.clone();
        let keys: Vec<String> = keys.iter().map(row).collect();
        conditions.push(format!("{} IN ({})", self.key_row(), keys.join(", ")));
        self.statements(&conditions, "")
    }

    fn key_row(&self) -> String {
        let names: Vec<&str> = self.key.iter().map(|column| column.sql.as_str()).collect();
        if names.len() == 1 { names[0].to_owned() } else { format!("({})", names.join(", ")) }
    }

    /// One transaction: the lock first, so that nobody alters the table between the snapshot and the rows, nor empties it.
    fn statements(&self, conditions: &[String], rest: &str) -> String {
        let order: Vec<&str> = self.key.iter().map(|column| column.sql.as_str()).collect();
        let condition =
            if conditions.is_empty() { String::new() } else { format!(" WHERE {}", conditions.join(" AND ")) };
        let limit = if self.has_condition {
            format!("SET LOCAL statement_timeout = {}; ", limits::LOAD_WHERE_SECONDS_MAX * 1_000)
        } else {
            String::new()
        };
        format!(
            "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL lock_timeout = {}; {limit}\
             LOCK TABLE {} IN ACCESS SHARE MODE; {}; COPY (SELECT {} FROM {}{condition} ORDER BY {}{rest}) TO STDOUT; COMMIT",
            limits::LOAD_LOCK_MILLIS,
            self.from,
            self.head(),
            self.columns.join(", "),
            self.from,
            order.join(", "),
        )
    }

    /// What the snapshot shows, up to where, when, and whether the table is still as planned. The place is asked for after the
    /// snapshot has been taken.
    fn head(&self) -> String {
        let [schema, name] = self.table.parts() else { return String::new() };
        format!(
            "SELECT pg_catalog.pg_current_snapshot(), CASE WHEN pg_catalog.pg_is_in_recovery() \
             THEN greatest(pg_catalog.pg_last_wal_replay_lsn(), pg_catalog.pg_last_wal_receive_lsn()) \
             ELSE pg_catalog.pg_current_wal_insert_lsn() END, \
             (extract(epoch FROM pg_catalog.clock_timestamp()) * 1000000)::bigint, pg_catalog.pg_is_in_recovery(), {} {}",
            self.asks_fingerprint,
            named(schema, name)
        )
    }
}

/// Values as SQL. They have no type of their own: the server takes them for that of the column they stand beside.
fn row(texts: &KeyTexts) -> String {
    let values: Vec<String> = texts.iter().map(|text| literal(text)).collect();
    if values.len() == 1 { values[0].clone() } else { format!("({})", values.join(", ")) }
}
