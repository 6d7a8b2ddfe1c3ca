//! A PostgreSQL source, as `capture::source` calls it.

use std::convert::Infallible;

use tokio::sync::watch;

use super::check;
use super::error::{MASK, ROW_FILTER, WRITES_REFUSED};
use super::heartbeat;
use super::release;
use super::session;
use super::setup;
use super::slot_watch;
use super::snapshot;
use super::status::SharedStatus;
use super::target::Target;
use crate::capture::coverage::SharedCoverage;
use crate::capture::error::{CaptureError, Fault};
use crate::capture::finding::Finding;
use crate::capture::released::Released;
use crate::capture::snapshot::orders::SharedLoads;
use crate::catalog::extract::{ExtractConfig, Secret};
use crate::catalog::table_pattern::TablePattern;
use crate::clock::SharedClock;
use crate::record::ResourceName;
use crate::trail::Appender;

/// What an extract captures, and how.
#[derive(Debug)]
pub(in crate::capture) struct Source {
    target: Target,
    status: SharedStatus,
}

impl Source {
    /// From a configuration that was validated.
    pub(in crate::capture) fn new(
        name: &ResourceName,
        config: &ExtractConfig,
        password: Option<Secret>,
        status: SharedStatus,
    ) -> Self {
        Self { target: Target::new(name, config, password), status }
    }

    /// Connects and streams until it is asked to stop, or something fails.
    pub(in crate::capture) async fn session(
        &self,
        appender: &mut Appender,
        coverage: &SharedCoverage,
        loads: &SharedLoads,
        shutdown: &mut watch::Receiver<bool>,
    ) -> Result<(), Fault> {
        tokio::select! {
            ended = session::run(&self.target, appender, &self.status, coverage, loads, shutdown) => ended,
            never = heartbeat::beat(&self.target, &self.status) => match never {},
        }
    }

    /// The captured tables that the patterns take in, once the source has said that the condition means something for each.
    pub(in crate::capture) async fn loadable(
        &self,
        tables: &[TablePattern],
        condition: Option<&str>,
    ) -> Result<Vec<String>, Fault> {
        snapshot::loadable::loadable(&self.target, tables, condition).await
    }

    /// Looks whether publishing the tables would have the writes of the source's application refused, whether masks and row
    /// filters would hold, and whether a new trail can begin where it should. `known`: the patterns that an extract has so far.
    pub(in crate::capture) async fn preflight(
        &self,
        known: Option<&[TablePattern]>,
    ) -> Result<Option<CaptureError>, Fault> {
        match setup::preflight(&self.target, known).await {
            Ok(()) => Ok(None),
            Err(Fault::Stop(error @ CaptureError::Configuration(_))) => Ok(Some(error)),
            Err(Fault::Stop(error)) if [WRITES_REFUSED, MASK, ROW_FILTER].contains(&error.reason()) => Ok(Some(error)),
            Err(fault) => Err(fault),
        }
    }

    /// Looks at everything that capture needs at the server, and changes nothing.
    pub(in crate::capture) async fn check(&self, clock: &SharedClock) -> Vec<Finding> {
        check::check(&self.target, clock).await
    }

    /// Takes away what the extract made at the server.
    pub(in crate::capture) async fn release(&self) -> Result<Released, Fault> {
        release::release(&self.target).await
    }

    /// Looks now and then at the slot, whether the extract runs or not.
    pub(in crate::capture) async fn watch(&self) -> Infallible {
        slot_watch::keep_looking(&self.target, &self.status).await
    }
}
