//! What the parts of an open trail share: its description, its segments, its durable mark, who has its end.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

use tokio::sync::{Notify, watch};

use crate::clock::SharedClock;
use crate::record::{SourceIdentity, TableSchema, messages_schema};
use crate::trail::counters::Counters;
use crate::trail::partitions::{CurrentPartitions, PartitionMap};
use crate::trail::recent::Recent;
use crate::trail::segment::Segment;
use crate::trail::store::Store;
use crate::trail::tail::Tail;
use crate::trail::{
    AppendError, Damage, DurableMark, Location, OpenError, ReadError, RetentionRule, TrailDescription, Writer,
};

/// An open trail.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) description: TrailDescription,
    /// Where its bytes lie.
    pub(super) store: Store,
    pub(super) clock: SharedClock,
    pub(super) segments: RwLock<Vec<Arc<Segment>>>,
    pub(super) partitions: CurrentPartitions,
    /// What retention has taken out of the trail and not yet removed from the store for good.
    pub(super) leaving: Mutex<Option<Leaving>>,
    pub(super) mark: watch::Sender<DurableMark>,
    pub(super) source: SourceIdentity,
    pub(super) recent: Recent,
    /// A message was appended, or is in the last segment that was read when the trail was opened.
    pub(super) has_messages: AtomicBool,
    /// The schema of the table that its messages are shown as.
    pub(super) messages: Arc<TableSchema>,
    /// Held to look and to swap, never while the store is waited for.
    pub(super) end: Mutex<End>,
    /// Told when an appender's writer has given the end back, in whatever state.
    pub(super) given_back: Notify,
    /// The first damage that was met. From then on the trail takes no appends and no new readers.
    pub(super) damaged: OnceLock<Damage>,
    pub(super) counters: Counters,
}

/// A segment that is no part of the trail any more, and that is still to be removed from the store for good.
#[derive(Debug)]
pub(super) struct Leaving {
    pub(super) segment: Arc<Segment>,
    pub(super) rule: RetentionRule,
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

impl Shared {
    /// A trail of which nothing is loaded yet.
    pub(super) fn unopened(description: TrailDescription, store: Store, clock: SharedClock) -> Self {
        Self {
            messages: Arc::new(messages_schema(&description.name)),
            partitions: CurrentPartitions::new(description.partitions.clone()),
            description,
            store,
            clock,
            segments: RwLock::new(Vec::new()),
            leaving: Mutex::new(None),
            mark: watch::Sender::new(DurableMark::default()),
            source: SourceIdentity::default(),
            recent: Recent::default(),
            has_messages: AtomicBool::new(false),
            end: Mutex::new(End::Taken),
            given_back: Notify::new(),
            damaged: OnceLock::new(),
            counters: Counters::default(),
        }
    }

    /// The partitions as they are now.
    pub(super) fn partitions(&self) -> Arc<PartitionMap> {
        self.partitions.get()
    }

    pub(super) fn set_partitions(&self, partitions: Arc<PartitionMap>) {
        self.partitions.set(partitions);
    }

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
        segments.first().map_or(1, |segment| segment.first_commit())
    }

    /// Moves the durable mark, here and for other processes.
    pub(super) fn publish(&self, mark: DurableMark) {
        // Readers first: nobody who waits for a record waits for the file, too.
        self.mark.send_replace(mark.clone());
        if let Err(error) = self.store.note_mark(&mark) {
            tracing::debug!(trail = %self.description.name, %error, "mark.bin not written; who looks sees a little less");
        }
    }

    /// Whether messages are to be expected in it: it was made for them, or has had some of late.
    pub(super) fn expects_messages(&self) -> bool {
        let seen = || self.has_messages.load(Ordering::Relaxed);
        self.description.writer.appends_messages() || !self.partitions().is_single() || seen()
    }

    /// Whether it is noted where each partition's frames lie.
    pub(super) fn keeps_places(&self) -> bool {
        !self.partitions().is_single()
    }

    pub(super) fn keeps_xids(&self) -> bool {
        self.description.writer == Writer::Puts
    }

    /// Why a segment could not be read: retention has taken it, here or in the server whose trail is looked at, or
    /// something is wrong.
    pub(super) fn segment_failure(&self, segment: u64, error: &io::Error) -> ReadError {
        let missing = error.kind() == io::ErrorKind::NotFound;
        if missing && (self.segment(segment).is_none() || self.store.starts_behind(segment)) {
            return ReadError::Overtaken;
        }
        self.read_failure(error)
    }

    pub(super) fn read_failure(&self, error: &io::Error) -> ReadError {
        ReadError::Io { trail: self.description.name.to_string(), what: error.to_string() }
    }

    /// What an error of the store is for whoever opens the trail.
    pub(super) fn failed(&self, action: &'static str) -> impl FnOnce(io::Error) -> OpenError {
        OpenError::while_at(&self.description.name, action)
    }

    /// Why nothing is appended any more.
    pub(super) fn stopped(&self) -> AppendError {
        match &*self.lock_end() {
            End::Failed { disk_full: true, .. } => AppendError::DiskFull,
            End::Failed { reason, .. } => AppendError::Stopped(reason.clone()),
            End::Free(_) | End::Taken => AppendError::Stopped("its writer has ended".to_owned()),
        }
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
