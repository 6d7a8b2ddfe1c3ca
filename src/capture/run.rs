//! The run loop: a session with the source, and after a passing fault another one.
//!
//! Owns the waits between attempts and what the status says of them; leaves what a session does to the source.

use std::convert::Infallible;
use std::time::Duration;

use tokio::sync::watch;
use tracing::{error, info};

use super::coverage::SharedCoverage;
use super::error::{CONNECTION, CaptureError, Fault, NO_TABLES};
use super::extract_status::SharedStatus;
use super::shutdown::stopped;
use super::snapshot::orders::SharedLoads;
use super::source::Source;
use super::status::{RunState, Status};
use crate::catalog::extract::{ExtractConfig, Secret};
use crate::catalog::table_pattern::TablePattern;
use crate::limits;
use crate::record::ResourceName;
use crate::repeats::warn_rarely;
use crate::trail::Appender;

/// One extract, as it captures.
#[derive(Debug)]
pub struct Capture {
    name: ResourceName,
    config: ExtractConfig,
    password: Option<Secret>,
    status: SharedStatus,
    coverage: SharedCoverage,
    loads: SharedLoads,
}

impl Capture {
    /// `password` is the one to log in with, wherever it was kept; without it, the configuration's own.
    pub fn new(
        name: ResourceName,
        config: ExtractConfig,
        password: Option<Secret>,
        status: SharedStatus,
        coverage: SharedCoverage,
        loads: SharedLoads,
    ) -> Self {
        Self { name, config, password, status, coverage, loads }
    }

    /// Captures until `shutdown` turns true (or its sender is gone). Passing faults are tried again for ever; what comes back
    /// as an error needs a person.
    pub async fn run(&self, appender: &mut Appender, mut shutdown: watch::Receiver<bool>) -> Result<(), CaptureError> {
        self.status.common().update(Status::starts);
        let outcome = match self.source() {
            Ok(source) => self.attempts(&source, appender, &mut shutdown).await,
            Err(error) => Err(error),
        };
        self.note_end(&outcome);
        outcome
    }

    /// Looks now and then at what the source keeps for the extract, whether it runs or not, and notes it in its status.
    pub async fn watch(&self) -> Infallible {
        match self.source() {
            Ok(source) => source.watch().await,
            // `run` says what is wrong.
            Err(_) => std::future::pending().await,
        }
    }

    fn source(&self) -> Result<Source, CaptureError> {
        Source::new(&self.name, &self.config, self.password.clone(), &self.status)
    }

    fn note_end(&self, outcome: &Result<(), CaptureError>) {
        let (extract, status) = (self.name.as_str(), self.status.common());
        match outcome {
            Ok(()) => {
                info!(extract, "capture stopped");
                status.update(|status| status.status = RunState::Stopped);
            }
            Err(error) => {
                error!(extract, %error, "capture failed");
                status.update(|status| status.failed(RunState::Failed, error.to_string(), error.reason()));
                status.look_now();
            }
        }
    }

    /// One session after the other.
    pub(super) async fn attempts(
        &self,
        source: &Source,
        appender: &mut Appender,
        shutdown: &mut watch::Receiver<bool>,
    ) -> Result<(), CaptureError> {
        let status = self.status.common();
        let mut wait = Backoff::default();
        loop {
            let starts = status.snapshot().starts;
            let outcome = source.session(appender, &self.coverage, &self.loads, shutdown).await;
            let (fault, reason) = match outcome {
                Ok(()) => return Ok(()),
                Err(Fault::Stop(error)) => return Err(error),
                Err(Fault::Passing(fault)) => (fault, CONNECTION),
                Err(Fault::NoTables(fault)) => (fault, NO_TABLES),
            };
            if status.snapshot().starts > starts {
                wait.reset();
            }
            let delay = wait.next();
            let retry_millis = delay.as_millis() as u64;
            let of_kind = format!("{}: {fault}", self.name);
            warn_rarely!(&of_kind, extract = self.name.as_str(), error = %fault, retry_millis, "capture interrupted");
            status.update(|status| {
                status.failed(RunState::Retrying, fault, reason);
                status.retries += 1;
            });
            tokio::select! {
                () = stopped(shutdown) => return Ok(()),
                () = tokio::time::sleep(delay) => {}
            }
        }
    }
}

/// Looks at the source before an extract is made, or gets other tables: whether capturing them would do its application harm.
/// `known`: the patterns that an extract has so far.
///
/// A source that cannot be asked, or not in time, says nothing against it: the same is looked at again before anything
/// is captured.
pub async fn preflight(
    name: &ResourceName,
    config: &ExtractConfig,
    password: Option<Secret>,
    known: Option<&[TablePattern]>,
) -> Result<(), CaptureError> {
    let limit = Duration::from_secs(limits::SOURCE_PREFLIGHT_SECONDS_MAX);
    let looked = match Source::new(name, config, password, &SharedStatus::new(config.source.kind)) {
        Ok(source) => tokio::time::timeout(limit, source.preflight(known)).await,
        Err(error) => Ok(Err(error.into())),
    };
    let fault = match looked {
        Ok(Ok(None)) => return Ok(()),
        Ok(Ok(Some(objection))) => return Err(objection),
        Ok(Err(fault)) => fault.to_string(),
        Err(_) => format!("no answer within {} s", limit.as_secs()),
    };
    info!(extract = name.as_str(), error = %fault, "the source could not be looked at before the extract is made or changed");
    Ok(())
}

/// The captured tables that the patterns take in, for a load. The source must answer: what it is to load, and by which condition, it
/// says itself before anything is ordered.
pub async fn loadable(
    name: &ResourceName,
    config: &ExtractConfig,
    password: Option<Secret>,
    tables: &[TablePattern],
    condition: Option<&str>,
) -> Result<Vec<String>, CaptureError> {
    let limit = Duration::from_secs(limits::SOURCE_PREFLIGHT_SECONDS_MAX);
    let source = Source::new(name, config, password, &SharedStatus::new(config.source.kind))?;
    match tokio::time::timeout(limit, source.loadable(tables, condition)).await {
        Ok(found) => found.map_err(CaptureError::from_fault),
        Err(_) => Err(CaptureError::Refused(format!("no answer within {} s: ask again", limit.as_secs()))),
    }
}

/// The wait before the next attempt: doubling, and short again once a session has worked.
#[derive(Debug, Default)]
struct Backoff {
    failures: u32,
}

impl Backoff {
    /// A session works.
    fn reset(&mut self) {
        self.failures = 0;
    }

    fn next(&mut self) -> Duration {
        let millis = limits::SOURCE_BACKOFF_MILLIS_MIN << self.failures.min(16);
        self.failures += 1;
        Duration::from_millis(millis.min(limits::SOURCE_BACKOFF_MILLIS_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_cap_and_start_over_after_success() {
        let mut wait = Backoff::default();
        let millis: Vec<_> = (0..8).map(|_| wait.next().as_millis()).collect();
        assert_eq!(millis, [250, 500, 1000, 2000, 4000, 8000, 10_000, 10_000]);
        for _ in 0..100 {
            wait.next();
        }
        assert_eq!(wait.next().as_millis(), 10_000);
        wait.reset();
        assert_eq!(wait.next().as_millis(), 250);
    }
}
