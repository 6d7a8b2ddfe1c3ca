//! The trails of a server: opened at start, made, described, deleted, each with its own fate and its stored options.

mod claims;
mod entry;
mod kept_readers;
mod partitions;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::{Mutex, watch};

pub(super) use claims::Claim;
use claims::{Claimant, Claims};
pub use entry::{PutFigures, TrailEntry, TrailInfo, Unserved};

use super::principal::{Principal, Verb};
use crate::access::NotGranted;
use crate::catalog::stream::SourceConfig;
use crate::catalog::trail::TrailSettings;
use crate::catalog::{Catalog, CatalogError, DataFolder, Shelf};
use crate::clock::SharedClock;
use crate::limits;
use crate::record::{ResourceName, TrailName};
use crate::tasks::{Panicked, Task};
use crate::trail::local::disk::Disk;
use crate::trail::{Appender, OpenError, PartitionChange, PartitionMap, RepartitionError, Trail, TrailOptions, Writer};

/// Ending of a trail's folder that is being deleted; no trail's name holds a dot.
const DELETED: &str = ".deleted";

/// All trails of a server.
#[derive(Debug)]
pub struct Trails {
    folder: PathBuf,
    disk: Arc<dyn Disk>,
    clock: SharedClock,
    catalog: Catalog,
    known: RwLock<BTreeMap<TrailName, Arc<TrailEntry>>>,
    claims: Arc<Claims>,
    /// Counts changes of `known`, for whoever waits for a trail to appear.
    changes: watch::Sender<u64>,
    /// Held while a trail is made, changed or deleted together with its stored options: those of a trail that is deleted
    /// are not to become those of the next one of its name, nor to take that one's with them.
    changing: Mutex<()>,
    // Dropped last: the lock on the data folder outlives what works in it.
    _lock: Option<Arc<DataFolder>>,
}

/// A trail cannot be had, made or deleted.
#[derive(Debug, thiserror::Error)]
pub enum TrailError {
    /// There is none of that name.
    #[error("trail {0} does not exist")]
    Missing(TrailName),
    /// There is one of that name.
    #[error("trail {0} already exists")]
    Exists(TrailName),
    /// Somebody else writes it.
    #[error("trail {trail} is written by {writer}, and a trail keeps its writer for life")]
    Busy {
        /// The trail.
        trail: TrailName,
        /// Its writer.
        writer: String,
    },
    /// It is not served, because of damage or a failed disk.
    #[error(transparent)]
    Unserved(#[from] Unserved),
    /// It is on its way out.
    #[error("trail {0} is being deleted")]
    Leaving(TrailName),
    /// Something still uses it.
    #[error("trail {trail} is used by {user}")]
    InUse {
        /// The trail.
        trail: TrailName,
        /// Who uses it.
        user: String,
    },
    /// The server holds as many as it may.
    #[error("the server has {0} trails already, which is the limit")]
    TooMany(usize),
    /// The caller may not.
    #[error(transparent)]
    Denied(#[from] NotGranted),
    /// The catalog refused.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// Making it broke off.
    #[error(transparent)]
    Panicked(#[from] Panicked),
    /// The file system refused.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Its partitions cannot be changed that way, or not now.
    #[error(transparent)]
    Repartition(#[from] RepartitionError),
    /// The file system refused to remove it.
    #[error("trail {trail} cannot be removed: {error}")]
    Remove {
        /// The trail.
        trail: TrailName,
        /// The system's error.
        error: io::Error,
    },
}

impl Trails {
    /// Opens every trail in `folder`. One that is damaged is known and not served; the others are.
    pub(super) fn open(folder: &Path, disk: Arc<dyn Disk>, clock: SharedClock, catalog: Catalog) -> io::Result<Self> {
        disk.make_folder(folder)?;
        let mut known = BTreeMap::new();
        let names = disk.list(folder)?;
        for left in names.iter().filter(|name| name.ends_with(DELETED)) {
            tracing::warn!(folder = left, "finishing the deletion of a trail");
            disk.remove_folder(&folder.join(left))?;
        }
        for name in names.iter().filter_map(|name| TrailName::new(name).ok()) {
            let files = match disk.list(&folder.join(name.as_str())) {
                Err(error) if error.kind() == io::ErrorKind::NotADirectory => continue,
                files => files?,
            };
            let has = |name: &str| files.iter().any(|file| file == name);
            let was_being_made = has("trail.json.new") || !files.iter().any(|file| file.ends_with(".seg"));
            if !has("trail.json") && was_being_made {
                // A crash before the folder got its description, which comes last: nothing was ever in it.
                tracing::warn!(trail = %name, "a folder without a trail is passed over");
                continue;
            }
            let trail = Trail::open(&folder.join(name.as_str()), disk.clone(), clock.clone());
            if let Err(error) = &trail {
                tracing::error!(trail = %name, %error, "trail is not served");
            }
            known.insert(name, Arc::new(TrailEntry::new(trail)));
        }
        let (folder, known, claims) = (folder.to_owned(), RwLock::new(known), Arc::default());
        let (changes, changing) = (watch::Sender::new(0), Mutex::new(()));
        Ok(Self { folder, disk, clock, catalog, known, claims, changes, changing, _lock: None })
    }

    /// The same, in a data folder whose lock is held for as long as anybody works with its trails.
    #[must_use]
    pub(super) fn in_folder(self, lock: Arc<DataFolder>) -> Self {
        Self { _lock: Some(lock), ..self }
    }

    /// The trail of that name, for the server itself and for who has been asked for his rights already.
    pub fn get(&self, name: &TrailName) -> Option<Arc<TrailEntry>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// The trail of a stream with that source, if it is there.
    pub fn of(&self, source: &SourceConfig) -> Option<Arc<TrailEntry>> {
        self.get(&source.trail_name()?)
    }

    /// What is known of every trail that the caller may see, by name.
    pub fn list(&self, principal: Principal<'_>) -> Vec<TrailInfo> {
        let seen = self.entries().into_iter().filter(|(name, _)| principal.may_with_trail(Verb::Read, name));
        seen.map(|(name, entry)| entry.info(&name)).collect()
    }

    /// What is known of one trail.
    pub fn describe(&self, principal: Principal<'_>, name: &TrailName) -> Result<TrailInfo, TrailError> {
        principal.check_seeing(name)?;
        Ok(self.known(name)?.info(name))
    }

    fn known(&self, name: &TrailName) -> Result<Arc<TrailEntry>, TrailError> {
        self.get(name).ok_or_else(|| TrailError::Missing(name.clone()))
    }

    /// Where a stream's trail starts, in words, for whoever must begin elsewhere.
    pub(super) fn start_of(&self, source: &SourceConfig) -> String {
        let name = &source.trail;
        match self.of(source).as_deref().map(TrailEntry::served) {
            Some(Ok(trail)) => {
                let first = trail.status().first_commit;
                format!("trail {name} starts at commit number {first} (begin=earliest reads from there)")
            }
            Some(Err(_)) => format!("trail {name} is stopped"),
            None => format!("trail {name} does not exist yet"),
        }
    }

    /// Every trail with what belongs to it, by name.
    pub(super) fn entries(&self) -> Vec<(TrailName, Arc<TrailEntry>)> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.iter().map(|(name, entry)| (name.clone(), entry.clone())).collect()
    }

    /// Every trail that is served.
    pub(super) fn served(&self) -> Vec<Trail> {
        self.entries().into_iter().filter_map(|(_, entry)| entry.served().ok().cloned()).collect()
    }

    /// Size of the file system that holds the trails, in bytes. Asks the disk.
    pub(super) fn capacity_bytes(&self) -> Option<u64> {
        self.disk.capacity_bytes(&self.folder)
    }

    /// Room left in it, in bytes. Asks the disk.
    pub(super) fn free_bytes(&self) -> Option<u64> {
        self.disk.free_bytes(&self.folder)
    }

    /// Tells when trails come or go.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Makes a trail for that writer. Its options, if it is given any, are stored with it: both or neither.
    pub async fn make(
        &self,
        principal: Principal<'_>,
        name: &TrailName,
        writer: Writer,
        settings: Option<TrailSettings>,
    ) -> Result<Arc<TrailEntry>, TrailError> {
        principal.check_trail(Verb::Manage, name)?;
        let _one_at_a_time = self.changing.lock().await;
        if self.get(name).is_some() {
            return Err(TrailError::Exists(name.clone()));
        }
        if self.known.read().unwrap_or_else(PoisonError::into_inner).len() >= limits::TRAILS_MAX {
            return Err(TrailError::TooMany(limits::TRAILS_MAX));
        }
        let mut options = TrailOptions::default();
        options.segment_bytes = settings.and_then(|settings| settings.segment_bytes).unwrap_or(options.segment_bytes);
        options.partitions = settings.and_then(|settings| settings.partitions).unwrap_or(options.partitions);
        let (folder, trail_name) = (self.folder.join(name.as_str()), name.clone());
        let (disk, clock) = (self.disk.clone(), self.clock.clone());
        let make = move || Trail::create(&folder, trail_name, writer, &options, disk, clock);
        let made = tokio::task::spawn_blocking(make).await.map_err(|_| {
            Task::Request.note_panic();
            Panicked
        })??;
        let entry = Arc::new(TrailEntry::new(Ok(made)));
        self.known.write().unwrap_or_else(PoisonError::into_inner).insert(name.clone(), entry.clone());
        self.changes.send_modify(|changes| *changes += 1);
        tracing::info!(trail = %name, "trail made");
        let Some(settings) = settings else { return Ok(entry) };
        let stored = self.store_settings(name, settings).await;
        if stored.is_err()
            && let Err(error) = self.remove(name, &entry).await
        {
            tracing::warn!(trail = %name, %error, "a trail whose options could not be stored stays, with the defaults");
        }
        stored.map(|()| entry)
    }

    /// A trail's options as stored, if it was ever given any.
    pub async fn settings(
        &self,
        principal: Principal<'_>,
        name: &TrailName,
    ) -> Result<Option<TrailSettings>, TrailError> {
        principal.check_seeing(name)?;
        let key = name.to_string();
        Ok(self.catalog.blocking(move |catalog| catalog.get(Shelf::Trails, &key)).await?)
    }

    /// The same for whoever may wait for the disk.
    pub(super) fn settings_now(&self, name: &TrailName) -> Result<Option<TrailSettings>, CatalogError> {
        self.catalog.get(Shelf::Trails, name.as_str())
    }

    /// Stores a trail's options.
    pub async fn set_settings(
        &self,
        principal: Principal<'_>,
        name: &TrailName,
        settings: TrailSettings,
    ) -> Result<(), TrailError> {
        principal.check_trail(Verb::Manage, name)?;
        let _one_at_a_time = self.changing.lock().await;
        self.known(name)?;
        self.store_settings(name, settings).await
    }

    async fn store_settings(&self, name: &TrailName, settings: TrailSettings) -> Result<(), TrailError> {
        let key = name.to_string();
        Ok(self.catalog.blocking(move |catalog| catalog.put(Shelf::Trails, &key, &settings)).await?)
    }

    /// Claims the trail for the extract that is to write it: nobody deletes it or claims it too, for as long as that holds.
    pub(super) fn claim(&self, name: &TrailName, extract: &ResourceName) -> Result<Claim, TrailError> {
        self.claims.take(name, Claimant::Extract(extract.clone())).map_err(|claimant| match claimant {
            Claimant::Extract(other) => TrailError::Busy { trail: name.clone(), writer: format!("extract {other}") },
            Claimant::Deletion => TrailError::Leaving(name.clone()),
        })
    }

    /// The extract that is configured to write the trail.
    pub(super) fn extract_of(&self, name: &TrailName) -> Option<ResourceName> {
        self.claims.extract_of(name)
    }

    /// The trail of that name for that writer; made if it is not there.
    pub(super) async fn get_or_make(&self, name: &TrailName, writer: Writer) -> Result<Arc<TrailEntry>, TrailError> {
        match self.for_writer(name, &writer) {
            Err(TrailError::Missing(_)) => match self.make(Principal::House, name, writer.clone(), None).await {
                Err(TrailError::Exists(_)) => self.for_writer(name, &writer),
                made => made,
            },
            found => found,
        }
    }

    /// The trail of that name, if it is there, served, and that writer's.
    pub(super) fn for_writer(&self, name: &TrailName, writer: &Writer) -> Result<Arc<TrailEntry>, TrailError> {
        let entry = self.known(name)?;
        if *entry.gone.borrow() {
            return Err(TrailError::Leaving(name.clone()));
        }
        let trail = entry.served()?;
        if trail.description().writer != *writer {
            let writer = trail.description().writer.to_string();
            return Err(TrailError::Busy { trail: name.clone(), writer });
        }
        Ok(entry)
    }

    #[cfg(test)]
    pub(super) async fn hold_changes(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.changing.lock().await
    }

    /// Flushes and lets go of every writing end that puts hold.
    pub(super) async fn close(&self) {
        for (_, entry) in self.entries() {
            if let Some(appender) = entry.puts.lock().await.take()
                && let Err(error) = appender.close().await
            {
                tracing::error!(%error, "trail not closed in good order");
            }
        }
    }

    /// Deletes a trail with all its records, unless an extract has claimed it. Its sessions end; streams that read it stay, and
    /// wait for another trail of its name.
    pub async fn delete(&self, principal: Principal<'_>, name: &TrailName) -> Result<(), TrailError> {
        principal.check_trail(Verb::Manage, name)?;
        let _claim = self.claims.take(name, Claimant::Deletion).map_err(|claimant| match claimant {
            Claimant::Extract(other) => TrailError::InUse { trail: name.clone(), user: format!("extract {other}") },
            Claimant::Deletion => TrailError::Leaving(name.clone()),
        })?;
        let _one_at_a_time = self.changing.lock().await;
        let entry = self.known(name)?;
        self.remove(name, &entry).await?;
        let key = name.to_string();
        let removed = self.catalog.blocking(move |catalog| {
            catalog.delete(Shelf::Coverage, &key)?;
            catalog.delete(Shelf::Loads, &key)?;
            catalog.delete(Shelf::Trails, &key)
        });
        removed.await?;
        Ok(())
    }

    /// Deletes the trail that an extract made for itself, when nothing comes of the extract.
    pub(super) async fn take_back(&self, name: &TrailName, _claim: &Claim) -> Result<(), TrailError> {
        let _one_at_a_time = self.changing.lock().await;
        let entry = self.known(name)?;
        self.remove(name, &entry).await
    }

    async fn remove(&self, name: &TrailName, entry: &Arc<TrailEntry>) -> Result<(), TrailError> {
        entry.gone.send_replace(true);
        if let Some(appender) = entry.puts.lock().await.take() {
            let _ = appender.close().await;
        }
        let (trails, folder) = (self.folder.clone(), self.folder.join(name.as_str()));
        let disk = self.disk.clone();
        let removed_entry = entry.clone();
        let remove = move || {
            let leaving = match &removed_entry.trail {
                // Whoever is at its files goes first, and nobody comes after: not a pass of retention either.
                Ok(trail) => trail.delete(|| move_away(&*disk, &trails, &folder)),
                Err(_) => move_away(&*disk, &trails, &folder),
            }?;
            if let Err(error) = disk.remove_folder(&leaving) {
                let folder = leaving.display();
                tracing::warn!(%folder, %error, "a deleted trail's files stay until the next start");
            }
            Ok(())
        };
        let removed = tokio::task::spawn_blocking(remove).await.map_err(io::Error::other).and_then(|done| done);
        if let Err(error) = removed {
            // It is all there: puts and sessions may come again.
            entry.gone.send_replace(false);
            return Err(TrailError::Remove { trail: name.clone(), error });
        }
        self.known.write().unwrap_or_else(PoisonError::into_inner).remove(name);
        self.changes.send_modify(|changes| *changes += 1);
        tracing::info!(trail = %name, "trail deleted");
        Ok(())
    }
}

/// Takes a trail's folder out of `trails` under a name of its own, which is returned; a failure leaves it as it was.
fn move_away(disk: &dyn Disk, trails: &Path, folder: &Path) -> io::Result<PathBuf> {
    // As a whole: a crash in the middle must not leave half a trail under its name.
    let leaving = folder.with_extension(&DELETED[1..]);
    match disk.list(&leaving) {
        Ok(_) => disk.remove_folder(&leaving)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    disk.rename(folder, &leaving)?;
    if let Err(error) = disk.sync_folder(trails) {
        if let Err(stays) = disk.rename(&leaving, folder) {
            // The next start would delete it with all that came meanwhile: so it is deleted now.
            tracing::error!(folder = %leaving.display(), %error, %stays, "a trail's deletion is not flushed and cannot be undone");
            return Ok(leaving);
        }
        return Err(error);
    }
    Ok(leaving)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::Service;

    fn service(home: &Path) -> Service {
        Service::open(home, Arc::new(crate::clock::SystemClock), Default::default()).unwrap()
    }

    #[tokio::test]
    async fn what_crashes_left_of_making_and_deleting_trails_does_not_stay() {
        let home = tempfile::tempdir().unwrap();
        let trails = home.path().join("trails");
        for folder in ["half-made", "gone.deleted"] {
            std::fs::create_dir_all(trails.join(folder)).unwrap();
            std::fs::write(trails.join(folder).join("trail.json.new"), "{").unwrap();
        }
        std::fs::write(trails.join("a-file"), "").unwrap();
        let service = service(home.path());
        assert!(service.trails().list(Principal::House).is_empty());
        assert!(!trails.join("gone.deleted").exists());
        let name = TrailName::new("half-made").unwrap();
        service.trails().make(Principal::House, &name, Writer::Puts, None).await.unwrap();
        service.trails().delete(Principal::House, &name).await.unwrap();
        assert_eq!(std::fs::read_dir(&trails).unwrap().count(), 1);
    }

    #[tokio::test]
    async fn a_trail_that_an_extract_has_claimed_is_not_deleted() {
        let home = tempfile::tempdir().unwrap();
        let service = service(home.path());
        let (trail, extract) = (TrailName::new("t1").unwrap(), ResourceName::new("e1").unwrap());
        let (trails, writer) = (service.trails(), Writer::Extract(extract.clone()));
        let entry = trails.make(Principal::House, &trail, writer.clone(), None).await.unwrap();
        let claim = trails.claim(&trail, &extract).unwrap();
        assert!(matches!(trails.delete(Principal::House, &trail).await, Err(TrailError::InUse { .. })));
        assert!(trails.for_writer(&trail, &writer).is_ok());
        drop(claim);
        entry.gone.send_replace(true);
        assert!(matches!(trails.for_writer(&trail, &writer), Err(TrailError::Leaving(_))));
        trails.delete(Principal::House, &trail).await.unwrap();
        assert!(trails.get(&trail).is_none());
    }

    #[tokio::test]
    async fn a_trail_whose_deletion_failed_is_served_on() {
        let home = tempfile::tempdir().unwrap();
        let service = service(home.path());
        let name = TrailName::new("t1").unwrap();
        let entry = service.trails().make(Principal::House, &name, Writer::Puts, None).await.unwrap();
        let in_the_way = home.path().join("trails").join("t1.deleted");
        std::fs::write(&in_the_way, "").unwrap();
        assert!(matches!(service.trails().delete(Principal::House, &name).await, Err(TrailError::Remove { .. })));
        assert!(!*entry.gone.borrow(), "its sessions would end at once for ever");
        let put = br#"{"operations":[{"op":"INSERT","table":"t","after":{"id":1}}]}"#;
        service.puts().put(Principal::House, &name, put).await.unwrap();
        std::fs::remove_file(in_the_way).unwrap();
        service.trails().delete(Principal::House, &name).await.unwrap();
        assert!(service.trails().get(&name).is_none());
    }

    #[tokio::test]
    async fn a_put_is_still_idempotent_after_a_deletion_that_failed() {
        let home = tempfile::tempdir().unwrap();
        let service = service(home.path());
        let name = TrailName::new("t1").unwrap();
        service.trails().make(Principal::House, &name, Writer::Puts, None).await.unwrap();
        let put = br#"{"xid":"x1","operations":[{"op":"INSERT","table":"t","after":{"id":1}}]}"#;
        let first = service.puts().put(Principal::House, &name, put).await.unwrap();
        let in_the_way = home.path().join("trails").join("t1.deleted");
        std::fs::write(&in_the_way, "").unwrap();
        for _ in 0..2 {
            assert!(matches!(service.trails().delete(Principal::House, &name).await, Err(TrailError::Remove { .. })));
            assert_eq!(service.puts().put(Principal::House, &name, put).await.unwrap().pos, first.pos);
        }
        let entry = service.trails().get(&name).unwrap();
        assert_eq!(entry.served().unwrap().status().last_commit, 1);
    }
}
