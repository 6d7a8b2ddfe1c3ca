//! Initial loads of captured trails as the service keeps them: orders of people, and how loads ended.
//!
//! Owns when they are written: an order before it is answered, an end as it comes. How far a load is stands in the trail.

use std::convert::Infallible;
use std::time::Duration;

use crate::capture::SharedLoads;
use crate::catalog::load::LoadRecord;
use crate::catalog::{Catalog, CatalogError, Shelf};
use crate::limits;
use crate::record::TrailName;
use crate::repeats::error_rarely;

/// Where the orders for one trail are kept.
#[derive(Debug, Clone)]
pub(super) struct KeptLoads {
    catalog: Catalog,
    trail: TrailName,
    /// What the extract is told, and says.
    pub(super) shared: SharedLoads,
}

impl KeptLoads {
    /// Reads what was kept.
    pub(super) fn open(catalog: &Catalog, trail: &TrailName) -> Result<Self, CatalogError> {
        let record = catalog.get::<LoadRecord>(Shelf::Loads, trail.as_str())?.unwrap_or_default();
        Ok(Self { catalog: catalog.clone(), trail: trail.clone(), shared: SharedLoads::new(record) })
    }

    /// Changes what is wanted: it is kept before the extract hears of it.
    pub(super) async fn change(&self, change: impl Fn(&mut LoadRecord)) -> Result<(), CatalogError> {
        let mut record = self.shared.snapshot();
        change(&mut record);
        self.write(record).await?;
        // What has ended meanwhile is not undone.
        self.shared.update(change);
        Ok(())
    }

    /// Writes what the extract says, for as long as it is polled. A write that fails is tried again.
    pub(super) async fn keep(&self) -> Infallible {
        let mut changes = self.shared.watch();
        let mut kept = changes.borrow_and_update().clone();
        loop {
            let record = self.shared.snapshot();
            if record != kept {
                match self.write(record.clone()).await {
                    Ok(()) => kept = record,
                    Err(error) => {
                        error_rarely!(self.trail.as_str(), trail = %self.trail, %error, "how an initial load ended could not be noted");
                        tokio::time::sleep(Duration::from_millis(limits::SOURCE_BACKOFF_MILLIS_MAX)).await;
                        continue;
                    }
                }
            }
            if changes.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Writes the last of it, when the extract has stopped.
    pub(super) async fn keep_last(&self) {
        if let Err(error) = self.write(self.shared.snapshot()).await {
            tracing::error!(trail = %self.trail, %error, "how an initial load ended could not be noted");
        }
    }

    async fn write(&self, record: LoadRecord) -> Result<(), CatalogError> {
        let key = self.trail.to_string();
        self.catalog.blocking(move |catalog| catalog.put(Shelf::Loads, &key, &record)).await
    }
}
