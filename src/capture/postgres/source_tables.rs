//! The tables of a source as its catalogue shows them now: what they are called, what stands above them, what identifies
//! their rows, which of their columns are generated.
//!
//! Owns the one query for these facts; leaves which publication gives them to `publication`, and what is done about it to
//! whoever asks.

use std::collections::{HashMap, HashSet};

use super::catalogue::{Catalogue, unexpected};
use super::connection::{Address, Row};
use super::target::Target;
use crate::capture::error::Fault;

/// What identifies a row in UPDATE and DELETE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Identity {
    /// Nothing: PostgreSQL refuses both while they are published.
    None,
    /// The whole row.
    Full,
    /// These columns of the primary key or of a chosen index.
    Key(Vec<String>),
}

/// A table that can be published: plain or partitioned, permanent, not of the system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SourceTable {
    /// Its number; another table by the same name has another.
    pub(super) oid: u32,
    pub(super) schema: String,
    pub(super) name: String,
    /// Schema and name as SQL, quoted where that is needed.
    pub(super) sql_name: String,
    /// Whether its rows are in partitions.
    pub(super) is_partitioned: bool,
    /// The partitioned tables it belongs to, the nearest first.
    pub(super) ancestors: Vec<u32>,
    pub(super) identity: Identity,
    /// Whether the primary key would identify its rows if it were asked to.
    pub(super) has_usable_key: bool,
    /// An index, as SQL, that could be made the replica identity.
    pub(super) usable_index: Option<String>,
    /// Generated columns that are stored.
    pub(super) stored_columns: Vec<String>,
    /// Generated columns that are computed when they are read.
    pub(super) virtual_columns: Vec<String>,
}

impl SourceTable {
    /// A plain table for tests, as bare as it can be.
    #[cfg(test)]
    pub(super) fn of(oid: u32, identity: Identity) -> Self {
        Self {
            oid,
            schema: "public".into(),
            name: format!("t{oid}"),
            sql_name: format!("public.t{oid}"),
            is_partitioned: false,
            ancestors: Vec::new(),
            identity,
            has_usable_key: false,
            usable_index: None,
            stored_columns: Vec::new(),
            virtual_columns: Vec::new(),
        }
    }

    /// `schema.table`, for people.
    pub(super) fn shown(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }
}

/// Every table of the database that can be published.
#[derive(Debug, Default)]
pub(super) struct Tables {
    /// By schema and name.
    list: Vec<SourceTable>,
    places: HashMap<u32, usize>,
}

/// An index whose columns tell rows apart, as PostgreSQL's own rule for replica identities has it.
const IDENTIFIES: &str = "i.indrelid = c.oid AND i.indisunique AND i.indimmediate AND i.indisvalid AND i.indislive \
                          AND i.indpred IS NULL";

impl Tables {
    /// Reads the catalogue. A table that is dropped meanwhile may be there or not.
    pub(super) async fn read(catalogue: &mut Catalogue, address: &Address) -> Result<Self, Fault> {
        let rows = catalogue.query(address, &query()).await?;
        let list = rows.iter().map(table).collect::<Option<Vec<_>>>().ok_or_else(|| unexpected("pg_class"))?;
        Ok(Self::new(list))
    }

    pub(super) fn new(list: Vec<SourceTable>) -> Self {
        let places = list.iter().enumerate().map(|(place, table)| (table.oid, place)).collect();
        Self { list, places }
    }

    /// The one of that number.
    pub(super) fn get(&self, oid: u32) -> Option<&SourceTable> {
        self.places.get(&oid).and_then(|place| self.list.get(*place))
    }

    /// Whether one of them is so.
    pub(super) fn any(&self, is: impl Fn(&SourceTable) -> bool) -> bool {
        self.list.iter().any(is)
    }

    /// The one of that name.
    pub(super) fn named(&self, schema: &str, name: &str) -> Option<&SourceTable> {
        self.list.iter().find(|table| table.schema == schema && table.name == name)
    }

    /// Those that the patterns take in. Partitions of a table that is taken in stand under its name and are left out.
    pub(super) fn captured(&self, target: &Target) -> Vec<&SourceTable> {
        let matches = |table: &SourceTable| target.captures(&table.schema, &table.name);
        let matching: HashSet<u32> = self.list.iter().filter(|table| matches(table)).map(|table| table.oid).collect();
        let stands_alone = |table: &SourceTable| !table.ancestors.iter().any(|above| matching.contains(above));
        self.list.iter().filter(|table| matching.contains(&table.oid) && stands_alone(table)).collect()
    }

    /// The tables that hold its rows: itself, or its partitions at the lowest level.
    pub(super) fn with_rows_of<'a>(&'a self, table: &'a SourceTable) -> Vec<&'a SourceTable> {
        if !table.is_partitioned {
            return vec![table];
        }
        self.list.iter().filter(|below| !below.is_partitioned && below.ancestors.contains(&table.oid)).collect()
    }
}

fn query() -> String {
    let columns = |kind: char| {
        format!(
            "(SELECT pg_catalog.json_agg(a.attname ORDER BY a.attnum) FROM pg_catalog.pg_attribute a \
             WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '{kind}')"
        )
    };
    let key = format!(
        "(SELECT pg_catalog.json_agg(a.attname ORDER BY a.attnum) FROM pg_catalog.pg_index i \
         JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY (i.indkey[0:i.indnkeyatts - 1]) \
         WHERE {IDENTIFIES} AND CASE c.relreplident WHEN 'd' THEN i.indisprimary \
         WHEN 'i' THEN i.indisreplident ELSE false END)"
    );
    let primary = format!("EXISTS (SELECT FROM pg_catalog.pg_index i WHERE {IDENTIFIES} AND i.indisprimary)");
    // Its columns may not be null, and none may be an expression (column number 0).
    let index = format!(
        "(SELECT pg_catalog.quote_ident(x.relname) FROM pg_catalog.pg_index i \
         JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid WHERE {IDENTIFIES} AND NOT i.indisprimary \
         AND (SELECT pg_catalog.count(*) FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnotnull \
         AND a.attnum > 0 AND a.attnum = ANY (i.indkey[0:i.indnkeyatts - 1])) = i.indnkeyatts ORDER BY 1 LIMIT 1)"
    );
    let (stored, computed) = (columns('s'), columns('v'));
    format!(
        "SELECT c.oid, n.nspname, c.relname, \
         pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname), c.relkind, c.relreplident, \
         CASE WHEN c.relispartition THEN (SELECT pg_catalog.json_agg(p.relid::pg_catalog.oid ORDER BY p.at) \
         FROM pg_catalog.pg_partition_ancestors(c.oid) WITH ORDINALITY AS p(relid, at) WHERE p.relid <> c.oid) END, \
         {key}, {primary}, {index}, {stored}, {computed} \
         FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.relkind IN ('r', 'p') AND c.relpersistence = 'p' AND n.nspname <> 'information_schema' \
         AND n.nspname NOT LIKE 'pg\\_%' ORDER BY n.nspname, c.relname"
    )
}

fn table(row: &Row) -> Option<SourceTable> {
    let [
        Some(oid),
        Some(schema),
        Some(name),
        Some(sql_name),
        Some(kind),
        Some(replica_identity),
        ancestors,
        key,
        Some(primary),
        index,
        stored,
        computed,
    ] = &row[..]
    else {
        return None;
    };
    let identity = match key {
        _ if replica_identity == "f" => Identity::Full,
        Some(_) => Identity::Key(names(key)?),
        None => Identity::None,
    };
    let ancestors = names(ancestors)?;
    Some(SourceTable {
        oid: oid.parse().ok()?,
        schema: schema.clone(),
        name: name.clone(),
        sql_name: sql_name.clone(),
        is_partitioned: kind == "p",
        ancestors: ancestors.iter().map(|oid| oid.parse().ok()).collect::<Option<_>>()?,
        identity,
        has_usable_key: primary == "t",
        usable_index: index.clone(),
        stored_columns: names(stored)?,
        virtual_columns: names(computed)?,
    })
}

/// A JSON list of texts that the server made; NULL is an empty one.
pub(super) fn names(text: &Option<String>) -> Option<Vec<String>> {
    text.as_deref().map_or_else(|| Some(Vec::new()), |text| serde_json::from_str(text).ok())
}
