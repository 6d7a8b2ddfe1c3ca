//! A disk in memory that keeps the live image and the durable one apart, and that fails on demand.
//!
//! What was not synced is, at a crash, there in part: of the writes since the last sync that make a file longer a prefix
//! survives, the last of them torn; of those over bytes that are there already any sectors survive, in no order; of the
//! changes to a folder's names a prefix survives.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use trailcast::trail::local::disk::{Disk, DiskFile};

/// What a disk writes whole or not at all.
const SECTOR_BYTES: usize = 512;

#[derive(Debug, Default, Clone)]
pub struct MemoryDisk(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    files: Vec<Contents>,
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    name_changes: Vec<NameChange>,
    fail_after_syncs: Option<u32>,
    fails_once: bool,
    lies_about_syncs: bool,
    refuses_removals: bool,
    forgets_syncs_before_cuts: bool,
    watched_by: Option<Hook>,
    syncs: u32,
}

/// What has just happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    Made(PathBuf),
    Removed(PathBuf),
    /// Some file was cut.
    Cut,
}

type Watching = dyn Fn(&MemoryDisk, &Event) + Send + Sync;

#[derive(Clone)]
struct Hook(Arc<Watching>);

impl std::fmt::Debug for Hook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hook")
    }
}

#[derive(Debug, Default, Clone)]
struct Contents {
    live: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Change>,
    /// Durable bytes and what was to be made durable before the last sync, as long as nothing has come behind it.
    before_sync: Option<(Vec<u8>, Vec<Change>)>,
}

#[derive(Debug, Clone)]
enum Change {
    Write(u64, Vec<u8>),
    Cut(u64),
}

#[derive(Debug, Clone)]
enum NameChange {
    Set(PathBuf, usize),
    Remove(PathBuf),
}

impl Inner {
    fn fails_this_sync(&mut self) -> bool {
        let fails = self.fail_after_syncs.is_some_and(|limit| self.syncs > limit);
        if fails && self.fails_once {
            (self.fail_after_syncs, self.fails_once) = (None, false);
        }
        fails
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<PathBuf, usize>) {
        match self {
            Self::Set(path, file) => names.insert(path.clone(), *file),
            Self::Remove(path) => names.remove(path),
        };
    }
}

impl Contents {
    /// A file whose bytes are all durable.
    fn of(bytes: Vec<u8>) -> Self {
        Self { live: bytes.clone(), durable: bytes, ..Self::default() }
    }

    /// What a flush of another file makes durable of this one: its length, with it what stands where nothing had been
    /// before, and its last block; but nothing else of what was written over something.
    fn behind_another_flush(&self) -> Vec<u8> {
        let mut bytes = self.durable.clone();
        bytes.truncate(self.live.len());
        bytes.extend_from_slice(&self.live[bytes.len()..]);
        let last = self.live.len().saturating_sub(1) / SECTOR_BYTES * SECTOR_BYTES;
        bytes[last..].copy_from_slice(&self.live[last..]);
        bytes
    }

    fn after_a_crash(&self, chance: &mut impl FnMut(usize) -> usize) -> Vec<u8> {
        let mut bytes = self.durable.clone();
        let survive = chance(self.unsynced.len() + 1);
        // Sectors that the disk has already and may write whenever it likes; what lies behind a cut comes anew.
        let mut in_place = self.durable.len();
        for (at, change) in self.unsynced.iter().enumerate() {
            let length = match change {
                Change::Write(_, written) => written.len(),
                Change::Cut(to) => {
                    in_place = in_place.min(*to as usize);
                    0
                }
            };
            let keep = match (at + 1).cmp(&survive) {
                std::cmp::Ordering::Less => length,
                std::cmp::Ordering::Equal => chance(length + 1),
                std::cmp::Ordering::Greater => 0,
            };
            match change {
                Change::Write(offset, written) => {
                    let from = *offset as usize;
                    let over = in_place.saturating_sub(from).min(written.len());
                    for (at, byte) in sectors(from, from + over) {
                        if chance(2) == 1 {
                            bytes[at..byte].copy_from_slice(&written[at - from..byte - from]);
                        }
                    }
                    if keep > over {
                        Change::Write((from + over) as u64, written[over..keep].to_vec()).apply(&mut bytes, usize::MAX);
                    }
                }
                Change::Cut(_) if at < survive => change.apply(&mut bytes, 0),
                Change::Cut(_) => {}
            }
        }
        bytes
    }
}

/// The parts of sectors from one byte to another.
fn sectors(from: usize, to: usize) -> impl Iterator<Item = (usize, usize)> {
    let first = from / SECTOR_BYTES;
    (first..to.div_ceil(SECTOR_BYTES))
        .map(move |sector| (from.max(sector * SECTOR_BYTES), to.min((sector + 1) * SECTOR_BYTES)))
        .filter(|(from, to)| from < to)
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>, keep: usize) {
        match self {
            Self::Write(offset, written) => {
                let written = &written[..keep.min(written.len())];
                let end = *offset as usize + written.len();
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                bytes[*offset as usize..end].copy_from_slice(written);
            }
            Self::Cut(length) => bytes.resize(*length as usize, 0),
        }
    }
}

impl MemoryDisk {
    fn with<R>(&self, act: impl FnOnce(&mut Inner) -> R) -> R {
        act(&mut self.0.lock().unwrap())
    }

    /// From now on the `n`-th sync fails, and all after it, until [`Self::heal`].
    pub fn fail_sync(&self, n: u32) {
        self.with(|inner| inner.fail_after_syncs = Some(inner.syncs + n - 1));
    }

    /// From now on the `n`-th sync fails, and none after it.
    pub fn fail_one_sync(&self, n: u32) {
        self.fail_sync(n);
        self.with(|inner| inner.fails_once = true);
    }

    /// Syncs asked for so far.
    pub fn syncs(&self) -> u32 {
        self.with(|inner| inner.syncs)
    }

    /// Syncs work again. What a failed sync should have written is gone from the page cache's list of dirty pages, as
    /// on Linux: the next sync does not write it.
    pub fn heal(&self) {
        self.with(|inner| inner.fail_after_syncs = None);
    }

    /// Whether files can be removed.
    pub fn refuse_removals(&self, refuse: bool) {
        self.with(|inner| inner.refuses_removals = refuse);
    }

    /// Whoever writes waits until the guard is dropped.
    pub fn stall(&self) -> impl Drop + '_ {
        self.0.lock().unwrap()
    }

    /// A disk that says yes to every sync and does nothing: the control, in which the defence is off.
    pub fn lie_about_syncs(&self) {
        self.with(|inner| inner.lies_about_syncs = true);
    }

    /// The control of where a file is flushed before it is cut: a sync does nothing when a cut comes next.
    pub fn forget_syncs_before_cuts(&self) {
        self.with(|inner| inner.forgets_syncs_before_cuts = true);
    }

    /// Calls `hook` when something has happened, before whoever did it goes on.
    pub fn watch(&self, hook: impl Fn(&Self, &Event) + Send + Sync + 'static) {
        self.with(|inner| inner.watched_by = Some(Hook(Arc::new(hook))));
    }

    fn happened(&self, event: &Event) {
        let hook = self.with(|inner| inner.watched_by.clone());
        if let Some(Hook(hook)) = hook {
            hook(self, event);
        }
    }

    /// What is there after a power cut that comes just when a flush of something else has committed the journal.
    pub fn crash_behind_another_flush(&self) -> Self {
        self.with(|inner| {
            let files = inner.files.iter().map(|file| Contents::of(file.behind_another_flush())).collect();
            let names = inner.names.clone();
            Self(Arc::new(Mutex::new(Inner { files, durable_names: names.clone(), names, ..Inner::default() })))
        })
    }

    /// What is there after a power cut; `chance` chooses how much of what was not synced survived.
    pub fn crash(&self, mut chance: impl FnMut(usize) -> usize) -> Self {
        self.with(|inner| {
            let mut names = inner.durable_names.clone();
            let survive = chance(inner.name_changes.len() + 1);
            inner.name_changes[..survive].iter().for_each(|change| change.apply(&mut names));
            let files: Vec<Contents> =
                inner.files.iter().map(|file| Contents::of(file.after_a_crash(&mut chance))).collect();
            Self(Arc::new(Mutex::new(Inner { files, durable_names: names.clone(), names, ..Inner::default() })))
        })
    }

    /// Changes a file's bytes behind the trail's back.
    pub fn tamper(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        self.with(|inner| {
            let file = inner.names[path];
            change(&mut inner.files[file].live);
            inner.files[file].durable = inner.files[file].live.clone();
        });
    }

    /// Every file with its bytes.
    pub fn contents(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        self.with(|inner| {
            inner.names.iter().map(|(path, file)| (path.clone(), inner.files[*file].live.clone())).collect()
        })
    }

    /// A disk of its own with the same files, all of them durable.
    pub fn copy(&self) -> Self {
        self.with(|inner| {
            let files = inner.files.iter().map(|file| Contents::of(file.live.clone())).collect();
            let names = inner.names.clone();
            Self(Arc::new(Mutex::new(Inner { files, durable_names: names.clone(), names, ..Inner::default() })))
        })
    }

    /// Takes a file away for good, behind the trail's back.
    pub fn lose(&self, path: &Path) {
        self.with(|inner| {
            inner.names.remove(path);
            inner.durable_names.remove(path);
        });
    }

    /// Names of the files, for tests that pick one.
    pub fn paths(&self) -> Vec<PathBuf> {
        self.with(|inner| inner.names.keys().cloned().collect())
    }
}

impl Disk for MemoryDisk {
    fn make_folder(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
        Ok(self.with(|inner| inner.names.keys().filter(|path| path.parent() == Some(folder)).map(name).collect()))
    }

    fn open(&self, path: &Path, create: bool) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.with(|inner| match (inner.names.get(path).copied(), create) {
            (Some(_), true) => Err(io::ErrorKind::AlreadyExists.into()),
            (None, false) => Err(io::Error::from(io::ErrorKind::NotFound)),
            (Some(file), false) => Ok(file),
            (None, true) => {
                inner.files.push(Contents::default());
                let file = inner.files.len() - 1;
                inner.names.insert(path.to_owned(), file);
                inner.name_changes.push(NameChange::Set(path.to_owned(), file));
                Ok(file)
            }
        })?;
        if create {
            self.happened(&Event::Made(path.to_owned()));
        }
        Ok(Arc::new(MemoryFile { disk: self.clone(), file }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.with(|inner| {
            let file = inner.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
            inner.names.insert(to.to_owned(), file);
            inner.name_changes.push(NameChange::Set(to.to_owned(), file));
            inner.name_changes.push(NameChange::Remove(from.to_owned()));
            Ok(())
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.with(|inner| {
            if inner.refuses_removals {
                return Err(io::Error::other("input/output error"));
            }
            inner.names.remove(path).ok_or(io::ErrorKind::NotFound)?;
            inner.name_changes.push(NameChange::Remove(path.to_owned()));
            Ok(())
        })?;
        self.happened(&Event::Removed(path.to_owned()));
        Ok(())
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        self.with(|inner| inner.names.retain(|name, _| !name.starts_with(path)));
        Ok(())
    }

    fn capacity_bytes(&self, _folder: &Path) -> Option<u64> {
        None
    }

    fn sync_folder(&self, _folder: &Path) -> io::Result<()> {
        self.with(|inner| {
            inner.syncs += 1;
            if inner.fails_this_sync() {
                return Err(io::Error::other("input/output error"));
            }
            inner.name_changes.clear();
            inner.durable_names = inner.names.clone();
            Ok(())
        })
    }
}

#[derive(Debug)]
struct MemoryFile {
    disk: MemoryDisk,
    file: usize,
}

impl DiskFile for MemoryFile {
    fn length(&self) -> io::Result<u64> {
        Ok(self.disk.with(|inner| inner.files[self.file].live.len() as u64))
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.disk.with(|inner| {
            let live = &inner.files[self.file].live;
            let from = live.len().min(offset as usize);
            let length = buffer.len().min(live.len() - from);
            buffer[..length].copy_from_slice(&live[from..from + length]);
            Ok(length)
        })
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.change(Change::Write(offset, bytes.to_vec()));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.with(|inner| {
            inner.syncs += 1;
            if inner.lies_about_syncs {
                return Ok(());
            }
            let (fails, forgets) = (inner.fails_this_sync(), inner.forgets_syncs_before_cuts);
            let file = &mut inner.files[self.file];
            if fails {
                file.unsynced.clear();
                return Err(io::Error::other("input/output error"));
            }
            file.before_sync = forgets.then(|| (file.durable.clone(), file.unsynced.clone()));
            for change in std::mem::take(&mut file.unsynced) {
                change.apply(&mut file.durable, usize::MAX);
            }
            Ok(())
        })
    }

    fn cut(&self, length: u64) -> io::Result<()> {
        self.change(Change::Cut(length));
        self.disk.happened(&Event::Cut);
        Ok(())
    }
}

impl MemoryFile {
    fn change(&self, change: Change) {
        self.disk.with(|inner| {
            let file = &mut inner.files[self.file];
            if let (Some((durable, unsynced)), Change::Cut(_)) = (file.before_sync.take(), &change) {
                (file.durable, file.unsynced) = (durable, unsynced);
            }
            change.apply(&mut file.live, usize::MAX);
            file.unsynced.push(change);
        });
    }
}
