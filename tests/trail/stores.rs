//! What holds a trail in a test, whichever it is: files on a disk in memory, or messages in a log in memory.
//!
//! Both keep apart what is durable and what is not, crash at any moment, and fail on demand.

use std::sync::Arc;

use crate::trail::memory_disk::MemoryDisk;
use crate::trail::workload::{create, folder, open};
use trailcast::trail::{OpenError, Trail};

/// Holds one trail.
pub trait TestStore: Default + Clone + Send + 'static {
    /// Makes the trail, one of puts.
    fn create(&self, segment_bytes: u64) -> Trail;
    /// Opens it.
    fn open(&self) -> Result<Trail, OpenError>;
    /// What is there after a crash; `chance` chooses how much of what was not durable survived.
    fn crash(&self, chance: &mut dyn FnMut(usize) -> usize) -> Self;
    /// The control: what was said to be durable does not survive a crash.
    fn lie(&self);
    /// From now on the `n`-th thing asked for fails: a flush, or a publish. So does all that follows, unless `only_once`.
    fn fail(&self, n: u32, only_once: bool);
    /// Nothing fails any more.
    fn heal(&self);
    /// How often something was asked for that [`Self::fail`] counts.
    fn asked(&self) -> u32;
}

impl TestStore for MemoryDisk {
    fn create(&self, segment_bytes: u64) -> Trail {
        create(Arc::new(self.clone()), &folder(), segment_bytes)
    }

    fn open(&self) -> Result<Trail, OpenError> {
        open(Arc::new(self.clone()), &folder())
    }

    fn crash(&self, chance: &mut dyn FnMut(usize) -> usize) -> Self {
        Self::crash(self, chance)
    }

    fn lie(&self) {
        self.lie_about_syncs();
    }

    fn fail(&self, n: u32, only_once: bool) {
        if only_once { self.fail_one_sync(n) } else { self.fail_sync(n) }
    }

    fn heal(&self) {
        Self::heal(self);
    }

    fn asked(&self) -> u32 {
        self.syncs()
    }
}
