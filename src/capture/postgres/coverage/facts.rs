//! What the publications give of each table that an extract's patterns name, worked out of the catalogue's rows.
//!
//! Owns the nouns of a look and the rules by which PostgreSQL publishes: by name, by schema, all tables, through the table
//! that a partition belongs to. No IO: the rows are `query`'s, what a difference means is `compare`'s.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::capture::postgres::lsn::Lsn;
use crate::capture::postgres::row_filters::RowFilters;
use crate::record::TableName;

/// A row of the catalogue, told apart from one that was put in its place: a changed row has another `xmin`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(in crate::capture::postgres) struct Stamp {
    pub(super) oid: u32,
    pub(super) xmin: u32,
}

/// Which tables an entry of a publication takes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::capture::postgres) enum Scope {
    /// One table.
    Table,
    /// Every table of a schema, later ones too.
    Schema,
    /// Every table, later ones too.
    AllTables,
}

/// What puts a table into a publication.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(in crate::capture::postgres) struct Entry {
    pub(super) scope: Scope,
    /// The row that names the table or the schema; the publication's own for all tables.
    pub(super) row: Stamp,
    pub(super) publication: Stamp,
    /// Who owns the publication: a new owner changes the row and nothing of what is published.
    pub(super) owner: u32,
}

impl Entry {
    /// Whether it was in force without a break since it was `earlier`.
    pub(super) fn is_still(&self, earlier: &Self) -> bool {
        let same_row = |now: Stamp, then: Stamp| {
            now.oid == then.oid && (now.xmin == then.xmin || self.owner != earlier.owner && now == self.publication)
        };
        let same_publication = self.publication.oid == earlier.publication.oid
            && (self.publication.xmin == earlier.publication.xmin || self.owner != earlier.owner);
        self.scope == earlier.scope && same_publication && same_row(self.row, earlier.row)
    }
}

/// What is asked for of a table and not given.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(in crate::capture::postgres) struct Missing {
    /// It is in no publication.
    #[serde(skip_serializing_if = "is_false")]
    pub(super) everything: bool,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub(super) operations: BTreeSet<String>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub(super) columns: BTreeSet<String>,
    /// A row filter leaves rows out that are asked for.
    #[serde(skip_serializing_if = "is_false")]
    pub(super) rows: bool,
    /// Its row filter is not the one that is asked for.
    #[serde(skip_serializing_if = "is_false")]
    pub(super) filter: bool,
    /// Its rows come under other names.
    #[serde(skip_serializing_if = "is_false")]
    pub(super) name: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_false(is: &bool) -> bool {
    !is
}

impl Missing {
    pub(super) fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// Whether nothing but a row filter is not as asked.
    fn is_of_filters(&self) -> bool {
        Self { rows: false, filter: false, ..self.clone() }.is_nothing()
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.everything {
            return f.write_str("it is not published");
        }
        let list = |names: &BTreeSet<String>| names.iter().cloned().collect::<Vec<_>>().join(", ");
        let mut parts = Vec::new();
        if !self.operations.is_empty() {
            parts.push(format!("the publication leaves out its operations {}", list(&self.operations)));
        }
        if !self.columns.is_empty() {
            parts.push(format!("a column list leaves out {}", list(&self.columns)));
        }
        if self.rows {
            parts.push("a row filter leaves out rows".into());
        }
        if self.filter {
            parts.push("its row filter is not the one that is asked for".into());
        }
        if self.name {
            parts.push(
                "its rows come under another table's name (publish_via_partition_root is not what its patterns need)"
                    .into(),
            );
        }
        f.write_str(&parts.join(", "))
    }
}

/// When a table got the name and the schema that it has. The row of its row type tells: it is written anew when the table is
/// renamed, moved, or given to somebody else, and not when its columns change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(in crate::capture::postgres) struct Naming {
    pub(super) xmin: u32,
    pub(super) owner: u32,
}

impl Naming {
    /// Whether nobody renamed or moved the table since it was `earlier`.
    pub(super) fn is_still(self, earlier: Self) -> bool {
        earlier.xmin == 0 || self.xmin == earlier.xmin || self.owner != earlier.owner
    }
}

/// A table that the patterns name, and what is given of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::capture::postgres) struct Given {
    pub(super) oid: u32,
    #[serde(default)]
    pub(super) naming: Naming,
    pub(super) entries: Vec<Entry>,
    #[serde(default, skip_serializing_if = "Missing::is_nothing")]
    pub(super) missing: Missing,
    /// Partitions whose rows come under its name.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(super) parts: BTreeSet<u32>,
}

/// What one look found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::capture::postgres) struct Seen {
    /// The end of the log before the look's snapshot was taken.
    pub(super) before: Lsn,
    /// The end of the log after it.
    pub(super) after: Lsn,
    /// The first transaction that the snapshot does not hold as ended, and the first that had no number yet.
    pub(super) xmin: u64,
    pub(super) xmax: u64,
    /// Publications that are there.
    pub(super) publications: BTreeSet<String>,
    /// The tables that the patterns name, by name.
    pub(super) tables: BTreeMap<String, Given>,
    /// Every other table that somebody could write to.
    pub(super) others: BTreeSet<u32>,
    /// Entries that take in later tables too.
    pub(super) wholes: BTreeSet<Entry>,
}

impl Seen {
    /// What was in order before we changed publications ourselves was so without a break, whatever we changed, and so was what
    /// only had another row filter: whoever changed that at the source made another entry of it, which the last look did not see.
    /// The look begins where the first one did: what came up since is the next one's to find.
    pub(super) fn goes_on_from(&mut self, before: &Self) {
        (self.before, self.xmax) = (before.before, before.xmax);
        for (table, now) in &mut self.tables {
            let earlier = before.tables.get(table).filter(|earlier| earlier.oid == now.oid);
            if let Some(earlier) = earlier.filter(|earlier| earlier.missing.is_of_filters()) {
                now.entries.extend(&earlier.entries);
                now.entries.sort_unstable();
                now.entries.dedup();
            }
        }
    }

    /// Whether something is not as asked.
    pub(super) fn lacks_anything(&self) -> bool {
        self.tables.values().any(|given| !given.missing.is_nothing())
    }

    /// These tables are not asked for after all.
    pub(super) fn leave_out(&mut self, oids: &BTreeSet<u32>) {
        self.tables.retain(|_, given| !oids.contains(&given.oid));
        self.others.extend(oids);
    }
}

/// The catalogue's rows, as they are read.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Rows {
    pub(super) xmin: u64,
    pub(super) xmax: u64,
    pub(super) publications: Vec<PublicationRow>,
    pub(super) tables: Vec<TableRow>,
    pub(super) relations: Vec<RelationEntryRow>,
    pub(super) schemas: Vec<SchemaEntryRow>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct PublicationRow {
    pub(super) oid: u32,
    pub(super) xmin: u32,
    pub(super) name: String,
    pub(super) owner: u32,
    pub(super) all: bool,
    pub(super) insert: bool,
    pub(super) update: bool,
    pub(super) delete: bool,
    pub(super) truncate: bool,
    pub(super) via_root: bool,
    /// The one for tables of which only INSERTs are asked for.
    #[serde(default)]
    pub(super) inserts_only: bool,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct TableRow {
    pub(super) oid: u32,
    pub(super) schema: String,
    pub(super) name: String,
    pub(super) schema_oid: u32,
    pub(super) naming: Naming,
    pub(super) partitioned: bool,
    /// From the nearest to the root; empty for what is no partition.
    pub(super) ancestors: Vec<u32>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct RelationEntryRow {
    pub(super) oid: u32,
    pub(super) xmin: u32,
    pub(super) publication: u32,
    pub(super) table: u32,
    /// Its row filter, as the catalogue shows it.
    pub(super) filter: Option<String>,
    /// Columns outside its list; none without a list.
    pub(super) left_out: Option<Vec<String>>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct SchemaEntryRow {
    pub(super) oid: u32,
    pub(super) xmin: u32,
    pub(super) publication: u32,
    pub(super) schema: u32,
}

/// One way in which a table is published.
struct Offer<'a> {
    entry: Entry,
    publication: &'a PublicationRow,
    filter: Option<&'a str>,
    left_out: BTreeSet<String>,
}

impl Rows {
    /// What is given of each table that `captures` names; `asked` has the row filters that are asked for. The ends of the log
    /// are the caller's to add.
    pub(super) fn seen(&self, captures: impl Fn(&str, &str) -> bool, asked: &RowFilters) -> Seen {
        let by_oid: BTreeMap<u32, &TableRow> = self.tables.iter().map(|table| (table.oid, table)).collect();
        let named: BTreeSet<u32> =
            self.tables.iter().filter(|table| captures(&table.schema, &table.name)).map(|table| table.oid).collect();
        // Rows of a partition come under the name of its root when that is captured.
        let captured_root = |table: &TableRow| table.ancestors.last().filter(|root| named.contains(root)).copied();
        let mut parts: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
        for table in &self.tables {
            if let Some(root) = captured_root(table) {
                parts.entry(root).or_default().insert(table.oid);
            }
        }
        let mut seen = Seen { xmin: self.xmin, xmax: self.xmax, wholes: self.wholes(), ..Seen::default() };
        seen.publications = self.publications.iter().map(|publication| publication.name.clone()).collect();
        for table in &self.tables {
            if captured_root(table).is_some() {
                continue;
            }
            if !named.contains(&table.oid) {
                seen.others.insert(table.oid);
                continue;
            }
            let parts = parts.remove(&table.oid).unwrap_or_default();
            let each_part_is_named = parts
                .iter()
                .all(|part| named.contains(part) || by_oid.get(part).is_some_and(|table| table.partitioned));
            let given = self.given(table, &by_oid, parts, each_part_is_named, asked.expression(table.oid));
            let name = TableName::from_parts(&[&table.schema, &table.name]);
            // A name that no trail takes is refused when its first row comes.
            let name = name.map_or_else(|_| format!("{}.{}", table.schema, table.name), |name| name.to_string());
            seen.tables.insert(name, given);
        }
        seen
    }

    fn wholes(&self) -> BTreeSet<Entry> {
        let all = self.publications.iter().filter(|publication| publication.all);
        let all = all.map(|publication| Self::entry(Scope::AllTables, stamp_of(publication), publication));
        let schemas = self.schemas.iter().filter_map(|row| {
            let publication = self.publication(row.publication)?;
            Some(Self::entry(Scope::Schema, Stamp { oid: row.oid, xmin: row.xmin }, publication))
        });
        all.chain(schemas).collect()
    }

    fn publication(&self, oid: u32) -> Option<&PublicationRow> {
        self.publications.iter().find(|publication| publication.oid == oid)
    }

    fn entry(scope: Scope, row: Stamp, publication: &PublicationRow) -> Entry {
        Entry { scope, row, publication: stamp_of(publication), owner: publication.owner }
    }

    /// What offers one table by its own oid and schema.
    fn offers(&self, table: &TableRow) -> Vec<Offer<'_>> {
        let whole = |scope, row, publication| Offer {
            entry: Self::entry(scope, row, publication),
            publication,
            filter: None,
            left_out: BTreeSet::new(),
        };
        let mut offers: Vec<Offer<'_>> = Vec::new();
        for publication in self.publications.iter().filter(|publication| publication.all) {
            offers.push(whole(Scope::AllTables, stamp_of(publication), publication));
        }
        for row in self.schemas.iter().filter(|row| row.schema == table.schema_oid) {
            if let Some(publication) = self.publication(row.publication) {
                offers.push(whole(Scope::Schema, Stamp { oid: row.oid, xmin: row.xmin }, publication));
            }
        }
        for row in self.relations.iter().filter(|row| row.table == table.oid) {
            if let Some(publication) = self.publication(row.publication) {
                let mut offer = whole(Scope::Table, Stamp { oid: row.oid, xmin: row.xmin }, publication);
                offer.filter = row.filter.as_deref();
                offer.left_out = row.left_out.clone().unwrap_or_default().into_iter().collect();
                offers.push(offer);
            }
        }
        offers
    }

    fn given(
        &self,
        table: &TableRow,
        by_oid: &BTreeMap<u32, &TableRow>,
        parts: BTreeSet<u32>,
        each_part_is_named: bool,
        asked: Option<&str>,
    ) -> Given {
        let mut offers = self.offers(table);
        let mut name = false;
        if table.partitioned && !offers.is_empty() {
            // Under their own names the rows of its partitions are captured too, if the patterns name every one.
            name = !each_part_is_named && offers.iter().all(|offer| !offer.publication.via_root);
        }
        for ancestor in table.ancestors.iter().filter_map(|oid| by_oid.get(oid)) {
            for offer in self.offers(ancestor) {
                // The whole of it is named by somebody else's name then, which the patterns do not take in.
                name |= offer.publication.via_root;
                offers.push(offer);
            }
        }
        let missing = Missing { name, ..missing_of(&offers, asked) };
        let mut entries: Vec<Entry> = offers.iter().map(|offer| offer.entry).collect();
        entries.sort_unstable();
        Given { oid: table.oid, naming: table.naming, entries, missing, parts }
    }
}

fn stamp_of(publication: &PublicationRow) -> Stamp {
    Stamp { oid: publication.oid, xmin: publication.xmin }
}

/// `asked`: the row filter that is asked for.
fn missing_of(offers: &[Offer<'_>], asked: Option<&str>) -> Missing {
    if offers.is_empty() {
        return Missing { everything: true, ..Missing::default() };
    }
    let mut missing = Missing::default();
    let inserts_only = offers.iter().all(|offer| offer.publication.inserts_only);
    type Gives = fn(&PublicationRow) -> bool;
    let operations: [(&str, Gives); 4] = [
        ("insert", |publication| publication.insert),
        ("update", |publication| publication.update),
        ("delete", |publication| publication.delete),
        ("truncate", |publication| publication.truncate),
    ];
    for (operation, published) in operations.into_iter().take(if inserts_only { 1 } else { 4 }) {
        let mut of_it = offers.iter().filter(|offer| published(offer.publication)).peekable();
        if of_it.peek().is_none() {
            missing.operations.insert(operation.into());
        } else if operation != "truncate" {
            // A row comes that any one of them lets through.
            match asked {
                None => missing.rows |= of_it.all(|offer| offer.filter.is_some()),
                Some(_) => missing.filter |= of_it.any(|offer| offer.filter != asked),
            }
        }
    }
    let lists = offers.iter().map(|offer| offer.left_out.clone());
    missing.columns = lists.reduce(|left, right| &left & &right).unwrap_or_default();
    missing
}
