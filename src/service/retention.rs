//! What is kept for how long: each trail's own limits, and the share of the disk that all trails may take.

mod age;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) use age::AgeRule;
pub use age::AgeSuspension;

use crate::catalog::trail::TrailSettings;
use crate::catalog::{CatalogError, Shelf};
use crate::limits;
use crate::record::TrailName;
use crate::repeats::{error_rarely, warn_rarely};
use crate::service::Service;
use crate::service::trails::TrailError;
use crate::tasks::{self, Task};
use crate::trail::{Retention, Trail, TrailOptions, Writer};

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

impl Service {
    /// A trail's options as stored.
    pub async fn trail_settings(&self, name: &TrailName) -> Result<TrailSettings, TrailError> {
        Ok(self.stored_trail_settings(name).await?.unwrap_or_default())
    }

    /// A trail's options, if it was ever given any.
    pub async fn stored_trail_settings(&self, name: &TrailName) -> Result<Option<TrailSettings>, TrailError> {
        let key = name.to_string();
        let stored = self.in_catalog(move |catalog| catalog.get(Shelf::Trails, &key)).await;
        stored.map_err(TrailError::Catalog)
    }

    /// Makes a trail for puts with these options: both or neither.
    pub async fn make_trail(&self, name: &TrailName, settings: TrailSettings) -> Result<(), TrailError> {
        let mut options = TrailOptions::default();
        options.segment_bytes = settings.segment_bytes.unwrap_or(options.segment_bytes);
        let _one_at_a_time = self.trails.with_options.lock().await;
        self.trails.make_with(name, Writer::Puts, options).await?;
        let stored = self.store_trail_settings(name, settings).await;
        if stored.is_err()
            && let Err(error) = self.trails.remove(name).await
        {
            tracing::warn!(trail = %name, %error, "a trail whose options could not be stored stays, with the defaults");
        }
        stored
    }

    /// Stores a trail's options.
    pub async fn set_trail_settings(&self, name: &TrailName, settings: TrailSettings) -> Result<(), TrailError> {
        let _one_at_a_time = self.trails.with_options.lock().await;
        self.store_trail_settings(name, settings).await
    }

    async fn store_trail_settings(&self, name: &TrailName, settings: TrailSettings) -> Result<(), TrailError> {
        if self.trails.get(name).is_none() {
            return Err(TrailError::Missing(name.clone()));
        }
        let key = name.to_string();
        let stored = self.in_catalog(move |catalog| catalog.put(Shelf::Trails, &key, &settings)).await;
        stored.map_err(TrailError::Catalog)
    }

    /// Why no segment is removed for its age, and for how many seconds more if nobody confirms the clock; none when they are.
    pub fn age_suspension(&self) -> Option<(AgeSuspension, u64)> {
        self.age_rule.suspended(&*self.clock)
    }

    /// Somebody says that the clock is right: segments may go for their age again.
    pub async fn confirm_clock(&self) -> Result<(), CatalogError> {
        let rule = self.age_rule.clone();
        self.in_catalog(move |catalog| rule.confirm(catalog)).await
    }

    /// Removes what no limit keeps, in every trail. Blocks on the disk.
    pub(super) fn retain(&self) {
        tasks::may_panic(Task::Retention);
        let trails = self.trails.served();
        let by_age = self.age_rule.look(&*self.clock, &self.catalog);
        for trail in &trails {
            let settings: Option<TrailSettings> = match self.catalog.get(Shelf::Trails, trail.name().as_str()) {
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

/// Looks at retention now and then, until the service is gone.
pub(super) async fn keep_retaining(service: std::sync::Weak<Service>) {
    let mut every = tokio::time::interval(std::time::Duration::from_secs(limits::RETENTION_EVERY_SECONDS));
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        let Some(service) = service.upgrade() else { return };
        let looked = tokio::task::spawn_blocking(move || Arc::clone(&service).retain()).await;
        if looked.is_err() {
            Task::Retention.note_panic();
            error_rarely!("", "a pass of retention broke off; the next one comes as usual");
        }
    }
}

#[cfg(test)]
mod tests;
