//! A trail's own way to the disk, which is closed for good when the trail's folder is deleted.
//!
//! A trail of the same name may be made at once in a folder of the same path. Whoever still holds the old one, as a pass
//! of retention, a seek that writes an index, a reader that comes to its next segment, a writer that ends, must not reach
//! the files of the new one. So everything that goes by path goes through here, and a deletion waits for what is at it.
//! Files that are open stay readable: they are the old trail's.

use std::io;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use crate::trail::local::disk::{Disk, DiskFile};

/// The way to the folder of one trail.
#[derive(Debug)]
pub(in crate::trail) struct Door {
    disk: Arc<dyn Disk>,
    closed: RwLock<bool>,
}

impl Door {
    /// An open one.
    pub(in crate::trail) fn new(disk: Arc<dyn Disk>) -> Self {
        Self { disk, closed: RwLock::new(false) }
    }

    /// Whether the folder has been deleted.
    pub(in crate::trail) fn is_closed(&self) -> bool {
        *self.closed.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets `delete` take the folder away while nobody is at it, and nobody come after it if that worked.
    pub(in crate::trail) fn close<R>(&self, delete: impl FnOnce() -> io::Result<R>) -> io::Result<R> {
        let mut closed = self.closed.write().unwrap_or_else(PoisonError::into_inner);
        if *closed {
            return Err(gone());
        }
        let deleted = delete()?;
        *closed = true;
        Ok(deleted)
    }

    fn pass(&self) -> io::Result<RwLockReadGuard<'_, bool>> {
        let closed = self.closed.read().unwrap_or_else(PoisonError::into_inner);
        if *closed { Err(gone()) } else { Ok(closed) }
    }
}

/// What is said to whoever comes too late.
pub(in crate::trail) fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "the trail has been deleted")
}

impl Disk for Door {
    fn make_folder(&self, path: &Path) -> io::Result<()> {
        let _open = self.pass()?;
        self.disk.make_folder(path)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let _open = self.pass()?;
        self.disk.list(folder)
    }

    fn open(&self, path: &Path, create: bool) -> io::Result<Arc<dyn DiskFile>> {
        let _open = self.pass()?;
        self.disk.open(path, create)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let _open = self.pass()?;
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let _open = self.pass()?;
        self.disk.remove(path)
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        let _open = self.pass()?;
        self.disk.remove_folder(path)
    }

    fn capacity_bytes(&self, folder: &Path) -> Option<u64> {
        self.disk.capacity_bytes(folder)
    }

    fn free_bytes(&self, folder: &Path) -> Option<u64> {
        self.disk.free_bytes(folder)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        let _open = self.pass()?;
        self.disk.sync_folder(folder)
    }
}
