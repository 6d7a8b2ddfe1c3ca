//! Named shelves of JSON values in one `redb` file; each change is one durable transaction.
//!
//! Synchronous: async callers go through `spawn_blocking`. Knows nothing of what the values mean, but for the number of
//! their format: whoever adds a member that an earlier program refuses, or changes what one means, raises it, and
//! says in the module of the value how one of an earlier format is brought up to it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use redb::{Database, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition, WriteTransaction};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::folder::flush_folder;
use super::stream::upgrade;
use crate::limits;
use crate::repeats::warn_rarely;

/// Name of the catalog's file in the data folder.
pub(super) const CATALOG_FILE: &str = "catalog.redb";

/// The format that the catalog is written in. 1, which no catalog says, is that of version 0.1; 2 may have members that
/// version 0.1 did not know; in 3 a stream's limit without `truncateOrChunk` truncates; in 4 users may have grants;
/// in 5 extracts may have members for initial loads, masks, row filters and messages, and loads have a shelf.
const FORMAT: u64 = 5;
const FORMAT_UNSAID: u64 = 1;
/// See [`FORMAT`].
const FORMAT_LIMITS_TRUNCATE: u64 = 3;
/// Where the format stands.
const FORMAT_TABLE: TableDefinition<'static, &'static str, u64> = TableDefinition::new("format");
const FORMAT_NAME: &str = "catalog";

/// One kind of thing that the catalog keeps by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Shelf {
    /// Data streams.
    Streams,
    /// Extracts.
    Extracts,
    /// Users with their password hashes.
    Users,
    /// Options of trails.
    Trails,
    /// Sealed database passwords, by `domain/alias`.
    Credentials,
    /// AsyncAPI documents that were set for streams, by the stream's name.
    Documents,
    /// What is remembered of captured trails' coverage, by the trail's name.
    Coverage,
    /// Orders for initial loads of captured trails, and how loads ended, by the trail's name.
    Loads,
    /// What the server remembers of itself.
    Server,
}

impl Shelf {
    /// Every shelf.
    pub const ALL: [Self; 9] = [
        Self::Streams,
        Self::Extracts,
        Self::Users,
        Self::Trails,
        Self::Credentials,
        Self::Documents,
        Self::Coverage,
        Self::Loads,
        Self::Server,
    ];

    /// The name in errors; also the table's name on disk, so it never changes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Streams => "streams",
            Self::Extracts => "extracts",
            Self::Users => "users",
            Self::Trails => "trails",
            Self::Credentials => "credentials",
            Self::Documents => "documents",
            Self::Coverage => "coverage",
            Self::Loads => "loads",
            Self::Server => "server",
        }
    }

    /// How many names it holds at most.
    pub fn capacity(self) -> usize {
        match self {
            Self::Streams | Self::Documents => limits::STREAMS_MAX,
            Self::Extracts => limits::EXTRACTS_MAX,
            Self::Users => limits::USERS_MAX,
            Self::Trails | Self::Coverage | Self::Loads => limits::TRAILS_MAX,
            Self::Credentials => limits::CREDENTIALS_MAX,
            Self::Server => limits::SERVER_NOTES_MAX,
        }
    }

    fn table(self) -> TableDefinition<'static, &'static str, &'static [u8]> {
        TableDefinition::new(self.name())
    }
}

/// A catalog operation failed.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// The name is taken.
    #[error("{name} already exists among the {}", shelf.name())]
    Exists {
        /// Where.
        shelf: Shelf,
        /// The name.
        name: String,
    },
    /// The shelf holds as many names as it may.
    #[error("there are {} {} already, which is the limit", shelf.capacity(), shelf.name())]
    Full {
        /// Which.
        shelf: Shelf,
    },
    /// The stored value is not what the caller expects: written by a newer version, or damaged.
    #[error("the stored {name} among the {} cannot be read", shelf.name())]
    Unreadable {
        /// Where.
        shelf: Shelf,
        /// The name.
        name: String,
        /// What does not fit.
        source: serde_json::Error,
    },
    /// The value has no JSON form.
    #[error("the value cannot be written as JSON")]
    Unwritable(#[source] serde_json::Error),
    /// The database refused.
    #[error("the catalog cannot be read or written")]
    Storage(#[source] Box<redb::Error>),
    /// A newer program wrote it. It is whole, and stays as it is.
    #[error(
        "the catalog was written by a newer version of Trailcast: it has format {found} and this program knows formats up to \
         {FORMAT}; start a program at least as new as the one that wrote it"
    )]
    Newer {
        /// Its format.
        found: u64,
    },
    /// There is no room on the disk; nothing was changed.
    #[error("the disk is full")]
    DiskFull,
    /// The catalog's folder could not be flushed.
    #[error("the catalog's folder cannot be flushed")]
    Flush(#[source] std::io::Error),
}

fn storage(error: impl Into<redb::Error>) -> CatalogError {
    match error.into() {
        redb::Error::Io(error) if error.kind() == std::io::ErrorKind::StorageFull => CatalogError::DiskFull,
        error => CatalogError::Storage(Box::new(error)),
    }
}

impl CatalogError {
    /// Whether the database takes nothing more until it is opened anew: it trusts no file that has failed it once.
    fn has_spoiled_it(&self) -> bool {
        match self {
            Self::DiskFull => true,
            Self::Storage(error) => matches!(**error, redb::Error::Io(_) | redb::Error::PreviousIo),
            _ => false,
        }
    }
}

/// The catalog; clones share one file.
#[derive(Clone)]
pub struct Catalog {
    shared: Arc<Shared>,
}

struct Shared {
    folder: PathBuf,
    /// None after a failure of the disk, until it can be opened again.
    database: RwLock<Option<Database>>,
}

impl std::fmt::Debug for Catalog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Catalog")
    }
}

impl Catalog {
    /// Opens the catalog of a data folder, making it on the first start.
    pub fn open(folder: &Path) -> Result<Self, CatalogError> {
        let database = open(folder)?;
        flush_folder(folder).map_err(CatalogError::Flush)?;
        let change = database.begin_write().map_err(storage)?;
        for shelf in Shelf::ALL {
            change.open_table(shelf.table()).map_err(storage)?;
        }
        // Only if it is not there: a server starts on a full disk too.
        let found = format_of(&database)?;
        let mut changed = Vec::new();
        if found != FORMAT {
            if found < FORMAT_LIMITS_TRUNCATE {
                changed = upgrade_values(&change, Shelf::Streams, upgrade::spell_out_fail)?;
            }
            change.open_table(FORMAT_TABLE).map_err(storage)?.insert(FORMAT_NAME, FORMAT).map_err(storage)?;
        }
        change.commit().map_err(storage)?;
        for stream in changed {
            tracing::warn!(
                stream,
                "has a limit and no truncateOrChunk, which now truncates: \"fail\" was added, so that a record beyond the \
                 limit still closes with 4013; PATCH it to \"truncate\" to have values cut instead"
            );
        }
        Ok(Self { shared: Arc::new(Shared { folder: folder.to_owned(), database: RwLock::new(Some(database)) }) })
    }

    /// Works on the database, opened anew if the disk had failed it.
    fn with<R>(&self, work: impl FnOnce(&Database) -> Result<R, CatalogError>) -> Result<R, CatalogError> {
        let mut database = self.shared.database.read().unwrap_or_else(PoisonError::into_inner);
        if database.is_none() {
            drop(database);
            self.reopen()?;
            database = self.shared.database.read().unwrap_or_else(PoisonError::into_inner);
        }
        let Some(open) = database.as_ref() else {
            return Err(CatalogError::Flush(std::io::Error::other("the catalog has failed again")));
        };
        let done = work(open);
        drop(database);
        if done.as_ref().is_err_and(CatalogError::has_spoiled_it) {
            *self.shared.database.write().unwrap_or_else(PoisonError::into_inner) = None;
        }
        done
    }

    fn reopen(&self) -> Result<(), CatalogError> {
        let mut database = self.shared.database.write().unwrap_or_else(PoisonError::into_inner);
        if database.is_none() {
            *database = Some(open(&self.shared.folder)?);
            warn_rarely!("", "the catalog was opened again after a failure of the disk");
        }
        Ok(())
    }

    /// Refuses a change that the disk may have no room for, before the database touches it.
    fn has_room(&self) -> Result<(), CatalogError> {
        let Ok(system) = rustix::fs::statvfs(&self.shared.folder) else { return Ok(()) };
        let free = system.f_bavail.saturating_mul(system.f_frsize);
        if free < limits::CATALOG_ROOM_BYTES { Err(CatalogError::DiskFull) } else { Ok(()) }
    }

    /// Does work with the catalog on a thread that may block.
    pub async fn blocking<R: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<R, CatalogError> + Send + 'static,
    ) -> Result<R, CatalogError> {
        let catalog = self.clone();
        match tokio::task::spawn_blocking(move || work(&catalog)).await {
            Ok(done) => done,
            Err(error) => Err(CatalogError::Flush(std::io::Error::other(error))),
        }
    }

    /// Puts a value under a name, over whatever was there.
    pub fn put<T: Serialize>(&self, shelf: Shelf, name: &str, value: &T) -> Result<(), CatalogError> {
        self.write(shelf, name, value, false)
    }

    /// Puts a value under a name that must be free.
    pub fn put_new<T: Serialize>(&self, shelf: Shelf, name: &str, value: &T) -> Result<(), CatalogError> {
        self.write(shelf, name, value, true)
    }

    fn write<T: Serialize>(&self, shelf: Shelf, name: &str, value: &T, new: bool) -> Result<(), CatalogError> {
        let bytes = serde_json::to_vec(value).map_err(CatalogError::Unwritable)?;
        self.has_room()?;
        self.with(|database| Self::write_in(database, shelf, name, &bytes, new))
    }

    fn write_in(database: &Database, shelf: Shelf, name: &str, bytes: &[u8], new: bool) -> Result<(), CatalogError> {
        let change = database.begin_write().map_err(storage)?;
        {
            let mut table = change.open_table(shelf.table()).map_err(storage)?;
            let known = table.get(name).map_err(storage)?.is_some();
            if known && new {
                return Err(CatalogError::Exists { shelf, name: name.into() });
            }
            if !known && table.len().map_err(storage)? >= shelf.capacity() as u64 {
                return Err(CatalogError::Full { shelf });
            }
            table.insert(name, bytes).map_err(storage)?;
        }
        change.commit().map_err(storage)
    }

    /// The value under a name, if there is one.
    pub fn get<T: DeserializeOwned>(&self, shelf: Shelf, name: &str) -> Result<Option<T>, CatalogError> {
        self.with(|database| {
            let view = database.begin_read().map_err(storage)?;
            let table = view.open_table(shelf.table()).map_err(storage)?;
            let Some(bytes) = table.get(name).map_err(storage)? else { return Ok(None) };
            read(shelf, name, bytes.value()).map(Some)
        })
    }

    /// Every name and value of a shelf, in the order of the names' bytes.
    pub fn list<T: DeserializeOwned>(&self, shelf: Shelf) -> Result<Vec<(String, T)>, CatalogError> {
        self.with(|database| {
            let view = database.begin_read().map_err(storage)?;
            let table = view.open_table(shelf.table()).map_err(storage)?;
            let mut values = Vec::new();
            for entry in table.iter().map_err(storage)? {
                let (name, bytes) = entry.map_err(storage)?;
                values.push((name.value().to_owned(), read(shelf, name.value(), bytes.value())?));
            }
            Ok(values)
        })
    }

    /// Every name of a shelf, in the order of their bytes.
    pub fn names(&self, shelf: Shelf) -> Result<Vec<String>, CatalogError> {
        self.with(|database| {
            let view = database.begin_read().map_err(storage)?;
            let table = view.open_table(shelf.table()).map_err(storage)?;
            let names = table.iter().map_err(storage)?;
            names.map(|entry| entry.map(|(name, _)| name.value().to_owned()).map_err(storage)).collect()
        })
    }

    /// Takes a name away; false if it was not there.
    pub fn delete(&self, shelf: Shelf, name: &str) -> Result<bool, CatalogError> {
        self.has_room()?;
        self.with(|database| {
            let change = database.begin_write().map_err(storage)?;
            let known = change.open_table(shelf.table()).map_err(storage)?.remove(name).map_err(storage)?.is_some();
            change.commit().map_err(storage)?;
            Ok(known)
        })
    }
}

fn open(folder: &Path) -> Result<Database, CatalogError> {
    let database = Database::create(folder.join(CATALOG_FILE)).map_err(storage)?;
    match format_of(&database)? {
        found if found > FORMAT => Err(CatalogError::Newer { found }),
        _ => Ok(database),
    }
}

/// Brings the values of a shelf up to this format, in the transaction that says so. Returns the names of those that changed.
fn upgrade_values(
    change: &WriteTransaction,
    shelf: Shelf,
    upgrade: fn(&mut serde_json::Value) -> bool,
) -> Result<Vec<String>, CatalogError> {
    let mut table = change.open_table(shelf.table()).map_err(storage)?;
    let mut changed = Vec::new();
    for entry in table.iter().map_err(storage)? {
        let (name, bytes) = entry.map_err(storage)?;
        let mut value = read(shelf, name.value(), bytes.value())?;
        if upgrade(&mut value) {
            changed.push((name.value().to_owned(), serde_json::to_vec(&value).map_err(CatalogError::Unwritable)?));
        }
    }
    for (name, bytes) in &changed {
        table.insert(name.as_str(), bytes.as_slice()).map_err(storage)?;
    }
    Ok(changed.into_iter().map(|(name, _)| name).collect())
}

fn format_of(database: &Database) -> Result<u64, CatalogError> {
    let view = database.begin_read().map_err(storage)?;
    let table = match view.open_table(FORMAT_TABLE) {
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(FORMAT_UNSAID),
        table => table.map_err(storage)?,
    };
    let format = table.get(FORMAT_NAME).map_err(storage)?;
    Ok(format.map_or(FORMAT_UNSAID, |format| format.value()))
}

fn read<T: DeserializeOwned>(shelf: Shelf, name: &str, bytes: &[u8]) -> Result<T, CatalogError> {
    serde_json::from_slice(bytes).map_err(|source| CatalogError::Unreadable { shelf, name: name.into(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalog() -> (tempfile::TempDir, Catalog) {
        let folder = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(folder.path()).unwrap();
        (folder, catalog)
    }

    #[test]
    fn what_was_put_is_there_after_a_restart() {
        let (folder, catalog) = catalog();
        catalog.put_new(Shelf::Streams, "s1", &"first").unwrap();
        catalog.put(Shelf::Streams, "s1", &"second").unwrap();
        catalog.put(Shelf::Streams, "a", &"other").unwrap();
        drop(catalog);
        let catalog = Catalog::open(folder.path()).unwrap();
        assert_eq!(catalog.get::<String>(Shelf::Streams, "s1").unwrap().as_deref(), Some("second"));
        let all: Vec<(String, String)> = catalog.list(Shelf::Streams).unwrap();
        assert_eq!(all, [("a".into(), "other".into()), ("s1".into(), "second".into())]);
        assert_eq!(catalog.names(Shelf::Streams).unwrap(), ["a", "s1"]);
    }

    #[test]
    fn put_new_refuses_a_taken_name_and_changes_nothing() {
        let (_folder, catalog) = catalog();
        catalog.put_new(Shelf::Users, "ann", &1).unwrap();
        let refused = catalog.put_new(Shelf::Users, "ann", &2).unwrap_err();
        assert!(matches!(refused, CatalogError::Exists { .. }), "{refused}");
        assert_eq!(catalog.get::<i32>(Shelf::Users, "ann").unwrap(), Some(1));
        catalog.put_new(Shelf::Streams, "ann", &3).unwrap();
    }

    #[test]
    fn a_deleted_name_is_free_again() {
        let (_folder, catalog) = catalog();
        catalog.put_new(Shelf::Extracts, "e", &1).unwrap();
        assert!(catalog.delete(Shelf::Extracts, "e").unwrap());
        assert!(!catalog.delete(Shelf::Extracts, "e").unwrap());
        assert_eq!(catalog.get::<i32>(Shelf::Extracts, "e").unwrap(), None);
        catalog.put_new(Shelf::Extracts, "e", &2).unwrap();
    }

    #[test]
    fn a_value_of_another_shape_is_reported_with_its_name() {
        let (_folder, catalog) = catalog();
        catalog.put(Shelf::Trails, "a1", &"text").unwrap();
        let error = catalog.get::<u64>(Shelf::Trails, "a1").unwrap_err();
        assert_eq!(error.to_string(), "the stored a1 among the trails cannot be read");
    }

    #[test]
    fn a_catalog_of_a_newer_format_is_refused_in_words_and_stays_as_it_is() {
        let (folder, catalog) = catalog();
        catalog.put(Shelf::Streams, "s1", &"first").unwrap();
        drop(catalog);
        let set_format = |format: u64| {
            let database = Database::create(folder.path().join(CATALOG_FILE)).unwrap();
            let change = database.begin_write().unwrap();
            change.open_table(FORMAT_TABLE).unwrap().insert(FORMAT_NAME, format).unwrap();
            change.commit().unwrap();
        };
        set_format(FORMAT + 1);
        let refused = Catalog::open(folder.path()).unwrap_err();
        assert!(matches!(refused, CatalogError::Newer { found } if found == FORMAT + 1), "{refused}");
        assert!(
            refused.to_string().starts_with("the catalog was written by a newer version of Trailcast"),
            "{refused}"
        );
        set_format(FORMAT);
        let catalog = Catalog::open(folder.path()).unwrap();
        assert_eq!(catalog.get::<String>(Shelf::Streams, "s1").unwrap().as_deref(), Some("first"));
    }

    #[test]
    fn a_catalog_without_the_shelves_of_today_opens_and_is_of_the_format_of_today_then() {
        let (folder, catalog) = catalog();
        catalog.put(Shelf::Streams, "s1", &"first").unwrap();
        drop(catalog);
        let file = folder.path().join(CATALOG_FILE);
        let database = Database::create(&file).unwrap();
        let change = database.begin_write().unwrap();
        change.open_table(FORMAT_TABLE).unwrap().insert(FORMAT_NAME, 4).unwrap();
        assert!(change.delete_table(Shelf::Loads.table()).unwrap());
        change.commit().unwrap();
        drop(database);
        let catalog = Catalog::open(folder.path()).unwrap();
        assert_eq!(catalog.get::<String>(Shelf::Streams, "s1").unwrap().as_deref(), Some("first"));
        assert!(catalog.list::<String>(Shelf::Loads).unwrap().is_empty());
        drop(catalog);
        assert_eq!(format_of(&Database::create(&file).unwrap()).unwrap(), FORMAT);
    }

    #[test]
    fn a_stored_limit_without_truncate_or_chunk_goes_on_failing_and_is_spelled_out_once() {
        let (folder, catalog) = catalog();
        let of = |json: serde_json::Value| serde_json::json!({"source": {"trail": "a1"}, "encoding": {"json": json}});
        let limit = || of(serde_json::json!({"maxLobSize": 64_000, "model": "row"}));
        let cut = of(serde_json::json!({"maxLobSize": 64_000, "truncateOrChunk": "truncate"}));
        let no_limit = serde_json::json!({"source": {"trail": "a1"}, "encoding": "json"});
        let put = |catalog: &Catalog| {
            for (name, value) in [("limit", limit()), ("cut", cut.clone()), ("no-limit", no_limit.clone())] {
                catalog.put(Shelf::Streams, name, &value).unwrap();
            }
        };
        let streams = |catalog: &Catalog| -> std::collections::BTreeMap<String, serde_json::Value> {
            catalog.list(Shelf::Streams).unwrap().into_iter().collect()
        };
        let failing = of(serde_json::json!({"maxLobSize": 64_000, "model": "row", "truncateOrChunk": "fail"}));
        put(&catalog);
        drop(catalog);
        for former in [Some(2), None] {
            let database = Database::create(folder.path().join(CATALOG_FILE)).unwrap();
            let change = database.begin_write().unwrap();
            match former {
                Some(format) => {
                    drop(change.open_table(FORMAT_TABLE).unwrap().insert(FORMAT_NAME, format).unwrap());
                }
                None => drop(change.delete_table(FORMAT_TABLE).unwrap()),
            }
            change.commit().unwrap();
            drop(database);
            let upgraded = Catalog::open(folder.path()).unwrap();
            let found = streams(&upgraded);
            assert_eq!((&found["limit"], &found["cut"], &found["no-limit"]), (&failing, &cut, &no_limit), "{former:?}");
            // A stream that is made from now on means what it says, at the next start too.
            put(&upgraded);
            drop(upgraded);
            assert_eq!(streams(&Catalog::open(folder.path()).unwrap())["limit"], limit());
        }
    }

    #[test]
    fn of_many_that_make_one_name_at_once_one_succeeds() {
        let (_folder, catalog) = catalog();
        let made: usize = std::thread::scope(|scope| {
            let makers: Vec<_> = (0..8)
                .map(|maker| {
                    let catalog = catalog.clone();
                    scope.spawn(move || usize::from(catalog.put_new(Shelf::Streams, "s", &maker).is_ok()))
                })
                .collect();
            makers.into_iter().map(|maker| maker.join().unwrap()).sum()
        });
        assert_eq!(made, 1);
    }
}
