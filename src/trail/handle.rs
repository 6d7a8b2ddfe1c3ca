//! The handle that everything else holds: a trail's description, its segments, its durable mark, who has its end.
//!
//! Owns what all parts of an open trail share. What opening does is `recovery`'s, how frames get to the end `appender`'s and
//! `writer`'s, where reading starts and how it goes on `seek`'s and `reader`'s.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use crate::clock::SharedClock;
use crate::codec::segment_head::SEGMENT_VERSION;
use crate::record::{Epoch, SourceIdentity, TableSchema, Timestamp, TrailName};
use crate::trail::local::description;
use crate::trail::local::disk::{Disk, DiskFile};
use crate::trail::local::door::Door;
use crate::trail::local::{mark_file, recovery};
use crate::trail::recent::Recent;
use crate::trail::retention::Leaving;
use crate::trail::segment::{self, Segment};
use crate::trail::tail::Tail;
use crate::trail::work::{TrailWork, Work};
use crate::trail::{Appender, Damage, DurableMark, Location, OpenError, ReadError, TrailDescription, Writer, appender};

/// What a trail may be told beyond its name.
#[derive(Debug, Clone)]
pub struct TrailOptions {
    /// Size at which a segment is closed, in bytes.
    pub segment_bytes: u64,
}

impl Default for TrailOptions {
    fn default() -> Self {
        Self { segment_bytes: crate::limits::SEGMENT_BYTES_DEFAULT }
    }
}

/// A trail's figures, for people and metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrailStatus {
    /// Segments on disk.
    pub segments: usize,
    /// Bytes of its segments' data, without indexes and the zeros that are written ahead.
    pub bytes: u64,
    /// Commit number of the first transaction kept; one more than the last when there is none.
    pub first_commit: u64,
    /// Commit number of the last durable transaction.
    pub last_commit: u64,
    /// Commit time of the last durable transaction.
    pub last_commit_ts: Timestamp,
    /// What it has done since it was opened.
    pub work: TrailWork,
    /// Whether the writer has stopped because the disk was full, which passes by itself.
    pub disk_full: bool,
    /// Why the trail has stopped, if it has: damage, or a failed write or flush.
    pub stopped: Option<String>,
}

/// A trail. Cheap to clone; all clones are one trail.
#[derive(Debug, Clone)]
pub struct Trail {
    pub(super) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) description: TrailDescription,
    pub(super) folder: PathBuf,
    /// The way to its folder, by whatever goes by path.
    pub(super) disk: Arc<dyn Disk>,
    /// The same, to close it.
    pub(super) door: Arc<Door>,
    pub(super) clock: SharedClock,
    pub(super) segments: RwLock<Vec<Arc<Segment>>>,
    /// What retention has taken out of the trail and not yet removed from the disk for good.
    pub(super) leaving: Mutex<Option<Leaving>>,
    pub(super) mark: watch::Sender<DurableMark>,
    pub(super) source: SourceIdentity,
    pub(super) recent: Recent,
    /// The schema of the table that its messages are shown as.
    pub(super) messages: Arc<TableSchema>,
    /// Where the mark is written for other processes; none in a trail that is only looked at.
    pub(super) mark_file: Option<Arc<dyn DiskFile>>,
    /// Held to look and to swap, never while the disk is waited for.
    pub(super) end: Mutex<End>,
    /// Told when an appender's writer has given the end back, in whatever state.
    pub(super) given_back: Notify,
    /// The first damage that was met. From then on the trail takes no appends and no new readers.
    pub(super) damaged: OnceLock<Damage>,
    /// Set when `trail.json` says that there are segments of the version that we make.
    pub(super) format_raised: OnceLock<()>,
    pub(super) work: Work,
}

/// Who holds the end of the trail, where appending goes on.
#[derive(Debug)]
pub(super) enum End {
    /// Nobody appends.
    Free(Box<Tail>),
    /// An appender and its writer thread have it.
    Taken,
    /// The writer failed; the next appender first cuts back to the durable mark.
    Failed {
        /// What the system said.
        reason: String,
        /// Whether the disk was full, which may pass.
        disk_full: bool,
        /// Somebody is cutting back. That takes as long as the disk does, and the lock is not held meanwhile.
        recovering: bool,
    },
}

impl Trail {
    /// Makes a new trail in `folder`, which must not hold one.
    pub fn create(
        folder: &Path,
        name: TrailName,
        writer: Writer,
        options: &TrailOptions,
        disk: Arc<dyn Disk>,
        clock: SharedClock,
    ) -> Result<Self, OpenError> {
        let description = description::new(folder, name, writer, options, clock.now())?;
        recovery::create(description, folder, disk.clone(), clock.clone())?;
        Self::open(folder, disk, clock)
    }

    /// Opens the trail in `folder`: recovers its end, flushes what it keeps.
    pub fn open(folder: &Path, disk: Arc<dyn Disk>, clock: SharedClock) -> Result<Self, OpenError> {
        recovery::open(folder, disk, clock).map(|shared| Self { shared: Arc::new(shared) })
    }

    /// What the trail's folder says of it.
    pub fn description(&self) -> &TrailDescription {
        &self.shared.description
    }

    /// The trail's name.
    pub fn name(&self) -> &TrailName {
        &self.shared.description.name
    }

    /// The trail's epoch.
    pub fn epoch(&self) -> Epoch {
        self.shared.description.epoch
    }

    /// Who the source is, as soon as that is known.
    pub fn source_identity(&self) -> &SourceIdentity {
        &self.shared.source
    }

    /// The durable mark, and a way to wait for it to move.
    pub fn durable(&self) -> watch::Receiver<DurableMark> {
        self.shared.mark.subscribe()
    }

    /// The byte after the last durable transaction.
    pub fn durable_end(&self) -> Location {
        self.shared.mark.borrow().end
    }

    /// Takes the writing end. There is one; it is free again when the appender is dropped and its writer has finished.
    /// Blocks while a trail whose writer had failed is recovered: not for a thread that serves others, see
    /// [`Self::appender_async`].
    pub fn appender(&self) -> Result<Appender, OpenError> {
        appender::start(&self.shared)
    }

    /// The same on a thread that may block. An end that its last holder is about to give back is waited for, a little.
    pub async fn appender_async(&self) -> Result<Appender, OpenError> {
        let patience = Duration::from_millis(crate::limits::TRAIL_END_MILLIS_MAX);
        let deadline = tokio::time::Instant::now() + patience;
        loop {
            let given_back = self.shared.given_back.notified();
            tokio::pin!(given_back);
            given_back.as_mut().enable();
            let shared = self.shared.clone();
            let taken = tokio::task::spawn_blocking(move || appender::start(&shared)).await;
            let taken = taken.unwrap_or_else(|error| {
                let trail = self.name().to_string();
                Err(OpenError::Io { trail, action: "taking its end", source: std::io::Error::other(error) })
            });
            match taken {
                Err(OpenError::WriterTaken { .. }) if tokio::time::Instant::now() < deadline => {
                    let _ = tokio::time::timeout_at(deadline, given_back).await;
                }
                taken => return taken,
            }
        }
    }

    /// Its figures.
    pub fn status(&self) -> TrailStatus {
        let mark = self.shared.mark.borrow().clone();
        let (failed, disk_full) = match &*self.shared.lock_end() {
            End::Failed { reason, disk_full, .. } => (Some(reason.clone()), *disk_full),
            End::Free(_) | End::Taken => (None, false),
        };
        let stopped = self.shared.damaged.get().map(ToString::to_string).or(failed);
        TrailStatus {
            segments: self.shared.segments().len(),
            bytes: self.shared.segments().iter().map(|segment| segment.bytes()).sum(),
            first_commit: self.shared.first_commit(),
            last_commit: mark.commit,
            last_commit_ts: mark.commit_ts,
            work: self.shared.work.snapshot(),
            disk_full,
            stopped,
        }
    }

    /// Bytes from a place to the durable mark: what a reader there has still to read. Segments count whole, with what
    /// frames them.
    pub fn bytes_behind(&self, place: Location) -> u64 {
        let end = self.shared.mark.borrow().end;
        if place >= end {
            return 0;
        }
        let segments = self.shared.segments();
        let between = segments.iter().filter(|segment| (place.segment..end.segment).contains(&segment.number()));
        let whole: u64 = between.map(|segment| segment.bytes()).sum();
        let first = segments.first().map_or(0, |segment| segment.number());
        // Of a segment that is gone nothing is left to read.
        let passed = if place.segment >= first { place.offset } else { 0 };
        (whole + end.offset).saturating_sub(passed)
    }

    /// Lets `delete` take the trail's folder away while nobody is at it. If that works, no clone of this handle reaches
    /// the folder's path any more, whatever is made there; readers keep the files that they have open.
    pub fn delete<R>(&self, delete: impl FnOnce() -> std::io::Result<R>) -> std::io::Result<R> {
        self.shared.door.close(delete)
    }

    /// Whether its folder has been deleted.
    pub fn is_deleted(&self) -> bool {
        self.shared.door.is_closed()
    }
}

impl Shared {
    pub(super) fn segments(&self) -> Vec<Arc<Segment>> {
        self.segments.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Looks at the segments, the oldest first.
    pub(super) fn with_segments<R>(&self, look: impl FnOnce(&[Arc<Segment>]) -> R) -> R {
        look(&self.segments.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn segment(&self, number: u64) -> Option<Arc<Segment>> {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        let first = segments.first()?.number();
        let at = usize::try_from(number.checked_sub(first)?).ok()?;
        segments.get(at).cloned()
    }

    pub(super) fn change_segments(&self, change: impl FnOnce(&mut Vec<Arc<Segment>>)) {
        change(&mut self.segments.write().unwrap_or_else(PoisonError::into_inner));
    }

    pub(super) fn undamaged(&self) -> Result<(), Damage> {
        self.damaged.get().map_or(Ok(()), |damage| Err(damage.clone()))
    }

    pub(super) fn lock_end(&self) -> std::sync::MutexGuard<'_, End> {
        self.end.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Commit number of the first transaction that begins in what is kept.
    pub(super) fn first_commit(&self) -> u64 {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        segments.first().map_or(1, |segment| segment.head.next_commit + u64::from(segment.head.inside))
    }

    /// Moves the durable mark, here and for other processes.
    pub(super) fn publish(&self, mark: DurableMark) {
        // Readers first: nobody who waits for a record waits for the file, too.
        self.mark.send_replace(mark.clone());
        let written = self.mark_file.as_ref().map(|file| mark_file::write(&**file, self.description.epoch, &mark));
        if let Some(Err(error)) = written {
            tracing::debug!(trail = %self.description.name, %error, "mark.bin not written; who looks sees a little less");
        }
    }

    /// Sees to it, before the first segment of a newer version gets its name, that `trail.json` says so: a program that does
    /// not know that version must not take it for damage.
    pub(super) fn raise_format(&self) -> std::io::Result<()> {
        if self.description.format >= SEGMENT_VERSION || self.format_raised.get().is_some() {
            return Ok(());
        }
        let raised = TrailDescription { format: SEGMENT_VERSION, ..self.description.clone() };
        description::write_draft(&self.folder, &raised, &*self.disk)
            .and_then(|()| description::put_in_force(&self.folder, &*self.disk))
            .map_err(|error| match error {
                OpenError::Io { source, .. } => source,
                other => std::io::Error::other(other),
            })?;
        self.format_raised.get_or_init(|| ());
        Ok(())
    }

    pub(super) fn keeps_xids(&self) -> bool {
        self.description.writer == Writer::Puts
    }

    /// Why a segment's file could not be read: retention has taken it, here or in the server whose trail is looked at, or
    /// something is wrong.
    pub(super) fn segment_failure(&self, segment: u64, error: &std::io::Error) -> ReadError {
        let missing = error.kind() == std::io::ErrorKind::NotFound;
        if missing && (self.segment(segment).is_none() || self.starts_behind(segment)) {
            return ReadError::Overtaken;
        }
        self.read_failure(error)
    }

    /// Whether all segments in the folder are later ones.
    pub(super) fn starts_behind(&self, segment: u64) -> bool {
        let names = self.disk.list(&self.folder).unwrap_or_default();
        names.iter().find_map(|name| segment::number_of(name)).is_some_and(|first| first > segment)
    }

    pub(super) fn read_failure(&self, error: &std::io::Error) -> ReadError {
        ReadError::Io { trail: self.description.name.to_string(), what: error.to_string() }
    }

    /// Damage was met: the trail stops.
    pub(super) fn damage(&self, at: Location, what: impl ToString) -> Damage {
        let damage = Damage { trail: self.description.name.to_string(), at, what: what.to_string() };
        self.damaged.get_or_init(|| {
            tracing::error!(%damage, "damage was met; the trail stops");
            damage.clone()
        });
        damage
    }
}
