//! One segment file of a trail: its head, its index, how long it is.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, RwLock};

use crate::codec::frame::{self, BadFrame, Frame, FrameKind, SEAL_FRAME_BYTES};
use crate::codec::segment_head::{BadSegmentHead, SEGMENT_HEAD_BYTES, SegmentHead};
use crate::limits::INDEX_MEMORY_BYTES_MAX;
use crate::record::Timestamp;
use crate::repeats::warn_rarely;
use crate::trail::Location;
use crate::trail::index::{SegmentIndex, Stamp};
use crate::trail::lately_used::LatelyUsed;
use crate::trail::local::ahead::data_end;
use crate::trail::local::disk::{Disk, DiskFile, read_full};
use crate::trail::local::segment_file::SegmentFile;
use crate::trail::scan::{ScanEnd, scan};
use crate::trail::xids::SegmentXids;

const INDEX_EXTENSION: &str = "idx";
const XIDS_EXTENSION: &str = "xid";

/// What a closed segment's last frame says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seal {
    /// Greatest commit time in the segment.
    pub(super) commit_ts_max: Timestamp,
    /// Whether a transaction goes on in the next segment.
    pub(super) ends_inside: bool,
    /// When the segment was closed.
    pub(super) closed_ts: Timestamp,
}

/// A segment, shared by the writer and all readers.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) head: SegmentHead,
    /// Its file, opened when it is used.
    pub(super) file: Arc<dyn DiskFile>,
    handle: Arc<SegmentFile>,
    pub(super) path: PathBuf,
    state: RwLock<State>,
    /// Held while an index is read from its file or rebuilt, so that two thousand seeks do it once.
    loading: Mutex<()>,
    /// Whether a rebuilt index is written beside the segment.
    saves_hints: bool,
}

#[derive(Debug)]
struct State {
    seal: Option<Seal>,
    /// Retention takes it: nothing is written beside it any more.
    leaves: bool,
    bytes: u64,
    /// The index while the segment is not closed. That of a closed one is in its file and, lately used, in [`LOOKED_UP`].
    index: Option<SegmentIndex>,
}

/// What a scan found, up to the first bad frame.
struct Rebuilt {
    index: SegmentIndex,
    xids: SegmentXids,
    end: ScanEnd,
}

impl Rebuilt {
    /// The index, unless the segment is closed and yet not whole: what lies behind damage must not be passed over in
    /// silence. The end of an open segment may be in the making.
    fn whole(self, closed: bool) -> Result<SegmentIndex, NoIndex> {
        match self.end.bad {
            Some(bad) if closed => Err(NoIndex::Damaged { offset: self.end.offset, bad }),
            _ => Ok(self.index),
        }
    }
}

/// Why there is no index of a segment.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoIndex {
    /// The file system refused.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// There is no index file, and the segment is damaged.
    #[error("damaged at byte {offset}: {bad}")]
    Damaged {
        /// Where.
        offset: u64,
        /// What is wrong there.
        bad: BadFrame,
    },
}

/// Indexes of closed segments that were used lately, of all trails.
static LOOKED_UP: LazyLock<Mutex<LatelyUsed<Arc<SegmentIndex>>>> =
    LazyLock::new(|| Mutex::new(LatelyUsed::new(INDEX_MEMORY_BYTES_MAX)));

fn looked_up() -> MutexGuard<'static, LatelyUsed<Arc<SegmentIndex>>> {
    LOOKED_UP.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The name of a segment's file.
pub(super) fn file_name(segment: u64) -> String {
    format!("{segment:016}.seg")
}

/// The number in a segment's file name.
pub(super) fn number_of(file_name: &str) -> Option<u64> {
    let digits = file_name.strip_suffix(".seg")?;
    if digits.len() == 16 { digits.parse().ok() } else { None }
}

/// The files beside a closed segment, as bytes.
struct Hints {
    index: Vec<u8>,
    xids: Option<Vec<u8>>,
}

impl Hints {
    fn of(stamp: &Stamp, index: &SegmentIndex, xids: Option<&SegmentXids>) -> Self {
        Self { index: index.encode(stamp), xids: xids.map(|xids| xids.encode(stamp)) }
    }
}

impl Segment {
    /// A new, open segment with its index; its file is open already.
    pub(super) fn new(
        head: SegmentHead,
        disk: Arc<dyn Disk>,
        file: Arc<dyn DiskFile>,
        path: PathBuf,
        bytes: u64,
        index: SegmentIndex,
    ) -> Self {
        let handle = SegmentFile::held(disk, &path, file);
        Self::with_state(head, handle, path, State { seal: None, leaves: false, bytes, index: Some(index) }, true)
    }

    fn with_state(head: SegmentHead, handle: SegmentFile, path: PathBuf, state: State, saves_hints: bool) -> Self {
        handle.belongs_to(head.file_id);
        let handle = Arc::new(handle);
        Self {
            head,
            file: handle.clone(),
            handle,
            path,
            state: RwLock::new(state),
            loading: Mutex::new(()),
            saves_hints,
        }
    }

    /// Number of the segment.
    pub(super) fn number(&self) -> u64 {
        self.head.segment
    }

    /// Byte of the first frame that is not a repeated one.
    pub(super) fn first_own(&self) -> u64 {
        SEGMENT_HEAD_BYTES as u64 + u64::from(self.head.repeated_bytes)
    }

    /// Bytes written so far.
    pub(super) fn bytes(&self) -> u64 {
        self.read_state(|state| state.bytes)
    }

    /// Those of them that are not its head and what is repeated there.
    pub(super) fn own_bytes(&self) -> u64 {
        self.bytes().saturating_sub(self.first_own())
    }

    /// Where the data of an open segment's file of `length` bytes ends whose last whole frame ends at byte `whole`. Up to
    /// `noted` something was durable: zeros below it are no room kept for data but damage.
    pub(super) fn data_end(&self, whole: u64, length: u64, noted: Option<Location>) -> io::Result<u64> {
        let noted = noted.filter(|noted| noted.segment == self.number()).map_or(0, |noted| noted.offset.min(length));
        Ok(data_end(&*self.file, whole, length)?.max(noted))
    }

    /// What the seal says, when the segment is closed.
    pub(super) fn seal(&self) -> Option<Seal> {
        self.read_state(|state| state.seal)
    }

    pub(super) fn set_bytes(&self, bytes: u64) {
        self.write_state(|state| state.bytes = bytes);
    }

    pub(super) fn set_seal(&self, seal: Seal) {
        self.write_state(|state| state.seal = Some(seal));
    }

    /// Retention is about to remove its files: from here on no seek writes an index beside it.
    pub(super) fn leave(&self) {
        self.write_state(|state| state.leaves = true);
    }

    pub(super) fn set_index(&self, index: SegmentIndex) {
        self.write_state(|state| state.index = Some(index));
    }

    /// Changes the index of the segment that is being written.
    pub(super) fn change_index<R>(&self, change: impl FnOnce(&mut SegmentIndex) -> R) -> R {
        self.write_state(|state| change(state.index.get_or_insert_default()))
    }

    /// Looks something up in the index, which is read from its file, or rebuilt, when it is not in memory.
    pub(super) fn with_index<R>(
        &self,
        disk: &dyn Disk,
        keep_xids: bool,
        look: impl FnOnce(&SegmentIndex) -> R,
    ) -> Result<R, NoIndex> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(index) = &state.index {
            return Ok(look(index));
        }
        drop(state);
        self.index_at_hand(disk, keep_xids).map(|index| look(&index))
    }

    fn index_at_hand(&self, disk: &dyn Disk, keep_xids: bool) -> Result<Arc<SegmentIndex>, NoIndex> {
        if let Some(index) = looked_up().get(self.handle.id()) {
            return Ok(index);
        }
        let _one_at_a_time = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(index) = looked_up().get(self.handle.id()) {
            return Ok(index);
        }
        let index = match self.load_index(disk) {
            Some(index) => index,
            None => self.rebuild_and_save(disk, keep_xids)?.whole(self.seal().is_some())?,
        };
        let index = Arc::new(index);
        if self.seal().is_some() {
            let gone = looked_up().put(self.handle.id(), index.clone(), index.memory_bytes());
            drop(gone);
        } else {
            // Nobody writes it, or it would be there: it is looked at from another process.
            self.write_state(|state| state.index.get_or_insert_with(|| (*index).clone()).memory_bytes());
        }
        Ok(index)
    }

    /// The transaction ids that end in the segment.
    pub(super) fn xids(&self, disk: &dyn Disk) -> io::Result<SegmentXids> {
        if let Some(xids) = self.read_state(|state| state.index.as_ref().map(|index| index.xids().clone())) {
            return Ok(xids);
        }
        let _one_at_a_time = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        let loaded = self.stamp().and_then(|stamp| SegmentXids::decode(&read_file(disk, &self.xids_path())?, &stamp));
        match loaded {
            Some(xids) => Ok(xids),
            None => Ok(self.rebuild_and_save(disk, true)?.xids),
        }
    }

    /// Opens a closed segment again, to be cut: holds its file, takes its index into memory, forgets its seal.
    pub(super) fn reopen(&self, disk: &dyn Disk, keep_xids: bool) -> io::Result<()> {
        self.handle.hold()?;
        if self.read_state(|state| state.index.is_none()) {
            let mut index = (*self.index_at_hand(disk, keep_xids).map_err(io::Error::other)?).clone();
            if keep_xids {
                index.set_xids(self.xids(disk)?);
            }
            self.set_index(index);
        }
        // From here on no seek writes an index beside it, nor keeps one that it has just read.
        let _one_at_a_time = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        self.write_state(|state| state.seal = None);
        looked_up().remove(self.handle.id());
        Ok(())
    }

    fn index_path(&self) -> PathBuf {
        self.path.with_extension(INDEX_EXTENSION)
    }

    fn xids_path(&self) -> PathBuf {
        self.path.with_extension(XIDS_EXTENSION)
    }

    fn stamp(&self) -> Option<Stamp> {
        self.read_state(|state| stamp_of(&self.head, state))
    }

    fn load_index(&self, disk: &dyn Disk) -> Option<SegmentIndex> {
        let stamp = self.stamp()?;
        SegmentIndex::decode(&read_file(disk, &self.index_path())?, &stamp)
    }

    /// Whoever calls holds the lock on loading, which keeps the seal in place while its files are written: whoever opens the
    /// segment again removes them. The state is not locked meanwhile, for it is looked at by many.
    fn rebuild_and_save(&self, disk: &dyn Disk, keep_xids: bool) -> io::Result<Rebuilt> {
        let mut index = SegmentIndex::default();
        let from = SEGMENT_HEAD_BYTES as u64;
        let end = scan(&*self.file, self.head.file_id, from, self.bytes(), |at, frame| {
            index.note(at, frame, keep_xids);
        })?;
        let xids = index.take_xids();
        if self.saves_hints
            && end.bad.is_none()
            && let Some(stamp) = self.stamp()
            && let Err(error) = self.save(disk, &Hints::of(&stamp, &index, keep_xids.then_some(&xids)))
        {
            let segment = self.path.display().to_string();
            warn_rarely!(&segment, segment, %error, "rebuilt index not written");
        }
        Ok(Rebuilt { index, xids, end })
    }

    /// Writes the index of a closed segment beside it and takes it out of memory. It is only a hint: an error is no loss.
    pub(super) fn save_index(&self, disk: &dyn Disk, keep_xids: bool) -> io::Result<()> {
        let _one_at_a_time = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        let hints = self.read_state(|state| {
            let (stamp, index) = stamp_of(&self.head, state).zip(state.index.as_ref())?;
            Some(Hints::of(&stamp, index, keep_xids.then(|| index.xids())))
        });
        let saved = hints.map_or(Ok(()), |hints| self.save(disk, &hints));
        let index = self.write_state(|state| state.index.take());
        drop(index);
        self.handle.release();
        saved
    }

    /// The open file, to be kept by a reader: it can then read on when the segment is removed.
    pub(super) fn open_file(&self) -> io::Result<Arc<dyn DiskFile>> {
        self.handle.get()
    }

    fn save(&self, disk: &dyn Disk, hints: &Hints) -> io::Result<()> {
        drop_index_file(disk, &self.path)?;
        disk.open(&self.index_path(), true)?.write_all_at(&hints.index, 0)?;
        match &hints.xids {
            Some(xids) => disk.open(&self.xids_path(), true)?.write_all_at(xids, 0),
            None => Ok(()),
        }
    }

    fn read_state<R>(&self, read: impl FnOnce(&State) -> R) -> R {
        read(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write_state<R>(&self, write: impl FnOnce(&mut State) -> R) -> R {
        write(&mut self.state.write().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        let index = looked_up().remove(self.handle.id());
        drop(index);
    }
}

fn stamp_of(head: &SegmentHead, state: &State) -> Option<Stamp> {
    state.seal.filter(|_| !state.leaves).map(|seal| Stamp {
        file_id: head.file_id,
        bytes: state.bytes,
        closed_ts: seal.closed_ts,
    })
}

fn read_file(disk: &dyn Disk, path: &Path) -> Option<Vec<u8>> {
    let file = disk.open(path, false).ok()?;
    let mut bytes = vec![0; usize::try_from(file.length().ok()?).ok()?];
    let read = read_full(&*file, &mut bytes, 0).ok()?;
    bytes.truncate(read);
    Some(bytes)
}

/// Removes the files of hints beside the segment in that file; they may not be there.
pub(super) fn drop_index_file(disk: &dyn Disk, segment: &Path) -> io::Result<()> {
    for extension in [INDEX_EXTENSION, XIDS_EXTENSION] {
        match disk.remove(&segment.with_extension(extension)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Reads a segment's head and, if it has one, its seal. `saves_hints`: an index that has to be rebuilt is written.
pub(super) fn open(
    disk: &Arc<dyn Disk>,
    path: &Path,
    saves_hints: bool,
) -> io::Result<Result<Segment, BadSegmentHead>> {
    let handle = SegmentFile::closed(disk.clone(), path);
    let file = handle.get()?;
    let bytes = file.length()?;
    let head = match read_head(&*file)? {
        Ok(head) => head,
        Err(bad) => return Ok(Err(bad)),
    };
    let seal = read_seal(&*file, bytes, head.file_id)?;
    if seal.is_none() {
        handle.hold()?;
    }
    let state = State { seal, leaves: false, bytes, index: None };
    Ok(Ok(Segment::with_state(head, handle, path.to_owned(), state, saves_hints)))
}

/// Reads a segment's head.
pub(super) fn read_head(file: &dyn DiskFile) -> io::Result<Result<SegmentHead, BadSegmentHead>> {
    let mut head = [0; SEGMENT_HEAD_BYTES];
    let read = read_full(file, &mut head, 0)?;
    Ok(SegmentHead::decode(&head[..read]))
}

pub(super) fn read_seal(file: &dyn DiskFile, bytes: u64, file_id: u64) -> io::Result<Option<Seal>> {
    let Some(at) = bytes.checked_sub(SEAL_FRAME_BYTES as u64) else { return Ok(None) };
    let mut buffer = [0; SEAL_FRAME_BYTES];
    let read = read_full(file, &mut buffer, at)?;
    Ok(frame::read(&buffer[..read], file_id).ok().and_then(|frame| seal_of(&frame)))
}

/// What a seal frame says.
pub(super) fn seal_of(frame: &Frame<'_>) -> Option<Seal> {
    if frame.header.kind != FrameKind::Seal {
        return None;
    }
    let [time, flags] = frame::read_numbers(frame.payload).ok()?;
    Some(Seal {
        commit_ts_max: Timestamp::from_micros(time.cast_signed()),
        ends_inside: flags & 1 != 0,
        closed_ts: frame.header.append_ts,
    })
}

/// Reads the repeated frames of a segment's head, and checks them.
pub(super) fn read_repeated(segment: &Segment, each: impl FnMut(u64, &Frame<'_>)) -> io::Result<ScanEnd> {
    scan(&*segment.file, segment.head.file_id, SEGMENT_HEAD_BYTES as u64, segment.first_own(), each)
}
