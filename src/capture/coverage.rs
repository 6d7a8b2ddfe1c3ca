//! An extract's coverage as the run loop and the service share it: the loop says what it found, the service keeps it.

use std::sync::Arc;

use tokio::sync::watch;

use crate::catalog::coverage::CoverageRecord;

/// A [`CoverageRecord`] that the run loop changes; whoever keeps it is told of each change.
#[derive(Debug, Clone)]
pub struct SharedCoverage(Arc<watch::Sender<CoverageRecord>>);

impl Default for SharedCoverage {
    fn default() -> Self {
        Self::new(CoverageRecord::default())
    }
}

impl SharedCoverage {
    /// What was kept.
    pub fn new(record: CoverageRecord) -> Self {
        Self(Arc::new(watch::Sender::new(record)))
    }

    /// It, now.
    pub fn snapshot(&self) -> CoverageRecord {
        self.0.borrow().clone()
    }

    /// Looks at it, without a copy. `look` must be short.
    pub(super) fn with<T>(&self, look: impl FnOnce(&CoverageRecord) -> T) -> T {
        look(&self.0.borrow())
    }

    /// Changes it. `change` must be short.
    pub fn update(&self, change: impl FnOnce(&mut CoverageRecord)) {
        self.0.send_modify(change);
    }

    /// Tells of each change from here on.
    pub fn watch(&self) -> watch::Receiver<CoverageRecord> {
        self.0.subscribe()
    }
}
