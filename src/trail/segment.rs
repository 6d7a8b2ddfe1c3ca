//! One segment of a trail: its head, its seal, its index, how long it is.
//!
//! Owns what is in memory of it, and the rule that an index is read from its hint or rebuilt, once. Where its bytes and hints
//! lie is `store`'s.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, RwLock};

use crate::codec::frame::{self, BadFrame, Frame, FrameKind, SEAL_FRAME_BYTES};
use crate::codec::segment_head::{BadSegmentHead, SEGMENT_HEAD_BYTES, SegmentHead};
use crate::limits::{INDEX_MEMORY_BYTES_MAX, PARTITION_PLACES_MEMORY_BYTES_MAX};
use crate::record::Timestamp;
use crate::repeats::warn_rarely;
use crate::trail::hint::{Hint, Stamp};
use crate::trail::index::SegmentIndex;
use crate::trail::lru::Lru;
use crate::trail::partition_places::PartitionPlaces;
use crate::trail::scan::{ReadBytes, ScanEnd, scan};
use crate::trail::store::{SegmentBytes, StoredSegment};
use crate::trail::xids::SegmentXids;

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
    /// Its bytes, opened when they are read.
    pub(super) bytes: SegmentBytes,
    /// Where they lie.
    pub(super) stored: StoredSegment,
    /// A number that no other segment of this process has.
    id: u64,
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
    places: Option<PartitionPlaces>,
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
static LOOKED_UP: LazyLock<Mutex<Lru<Arc<SegmentIndex>>>> =
    LazyLock::new(|| Mutex::new(Lru::new(INDEX_MEMORY_BYTES_MAX)));

fn looked_up() -> MutexGuard<'static, Lru<Arc<SegmentIndex>>> {
    LOOKED_UP.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where the partitions of closed segments lie that were read lately, of all trails.
static LOOKED_UP_PLACES: LazyLock<Mutex<Lru<Arc<PartitionPlaces>>>> =
    LazyLock::new(|| Mutex::new(Lru::new(PARTITION_PLACES_MEMORY_BYTES_MAX)));

fn looked_up_places() -> MutexGuard<'static, Lru<Arc<PartitionPlaces>>> {
    LOOKED_UP_PLACES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The hints of a closed segment.
fn hints(
    stamp: &Stamp,
    index: &SegmentIndex,
    places: Option<&PartitionPlaces>,
    xids: Option<&SegmentXids>,
) -> Vec<(Hint, Vec<u8>)> {
    let places = places.map(|places| (Hint::Partitions, places.encode(stamp)));
    let xids = xids.map(|xids| (Hint::Xids, xids.encode(stamp)));
    std::iter::once((Hint::Index, index.encode(stamp))).chain(places).chain(xids).collect()
}

impl Segment {
    /// A new segment, which is written, with its index.
    pub(super) fn new(head: SegmentHead, stored: StoredSegment, bytes: u64, index: SegmentIndex) -> Self {
        Self::with_state(head, stored, State { seal: None, leaves: false, bytes, index: Some(index) }, true)
    }

    /// A segment that is there already, of that many bytes. `saves_hints`: an index that has to be rebuilt is kept.
    pub(super) fn found(head: SegmentHead, stored: StoredSegment, bytes: u64, saves_hints: bool) -> io::Result<Self> {
        let seal = read_seal(&stored.bytes(), bytes, head.file_id)?;
        if seal.is_none() {
            stored.opened()?;
        }
        Ok(Self::with_state(head, stored, State { seal, leaves: false, bytes, index: None }, saves_hints))
    }

    fn with_state(head: SegmentHead, stored: StoredSegment, state: State, saves_hints: bool) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self {
            head,
            bytes: stored.bytes(),
            stored,
            id: NEXT.fetch_add(1, Ordering::Relaxed),
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

    /// Commit number of the first transaction that begins in it, or behind it when none does.
    pub(super) fn first_commit(&self) -> u64 {
        self.head.next_commit + u64::from(self.head.inside)
    }

    /// Bytes written so far.
    pub(super) fn length(&self) -> u64 {
        self.read_state(|state| state.bytes)
    }

    /// Those of them that are not its head and what is repeated there.
    pub(super) fn own_bytes(&self) -> u64 {
        self.length().saturating_sub(self.first_own())
    }

    /// What the seal says, when the segment is closed.
    pub(super) fn seal(&self) -> Option<Seal> {
        self.read_state(|state| state.seal)
    }

    pub(super) fn set_length(&self, bytes: u64) {
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
    pub(super) fn with_index<R>(&self, keep_xids: bool, look: impl FnOnce(&SegmentIndex) -> R) -> Result<R, NoIndex> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(index) = &state.index {
            return Ok(look(index));
        }
        drop(state);
        self.index_at_hand(keep_xids).map(|index| look(&index))
    }

    fn index_at_hand(&self, keep_xids: bool) -> Result<Arc<SegmentIndex>, NoIndex> {
        if let Some(index) = looked_up().get(self.id) {
            return Ok(index);
        }
        let _one_at_a_time = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(index) = looked_up().get(self.id) {
            return Ok(index);
        }
        let index = match self.load_index() {
            Some(index) => index,
            None => self.rebuild_and_save(keep_xids, false)?.whole(self.seal().is_some())?,
        };
        let index = Arc::new(index);
        if self.seal().is_some() {
            let gone = looked_up().put(self.id, index.clone(), index.memory_bytes());
            drop(gone);
        } else {
            // Nobody writes it, or it would be there: it is looked at from another process.
            self.write_state(|state| state.index.get_or_insert_with(|| (*index).clone()).memory_bytes());
        }
        Ok(index)
    }

    /// Looks up where the frames of partitions lie; of a closed segment that is read from its hint, or found out anew. None where
    /// it is not known: all of it is to be read.
    pub(super) fn with_places<R>(
        &self,
        keep_xids: bool,
        look: impl FnOnce(&PartitionPlaces) -> R,
    ) -> Result<Option<R>, NoIndex> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(index) = &state.index {
            return Ok(index.places().map(look));
        }
        let is_closed = state.seal.is_some();
        drop(state);
        if !is_closed {
            return Ok(None);
        }
        self.places_at_hand(keep_xids).map(|places| places.map(|places| look(&places)))
    }

    /// The same of a segment that is written.
    pub(super) fn with_open_places<R>(&self, look: impl FnOnce(&PartitionPlaces) -> R) -> Option<R> {
        self.read_state(|state| state.index.as_ref().and_then(SegmentIndex::places).map(look))
    }

    fn places_at_hand(&self, keep_xids: bool) -> Result<Option<Arc<PartitionPlaces>>, NoIndex> {
        if let Some(places) = looked_up_places().get(self.id) {
            return Ok(Some(places));
        }
        let _one_at_a_time = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(places) = looked_up_places().get(self.id) {
            return Ok(Some(places));
        }
        let Some(stamp) = self.stamp() else { return Ok(None) };
        let kept = self.stored.hint(Hint::Partitions).and_then(|bytes| PartitionPlaces::decode(&bytes, &stamp));
        let places = match kept {
            Some(places) => Some(places),
            None => {
                let mut rebuilt = self.rebuild_and_save(keep_xids, true)?;
                let places = rebuilt.places.take();
                rebuilt.whole(true)?;
                places
            }
        };
        let places = places.map(Arc::new);
        if let Some(places) = &places {
            let gone = looked_up_places().put(self.id, places.clone(), places.memory_bytes());
            drop(gone);
        }
        Ok(places)
    }

    /// The transaction ids that end in the segment.
    pub(super) fn xids(&self) -> io::Result<SegmentXids> {
        if let Some(xids) = self.read_state(|state| state.index.as_ref().map(|index| index.xids().clone())) {
            return Ok(xids);
        }
        let _one_at_a_time = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        let loaded = self.stamp().and_then(|stamp| SegmentXids::decode(&self.stored.hint(Hint::Xids)?, &stamp));
        match loaded {
            Some(xids) => Ok(xids),
            None => Ok(self.rebuild_and_save(true, false)?.xids),
        }
    }

    /// Opens a closed segment again, to be cut: holds its file, takes its index into memory, forgets its seal.
    pub(super) fn reopen(&self, keep_xids: bool) -> io::Result<()> {
        self.stored.opened()?;
        if self.read_state(|state| state.index.is_none()) {
            let mut index = (*self.index_at_hand(keep_xids).map_err(io::Error::other)?).clone();
            if keep_xids {
                index.set_xids(self.xids()?);
            }
            self.set_index(index);
        }
        // From here on no seek writes an index beside it, nor keeps one that it has just read.
        let _one_at_a_time = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        self.write_state(|state| state.seal = None);
        looked_up().remove(self.id);
        looked_up_places().remove(self.id);
        Ok(())
    }

    fn stamp(&self) -> Option<Stamp> {
        self.read_state(|state| stamp_of(&self.head, state))
    }

    fn load_index(&self) -> Option<SegmentIndex> {
        let stamp = self.stamp()?;
        SegmentIndex::decode(&self.stored.hint(Hint::Index)?, &stamp)
    }

    /// Whoever calls holds the lock on loading, which keeps the seal in place while its files are written: whoever opens the
    /// segment again removes them. The state is not locked meanwhile, for it is looked at by many.
    fn rebuild_and_save(&self, keep_xids: bool, places: bool) -> io::Result<Rebuilt> {
        let mut index = SegmentIndex::new(places);
        let from = SEGMENT_HEAD_BYTES as u64;
        let end = scan(&self.bytes, self.head.file_id, from, self.length(), |at, frame| {
            index.note(at, frame, keep_xids);
        })?;
        let xids = index.take_xids();
        index.close();
        let places = index.take_places();
        if self.saves_hints
            && end.bad.is_none()
            && let Some(stamp) = self.stamp()
            && let Err(error) =
                self.stored.keep_hints(&hints(&stamp, &index, places.as_ref(), keep_xids.then_some(&xids)))
        {
            let segment = self.stored.name();
            warn_rarely!(&segment, segment, %error, "rebuilt index not written");
        }
        Ok(Rebuilt { index, xids, places, end })
    }

    /// Keeps the index of a closed segment as a hint and takes it out of memory: an error is no loss.
    pub(super) fn save_index(&self, keep_xids: bool) -> io::Result<()> {
        let _one_at_a_time = self.loading.lock().unwrap_or_else(PoisonError::into_inner);
        let hints = self.read_state(|state| {
            let (stamp, index) = stamp_of(&self.head, state).zip(state.index.as_ref())?;
            Some(hints(&stamp, index, index.places(), keep_xids.then(|| index.xids())))
        });
        let saved = hints.map_or(Ok(()), |hints| self.stored.keep_hints(&hints));
        let index = self.write_state(|state| state.index.take());
        drop(index);
        self.stored.closed();
        saved
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
        let index = looked_up().remove(self.id);
        drop(index);
        let places = looked_up_places().remove(self.id);
        drop(places);
    }
}

fn stamp_of(head: &SegmentHead, state: &State) -> Option<Stamp> {
    state.seal.filter(|_| !state.leaves).map(|seal| Stamp {
        file_id: head.file_id,
        bytes: state.bytes,
        closed_ts: seal.closed_ts,
    })
}

/// Reads a segment's head.
pub(super) fn read_head(bytes: &(impl ReadBytes + ?Sized)) -> io::Result<Result<SegmentHead, BadSegmentHead>> {
    let mut head = [0; SEGMENT_HEAD_BYTES];
    let read = bytes.read_full(&mut head, 0)?;
    Ok(SegmentHead::decode(&head[..read]))
}

/// What the seal says of a segment of that length, if it ends with one.
pub(super) fn read_seal(bytes: &(impl ReadBytes + ?Sized), length: u64, file_id: u64) -> io::Result<Option<Seal>> {
    let Some(at) = length.checked_sub(SEAL_FRAME_BYTES as u64) else { return Ok(None) };
    let mut buffer = [0; SEAL_FRAME_BYTES];
    let read = bytes.read_full(&mut buffer, at)?;
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
    scan(&segment.bytes, segment.head.file_id, SEGMENT_HEAD_BYTES as u64, segment.first_own(), each)
}
