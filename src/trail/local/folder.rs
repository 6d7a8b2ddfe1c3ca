//! The folder of one trail: what it says of itself, how its segments begin, how its durable mark is noted.
//!
//! What one segment's file holds is `segment_file`'s, how its end grows `file_end`'s.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::codec::segment_head::{SEGMENT_VERSION, SegmentHead};
use crate::trail::local::disk::{Disk, DiskFile};
use crate::trail::local::door::Door;
use crate::trail::local::segment_file::{SegmentFile, file_name, number_of};
use crate::trail::local::{description, mark_file};
use crate::trail::partitions::PartitionMap;
use crate::trail::{DurableMark, OpenError, TrailDescription};

/// Name of the file that says that a repair is decided and not carried out to its end.
pub(in crate::trail) const REPAIR_FILE: &str = "repair.json";

/// A trail's folder.
#[derive(Debug)]
pub(in crate::trail) struct Folder {
    pub(in crate::trail) path: PathBuf,
    /// The way to it, by whatever goes by path.
    pub(in crate::trail) disk: Arc<dyn Disk>,
    /// The same, to close it.
    door: Arc<Door>,
    pub(in crate::trail) description: TrailDescription,
    /// Where the mark is written for other processes; none in a trail that is only looked at.
    mark_file: OnceLock<Arc<dyn DiskFile>>,
    /// What `trail.json` says now.
    written: Mutex<Written>,
}

/// A description in its file.
#[derive(Debug)]
struct Written {
    description: TrailDescription,
    /// Replacing it failed: the file says this or what it was to say instead.
    in_doubt: bool,
}

impl Folder {
    /// The folder at that path, of which nothing but its description is read.
    pub(in crate::trail) fn new(path: &Path, description: TrailDescription, disk: Arc<dyn Disk>) -> Self {
        let door = Arc::new(Door::new(disk));
        Self {
            path: path.to_owned(),
            disk: door.clone(),
            door,
            written: Mutex::new(Written { description: description.clone(), in_doubt: false }),
            description,
            mark_file: OnceLock::new(),
        }
    }

    /// Names of the files in it, in order.
    pub(in crate::trail) fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list(&self.path)
    }

    /// Whether a repair was decided and not carried out to its end.
    pub(in crate::trail) fn repair_is_decided(&self) -> io::Result<bool> {
        Ok(self.list()?.iter().any(|name| name == REPAIR_FILE))
    }

    /// The path of a segment's file.
    pub(in crate::trail) fn segment_path(&self, number: u64) -> PathBuf {
        self.path.join(file_name(number))
    }

    /// What an error of the file system is for whoever opens, makes or repairs the trail.
    pub(in crate::trail) fn failed(&self, action: &'static str) -> impl FnOnce(io::Error) -> OpenError {
        OpenError::while_at(&self.description.name, action)
    }

    /// Makes a segment's file, flushed before it gets its name.
    pub(in crate::trail) fn new_segment(&self, head: &SegmentHead, bytes: &[u8]) -> io::Result<Arc<SegmentFile>> {
        self.raise_format()?;
        let path = self.segment_path(head.segment);
        let draft = path.with_extension("new");
        let _ = self.disk.remove(&draft);
        let file = self.disk.open(&draft, true)?;
        file.write_all_at(bytes, 0)?;
        file.sync()?;
        self.disk.rename(&draft, &path)?;
        self.disk.sync_folder(&self.path)?;
        let file = SegmentFile::held(self.disk.clone(), &path, file);
        file.belongs_to(head.file_id);
        Ok(Arc::new(file))
    }

    /// Sees to it, before the first segment of a newer version gets its name, that `trail.json` says so: a program that does
    /// not know that version must not take it for damage.
    fn raise_format(&self) -> io::Result<()> {
        self.describe(|description| description.format = description.format.max(SEGMENT_VERSION))
    }

    /// Makes `trail.json` say that these are the partitions, durably. After an error it may say so or not, until
    /// [`Self::settle_description`] has seen to it.
    pub(in crate::trail) fn keep_partitions(&self, partitions: &Arc<PartitionMap>) -> io::Result<()> {
        self.describe(|description| description.partitions = partitions.clone())
    }

    /// Where replacing `trail.json` has failed: makes sure that it says what it did before.
    pub(in crate::trail) fn settle_description(&self) -> io::Result<()> {
        self.describe(|_| ())
    }

    fn describe(&self, change: impl FnOnce(&mut TrailDescription)) -> io::Result<()> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = written.description.clone();
        change(&mut next);
        if next == written.description && !written.in_doubt {
            return Ok(());
        }
        written.in_doubt = true;
        description::write_draft(&self.path, &next, &*self.disk)
            .and_then(|()| description::put_in_force(&self.path, &*self.disk))
            .map_err(|error| match error {
                OpenError::Io { source, .. } => source,
                other => io::Error::other(other),
            })?;
        *written = Written { description: next, in_doubt: false };
        Ok(())
    }

    /// From here on marks are noted in `mark.bin`.
    pub(in crate::trail) fn open_mark_file(&self) -> io::Result<()> {
        let file = mark_file::open(&self.path, &*self.disk)?;
        self.mark_file.get_or_init(|| file);
        Ok(())
    }

    /// Notes the mark for other processes.
    pub(in crate::trail) fn note_mark(&self, mark: &DurableMark) -> io::Result<()> {
        self.mark_file.get().map_or(Ok(()), |file| mark_file::write(&**file, self.description.epoch, mark))
    }

    /// The mark that was noted last, in this life of the trail or an earlier one of the same epoch.
    pub(in crate::trail) fn noted_mark(&self) -> Option<DurableMark> {
        mark_file::read(&self.path, &*self.disk, self.description.epoch)
    }

    /// Whether all segments in the folder are later ones.
    pub(in crate::trail) fn starts_behind(&self, segment: u64) -> bool {
        let names = self.list().unwrap_or_default();
        names.iter().find_map(|name| number_of(name)).is_some_and(|first| first > segment)
    }

    /// Lets `delete` take the folder away while nobody is at it, and nobody come after it if that worked.
    pub(in crate::trail) fn delete<R>(&self, delete: impl FnOnce() -> io::Result<R>) -> io::Result<R> {
        self.door.close(delete)
    }

    /// Whether the folder has been deleted.
    pub(in crate::trail) fn is_deleted(&self) -> bool {
        self.door.is_closed()
    }
}
