//! What only PostgreSQL's catalogue says: layers of types, null constraints, primary keys, the tables there are.
//!
//! Read over a connection of its own, opened when first needed: the replication connection is busy with the stream.
//! **The catalogue is of now, the stream of then.** What the stream says (names, types, order, replica identity) always wins;
//! the catalogue only adds to it, and where the two do not agree any more, a column counts as nullable. A table that is
//! gone takes nothing down.

use std::collections::{HashMap, HashSet};

use super::connection::{Address, Connection, Row, literal};
use crate::capture::error::{CaptureError, Fault};

/// What an answer is to, for who reads that it was not understood.
const QUERY: &str = "a query of the catalogue";

/// The catalogue.
#[derive(Debug, Default)]
pub(super) struct Catalogue {
    connection: Option<Connection>,
}

/// What the catalogue adds to one table.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct TableFacts {
    /// By name: type and whether it may be null.
    pub(super) columns: HashMap<String, (u32, bool)>,
    /// By name: the column's number, which it keeps for life.
    pub(super) numbers: HashMap<String, i16>,
    /// Columns whose values are computed; they are sent only where a publication says so.
    pub(super) generated: HashSet<String>,
    /// The primary key's columns.
    pub(super) primary_key: Vec<String>,
    /// Schema and name of each table that it is a partition of, or inherits from.
    pub(super) inherits_from: Vec<(String, String)>,
}

impl Catalogue {
    /// Runs one query, on a new connection if the old one is gone.
    pub(super) async fn query(&mut self, address: &Address, sql: &str) -> Result<Vec<Row>, Fault> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => Connection::open(address, false).await?,
        };
        let answer = connection.try_query(sql).await?;
        self.connection = Some(connection);
        Ok(answer?)
    }

    /// Says good-bye.
    pub(super) async fn close(self) {
        if let Some(connection) = self.connection {
            connection.close().await;
        }
    }

    /// As [`Catalogue::query`], with a refusal of the server told apart.
    pub(super) async fn try_execute(
        &mut self,
        address: &Address,
        sql: &str,
    ) -> Result<Result<(), super::server_error::ServerError>, Fault> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => Connection::open(address, false).await?,
        };
        let answer = connection.try_query(sql).await?;
        self.connection = Some(connection);
        Ok(answer.map(drop))
    }

    /// Null constraints and primary key of a table; empty when it is gone.
    pub(super) async fn table(&mut self, address: &Address, relation: u32) -> Result<TableFacts, Fault> {
        let sql = format!(
            "SELECT a.attname, a.atttypid, a.attnotnull, coalesce(a.attnum = ANY(i.indkey[0:i.indnkeyatts - 1]), false), a.attnum, \
             a.attgenerated <> '', \
             (WITH RECURSIVE up AS (SELECT inhparent FROM pg_catalog.pg_inherits WHERE inhrelid = {relation} \
             UNION SELECT p.inhparent FROM pg_catalog.pg_inherits p JOIN up ON p.inhrelid = up.inhparent) \
             SELECT pg_catalog.json_agg(pg_catalog.json_build_array(n.nspname, c.relname)) FROM up \
             JOIN pg_catalog.pg_class c ON c.oid = up.inhparent \
             JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace) \
             FROM pg_catalog.pg_attribute a \
             LEFT JOIN pg_catalog.pg_index i ON i.indrelid = a.attrelid AND i.indisprimary \
             WHERE a.attrelid = {relation} AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum"
        );
        let mut facts = TableFacts::default();
        for row in self.query(address, &sql).await? {
            let [Some(name), Some(type_id), Some(not_null), Some(key), Some(number), generated, inherits_from] =
                &row[..]
            else {
                return Err(unexpected(QUERY));
            };
            if generated.as_deref() == Some("t") {
                facts.generated.insert(name.clone());
            }
            facts.numbers.insert(name.clone(), number.parse().map_err(|_| unexpected(QUERY))?);
            if let Some(tables) = inherits_from {
                facts.inherits_from = serde_json::from_str(tables).map_err(|_| unexpected(QUERY))?;
            }
            let type_id = type_id.parse().map_err(|_| unexpected(QUERY))?;
            if key == "t" {
                facts.primary_key.push(name.clone());
            }
            facts.columns.insert(name.clone(), (type_id, not_null != "t"));
        }
        Ok(facts)
    }

    /// The names of types, each by its number and modifier, and of the types that they come down to; empty where one is gone.
    pub(super) async fn type_names(
        &mut self,
        address: &Address,
        types: &[(u32, i32, u32)],
    ) -> Result<Vec<(String, String)>, Fault> {
        if types.is_empty() {
            return Ok(Vec::new());
        }
        let wanted: Vec<_> = types
            .iter()
            .enumerate()
            .map(|(at, (id, modifier, base))| format!("({at},{id},{modifier},{base})"))
            .collect();
        let sql = format!(
            "SELECT pg_catalog.format_type(t.id::pg_catalog.oid, t.modifier), \
             CASE WHEN t.base <> t.id THEN pg_catalog.format_type(t.base::pg_catalog.oid, -1) END \
             FROM (VALUES {}) AS t(at, id, modifier, base) ORDER BY t.at",
            wanted.join(",")
        );
        let rows = self.query(address, &sql).await?;
        if rows.len() != types.len() {
            return Err(unexpected("pg_type"));
        }
        // A type that is gone is printed as "???"; that says nothing, so leave it out.
        let name = |row: &Row, at: usize| {
            row.get(at).cloned().flatten().filter(|name| !name.contains("???")).unwrap_or_default()
        };
        Ok(rows.iter().map(|row| (name(row, 0), name(row, 1))).collect())
    }

    /// The number of a type by its name.
    pub(super) async fn type_id(&mut self, address: &Address, schema: &str, name: &str) -> Result<Option<u32>, Fault> {
        let sql = format!(
            "SELECT t.oid FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace \
             WHERE n.nspname = {} AND t.typname = {}",
            literal(schema),
            literal(name)
        );
        let rows = self.query(address, &sql).await?;
        let Some([Some(found)]) = rows.first().map(|row| &row[..]) else { return Ok(None) };
        found.parse().map(Some).map_err(|_| unexpected("pg_type"))
    }

    /// Whether what a transaction did can be seen.
    pub(super) async fn sees(&mut self, address: &Address, xid: u32) -> Result<bool, Fault> {
        let rows = self.query(address, "SELECT pg_catalog.pg_current_snapshot()").await?;
        let snapshot = rows.first().and_then(|row| row.first()?.as_deref());
        snapshot.and_then(|snapshot| shows(snapshot, xid)).ok_or_else(|| unexpected("pg_current_snapshot"))
    }

    /// What one layer of a type is.
    pub(super) async fn step(&mut self, address: &Address, type_id: u32) -> Result<Step, Fault> {
        let sql = format!(
            "SELECT t.typtype, t.typbasetype, t.typelem, e.typdelim, \
             t.typoutput = 'pg_catalog.array_out'::pg_catalog.regproc \
             FROM pg_catalog.pg_type t LEFT JOIN pg_catalog.pg_type e ON e.oid = t.typelem WHERE t.oid = {type_id}"
        );
        let rows = self.query(address, &sql).await?;
        let Some([Some(kind), Some(base), Some(element), delimiter, Some(is_array)]) = rows.first().map(|row| &row[..])
        else {
            return Ok(Step::Gone);
        };
        let number = |text: &String| text.parse::<u32>().map_err(|_| unexpected(QUERY));
        if kind == "d" {
            return Ok(Step::Domain(number(base)?));
        }
        if is_array == "t" {
            let delimiter = delimiter.as_ref().and_then(|text| text.bytes().next()).unwrap_or(b',');
            return Ok(Step::Array { element: number(element)?, delimiter });
        }
        Ok(Step::Other)
    }
}

/// One layer of a type.
#[derive(Debug)]
pub(super) enum Step {
    Domain(u32),
    Array {
        element: u32,
        delimiter: u8,
    },
    Other,
    /// There is no such type now.
    Gone,
}

/// Whether a snapshot, as the server prints it (`10:20:10,14,15`), shows what a transaction did that has ended.
fn shows(snapshot: &str, xid: u32) -> Option<bool> {
    let mut parts = snapshot.split(':').skip(1);
    let (end, running) = (parts.next()?.parse::<u64>().ok()?, parts.next()?);
    // The stream's numbers have 32 bits and go round.
    let began_before = xid.wrapping_sub(end as u32).cast_signed() < 0;
    let is_this = |other: &str| other.parse::<u64>().is_ok_and(|other| other as u32 == xid);
    Some(began_before && !running.split(',').any(is_this))
}

/// The one value of an answer of one row and one column.
pub(super) fn scalar(rows: &[Row]) -> Option<&str> {
    rows.first()?.first()?.as_deref()
}

/// The server has answered something else than the statement that `what` names can give.
pub(super) fn unexpected(what: &str) -> Fault {
    CaptureError::Malformed(format!("an answer to {what}")).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_shows_what_ended_before_it() {
        for (snapshot, xid, seen) in [
            ("10:20:10,14", 9, true),
            ("10:20:10,14", 12, true),
            ("10:20:10,14", 14, false),
            ("10:20:10,14", 20, false),
            ("10:20:", 19, true),
            // The numbers have gone round: 4294967301 is 5 in 32 bits.
            ("4294967290:4294967301:4294967300", 4, false),
            ("4294967290:4294967301:4294967300", 3, true),
            ("4294967290:4294967301:4294967300", u32::MAX, true),
        ] {
            assert_eq!(shows(snapshot, xid), Some(seen), "{snapshot} {xid}");
        }
        assert_eq!(shows("", 1), None);
    }
}
