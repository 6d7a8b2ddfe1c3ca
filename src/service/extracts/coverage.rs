//! Coverage of captured trails as the service keeps it: read when an extract starts, written as it changes, and a loss
//! accepted by a person.
//!
//! Owns when it is written. What is covered is `capture`'s to find out; how the record looks is the catalog's.

use std::convert::Infallible;
use std::time::Duration;

use tokio::time::Instant;

use crate::capture::SharedCoverage;
use crate::catalog::coverage::CoverageRecord;
use crate::catalog::{Catalog, CatalogError, Shelf};
use crate::limits;
use crate::record::TrailName;
use crate::repeats::error_rarely;

/// Where the coverage of one trail is kept.
#[derive(Debug, Clone)]
pub(super) struct KeptCoverage {
    catalog: Catalog,
    trail: TrailName,
    /// What the extract says.
    pub(super) shared: SharedCoverage,
}

impl KeptCoverage {
    /// Reads what was kept.
    pub(super) fn open(catalog: &Catalog, trail: &TrailName) -> Result<Self, CatalogError> {
        let record = catalog.get::<CoverageRecord>(Shelf::Coverage, trail.as_str())?.unwrap_or_default();
        Ok(Self { catalog: catalog.clone(), trail: trail.clone(), shared: SharedCoverage::new(record) })
    }

    /// Accepts the loss that stopped the extract; says whether there is one.
    pub(super) async fn accept(&self) -> Result<bool, CatalogError> {
        let mut record = self.shared.snapshot();
        let Some(lost) = &mut record.lost else { return Ok(false) };
        lost.accepted = true;
        self.write(record.clone()).await?;
        self.shared.update(|shared| *shared = record);
        Ok(true)
    }

    /// Writes what changes, at once where it matters, for as long as it is polled. A write that fails is tried again.
    pub(super) async fn keep(&self) -> Infallible {
        let mut changes = self.shared.watch();
        let mut kept = changes.borrow_and_update().clone();
        let mut kept_at = Instant::now();
        loop {
            let pause = Duration::from_secs(limits::COVERAGE_SAVE_SECONDS);
            let record = self.shared.snapshot();
            let is_due = record != kept && kept_at.elapsed() >= pause;
            if is_due || record.differs_from(&kept) {
                match self.write(record.clone()).await {
                    Ok(()) => (kept, kept_at) = (record, Instant::now()),
                    Err(error) => {
                        error_rarely!(self.trail.as_str(), trail = %self.trail, %error, "what is published could not be noted");
                        tokio::time::sleep(Duration::from_millis(limits::SOURCE_BACKOFF_MILLIS_MAX)).await;
                    }
                }
            }
            let _ = tokio::time::timeout(pause, changes.changed()).await;
        }
    }

    /// Writes the last of it, when the extract has stopped.
    pub(super) async fn keep_last(&self) {
        if let Err(error) = self.write(self.shared.snapshot()).await {
            tracing::error!(trail = %self.trail, %error, "what is published could not be noted");
        }
    }

    async fn write(&self, record: CoverageRecord) -> Result<(), CatalogError> {
        let key = self.trail.to_string();
        self.catalog.blocking(move |catalog| catalog.put(Shelf::Coverage, &key, &record)).await
    }
}
