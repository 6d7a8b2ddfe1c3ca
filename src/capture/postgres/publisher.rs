//! What of the source is published for an extract: makes the publications, and adds to our own the tables that they lack.
//!
//! Owns CREATE and ALTER PUBLICATION, and the promise that none of them makes PostgreSQL refuse the application's own
//! writes; leaves the slot to `setup`, the rule of refused writes to `replica_identity`, and what people see to
//! `publication_report`. A
//! publication that the user named is theirs: it is never altered.
//!
//! **Both publications are older than the slot.** The server reads a publication as it was where the change stands in its
//! log; one that was made later is not there yet, and ends the stream.

use tracing::info;

use super::catalogue::Catalogue;
use super::connection::identifier;
use super::error::PostgresError;
use super::publication::{Publication, SERVER_VERSION_SCHEMAS};
use super::replica_identity::RefusedWrites;
use super::replica_identity::{SERVER_VERSION_GENERATED, refused_of};
use super::row_filters::RowFilters;
use super::server_error::ServerError;
use super::source_tables::{SourceTable, Tables};
use super::target::Target;
use crate::capture::error::{CaptureError, Fault};
use crate::capture::fault_injection;
use crate::catalog::extract::WithoutIdentity;
use crate::catalog::table_pattern::TablePattern;
use crate::limits;
use crate::repeats::warn_rarely;

/// SQLSTATE of a right that is not there: CREATE on the database, or the tables are somebody else's.
const INSUFFICIENT_PRIVILEGE: &str = "42501";
/// What the publication of tables that only give their INSERTs is made with.
const INSERTS_ONLY: &str = "publish = 'insert', ";

/// The publications of an extract as they are now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Publications {
    /// The one that gives every operation.
    pub(super) main: Option<Publication>,
    /// The one for tables whose UPDATEs and DELETEs must not be published.
    pub(super) inserts: Option<Publication>,
}

impl Publications {
    /// Reads them; the second one only where the extract asks for it.
    pub(super) async fn read(target: &Target, catalogue: &mut Catalogue, version: u32) -> Result<Self, Fault> {
        let main = Publication::read(catalogue, &target.address, version, &target.publication).await?;
        let inserts = match target.inserts_publication() {
            Some(name) => Publication::read(catalogue, &target.address, version, &name).await?,
            None => None,
        };
        Ok(Self { main, inserts })
    }

    /// Whether either gives the table's rows.
    pub(super) fn give(&self, tables: &Tables, table: &SourceTable) -> bool {
        [&self.main, &self.inserts].into_iter().flatten().any(|published| published.given(tables, table).is_some())
    }
}

/// What became of tables that were to be published.
#[derive(Debug, Default)]
pub(super) struct Added {
    /// Publication now, as SQL names.
    pub(super) tables: Vec<String>,
    /// Not published, because the application's writes to them would be refused.
    pub(super) refused: Vec<RefusedWrites>,
    /// Not published, because the server does not let us.
    pub(super) errors: Vec<(String, ServerError)>,
}

/// Whoever makes and alters the publications of one extract.
pub(super) struct Publisher<'a> {
    pub(super) target: &'a Target,
    pub(super) catalogue: &'a mut Catalogue,
    pub(super) version: u32,
    pub(super) tables: &'a Tables,
    pub(super) filters: &'a RowFilters,
}

impl Publisher<'_> {
    /// Makes what is missing, and adds to our own publication the tables that it lacks.
    pub(super) async fn prepare(&mut self, now: &Publications, has_slot: bool) -> Result<(), Fault> {
        if let Some(name) = self.target.inserts_publication()
            && now.inserts.is_none()
        {
            self.refuse_behind_slot(&name, has_slot)?;
        }
        match &now.main {
            None => {
                self.refuse_behind_slot(&self.target.publication, has_slot)?;
                self.make(now).await
            }
            Some(main) => {
                if now.inserts.is_none() {
                    self.make_inserts(&[]).await?;
                }
                self.extend(main, now).await
            }
        }
    }

    fn refuse_behind_slot(&self, publication: &str, has_slot: bool) -> Result<(), Fault> {
        if !has_slot {
            return Ok(());
        }
        let slot = &self.target.slot;
        let message = format!(
            "publication {publication} is missing while slot {slot} exists; make the publication, or drop the slot"
        );
        Err(CaptureError::Refused(message).into())
    }

    async fn make(&mut self, now: &Publications) -> Result<(), Fault> {
        let captured = self.tables.captured(self.target);
        let (sound, refused) = self.split(&captured, &self.planned());
        if self.target.without_identity.is_none() {
            refuse(self.target, refused.iter().flat_map(|(_, refused)| refused.clone()).collect())?;
        }
        if self.target.publishes_whole() && self.make_whole().await? {
            return Ok(());
        }
        let inserts_only = self.target.without_identity == Some(WithoutIdentity::InsertsOnly);
        if captured.is_empty() || (sound.is_empty() && !inserts_only) {
            // Tables may still be made: the extract waits for them.
            let which = if captured.is_empty() { "" } else { " that has a replica identity" };
            let database = &self.target.address.source.database;
            let patterns = self.target.tables.iter().take(limits::EXTRACT_NAMED_TABLES_MAX).cloned();
            let patterns: Vec<String> = patterns.map(String::from).collect();
            return Err(Fault::NoTables(format!(
                "no table of the database {database}{which} matches tables ({}) yet: make one, or PATCH the extract's \
                 tables; it looks again by itself",
                patterns.join(", ")
            )));
        }
        if now.inserts.is_none() {
            let refused: Vec<_> = refused.iter().map(|(table, _)| *table).collect();
            self.make_inserts(&refused).await?;
        }
        let made = self.create(&self.target.publication, &self.for_tables(&sound), "").await?;
        made.map_err(|error| self.may_not(error, &self.target.publication, &sound, ""))
    }

    /// The server's refusal to make a publication; where our rights are not enough, with what to do about it.
    fn may_not(&self, error: ServerError, name: &str, tables: &[&SourceTable], option: &str) -> Fault {
        if error.code != INSUFFICIENT_PRIVILEGE {
            return error.into();
        }
        let statement = match option {
            "" => making(self.target, self.version, self.filters, tables),
            _ => self.statement(name, &self.for_tables(tables), option),
        };
        let (user, database) = (&self.target.address.user, &self.target.address.source.database);
        CaptureError::Refused(format!(
            "{error}: the user {user} may not make the publication. Let a superuser make it beforehand: {statement}; or, if \
             {user} owns the tables, let the database's owner run: GRANT CREATE ON DATABASE {} TO {}; then PATCH the extract \
             to stopped and back to running",
            identifier(database),
            identifier(user)
        ))
        .into()
    }

    /// Publishes all that the patterns take in, later tables too, if they and our rights allow it.
    async fn make_whole(&mut self) -> Result<bool, Fault> {
        let Some(objects) = whole_objects(&self.target.tables, self.version) else { return Ok(false) };
        let publication = &self.target.publication;
        match self.create(publication, &objects, "").await? {
            Ok(()) => Ok(true),
            Err(error) => {
                warn_rarely!(publication, publication, %error, "publishing table by table; later tables are added at the next start");
                Ok(false)
            }
        }
    }

    /// Makes the second publication, if the extract has one, with these tables.
    async fn make_inserts(&mut self, tables: &[&SourceTable]) -> Result<(), Fault> {
        let Some(name) = self.target.inserts_publication() else { return Ok(()) };
        let made = self.create(&name, &self.for_tables(tables), INSERTS_ONLY).await?;
        made.map_err(|error| self.may_not(error, &name, tables, INSERTS_ONLY))
    }

    async fn create(&mut self, name: &str, objects: &str, option: &str) -> Result<Result<(), ServerError>, Fault> {
        self.execute(&self.statement(name, objects, option)).await
    }

    fn statement(&self, name: &str, objects: &str, option: &str) -> String {
        statement(name, objects, option, self.version)
    }

    /// Brings a publication that exists to what the extract needs, unless it was named by the user and is theirs to keep.
    async fn extend(&mut self, main: &Publication, now: &Publications) -> Result<(), Fault> {
        let captured = self.tables.captured(self.target);
        let lacking: Vec<_> = captured.iter().filter(|table| !now.give(self.tables, table)).copied().collect();
        if self.target.publication_is_theirs && self.target.without_identity != Some(WithoutIdentity::InsertsOnly) {
            if !lacking.is_empty() {
                warn_rarely!(
                    &main.name,
                    publication = main.name,
                    tables = lacking.len(),
                    "tables match but are not published"
                );
            }
            return Ok(());
        }
        let mut main = main.clone();
        if !self.target.publication_is_theirs {
            self.publish_generated(&mut main).await?;
            self.publish_one_by_one(&mut main, &captured).await?;
            self.publish_filtered(&main, &captured).await?;
        }
        self.add(&main, &lacking).await?;
        self.promote(&main, now, &captured).await
    }

    /// Adds tables to the publication that they belong into: ours, or the one for inserts alone. What would harm the
    /// source is left out, and said.
    pub(super) async fn add(&mut self, main: &Publication, lacking: &[&SourceTable]) -> Result<Added, Fault> {
        let mut added = Added::default();
        let planned = Publication { generated: main.generated, ..self.planned() };
        let (sound, refused) = self.split(lacking, &planned);
        if self.target.publication_is_theirs {
            let error = || ServerError::own("the publication is the user's own and is not altered");
            added.errors.extend(sound.iter().map(|table| (table.shown(), error())));
        } else {
            self.add_to(&main.name, &sound, &mut added).await?;
        }
        match self.target.inserts_publication() {
            Some(inserts) => {
                let tables: Vec<_> = refused.iter().map(|(table, _)| *table).collect();
                self.add_to(&inserts, &tables, &mut added).await?;
            }
            None => added.refused.extend(refused.into_iter().flat_map(|(_, refused)| refused)),
        }
        for (table, error) in &added.errors {
            let of_kind = format!("{} {table}", main.name);
            warn_rarely!(&of_kind, publication = main.name, table, %error, "a matching table could not be added to the publication");
        }
        Ok(added)
    }

    /// The publication that a table belongs into; none where publishing it would have the application's writes refused.
    pub(super) fn home_of(&self, main: &Publication, table: &SourceTable) -> Option<String> {
        let planned = Publication { generated: main.generated, ..self.planned() };
        if refused_of(self.tables, table, &planned, self.version).is_empty() {
            return Some(main.name.clone());
        }
        self.target.inserts_publication()
    }

    /// All at once, or one by one where one of them does not let itself be added.
    async fn add_to(&mut self, publication: &str, tables: &[&SourceTable], added: &mut Added) -> Result<(), Fault> {
        if tables.is_empty() {
            return Ok(());
        }
        let name = identifier(publication);
        let add = |objects: &str| format!("ALTER PUBLICATION {name} ADD {}", &objects["FOR ".len()..]);
        if self.execute(&add(&self.for_tables(tables))).await?.is_ok() {
            added.tables.extend(tables.iter().map(|table| table.sql_name.clone()));
        } else {
            for table in tables {
                match self.execute(&add(&self.for_tables(&[table]))).await? {
                    Ok(()) => added.tables.push(table.sql_name.clone()),
                    Err(error) => added.errors.push((table.shown(), error)),
                }
            }
        }
        info!(publication, tables = added.tables.len(), "published more tables");
        Ok(())
    }

    /// A publication of an earlier version of ours leaves generated columns out.
    async fn publish_generated(&mut self, main: &mut Publication) -> Result<(), Fault> {
        if self.version < SERVER_VERSION_GENERATED || main.generated {
            return Ok(());
        }
        let set = format!("ALTER PUBLICATION {} SET (publish_generated_columns = stored)", identifier(&main.name));
        match self.execute(&set).await? {
            Ok(()) => main.generated = true,
            Err(error) => {
                warn_rarely!(&main.name, publication = main.name, %error, statement = set, "generated columns are not published; run the statement as its owner");
            }
        }
        Ok(())
    }

    /// Whole schemas would publish later tables without a replica identity too, and know no row filters.
    async fn publish_one_by_one(&mut self, main: &mut Publication, captured: &[&SourceTable]) -> Result<(), Fault> {
        if self.target.publishes_whole() {
            return Ok(());
        }
        self.refuse_everything(main)?;
        if main.everything {
            warn_rarely!(
                &main.name,
                publication = main.name,
                "it is for all tables, which cannot be altered; withoutIdentity has no effect"
            );
        }
        if main.schemas.is_empty() {
            return Ok(());
        }
        let unlisted: Vec<_> = captured.iter().filter(|table| !main.tables.contains_key(&table.oid)).copied().collect();
        let added = self.add(main, &unlisted).await?;
        if !added.errors.is_empty() {
            return Ok(());
        }
        let schemas: Vec<_> = main.schemas.iter().map(|schema| identifier(schema)).collect();
        let drop = format!("ALTER PUBLICATION {} DROP TABLES IN SCHEMA {}", identifier(&main.name), schemas.join(", "));
        match self.execute(&drop).await? {
            Ok(()) => main.schemas.clear(),
            Err(error) => {
                warn_rarely!(&main.name, publication = main.name, %error, statement = drop, "whole schemas stay published");
            }
        }
        Ok(())
    }

    /// A publication for all tables has no row filters and cannot be altered.
    fn refuse_everything(&self, main: &Publication) -> Result<(), Fault> {
        match self.target.row_filters.first() {
            Some(filter) if main.everything => {
                let why = format!(
                    "publication {} is for all tables and has no row filters; make another extract, with other names of \
                     publication and slot",
                    main.name
                );
                Err(PostgresError::FilterRefused { table: String::from(filter.table.clone()), why }.into())
            }
            _ => Ok(()),
        }
    }

    /// Gives tables that are published already the row filters that are asked for, before anything is captured.
    async fn publish_filtered(&mut self, main: &Publication, captured: &[&SourceTable]) -> Result<(), Fault> {
        if self.filters.is_empty() {
            return Ok(());
        }
        let (sound, _) = self.split(captured, &self.planned());
        for table in sound {
            let Some(listed) = main.tables.get(&table.oid) else { continue };
            let Some(asked) = self.filters.expression(table.oid) else { continue };
            if listed.expression.as_deref() == Some(asked) {
                continue;
            }
            let statement = self.publish_again(&main.name, table);
            match self.execute(&statement).await? {
                Ok(()) => info!(publication = main.name, table = table.shown(), "published with a row filter"),
                Err(error) => {
                    let of_kind = format!("{} {}", main.name, table.shown());
                    warn_rarely!(&of_kind, publication = main.name, %error, statement, "a row filter could not be published");
                }
            }
        }
        Ok(())
    }

    /// Takes a table out and puts it in as asked, in one transaction, so that nothing is written in between.
    fn publish_again(&self, publication: &str, table: &SourceTable) -> String {
        let (name, filter) = (identifier(publication), self.filters.clause(table.oid));
        let table = &table.sql_name;
        format!(
            "ALTER PUBLICATION {name} DROP TABLE ONLY {table}; ALTER PUBLICATION {name} ADD TABLE ONLY {table}{filter}"
        )
    }

    /// A table that was given inserts alone and has a replica identity by now gives everything.
    async fn promote(
        &mut self,
        main: &Publication,
        now: &Publications,
        captured: &[&SourceTable],
    ) -> Result<(), Fault> {
        let Some(inserts) = &now.inserts else { return Ok(()) };
        let planned = Publication { generated: main.generated, ..self.planned() };
        let listed: Vec<_> = captured.iter().filter(|table| inserts.tables.contains_key(&table.oid)).copied().collect();
        let (sound, _) = self.split(&listed, &planned);
        for table in sound.into_iter().filter(|_| !self.target.publication_is_theirs) {
            if main.given(self.tables, table).is_none() {
                let added = self.add(main, &[table]).await?;
                if !added.errors.is_empty() {
                    continue;
                }
            }
            let drop = format!("ALTER PUBLICATION {} DROP TABLE ONLY {}", identifier(&inserts.name), table.sql_name);
            if let Err(error) = self.execute(&drop).await? {
                let of_kind = format!("{} {}", inserts.name, table.shown());
                warn_rarely!(&of_kind, publication = inserts.name, table = table.shown(), %error, "a table could not be taken out");
            }
        }
        Ok(())
    }

    /// Tables that can be published with all operations, and those where the application's writes would be refused.
    fn split<'t>(
        &self,
        tables: &[&'t SourceTable],
        published: &Publication,
    ) -> (Vec<&'t SourceTable>, Vec<(&'t SourceTable, Vec<RefusedWrites>)>) {
        let mut sound = Vec::new();
        let mut refused = Vec::new();
        for table in tables {
            match refused_of(self.tables, table, published, self.version) {
                none if none.is_empty() => sound.push(*table),
                some => refused.push((*table, some)),
            }
        }
        (sound, refused)
    }

    fn planned(&self) -> Publication {
        planned(self.target, self.version, self.filters)
    }

    fn for_tables(&self, tables: &[&SourceTable]) -> String {
        for_tables(self.filters, tables)
    }

    async fn execute(&mut self, sql: &str) -> Result<Result<(), ServerError>, Fault> {
        self.catalogue.try_execute(&self.target.address, sql).await
    }

    /// Speaks up against making an extract, or giving it other tables, where the application's writes would be refused.
    /// `known`: what an extract that exists takes in already; of these tables nothing is said.
    pub(super) fn check(&self, now: &Publications, known: Option<&[TablePattern]>) -> Result<(), Fault> {
        if let Some(main) = &now.main {
            self.refuse_everything(main)?;
        }
        if self.target.without_identity.is_some() {
            return Ok(());
        }
        let is_known = |table: &SourceTable| {
            // A filter may be new.
            self.filters.expression(table.oid).is_none()
                && known.is_some_and(|known| known.iter().any(|p| p.matches(&table.schema, &table.name)))
        };
        let mut tables = self.tables.captured(self.target);
        let planned = match &now.main {
            None => self.planned(),
            Some(main) => {
                tables.retain(|table| !is_known(table));
                let listed = |table: &SourceTable| main.given(self.tables, table).is_some();
                let there = tables.iter().filter(|table| listed(table));
                // Our own is brought to what we would make before anything else.
                let generated = main.generated || (!self.target.publication_is_theirs && self.planned().generated);
                let main = &Publication { generated, ..main.clone() };
                let there = there.flat_map(|table| refused_of(self.tables, table, main, self.version)).collect();
                refuse(self.target, there)?;
                if self.target.publication_is_theirs {
                    return Ok(());
                }
                tables.retain(|table| self.filters.expression(table.oid).is_some() || !listed(table));
                self.planned()
            }
        };
        let (_, refused) = self.split(&tables, &planned);
        refuse(self.target, refused.into_iter().flat_map(|(_, refused)| refused).collect())
    }
}

fn refuse(target: &Target, tables: Vec<RefusedWrites>) -> Result<(), Fault> {
    if tables.is_empty() || fault_injection::publish_anyway() {
        return Ok(());
    }
    let whole_schemas = target.tables.iter().any(|pattern| pattern.is_everything() || pattern.whole_schema().is_some());
    Err(PostgresError::WritesRefused { tables, whole_schemas }.into())
}

/// The publication as we would make it, as far as it matters for one table.
pub(super) fn planned(target: &Target, version: u32, filters: &RowFilters) -> Publication {
    Publication {
        name: target.publication.clone(),
        everything: true,
        inserts: true,
        updates: true,
        deletes: true,
        truncates: true,
        via_root: true,
        generated: version >= SERVER_VERSION_GENERATED,
        tables: filters.listed().collect(),
        ..Publication::default()
    }
}

/// The statement that makes a publication.
fn statement(name: &str, objects: &str, option: &str, version: u32) -> String {
    // Rows of a partitioned table carry the table's name, not that of a partition which may come and go.
    let generated = if version >= SERVER_VERSION_GENERATED { ", publish_generated_columns = stored" } else { "" };
    let name = identifier(name);
    format!("CREATE PUBLICATION {name} {objects} WITH ({option}publish_via_partition_root = true{generated})")
}

/// The statement with which a superuser makes the publication of every operation beforehand. `tables`: those that it is for,
/// where the patterns are not whole schemas.
pub(super) fn making(target: &Target, version: u32, filters: &RowFilters, tables: &[&SourceTable]) -> String {
    let whole = whole_objects(&target.tables, version).filter(|_| target.publishes_whole());
    statement(&target.publication, &whole.unwrap_or_else(|| for_tables(filters, tables)), "", version)
}

/// The same for the publication of INSERTs alone.
pub(super) fn for_inserts(name: &str, version: u32, filters: &RowFilters, tables: &[&SourceTable]) -> String {
    statement(name, &for_tables(filters, tables), INSERTS_ONLY, version)
}

/// `FOR TABLE …`, or nothing for no tables. Tables that inherit from one of them are named themselves, where they match.
fn for_tables(filters: &RowFilters, tables: &[&SourceTable]) -> String {
    if tables.is_empty() {
        return String::new();
    }
    let name = |table: &&SourceTable| format!("ONLY {}{}", table.sql_name, filters.clause(table.oid));
    format!("FOR TABLE {}", tables.iter().map(name).collect::<Vec<_>>().join(", "))
}

/// How to publish all that the patterns take in, later tables too, if they allow it; it needs a superuser.
fn whole_objects(patterns: &[TablePattern], version: u32) -> Option<String> {
    if patterns.iter().any(TablePattern::is_everything) {
        return Some("FOR ALL TABLES".into());
    }
    let schemas: Option<Vec<_>> = patterns.iter().map(|pattern| pattern.whole_schema().map(identifier)).collect();
    let schemas = schemas.filter(|_| version >= SERVER_VERSION_SCHEMAS)?;
    Some(format!("FOR TABLES IN SCHEMA {}", schemas.join(", ")))
}
