//! Whether PostgreSQL would refuse the application's own UPDATE and DELETE on a table once it is published, why, and the
//! statement that mends it.
//!
//! Owns PostgreSQL's rule for that (`CheckCmdReplicaIdentity`, version by version); leaves to `publisher` what is done
//! about it. The rule is asked of the tables that hold the rows: those of a partitioned table are its partitions.

use std::fmt;

use serde::Serialize;

use super::connection::identifier;
use super::publication::Publication;
use super::source_tables::{Identity, SourceTable, Tables};

/// First server that can publish generated columns, and refuses writes where it would have to leave one out, as
/// `server_version_num`.
pub(super) const SERVER_VERSION_GENERATED: u32 = 180_000;

/// A table on which the source refuses UPDATE and DELETE to everybody, or would, because it is published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RefusedWrites {
    /// Schema and name.
    pub table: String,
    /// What about the table does not go with being published.
    pub why: String,
    /// The statement that mends it.
    pub mend: String,
}

impl fmt::Display for RefusedWrites {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({})", self.table, self.why, self.mend)
    }
}

/// Every table with rows of `table` whose writes would be refused while they are published so.
pub(super) fn refused_of(
    tables: &Tables,
    table: &SourceTable,
    published: &Publication,
    version: u32,
) -> Vec<RefusedWrites> {
    let with_rows = tables.with_rows_of(table).into_iter();
    with_rows.filter_map(|table| refused(tables, table, published, version)).collect()
}

fn refused(tables: &Tables, table: &SourceTable, published: &Publication, version: u32) -> Option<RefusedWrites> {
    if !published.updates && !published.deletes {
        return None;
    }
    let (stands_as, listed) = published.given(tables, table)?;
    let case = Case { table, stands_as, published, listed, leaves_out: version >= SERVER_VERSION_GENERATED };
    let (why, mend) = case.reason()?;
    Some(RefusedWrites { table: table.shown(), why, mend })
}

/// One table as one publication gives it.
struct Case<'a> {
    table: &'a SourceTable,
    /// The table by whose name its rows are published.
    stands_as: &'a SourceTable,
    published: &'a Publication,
    listed: super::publication::Listed,
    /// Whether the server refuses writes where a generated column would be left out of the identity.
    leaves_out: bool,
}

impl Case<'_> {
    fn reason(&self) -> Option<(String, String)> {
        match &self.table.identity {
            Identity::None => Some(("it has no replica identity".into(), self.identify())),
            Identity::Full => self.reason_with_full(),
            Identity::Key(key) => self.reason_with_key(key),
        }
    }

    fn reason_with_full(&self) -> Option<(String, String)> {
        let table = self.table;
        if self.listed.columns.is_some() {
            let why = "its replica identity is the whole row, and the publication has a list of its columns";
            return Some((why.into(), self.publish_whole(&table.stored_columns)));
        }
        if self.leaves_out && !table.virtual_columns.is_empty() {
            let columns = table.virtual_columns.join(", ");
            let why =
                format!("its replica identity is the whole row, and virtual columns ({columns}) are never published");
            return Some((why, self.identify()));
        }
        self.without_generated(&table.stored_columns)
    }

    fn reason_with_key(&self, key: &[String]) -> Option<(String, String)> {
        let stored = &self.table.stored_columns;
        let generated: Vec<String> = key.iter().filter(|column| stored.contains(column)).cloned().collect();
        match &self.listed.columns {
            Some(list) if key.iter().any(|column| !list.contains(column)) => {
                let why = "the publication's list of its columns misses some of its replica identity";
                return Some((why.into(), self.publish_whole(&generated)));
            }
            Some(_) => {}
            None => {
                if let Some(reason) = self.without_generated(&generated) {
                    return Some(reason);
                }
            }
        }
        let outside = self.listed.filter.as_ref()?.iter().any(|column| !key.contains(column));
        let why = "the publication's row filter looks at columns outside of its replica identity";
        // A publication for all tables has no filters: it is the one that we would make, with the extract's own.
        let is_ours = self.published.everything;
        let whole_row = || format!("ALTER TABLE {} REPLICA IDENTITY FULL", self.table.sql_name);
        let mend = || if is_ours { whole_row() } else { self.publish_whole(&generated) };
        outside.then(|| (why.into(), mend()))
    }

    /// `columns`: generated columns of the identity.
    fn without_generated(&self, columns: &[String]) -> Option<(String, String)> {
        if !self.leaves_out || self.published.generated || columns.is_empty() {
            return None;
        }
        let why =
            format!("its replica identity holds generated columns ({}) that are not published", columns.join(", "));
        let name = identifier(&self.published.name);
        Some((why, format!("ALTER PUBLICATION {name} SET (publish_generated_columns = stored)")))
    }

    /// The statement that gives the table an identity which PostgreSQL takes.
    fn identify(&self) -> String {
        let table = &self.table.sql_name;
        if self.table.has_usable_key {
            return format!("ALTER TABLE {table} REPLICA IDENTITY DEFAULT");
        }
        if let Some(index) = &self.table.usable_index {
            return format!("ALTER TABLE {table} REPLICA IDENTITY USING INDEX {index}");
        }
        if self.listed.columns.is_some() || (self.leaves_out && !self.table.virtual_columns.is_empty()) {
            return format!("ALTER TABLE {table} ADD PRIMARY KEY (…)");
        }
        format!("ALTER TABLE {table} REPLICA IDENTITY FULL")
    }

    /// The statements that publish it with all columns and all rows. `generated`: as in `without_generated`.
    fn publish_whole(&self, generated: &[String]) -> String {
        let (publication, table) = (identifier(&self.published.name), &self.stands_as.sql_name);
        let more = self.without_generated(generated).map(|(_, mend)| format!("; {mend}")).unwrap_or_default();
        format!(
            "ALTER PUBLICATION {publication} DROP TABLE {table}; ALTER PUBLICATION {publication} ADD TABLE {table}{more}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::postgres::publication::Listed;

    fn table(identity: Identity) -> SourceTable {
        SourceTable {
            schema: "public".into(),
            name: "t".into(),
            sql_name: "public.t".into(),
            ..SourceTable::of(7, identity)
        }
    }

    fn key(columns: &[&str]) -> Identity {
        Identity::Key(columns.iter().map(|column| (*column).into()).collect())
    }

    fn publication(columns: Option<&[&str]>, filter: Option<&[&str]>) -> Publication {
        let owned = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect();
        let listed = Listed { columns: columns.map(owned), filter: filter.map(owned), expression: None };
        let (updates, deletes) = (true, true);
        Publication { name: "p".into(), updates, deletes, tables: [(7, listed)].into(), ..Publication::default() }
    }

    fn mend(table: SourceTable, published: &Publication, version: u32) -> Option<String> {
        let tables = Tables::new(vec![table]);
        refused_of(&tables, tables.get(7).unwrap(), published, version).pop().map(|refused| refused.mend)
    }

    #[test]
    fn each_reason_has_the_statement_that_mends_it() {
        let whole = "ALTER PUBLICATION \"p\" DROP TABLE public.t; ALTER PUBLICATION \"p\" ADD TABLE public.t";
        let full = "ALTER TABLE public.t REPLICA IDENTITY FULL";
        for (identity, columns, filter, expected) in [
            (Identity::None, None, None, Some(full)),
            (Identity::Full, None, None, None),
            (Identity::Full, None, Some(&["x"][..]), None),
            (Identity::Full, Some(&["id"][..]), None, Some(whole)),
            (key(&["id"]), None, None, None),
            (key(&["id"]), Some(&["id", "x"][..]), Some(&["id"][..]), None),
            (key(&["id"]), Some(&["x"][..]), None, Some(whole)),
            (key(&["id"]), None, Some(&["id", "x"][..]), Some(whole)),
        ] {
            let published = publication(columns, filter);
            for version in [150_000, 180_000] {
                let mend = mend(table(identity.clone()), &published, version);
                assert_eq!(mend.as_deref(), expected, "{identity:?} {columns:?} {filter:?} {version}");
            }
        }
    }

    #[test]
    fn an_identity_that_is_there_already_is_preferred_to_a_new_one() {
        let published = publication(None, None);
        let keyed = SourceTable { has_usable_key: true, usable_index: Some("i".into()), ..table(Identity::None) };
        assert_eq!(mend(keyed, &published, 150_000).unwrap(), "ALTER TABLE public.t REPLICA IDENTITY DEFAULT");
        let indexed = SourceTable { usable_index: Some("i".into()), ..table(Identity::None) };
        assert_eq!(mend(indexed, &published, 150_000).unwrap(), "ALTER TABLE public.t REPLICA IDENTITY USING INDEX i");
    }

    #[test]
    fn generated_columns_of_the_identity_count_from_18_on() {
        let stored = |identity| SourceTable { stored_columns: vec!["g".into()], ..table(identity) };
        let mut published = publication(None, None);
        let set = "ALTER PUBLICATION \"p\" SET (publish_generated_columns = stored)";
        for identity in [Identity::Full, key(&["id", "g"])] {
            assert_eq!(mend(stored(identity.clone()), &published, 170_000), None);
            assert_eq!(mend(stored(identity), &published, 180_000).as_deref(), Some(set));
        }
        assert_eq!(mend(stored(key(&["id"])), &published, 180_000), None);
        published.generated = true;
        assert_eq!(mend(stored(Identity::Full), &published, 180_000), None);
        let computed = |identity| SourceTable { virtual_columns: vec!["v".into()], ..table(identity) };
        let primary = "ALTER TABLE public.t ADD PRIMARY KEY (…)";
        for identity in [Identity::Full, Identity::None] {
            assert_eq!(mend(computed(identity), &published, 180_000).as_deref(), Some(primary));
        }
        assert_eq!(mend(computed(key(&["id"])), &published, 180_000), None);
    }

    #[test]
    fn a_publication_of_inserts_alone_refuses_nothing() {
        let published = Publication { updates: false, deletes: false, inserts: true, ..publication(None, None) };
        assert_eq!(mend(table(Identity::None), &published, 180_000), None);
    }
}
