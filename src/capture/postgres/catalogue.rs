//! What only PostgreSQL's catalogue says: kinds of types, null constraints, primary keys, the tables there are.
//!
//! Read over a connection of its own, opened when first needed: the replication connection is busy with the stream.
//! **The catalogue is of now, the stream of then.** What a `Relation` message says (names, types, order) always wins;
//! the catalogue only adds to it, and where the two do not agree any more, a column counts as nullable and the key is
//! the replica identity's. A table that is gone takes nothing down.

use std::collections::HashMap;

use super::connection::{Address, Connection, Row};
use super::pgoutput::RelationColumn;
use super::value::ValueKind;
use crate::capture::source::{CaptureError, Fault};
use crate::limits;

/// What an answer is to, for who reads that it was not understood.
const QUERY: &str = "a query of the catalogue";

/// The catalogue, and what was read of it.
#[derive(Debug, Default)]
pub(super) struct Catalogue {
    connection: Option<Connection>,
    kinds: HashMap<u32, ValueKind>,
}

/// What the catalogue adds to one table.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct TableFacts {
    /// By name: type and whether it may be null.
    pub(super) columns: HashMap<String, (u32, bool)>,
    /// The primary key's columns.
    pub(super) primary_key: Vec<String>,
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
            "SELECT a.attname, a.atttypid, a.attnotnull, coalesce(a.attnum = ANY(i.indkey), false) \
             FROM pg_catalog.pg_attribute a \
             LEFT JOIN pg_catalog.pg_index i ON i.indrelid = a.attrelid AND i.indisprimary \
             WHERE a.attrelid = {relation} AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum"
        );
        let mut facts = TableFacts::default();
        for row in self.query(address, &sql).await? {
            let [Some(name), Some(type_id), Some(not_null), Some(key)] = &row[..] else {
                return Err(unexpected(QUERY));
            };
            let type_id = type_id.parse().map_err(|_| unexpected(QUERY))?;
            if key == "t" {
                facts.primary_key.push(name.clone());
            }
            facts.columns.insert(name.clone(), (type_id, not_null != "t"));
        }
        Ok(facts)
    }

    /// The types' names with their modifiers, such as `numeric(12,2)`, one per column.
    pub(super) async fn type_names(
        &mut self,
        address: &Address,
        columns: &[RelationColumn<'_>],
    ) -> Result<Vec<String>, Fault> {
        if columns.is_empty() {
            return Ok(Vec::new());
        }
        let wanted: Vec<_> = columns
            .iter()
            .enumerate()
            .map(|(at, column)| format!("({at},{},{})", column.type_id, column.type_modifier))
            .collect();
        let sql = format!(
            "SELECT pg_catalog.format_type(t.id::pg_catalog.oid, t.modifier) \
             FROM (VALUES {}) AS t(at, id, modifier) ORDER BY t.at",
            wanted.join(",")
        );
        let rows = self.query(address, &sql).await?;
        if rows.len() != columns.len() {
            return Err(unexpected(QUERY));
        }
        // A type that is gone is printed as "???"; that says nothing, so leave it out.
        let name = |row: &Row| row.first().cloned().flatten().filter(|name| !name.contains("???")).unwrap_or_default();
        Ok(rows.iter().map(name).collect())
    }

    /// How values of a type become JSON. A type that is gone: as strings.
    pub(super) async fn kind(&mut self, address: &Address, type_id: u32) -> Result<ValueKind, Fault> {
        if let Some(kind) = ValueKind::of_builtin(type_id).or_else(|| self.kinds.get(&type_id).cloned()) {
            return Ok(kind);
        }
        // Arrays around what it comes down to: domains and arrays are peeled off one by one.
        let mut delimiters = Vec::new();
        let mut at = type_id;
        let mut kind = ValueKind::Text;
        for _ in 0..limits::SOURCE_TYPE_DEPTH_MAX {
            if let Some(builtin) = ValueKind::of_builtin(at) {
                kind = builtin;
                break;
            }
            match self.step(address, at).await? {
                Step::Domain(base) => at = base,
                Step::Array { element, delimiter } => {
                    delimiters.push(delimiter);
                    at = element;
                }
                Step::Other => break,
            }
        }
        // The element of an array of a domain over an array is one quoted text, which reads as an array again.
        for delimiter in delimiters.into_iter().rev() {
            kind = ValueKind::Array { element: Box::new(kind), delimiter };
        }
        self.kinds.insert(type_id, kind.clone());
        Ok(kind)
    }

    async fn step(&mut self, address: &Address, type_id: u32) -> Result<Step, Fault> {
        let sql = format!(
            "SELECT t.typtype, t.typbasetype, t.typelem, e.typdelim, \
             t.typoutput = 'pg_catalog.array_out'::pg_catalog.regproc \
             FROM pg_catalog.pg_type t LEFT JOIN pg_catalog.pg_type e ON e.oid = t.typelem WHERE t.oid = {type_id}"
        );
        let rows = self.query(address, &sql).await?;
        let Some([Some(kind), Some(base), Some(element), delimiter, Some(is_array)]) = rows.first().map(|row| &row[..])
        else {
            return Ok(Step::Other);
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
enum Step {
    Domain(u32),
    Array { element: u32, delimiter: u8 },
    Other,
}

/// The one value of an answer of one row and one column.
pub(super) fn scalar(rows: &[Row]) -> Option<&str> {
    rows.first()?.first()?.as_deref()
}

/// The server has answered something else than the statement that `what` names can give.
pub(super) fn unexpected(what: &str) -> Fault {
    CaptureError::Malformed(format!("an answer to {what}")).into()
}
