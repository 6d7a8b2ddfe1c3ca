//! What is kept for how long: each trail's own limits, what its consumer groups still need, and the share of the disk that all
//! trails may take.

mod age;

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use age::AgeRule;
pub use age::AgeSuspension;

use super::groups::Groups;
use super::principal::Principal;
use super::supervisor;
use super::trails::Trails;
use crate::access::NotGranted;
use crate::catalog::trail::TrailSettings;
use crate::catalog::{Catalog, CatalogError};
use crate::clock::SharedClock;
use crate::limits;
use crate::repeats::{error_rarely, warn_rarely};
use crate::tasks::{self, Task};
use crate::trail::{Retention, Trail};

/// The file system of the trails, as retention saw it last; 0 before it has looked.
#[derive(Debug, Default)]
pub struct DiskFigures {
    /// Its size, in bytes.
    pub size_bytes: AtomicU64,
    /// Room left in it, in bytes.
    pub free_bytes: AtomicU64,
    /// What all trails together may take of it, in bytes.
    pub share_bytes: AtomicU64,
}

/// The clock cannot be confirmed.
#[derive(Debug, thiserror::Error)]
pub enum ConfirmError {
    /// The caller is narrowed to trails and streams, and the clock is the whole server's.
    #[error(transparent)]
    Denied(#[from] NotGranted),
    /// The catalog.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

/// Removes what no limit keeps.
#[derive(Debug)]
pub struct RetentionPasses {
    catalog: Catalog,
    trails: Arc<Trails>,
    groups: Arc<Groups>,
    clock: SharedClock,
    /// Whether retention goes by age.
    age_rule: Arc<AgeRule>,
    /// As the disk was seen last: nobody who looks at figures waits for it.
    disk: DiskFigures,
}

impl RetentionPasses {
    /// Over these trails, as the catalog remembers it.
    pub(super) fn open(
        catalog: &Catalog,
        trails: Arc<Trails>,
        groups: Arc<Groups>,
        clock: SharedClock,
    ) -> Result<Self, CatalogError> {
        let (catalog, age_rule) = (catalog.clone(), Arc::new(AgeRule::open(catalog)?));
        Ok(Self { catalog, trails, groups, clock, age_rule, disk: DiskFigures::default() })
    }

    /// Starts a pass now and then, until this is gone.
    pub(super) fn start(self: &Arc<Self>) {
        let passes = Arc::downgrade(self);
        supervisor::keep(Task::Retention, move || keep_passing(passes.clone()));
    }

    /// The file system of the trails, as it was seen last.
    pub(super) fn disk(&self) -> &DiskFigures {
        &self.disk
    }

    /// Why no segment is removed for its age, and for how many seconds more if nobody confirms the clock; none when they are.
    pub fn age_suspension(&self) -> Option<(AgeSuspension, u64)> {
        self.age_rule.suspended(&*self.clock)
    }

    /// Somebody says that the clock is right: segments may go for their age again.
    pub async fn confirm_clock(&self, principal: Principal<'_>) -> Result<(), ConfirmError> {
        principal.check_server()?;
        let rule = self.age_rule.clone();
        Ok(self.catalog.blocking(move |catalog| rule.confirm(catalog)).await?)
    }

    /// One pass over every trail. Blocks on the disk.
    pub(super) fn pass(&self) {
        tasks::may_panic(Task::Retention);
        let trails = self.trails.served();
        let by_age = self.age_rule.look(&*self.clock, &self.catalog);
        for trail in &trails {
            let settings = match self.trails.settings_now(trail.name()) {
                Ok(settings) => settings,
                Err(error) => {
                    // The defaults may keep less than the user asked for, and what is removed does not come back.
                    let name = trail.name().as_str();
                    warn_rarely!(name, trail = %name, %error, "trail's options unreadable; all of it is kept");
                    continue;
                }
            };
            let mut retention = retention_of(&settings.unwrap_or_default());
            retention.age_seconds = retention.age_seconds.filter(|_| by_age);
            retention.floor = self.groups.floor_of(trail, retention.bytes);
            if let Err(error) = trail.retain(&retention) {
                let name = trail.name().as_str();
                warn_rarely!(name, trail = %name, %error, "retention could not remove a segment");
            }
        }
        if let Some(capacity) = self.trails.capacity_bytes() {
            let share = capacity / 100 * limits::RETENTION_DISK_PERCENT;
            self.disk.size_bytes.store(capacity, Ordering::Relaxed);
            self.disk.share_bytes.store(share, Ordering::Relaxed);
            if let Err(error) = keep_within(&trails, share) {
                warn_rarely!("", %error, "retention could not remove a segment");
            }
        }
        self.disk.free_bytes.store(self.trails.free_bytes().unwrap_or_default(), Ordering::Relaxed);
    }
}

/// The limits that hold for a trail with these options.
pub fn retention_of(settings: &TrailSettings) -> Retention {
    Retention {
        age_seconds: Some(settings.retention_seconds.unwrap_or(limits::RETENTION_SECONDS_DEFAULT)),
        bytes: settings.retention_bytes,
        floor: None,
    }
}

/// Removes the oldest segments of all trails until they take no more than `bytes_max` together.
fn keep_within(trails: &[Trail], bytes_max: u64) -> io::Result<()> {
    // Summed anew each time: a trail may have been deleted meanwhile, or have grown.
    while trails.iter().map(Trail::bytes).sum::<u64>() > bytes_max {
        let oldest =
            trails.iter().filter_map(|trail| Some((trail.oldest_removable()?, trail))).min_by_key(|(at, _)| *at);
        let Some((_, trail)) = oldest else { return Ok(()) };
        let name = trail.name().as_str();
        warn_rarely!(name, trail = %name, "trails take more than their share of the disk; the oldest segment goes");
        trail.remove_oldest()?;
    }
    Ok(())
}

async fn keep_passing(passes: Weak<RetentionPasses>) {
    let mut every = tokio::time::interval(std::time::Duration::from_secs(limits::RETENTION_EVERY_SECONDS));
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        let Some(passes) = passes.upgrade() else { return };
        passes.groups.end_unused().await;
        if tokio::task::spawn_blocking(move || passes.pass()).await.is_err() {
            Task::Retention.note_panic();
            error_rarely!("", "a pass of retention broke off; the next one comes as usual");
        }
    }
}

#[cfg(test)]
mod tests;
