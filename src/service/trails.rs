//! The trails of a server: opened at start, made, described, deleted; each with its own fate.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::{Mutex, watch};

use crate::catalog::stream::SourceConfig;
use crate::clock::SharedClock;
use crate::limits;
use crate::record::{ResourceName, TrailName};
use crate::service::Service;
use crate::service::puts::PutFigures;
use crate::trail::local::disk::Disk;
use crate::trail::{Appender, OpenError, Trail, TrailDescription, TrailOptions, TrailStatus, Writer};

/// Ending of a trail's folder that is being deleted; no trail's name holds a dot.
const DELETED: &str = ".deleted";

/// All trails of a server.
#[derive(Debug)]
pub struct Trails {
    folder: PathBuf,
    disk: Arc<dyn Disk>,
    clock: SharedClock,
    known: RwLock<BTreeMap<TrailName, Arc<TrailEntry>>>,
    /// Counts changes of `known`, for whoever waits for a trail to appear.
    changes: watch::Sender<u64>,
    making: Mutex<()>,
    /// Held while a trail is made, changed or deleted together with its stored options: those of a trail that is deleted
    /// are not to become those of the next one of its name, nor to take that one's with them.
    pub(super) with_options: Mutex<()>,
}

/// One trail, or why it is not served.
#[derive(Debug)]
pub struct TrailEntry {
    /// The trail; the reason when it could not be opened.
    pub trail: Result<Trail, String>,
    /// The writing end, while puts hold it.
    pub(super) puts: Mutex<Option<Appender>>,
    /// What puts have brought.
    pub put_figures: PutFigures,
    /// True when the trail has been deleted.
    pub(super) gone: watch::Sender<bool>,
}

/// What is known of a trail.
#[derive(Debug, Clone)]
pub struct TrailInfo {
    /// Its name.
    pub name: TrailName,
    /// Its description and figures; the reason when it is not served.
    pub state: Result<(TrailDescription, TrailStatus), String>,
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
    #[error("{0}")]
    Stopped(String),
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
    /// The catalog refused.
    #[error(transparent)]
    Catalog(crate::catalog::CatalogError),
    /// The file system refused.
    #[error(transparent)]
    Open(#[from] OpenError),
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
    pub(super) fn open(folder: &Path, disk: Arc<dyn Disk>, clock: SharedClock) -> io::Result<Self> {
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
            let trail = Trail::open(&folder.join(name.as_str()), disk.clone(), clock.clone()).map_err(|error| {
                tracing::error!(trail = %name, error = %error, "trail is not served");
                error.to_string()
            });
            known.insert(name, Arc::new(TrailEntry::new(trail)));
        }
        let (folder, known) = (folder.to_owned(), RwLock::new(known));
        let changes = watch::Sender::new(0);
        Ok(Self { folder, disk, clock, known, changes, making: Mutex::new(()), with_options: Mutex::new(()) })
    }

    /// The trail of that name.
    pub fn get(&self, name: &TrailName) -> Option<Arc<TrailEntry>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// Every trail, by name.
    pub fn list(&self) -> Vec<TrailInfo> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.iter().map(|(name, entry)| entry.info(name)).collect()
    }

    /// What is known of one trail.
    pub fn info(&self, name: &TrailName) -> Option<TrailInfo> {
        self.get(name).map(|entry| entry.info(name))
    }

    /// Where a stream's trail starts, in words, for whoever must begin elsewhere.
    pub(super) fn start_of(&self, source: &SourceConfig) -> String {
        let info = source.trail_name().and_then(|name| self.info(&name));
        match info.map(|info| (info.name, info.state)) {
            Some((name, Ok((_, status)))) => {
                format!(
                    "trail {name} starts at commit number {} (begin=earliest reads from there)",
                    status.first_commit
                )
            }
            Some((name, Err(_))) => format!("trail {name} is stopped"),
            None => format!("trail {} does not exist yet", source.trail),
        }
    }

    /// Every trail with what belongs to it, by name.
    pub(super) fn entries(&self) -> Vec<(TrailName, Arc<TrailEntry>)> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.iter().map(|(name, entry)| (name.clone(), entry.clone())).collect()
    }

    /// Every trail that is served.
    pub(super) fn served(&self) -> Vec<Trail> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.values().filter_map(|entry| entry.trail.as_ref().ok().cloned()).collect()
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

    /// Makes a trail for that writer, with the default options.
    pub async fn make(&self, name: &TrailName, writer: Writer) -> Result<Arc<TrailEntry>, TrailError> {
        self.make_with(name, writer, TrailOptions::default()).await
    }

    /// Makes a trail for that writer.
    pub async fn make_with(
        &self,
        name: &TrailName,
        writer: Writer,
        options: TrailOptions,
    ) -> Result<Arc<TrailEntry>, TrailError> {
        let _one_at_a_time = self.making.lock().await;
        if self.get(name).is_some() {
            return Err(TrailError::Exists(name.clone()));
        }
        if self.known.read().unwrap_or_else(PoisonError::into_inner).len() >= limits::TRAILS_MAX {
            return Err(TrailError::TooMany(limits::TRAILS_MAX));
        }
        let (folder, trail_name) = (self.folder.join(name.as_str()), name.clone());
        let (disk, clock) = (self.disk.clone(), self.clock.clone());
        let make = move || Trail::create(&folder, trail_name, writer, &options, disk, clock);
        let made =
            tokio::task::spawn_blocking(make).await.map_err(|error| TrailError::Stopped(error.to_string()))??;
        let entry = Arc::new(TrailEntry::new(Ok(made)));
        self.known.write().unwrap_or_else(PoisonError::into_inner).insert(name.clone(), entry.clone());
        self.changes.send_modify(|changes| *changes += 1);
        tracing::info!(trail = %name, "trail made");
        Ok(entry)
    }

    /// The trail of that name for that writer; made if it is not there.
    pub async fn get_or_make(&self, name: &TrailName, writer: Writer) -> Result<Arc<TrailEntry>, TrailError> {
        match self.for_writer(name, &writer) {
            Err(TrailError::Missing(_)) => match self.make(name, writer.clone()).await {
                Err(TrailError::Exists(_)) => self.for_writer(name, &writer),
                made => made,
            },
            found => found,
        }
    }

    /// The trail of that name, if it is there, served, and that writer's.
    pub fn for_writer(&self, name: &TrailName, writer: &Writer) -> Result<Arc<TrailEntry>, TrailError> {
        let entry = self.get(name).ok_or_else(|| TrailError::Missing(name.clone()))?;
        if *entry.gone.borrow() {
            return Err(TrailError::Stopped(format!("trail {name} is being deleted")));
        }
        let trail = entry.trail.as_ref().map_err(|reason| TrailError::Stopped(reason.clone()))?;
        if trail.description().writer != *writer {
            let writer = writer_name(&trail.description().writer);
            return Err(TrailError::Busy { trail: name.clone(), writer });
        }
        Ok(entry)
    }

    /// Flushes and lets go of every writing end that puts hold.
    pub(super) async fn close(&self) {
        let entries: Vec<_> = self.known.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        for entry in entries {
            if let Some(appender) = entry.puts.lock().await.take()
                && let Err(error) = appender.close().await
            {
                tracing::error!(%error, "trail not closed in good order");
            }
        }
    }

    pub(super) async fn remove(&self, name: &TrailName) -> Result<(), TrailError> {
        let _one_at_a_time = self.making.lock().await;
        let entry = self.get(name).ok_or_else(|| TrailError::Missing(name.clone()))?;
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

/// The writer as people see it.
pub fn writer_name(writer: &Writer) -> String {
    match writer {
        Writer::Puts => "puts".to_owned(),
        Writer::Extract(name) => format!("extract {name}"),
    }
}

impl TrailEntry {
    fn new(trail: Result<Trail, String>) -> Self {
        Self { trail, puts: Mutex::new(None), put_figures: PutFigures::default(), gone: watch::Sender::new(false) }
    }

    fn info(&self, name: &TrailName) -> TrailInfo {
        let state =
            self.trail.as_ref().map(|trail| (trail.description().clone(), trail.status())).map_err(Clone::clone);
        TrailInfo { name: name.clone(), state }
    }
}

impl Service {
    /// Deletes a trail with all its records, unless an extract writes it. Its sessions end with 4020. Says which streams
    /// read it: they stay, and wait for another trail of its name.
    pub async fn delete_trail(&self, name: &TrailName) -> Result<Vec<ResourceName>, TrailError> {
        // No extract may be made, changed or started for it meanwhile: what it captured would go with the folder.
        let _no_extract_changes = self.extracts.changing.lock().await;
        if let Some(extract) = self.extracts.writer_of(name) {
            return Err(TrailError::InUse { trail: name.clone(), user: format!("extract {extract}") });
        }
        let _one_at_a_time = self.trails.with_options.lock().await;
        self.trails.remove(name).await?;
        let key = name.to_string();
        let removed = self.in_catalog(move |catalog| {
            catalog.delete(crate::catalog::Shelf::Coverage, &key)?;
            catalog.delete(crate::catalog::Shelf::Trails, &key)
        });
        removed.await.map_err(TrailError::Catalog)?;
        Ok(self.streams.readers_of(name))
    }

    /// Whether some extract is configured to write the trail.
    pub fn extract_of(&self, name: &TrailName) -> Option<ResourceName> {
        self.extracts.writer_of(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_crashes_left_of_making_and_deleting_trails_does_not_stay() {
        let home = tempfile::tempdir().unwrap();
        let trails = home.path().join("trails");
        for folder in ["half-made", "gone.deleted"] {
            std::fs::create_dir_all(trails.join(folder)).unwrap();
            std::fs::write(trails.join(folder).join("trail.json.new"), "{").unwrap();
        }
        std::fs::write(trails.join("a-file"), "").unwrap();
        let service = Service::open(home.path(), Arc::new(crate::clock::SystemClock), Default::default()).unwrap();
        assert!(service.trails.list().is_empty());
        assert!(!trails.join("gone.deleted").exists());
        let name = TrailName::new("half-made").unwrap();
        service.trails.make(&name, Writer::Puts).await.unwrap();
        service.delete_trail(&name).await.unwrap();
        assert_eq!(std::fs::read_dir(&trails).unwrap().count(), 1);
    }

    #[tokio::test]
    async fn a_trail_is_not_deleted_while_an_extract_is_being_made_for_it() {
        let home = tempfile::tempdir().unwrap();
        let service = Service::open(home.path(), Arc::new(crate::clock::SystemClock), Default::default()).unwrap();
        let (trail, writer) = (TrailName::new("t1").unwrap(), Writer::Extract(ResourceName::new("e1").unwrap()));
        let entry = service.trails.make(&trail, writer.clone()).await.unwrap();
        let making = service.extracts.changing.lock().await;
        let soon = std::time::Duration::from_millis(50);
        assert!(tokio::time::timeout(soon, service.delete_trail(&trail)).await.is_err());
        assert!(service.trails.for_writer(&trail, &writer).is_ok());
        drop(making);
        entry.gone.send_replace(true);
        assert!(matches!(service.trails.for_writer(&trail, &writer), Err(TrailError::Stopped(_))));
        service.delete_trail(&trail).await.unwrap();
        assert!(service.trails.get(&trail).is_none());
    }

    #[tokio::test]
    async fn a_trail_whose_deletion_failed_is_served_on() {
        let home = tempfile::tempdir().unwrap();
        let service = Service::open(home.path(), Arc::new(crate::clock::SystemClock), Default::default()).unwrap();
        let name = TrailName::new("t1").unwrap();
        let entry = service.trails.make(&name, Writer::Puts).await.unwrap();
        let in_the_way = home.path().join("trails").join("t1.deleted");
        std::fs::write(&in_the_way, "").unwrap();
        assert!(matches!(service.delete_trail(&name).await, Err(TrailError::Remove { .. })));
        assert!(!*entry.gone.borrow(), "its sessions would end at once for ever");
        let put = br#"{"operations":[{"op":"INSERT","table":"t","after":{"id":1}}]}"#;
        service.put(&name, put).await.unwrap();
        std::fs::remove_file(in_the_way).unwrap();
        service.delete_trail(&name).await.unwrap();
        assert!(service.trails.get(&name).is_none());
    }

    #[tokio::test]
    async fn a_put_is_still_idempotent_after_a_deletion_that_failed() {
        let home = tempfile::tempdir().unwrap();
        let service = Service::open(home.path(), Arc::new(crate::clock::SystemClock), Default::default()).unwrap();
        let name = TrailName::new("t1").unwrap();
        service.trails.make(&name, Writer::Puts).await.unwrap();
        let put = br#"{"xid":"x1","operations":[{"op":"INSERT","table":"t","after":{"id":1}}]}"#;
        let first = service.put(&name, put).await.unwrap();
        let in_the_way = home.path().join("trails").join("t1.deleted");
        std::fs::write(&in_the_way, "").unwrap();
        for _ in 0..2 {
            assert!(matches!(service.delete_trail(&name).await, Err(TrailError::Remove { .. })));
            assert_eq!(service.put(&name, put).await.unwrap().pos, first.pos);
        }
        let entry = service.trails.get(&name).unwrap();
        assert_eq!(entry.trail.as_ref().unwrap().status().last_commit, 1);
    }
}
