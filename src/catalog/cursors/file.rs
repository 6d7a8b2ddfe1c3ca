//! The file of positions: entries one behind the other, written anew when most of them are no longer in force.
//!
//! ```text
//! cursors.log:  head | mark entry* | mark entry* | …        a mark begins each flush group
//! ```
//!
//! After a crash the last flush group may be torn: what is left of it is cut. A bad entry with a mark behind it that says that it
//! was durable is damage, and the file does not open. (Damage inside the very last flush group cannot be told from a tear.)
//! The file is made with the first change, and written anew under another name that is then changed to its own.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::entry::{self, Entry, HEAD, HEAD_KIND};
use super::store::{Change, CursorError, CursorStore};
use crate::limits;
use crate::trail::local::disk::{Disk, DiskFile, read_full};

/// Name of the file in the data folder.
pub const CURSORS_FILE: &str = "cursors.log";
/// What it is called while it is written anew.
pub const CURSORS_DRAFT_FILE: &str = "cursors.new";

/// The file of positions in a folder.
#[derive(Debug)]
pub struct CursorFile {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    open: Mutex<Option<Open>>,
    bytes: AtomicU64,
}

#[derive(Debug)]
struct Open {
    file: Arc<dyn DiskFile>,
    /// Where the next group goes; everything before it is durable.
    length: u64,
}

/// What was read of a file.
struct Found {
    entries: BTreeMap<String, Vec<u8>>,
    /// The byte behind the last whole entry.
    end: usize,
}

impl CursorFile {
    /// The file of that folder, which need not be there yet.
    pub fn new(disk: Arc<dyn Disk>, folder: &Path) -> Self {
        Self { disk, folder: folder.to_owned(), open: Mutex::new(None), bytes: AtomicU64::new(0) }
    }

    fn path(&self) -> PathBuf {
        self.folder.join(CURSORS_FILE)
    }

    fn opened(&self) -> MutexGuard<'_, Option<Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, open: &mut Option<Open>, file: Arc<dyn DiskFile>, length: u64) {
        self.bytes.store(length, Ordering::Relaxed);
        *open = Some(Open { file, length });
    }

    fn found(&self, bytes: &[u8]) -> Result<Found, CursorError> {
        let path = || self.path().display().to_string();
        let mut found = Found { entries: BTreeMap::new(), end: HEAD.len() };
        if !bytes.starts_with(HEAD) {
            let is_newer = bytes.starts_with(HEAD_KIND) && bytes.len() >= HEAD.len();
            let path = path();
            return Err(if is_newer { CursorError::Newer { path } } else { CursorError::Damaged { path, at: 0 } });
        }
        while let Some((entry, length)) = entry::read(&bytes[found.end..]) {
            match entry {
                Entry::Set(key, value) => drop(found.entries.insert(key.to_owned(), value.to_owned())),
                Entry::Remove(key) => drop(found.entries.remove(key)),
                Entry::Mark(_) => {}
            }
            found.end += length;
        }
        let behind = bytes.get(found.end + 1..).unwrap_or_default();
        let says_durable =
            |at: usize| matches!(entry::read(&behind[at..]), Some((Entry::Mark(mark), _)) if mark > found.end as u64);
        if (0..behind.len()).any(says_durable) {
            return Err(CursorError::Damaged { path: path(), at: found.end as u64 });
        }
        Ok(found)
    }
}

impl CursorStore for CursorFile {
    fn load(&self) -> Result<BTreeMap<String, Vec<u8>>, CursorError> {
        let file = match self.disk.open(&self.path(), false) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
            Err(error) => return Err(error.into()),
        };
        let length = file.length()?;
        if length > limits::CURSORS_FILE_BYTES_MAX {
            let (path, most) = (self.path().display().to_string(), limits::CURSORS_FILE_BYTES_MAX);
            return Err(CursorError::TooLarge { path, most });
        }
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
        let read = read_full(&*file, &mut bytes, 0)?;
        bytes.truncate(read);
        let found = self.found(&bytes)?;
        if found.end < bytes.len() {
            let cut_bytes = bytes.len() - found.end;
            tracing::warn!(
                cut_bytes,
                "the positions of consumer groups had a torn end, which nobody had been promised"
            );
            file.cut(found.end as u64)?;
        }
        // What a program that was killed had written may be read and not be on the disk yet.
        file.sync()?;
        self.keep(&mut self.opened(), file, found.end as u64);
        Ok(found.entries)
    }

    fn write(&self, changes: &[Change]) -> Result<(), CursorError> {
        let mut open = self.opened();
        let Some(Open { file, length }) = &mut *open else { return Err(CursorError::BrokenOff) };
        if forgets_commits() {
            return Ok(());
        }
        let mut group = Vec::new();
        entry::push_mark(&mut group, *length);
        changes.iter().for_each(|change| entry::push_change(&mut group, change));
        file.write_all_at(&group, *length)?;
        file.sync()?;
        *length += group.len() as u64;
        self.bytes.store(*length, Ordering::Relaxed);
        Ok(())
    }

    fn rewrite(&self, entries: &BTreeMap<String, Vec<u8>>) -> Result<(), CursorError> {
        let mut open = self.opened();
        let (path, draft) = (self.path(), self.folder.join(CURSORS_DRAFT_FILE));
        match self.disk.remove(&draft) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        let file = self.disk.open(&draft, true)?;
        let mut bytes = HEAD.to_vec();
        entries.iter().for_each(|(key, value)| entry::push_set(&mut bytes, key, value));
        file.write_all_at(&bytes, 0)?;
        file.sync()?;
        // From here on the old file may be gone, whatever fails.
        *open = None;
        self.disk.rename(&draft, &path)?;
        self.disk.sync_folder(&self.folder)?;
        self.keep(&mut open, file, bytes.len() as u64);
        Ok(())
    }

    fn is_too_long_for(&self, live_bytes: u64) -> bool {
        let most = live_bytes.saturating_mul(limits::CURSORS_REWRITE_FACTOR).max(limits::CURSORS_REWRITE_BYTES_MIN);
        self.bytes() > most
    }

    fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// Whether a test asked that nothing is written down, so that it can be seen to come again.
#[cfg(feature = "fault-injection")]
fn forgets_commits() -> bool {
    static ASKED: std::sync::LazyLock<bool> = std::sync::LazyLock::new(|| {
        std::env::var_os("TRAILCAST_TEST_FORGET_COMMITS").is_some_and(|value| value == "1")
    });
    *ASKED
}

/// Everything is written down.
#[cfg(not(feature = "fault-injection"))]
const fn forgets_commits() -> bool {
    false
}
