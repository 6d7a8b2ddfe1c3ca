//! The run loop: connect, stream, and after a passing fault connect again.
//!
//! Owns the waits between attempts and the status; leaves what a session does to the folder of its product.

use std::time::Duration;

use tokio::sync::watch;
use tracing::{error, info};

use super::coverage::SharedCoverage;
use super::postgres;
use super::source::{CONNECTION, CaptureError, Fault, NO_TABLES, RunState, SharedStatus, Status};
use crate::catalog::extract::{ExtractConfig, Secret};
use crate::catalog::table_pattern::TablePattern;
use crate::limits;
use crate::record::ResourceName;
use crate::repeats::warn_rarely;
use crate::trail::Appender;

/// Captures until `shutdown` turns true (or its sender is gone).
///
/// `password` is the one to log in with, wherever it was kept; without it, the configuration's own. Passing faults are
/// tried again for ever; what comes back as an error needs a person.
pub async fn run(
    name: &ResourceName,
    config: &ExtractConfig,
    password: Option<Secret>,
    appender: &mut Appender,
    status: &SharedStatus,
    coverage: &SharedCoverage,
    mut shutdown: watch::Receiver<bool>,
) -> Result<(), CaptureError> {
    status.update(Status::starts);
    let outcome = attempts(name, config, password, appender, status, coverage, &mut shutdown).await;
    match &outcome {
        Ok(()) => {
            info!(extract = name.as_str(), "capture stopped");
            status.update(|status| status.status = RunState::Stopped);
        }
        Err(error) => {
            error!(extract = name.as_str(), %error, "capture failed");
            status.update(|status| status.failed(RunState::Failed, error.to_string(), error.reason()));
            status.look_now();
        }
    }
    outcome
}

/// Looks at the source before an extract is made, or gets other tables: whether publishing them would have the writes of
/// its application refused. `known`: the patterns that an extract has so far.
///
/// A source that cannot be asked, or not in time, says nothing against it: the same is looked at again before anything
/// is published.
pub async fn preflight(
    name: &ResourceName,
    config: &ExtractConfig,
    password: Option<Secret>,
    known: Option<&[TablePattern]>,
) -> Result<(), CaptureError> {
    let target = postgres::Target::new(name, config, password);
    let limit = Duration::from_secs(limits::SOURCE_PREFLIGHT_SECONDS_MAX);
    let looked = tokio::time::timeout(limit, postgres::preflight(&target, known)).await;
    let fault = match looked {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(Fault::Stop(error @ CaptureError::WritesRefused { .. }))) => return Err(error),
        Ok(Err(fault)) => fault.to_string(),
        Err(_) => format!("no answer within {} s", limit.as_secs()),
    };
    info!(extract = name.as_str(), error = %fault, "the source could not be looked at before the extract is made or changed");
    Ok(())
}

/// Looks now and then at what the source keeps for the extract, whether it runs or not, and notes it in its status.
pub async fn watch(
    name: &ResourceName,
    config: &ExtractConfig,
    password: Option<Secret>,
    status: &SharedStatus,
) -> std::convert::Infallible {
    postgres::keep_looking(&postgres::Target::new(name, config, password), status).await
}

async fn attempts(
    name: &ResourceName,
    config: &ExtractConfig,
    password: Option<Secret>,
    appender: &mut Appender,
    status: &SharedStatus,
    coverage: &SharedCoverage,
    shutdown: &mut watch::Receiver<bool>,
) -> Result<(), CaptureError> {
    config.validate()?;
    let target = postgres::Target::new(name, config, password);
    let mut wait = Backoff::default();
    loop {
        let (fault, reason) = match postgres::session(&target, appender, status, coverage, shutdown, &mut wait).await {
            Ok(()) => return Ok(()),
            Err(Fault::Stop(error)) => return Err(error),
            Err(Fault::Passing(fault)) => (fault, CONNECTION),
            Err(Fault::NoTables(fault)) => (fault, NO_TABLES),
        };
        let delay = wait.next();
        let retry_millis = delay.as_millis() as u64;
        let of_kind = format!("{name}: {fault}");
        warn_rarely!(&of_kind, extract = name.as_str(), error = %fault, retry_millis, "capture interrupted");
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

/// Returns once a stop is asked for.
pub(super) async fn stopped(shutdown: &mut watch::Receiver<bool>) {
    // The sender gone means that whoever could stop us is gone: stop.
    let _ = shutdown.wait_for(|stop| *stop).await;
}

/// The wait before the next attempt: doubling, and short again once a session has worked.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// A session works.
    pub(super) fn reset(&mut self) {
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
