//! Orders for initial loads as the run loop and the service share them: the service says what is wanted, the loop how it ended, and the
//! service keeps both.

use std::sync::Arc;

use tokio::sync::watch;

use crate::catalog::load::LoadRecord;

/// A [`LoadRecord`] that both sides change; each is told of what the other does.
#[derive(Debug, Clone)]
pub struct SharedLoads(Arc<watch::Sender<LoadRecord>>);

impl Default for SharedLoads {
    fn default() -> Self {
        Self::new(LoadRecord::default())
    }
}

impl SharedLoads {
    /// What was kept.
    pub fn new(record: LoadRecord) -> Self {
        Self(Arc::new(watch::Sender::new(record)))
    }

    /// It, now.
    pub fn snapshot(&self) -> LoadRecord {
        self.0.borrow().clone()
    }

    /// Changes it. `change` must be short.
    pub fn update(&self, change: impl FnOnce(&mut LoadRecord)) {
        self.0.send_modify(change);
    }

    /// Tells of each change from here on.
    pub fn watch(&self) -> watch::Receiver<LoadRecord> {
        self.0.subscribe()
    }
}
