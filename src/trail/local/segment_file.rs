//! The file of one segment and the hints beside it: open while it is written or lately read, closed otherwise.
//!
//! Owns the names of these files, how they are cut and removed, and how many segments' files a process holds open. The segment
//! that is written holds its file; all others share [`SEGMENT_FILES_OPEN_MAX`] places, and a reader keeps the file of the
//! segment it stands in.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use crate::codec::segment_head::{SEGMENT_HEAD_BYTES, SegmentHead};
use crate::limits::SEGMENT_FILES_OPEN_MAX;
use crate::trail::hint::Hint;
use crate::trail::local::disk::{Disk, DiskFile, read_full};
use crate::trail::lru::Lru;

/// The name of a segment's file.
pub(in crate::trail) fn file_name(segment: u64) -> String {
    format!("{segment:016}.seg")
}

/// The number in a segment's file name.
pub(in crate::trail) fn number_of(file_name: &str) -> Option<u64> {
    let digits = file_name.strip_suffix(".seg")?;
    if digits.len() == 16 { digits.parse().ok() } else { None }
}

/// The files open beyond those that are written, of all trails: descriptors are counted by process.
static OPEN: LazyLock<Mutex<Lru<Arc<dyn DiskFile>>>> = LazyLock::new(|| Mutex::new(Lru::new(SEGMENT_FILES_OPEN_MAX)));

fn open_files() -> MutexGuard<'static, Lru<Arc<dyn DiskFile>>> {
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A file that is opened when it is used.
#[derive(Debug)]
pub(in crate::trail) struct SegmentFile {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    id: u64,
    /// The number in the segment's head, once it was read.
    segment: OnceLock<u64>,
    handles: Mutex<Handles>,
}

#[derive(Debug)]
struct Handles {
    /// Open for as long as the segment is written.
    held: Option<Arc<dyn DiskFile>>,
    /// Open as long as somebody reads it, or it has a place among the open ones.
    lent: Option<Weak<dyn DiskFile>>,
}

impl SegmentFile {
    /// The file at `path`, opened when it is needed.
    pub(in crate::trail) fn closed(disk: Arc<dyn Disk>, path: &Path) -> Self {
        Self::new(disk, path, None)
    }

    /// A file that is open and stays so.
    pub(in crate::trail) fn held(disk: Arc<dyn Disk>, path: &Path, file: Arc<dyn DiskFile>) -> Self {
        Self::new(disk, path, Some(file))
    }

    fn new(disk: Arc<dyn Disk>, path: &Path, held: Option<Arc<dyn DiskFile>>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let handles = Mutex::new(Handles { held, lent: None });
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        Self { disk, path: path.to_owned(), id, segment: OnceLock::new(), handles }
    }

    /// Whose file it is, by the number in the segment's head: another one that comes to stand under its name is not
    /// opened for it.
    pub(in crate::trail) fn belongs_to(&self, file_id: u64) {
        let _ = self.segment.set(file_id);
    }

    fn open(&self) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.disk.open(&self.path, false)?;
        let mut head = [0; SEGMENT_HEAD_BYTES];
        if let Some(own) = self.segment.get()
            && read_full(&*file, &mut head, 0)? == head.len()
            && SegmentHead::decode(&head).is_ok_and(|head| head.file_id != *own)
        {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the segment's file has been replaced by another one"));
        }
        Ok(file)
    }

    /// The way to the folder.
    pub(in crate::trail) fn disk(&self) -> &dyn Disk {
        &*self.disk
    }

    /// Its path.
    pub(in crate::trail) fn path(&self) -> &Path {
        &self.path
    }

    /// The folder that it is in.
    pub(in crate::trail) fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(&self.path)
    }

    /// The open file. Whoever keeps it can read on when the segment is removed.
    pub(in crate::trail) fn get(&self) -> io::Result<Arc<dyn DiskFile>> {
        let mut handles = self.lock();
        if let Some(file) = &handles.held {
            return Ok(file.clone());
        }
        let file = match handles.lent.as_ref().and_then(Weak::upgrade) {
            Some(file) => file,
            None => self.open()?,
        };
        handles.lent = Some(Arc::downgrade(&file));
        let closed = open_files().put(self.id, file.clone(), 1);
        drop(handles);
        drop(closed);
        Ok(file)
    }

    /// Keeps the file open from now on.
    pub(in crate::trail) fn hold(&self) -> io::Result<()> {
        let file = self.get()?;
        self.lock().held = Some(file);
        open_files().remove(self.id);
        Ok(())
    }

    /// Lets the file be closed when it is not used.
    pub(in crate::trail) fn release(&self) {
        let file = self.lock().held.take();
        if let Some(file) = file {
            self.lock().lent = Some(Arc::downgrade(&file));
            let closed = open_files().put(self.id, file, 1);
            drop(closed);
        }
    }

    /// Cuts the trail to byte `end` of this file: later segments' files are removed, and this one ends there, flushed.
    pub(in crate::trail) fn take_back(&self, end: u64) -> io::Result<()> {
        let own = self.path.file_name().and_then(|name| number_of(name.to_str()?)).unwrap_or(u64::MAX);
        // What the folder holds counts, not what is in memory: a segment may have got its name although making it failed,
        // and a cut that failed may have removed some. None may come back behind a segment that is cut.
        let names = self.disk.list(self.folder())?;
        for name in names.iter().rev().filter(|name| number_of(name).is_some_and(|number| number > own)) {
            let path = self.folder().join(name);
            drop_hints(&*self.disk, &path)?;
            self.disk.remove(&path)?;
        }
        // Its index file must be gone for good before its bytes change, or a later opening could believe it.
        drop_hints(&*self.disk, &self.path)?;
        self.disk.sync_folder(self.folder())?;
        // Also when the file seems no longer than that: an earlier cut may have been lost with a failed flush. Before the
        // flush, other than where a segment is closed: whatever a power cut leaves of what no mark promises is a torn end.
        self.cut(end)?;
        self.sync()
    }

    /// Removes it and its hints for good. Not there: removed by an attempt whose flush failed.
    pub(in crate::trail) fn remove(&self) -> io::Result<()> {
        drop_hints(&*self.disk, &self.path)?;
        match self.disk.remove(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        self.disk.sync_folder(self.folder())
    }

    /// The bytes of the file of a hint.
    pub(in crate::trail) fn hint(&self, hint: Hint) -> Option<Vec<u8>> {
        let file = self.disk.open(&self.path.with_extension(extension(hint)), false).ok()?;
        let mut bytes = vec![0; usize::try_from(file.length().ok()?).ok()?];
        let read = read_full(&*file, &mut bytes, 0).ok()?;
        bytes.truncate(read);
        Some(bytes)
    }

    /// Writes the files of hints anew.
    pub(in crate::trail) fn keep_hints(&self, hints: &[(Hint, Vec<u8>)]) -> io::Result<()> {
        drop_hints(&*self.disk, &self.path)?;
        for (hint, bytes) in hints {
            self.disk.open(&self.path.with_extension(extension(*hint)), true)?.write_all_at(bytes, 0)?;
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Handles> {
        self.handles.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn extension(hint: Hint) -> &'static str {
    match hint {
        Hint::Index => "idx",
        Hint::Partitions => "par",
        Hint::Xids => "xid",
    }
}

/// Removes the files of hints beside the segment in that file; they may not be there.
pub(in crate::trail) fn drop_hints(disk: &dyn Disk, segment: &Path) -> io::Result<()> {
    for hint in [Hint::Index, Hint::Partitions, Hint::Xids] {
        match disk.remove(&segment.with_extension(extension(hint))) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

impl Drop for SegmentFile {
    fn drop(&mut self) {
        let file = open_files().remove(self.id);
        drop(file);
    }
}

impl DiskFile for SegmentFile {
    fn length(&self) -> io::Result<u64> {
        self.get()?.length()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.get()?.read_at(buffer, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.get()?.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.get()?.sync()
    }

    fn cut(&self, length: u64) -> io::Result<()> {
        self.get()?.cut(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trail::local::disk::SystemDisk;

    fn descriptors_in(folder: &Path) -> usize {
        let links = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
        links.filter(|link| std::fs::read_link(link.path()).is_ok_and(|path| path.starts_with(folder))).count()
    }

    #[test]
    fn more_files_than_may_be_open_are_read_one_after_the_other() {
        let home = tempfile::tempdir().unwrap();
        let disk: Arc<dyn Disk> = Arc::new(SystemDisk);
        let files: Vec<SegmentFile> = (0..SEGMENT_FILES_OPEN_MAX + 50)
            .map(|number| {
                let path = home.path().join(number.to_string());
                std::fs::write(&path, number.to_string()).unwrap();
                SegmentFile::closed(disk.clone(), &path)
            })
            .collect();
        files[0].hold().unwrap();
        let kept_by_a_reader = files[1].get().unwrap();
        for _ in 0..2 {
            for (number, file) in files.iter().enumerate() {
                let mut text = [0; 8];
                let read = file.read_at(&mut text, 0).unwrap();
                assert_eq!(&text[..read], number.to_string().as_bytes());
            }
        }
        assert!(descriptors_in(home.path()) <= SEGMENT_FILES_OPEN_MAX + 2);
        std::fs::remove_file(home.path().join("1")).unwrap();
        assert_eq!(kept_by_a_reader.length().unwrap(), 1);
        assert!(files[0].lock().held.is_some());
        files[0].release();
        drop(kept_by_a_reader);
        drop(files);
        assert_eq!(descriptors_in(home.path()), 0);
    }
}
