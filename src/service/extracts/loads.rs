//! Initial loads of captured trails as the service keeps them: orders of people, and how loads ended.
//!
//! Owns when they are written: an order before it is answered, an end as it comes. How far a load is stands in the trail.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, OwnedMutexGuard};

use super::{ExtractError, Extracts, check_managing};
use crate::capture::{self, CaptureError, SharedLoads};
use crate::catalog::extract::InvalidExtract;
use crate::catalog::load::{LoadPatch, LoadRecord, LoadRequest, LoadWish};
use crate::catalog::{Catalog, CatalogError, Shelf};
use crate::limits;
use crate::record::{ResourceName, TableName, TrailName};
use crate::repeats::error_rarely;
use crate::service::principal::Principal;

impl Extracts {
    /// Orders tables of an extract to be loaded, each from its beginning. The source is asked first which they are, and whether
    /// the condition means anything.
    pub async fn load(
        &self,
        principal: Principal<'_>,
        name: &ResourceName,
        request: &LoadRequest,
    ) -> Result<(), ExtractError> {
        request.validate()?;
        let (stored, loads) = self.managed(principal, name)?;
        let password = self.password_of(&stored).await?;
        let condition = request.condition.as_deref();
        let config = self.with_mask_keys(&stored)?;
        let asked = capture::loadable(name, &config, password, &request.tables, condition).await;
        let tables = asked.map_err(|error| match error {
            CaptureError::Configuration(invalid) => ExtractError::Config(invalid),
            other => ExtractError::Source(other),
        })?;
        if tables.len() > limits::LOAD_TABLES_MAX {
            let message = format!(
                "they take in {} tables, and at most {} are loaded at once",
                tables.len(),
                limits::LOAD_TABLES_MAX
            );
            return Err(InvalidExtract { member: "tables".into(), message }.into());
        }
        tracing::info!(extract = %name, tables = tables.len(), has_condition = condition.is_some(), "tables are to be loaded");
        loads.change(|record| record.order(tables.iter().cloned(), condition)).await?;
        Ok(())
    }

    /// Lets the loads of an extract rest, go on, or end where they are.
    pub async fn change_load(
        &self,
        principal: Principal<'_>,
        name: &ResourceName,
        patch: &LoadPatch,
    ) -> Result<(), ExtractError> {
        patch.validate()?;
        let (_, loads) = self.managed(principal, name)?;
        let shown = self.known(name)?.status.common.snapshot;
        let left = shown.iter().flat_map(|shown| shown.left()).map(str::to_owned);
        let left: Vec<String> = left.chain(loads.shared.snapshot().orders.into_keys()).collect();
        let is_meant = |table: &String| match (&patch.tables, TableName::parse(table)) {
            (None, _) => true,
            (Some(patterns), Ok(table)) => {
                let schema = table.schema().unwrap_or_default();
                patterns.iter().any(|pattern| pattern.matches(schema, table.table()))
            }
            (Some(_), Err(_)) => false,
        };
        let meant: Vec<String> = left.into_iter().filter(is_meant).collect();
        if patch.status == LoadWish::Cancelled && meant.is_empty() {
            return Err(ExtractError::NothingToLoad(name.clone()));
        }
        let change = |record: &mut LoadRecord| match patch.status {
            LoadWish::Running => record.paused = false,
            LoadWish::Paused => record.paused = true,
            LoadWish::Cancelled => record.cancel(meant.iter().cloned()),
        };
        loads.change(change).await?;
        Ok(())
    }

    /// An extract whose loads the caller may manage.
    fn managed(
        &self,
        principal: Principal<'_>,
        name: &ResourceName,
    ) -> Result<(super::StoredExtract, KeptLoads), ExtractError> {
        let found = self.with(|known| known.get(name).map(|extract| (extract.stored.clone(), extract.loads.clone())));
        let (stored, loads) = found.ok_or_else(|| ExtractError::Missing(name.clone()))?;
        check_managing(principal, name, &stored.config.trail)?;
        Ok((stored, loads))
    }
}

/// Where the orders for one trail are kept.
#[derive(Debug, Clone)]
pub(super) struct KeptLoads {
    catalog: Catalog,
    trail: TrailName,
    /// What is written is what is wanted now: one writes at a time, from looking to telling the extract.
    turn: Arc<Mutex<()>>,
    /// What the extract is told, and says.
    pub(super) shared: SharedLoads,
}

impl KeptLoads {
    /// Reads what was kept.
    pub(super) fn open(catalog: &Catalog, trail: &TrailName) -> Result<Self, CatalogError> {
        let record = catalog.get::<LoadRecord>(Shelf::Loads, trail.as_str())?.unwrap_or_default();
        Ok(Self {
            catalog: catalog.clone(),
            trail: trail.clone(),
            turn: Arc::default(),
            shared: SharedLoads::new(record),
        })
    }

    /// Changes what is wanted: it is kept before the extract hears of it.
    pub(super) async fn change(&self, change: impl Fn(&mut LoadRecord)) -> Result<(), CatalogError> {
        let turn = self.turn.clone().lock_owned().await;
        let mut record = self.shared.snapshot();
        change(&mut record);
        let _turn = self.write(record, turn).await?;
        // What has ended meanwhile is not undone.
        self.shared.update(change);
        Ok(())
    }

    /// Writes what the extract says, for as long as it is polled. A write that fails is tried again.
    pub(super) async fn keep(&self) -> Infallible {
        let mut changes = self.shared.watch();
        let mut kept = changes.borrow_and_update().clone();
        loop {
            if self.shared.snapshot() != kept {
                let turn = self.turn.clone().lock_owned().await;
                let record = self.shared.snapshot();
                match self.write(record.clone(), turn).await {
                    Ok(_) => kept = record,
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
        let turn = self.turn.clone().lock_owned().await;
        if let Err(error) = self.write(self.shared.snapshot(), turn).await {
            tracing::error!(trail = %self.trail, %error, "how an initial load ended could not be noted");
        }
    }

    /// Writes a record, and gives the turn back; whoever does not wait for it keeps the next one waiting all the same.
    async fn write(&self, record: LoadRecord, turn: OwnedMutexGuard<()>) -> Result<OwnedMutexGuard<()>, CatalogError> {
        let key = self.trail.to_string();
        self.catalog.blocking(move |catalog| catalog.put(Shelf::Loads, &key, &record).map(|()| turn)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn orders_that_come_at_once_are_all_kept() {
        let folder = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(folder.path()).unwrap();
        let trail = TrailName::new("a1").unwrap();
        let kept = KeptLoads::open(&catalog, &trail).unwrap();
        let orders = (0..20).map(|number| {
            let kept = kept.clone();
            tokio::spawn(async move {
                let table = format!("public.t{number}");
                kept.change(|record| record.order([table.clone()], None)).await.unwrap();
            })
        });
        for order in orders.collect::<Vec<_>>() {
            order.await.unwrap();
        }
        let again = KeptLoads::open(&catalog, &trail).unwrap().shared.snapshot();
        assert_eq!(again, kept.shared.snapshot());
        let numbers: std::collections::BTreeSet<u64> = again.orders.values().map(|order| order.number).collect();
        assert_eq!((again.orders.len(), numbers.len()), (20, 20));
    }
}
