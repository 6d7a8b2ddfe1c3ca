//! One trail of a server: the trail itself or why it is not served, its writing end while puts hold it, what they brought.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{Mutex, watch};

use super::kept_readers::KeptReaders;
use crate::record::TrailName;

use crate::trail::{Appender, OpenError, Trail, TrailDescription, TrailStatus};

/// One trail, or why it is not served.
#[derive(Debug)]
pub struct TrailEntry {
    /// The trail, or why it could not be opened.
    pub trail: Result<Trail, Unserved>,
    /// The writing end, while puts hold it.
    pub(in crate::service) puts: Mutex<Option<Appender>>,
    /// Readers that stand where pull reads ended.
    pub(in crate::service) readers: KeptReaders,
    /// What puts have brought.
    pub put_figures: PutFigures,
    /// True when the trail has been deleted.
    pub(in crate::service) gone: watch::Sender<bool>,
}

/// A trail is not served, because it could not be opened.
#[derive(Debug, Clone, thiserror::Error)]
#[error(transparent)]
pub struct Unserved(Arc<OpenError>);

/// What is known of a trail.
#[derive(Debug, Clone)]
pub struct TrailInfo {
    /// Its name.
    pub name: TrailName,
    /// Its description and figures, or why it is not served.
    pub state: Result<(TrailDescription, TrailStatus), Unserved>,
}

/// What puts have brought to one trail since the server started.
#[derive(Debug, Default)]
pub struct PutFigures {
    /// Bodies acknowledged.
    pub requests: AtomicU64,
    /// Transactions acknowledged, repeated ones included.
    pub transactions: AtomicU64,
    /// Transactions that the trail had already, by their id.
    pub duplicates: AtomicU64,
    /// Operations of the acknowledged transactions.
    pub operations: AtomicU64,
    /// Bytes of the acknowledged bodies.
    pub bytes: AtomicU64,
}

impl TrailEntry {
    pub(super) fn new(trail: Result<Trail, OpenError>) -> Self {
        Self {
            trail: trail.map_err(|error| Unserved(Arc::new(error))),
            puts: Mutex::new(None),
            readers: KeptReaders::default(),
            put_figures: PutFigures::default(),
            gone: watch::Sender::new(false),
        }
    }

    /// The trail, if it is served.
    pub fn served(&self) -> Result<&Trail, Unserved> {
        self.trail.as_ref().map_err(Clone::clone)
    }

    /// Whether it has, or has had, more than one partition.
    pub(in crate::service) fn has_partitions(&self) -> bool {
        self.served().is_ok_and(|trail| !trail.partitions().is_single())
    }

    pub(super) fn info(&self, name: &TrailName) -> TrailInfo {
        let described =
            |trail: &Trail| TrailDescription { partitions: trail.partitions(), ..trail.description().clone() };
        let state = self.served().map(|trail| (described(trail), trail.status()));
        TrailInfo { name: name.clone(), state }
    }
}

impl PutFigures {
    pub(in crate::service) fn note(&self, transactions: usize, duplicates: usize, operations: usize, bytes: usize) {
        let add = |counter: &AtomicU64, count: usize| _ = counter.fetch_add(count as u64, Ordering::Relaxed);
        add(&self.requests, 1);
        add(&self.transactions, transactions);
        add(&self.duplicates, duplicates);
        add(&self.operations, operations);
        add(&self.bytes, bytes);
    }
}
