//! One segment file of a trail: its head, its index, how long it is.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};

use crate::codec::frame::{self, Frame, FrameKind, SEAL_FRAME_BYTES};
use crate::codec::segment_head::{SEGMENT_HEAD_BYTES, SegmentHead};
use crate::record::Timestamp;
use crate::trail::local::disk::{Disk, DiskFile, read_full};
use crate::trail::local::index::SegmentIndex;
use crate::trail::local::scan::{ScanEnd, scan};

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

/// An open segment file, shared by the writer and all readers.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) head: SegmentHead,
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) path: PathBuf,
    state: RwLock<State>,
}

#[derive(Debug)]
struct State {
    seal: Option<Seal>,
    bytes: u64,
    index: Option<SegmentIndex>,
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

impl Segment {
    pub(super) fn new(
        head: SegmentHead,
        file: Arc<dyn DiskFile>,
        path: PathBuf,
        bytes: u64,
        seal: Option<Seal>,
    ) -> Self {
        Self { head, file, path, state: RwLock::new(State { seal, bytes, index: None }) }
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

    /// What the seal says, when the segment is closed.
    pub(super) fn seal(&self) -> Option<Seal> {
        self.read_state(|state| state.seal)
    }

    pub(super) fn set_bytes(&self, bytes: u64) {
        self.write_state(|state| state.bytes = bytes);
    }

    pub(super) fn set_seal(&self, seal: Option<Seal>) {
        self.write_state(|state| state.seal = seal);
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
    ) -> io::Result<R> {
        if self.read_state(|state| state.index.is_none()) {
            let index = match self.load_index(disk) {
                Some(index) => index,
                None => self.rebuild_index(keep_xids)?,
            };
            self.write_state(|state| {
                state.index.get_or_insert(index);
            });
        }
        Ok(self.write_state(|state| look(state.index.get_or_insert_default())))
    }

    fn index_path(&self) -> PathBuf {
        index_path(&self.path)
    }

    fn load_index(&self, disk: &dyn Disk) -> Option<SegmentIndex> {
        self.seal()?;
        let file = disk.open(&self.index_path(), false).ok()?;
        let mut bytes = vec![0; usize::try_from(file.length().ok()?).ok()?];
        let read = read_full(&*file, &mut bytes, 0).ok()?;
        SegmentIndex::decode(&bytes[..read], self.head.file_id)
    }

    fn rebuild_index(&self, keep_xids: bool) -> io::Result<SegmentIndex> {
        let mut index = SegmentIndex::default();
        let from = SEGMENT_HEAD_BYTES as u64;
        scan(&*self.file, self.head.file_id, from, self.bytes(), |at, frame| index.note(at, frame, keep_xids))?;
        Ok(index)
    }

    /// Writes the index of a closed segment beside it. It is only a hint: an error is no loss.
    pub(super) fn save_index(&self, disk: &dyn Disk) -> io::Result<()> {
        let bytes = self.read_state(|state| state.index.as_ref().map(|index| index.encode(self.head.file_id)));
        let Some(bytes) = bytes else { return Ok(()) };
        drop_index_file(disk, &self.path)?;
        disk.open(&self.index_path(), true)?.write_all_at(&bytes, 0)
    }

    /// Takes the index of a closed segment out of memory; it is in its file.
    pub(super) fn release_index(&self) {
        self.write_state(|state| state.index = None);
    }

    fn read_state<R>(&self, read: impl FnOnce(&State) -> R) -> R {
        read(&self.state.read().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    fn write_state<R>(&self, write: impl FnOnce(&mut State) -> R) -> R {
        write(&mut self.state.write().unwrap_or_else(std::sync::PoisonError::into_inner))
    }
}

fn index_path(segment: &Path) -> PathBuf {
    segment.with_extension("idx")
}

/// Removes the index file of the segment in that file; it may not be there.
pub(super) fn drop_index_file(disk: &dyn Disk, segment: &Path) -> io::Result<()> {
    match disk.remove(&index_path(segment)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Opens a segment's file and reads its head and, if it has one, its seal.
pub(super) fn open(disk: &dyn Disk, path: &Path) -> io::Result<Result<Segment, &'static str>> {
    let file = disk.open(path, false)?;
    let bytes = file.length()?;
    let mut head = [0; SEGMENT_HEAD_BYTES];
    let read = read_full(&*file, &mut head, 0)?;
    let Ok(head) = SegmentHead::decode(&head[..read]) else {
        return Ok(Err("segment head does not check"));
    };
    let seal = read_seal(&*file, bytes, head.file_id)?;
    Ok(Ok(Segment::new(head, file, path.to_owned(), bytes, seal)))
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
