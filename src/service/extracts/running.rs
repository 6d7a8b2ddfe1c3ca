//! The task of one extract: started again after a trail that had stopped takes appends again, and after a fault of the program
//! itself.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::coverage::KeptCoverage;
use super::loads::KeptLoads;
use crate::capture::{Capture, CaptureError, RunState, SharedStatus};
use crate::catalog::extract::{ExtractConfig, Secret};
use crate::limits;
use crate::record::ResourceName;
use crate::repeats::warn_rarely;
use crate::service::supervisor;
use crate::service::trails::TrailEntry;
use crate::tasks::{self, Task};
use crate::trail::Appender;

/// An extract's task.
#[derive(Debug)]
pub(super) struct Running {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Running {
    /// Tells the task to stop, without waiting.
    pub(super) fn ask_to_stop(&self) {
        self.stop.send_replace(true);
    }

    /// Stops the task: what it has appended is flushed, the trail's end is free.
    pub(super) async fn stop(self) {
        self.ask_to_stop();
        if let Err(error) = self.task.await {
            tracing::error!(%error, "extract's task ended badly");
        }
    }
}

/// Starts an extract's task.
pub(super) fn run_extract(
    name: ResourceName,
    config: ExtractConfig,
    password: Option<Secret>,
    entry: Arc<TrailEntry>,
    status: SharedStatus,
    coverage: KeptCoverage,
    loads: KeptLoads,
) -> Running {
    let (stop, stopped) = watch::channel(false);
    let task = supervisor::run(async move {
        let mut asked = stopped.clone();
        let capture =
            Capture::new(name.clone(), config, password, status.clone(), coverage.shared.clone(), loads.shared.clone());
        let work = async {
            keep_running(&name, &capture, &entry, &status, stopped).await;
            // Also of an extract that failed people want to see what the source keeps for it.
            drop(asked.wait_for(|stop| *stop).await);
        };
        let looks = tasks::keep(Task::Extract, || async { match capture.watch().await {} });
        let notes = tasks::keep(Task::Extract, || async { match coverage.keep().await {} });
        let orders = tasks::keep(Task::Extract, || async { match loads.keep().await {} });
        tokio::select! {
            () = work => {}
            () = looks => {}
            () = notes => {}
            () = orders => {}
        }
        coverage.keep_last().await;
        loads.keep_last().await;
        status.forget_source();
    });
    Running { stop, task }
}

async fn keep_running(
    name: &ResourceName,
    capture: &Capture,
    entry: &TrailEntry,
    status: &SharedStatus,
    mut stopped: watch::Receiver<bool>,
) {
    let mut after_panic = tasks::Wait::new(Task::Extract);
    loop {
        match take_end(entry).await {
            Ok(mut appender) => {
                let work = capture.run(&mut appender, stopped.clone());
                let outcome = match tasks::caught(Task::Extract, work).await {
                    Ok(outcome) => outcome,
                    Err(panicked) => {
                        // As it is, half a transaction in it perhaps: what the trail did not get comes again.
                        drop(appender);
                        status
                            .common()
                            .update(|status| status.failed(RunState::Retrying, panicked.to_string(), "panic"));
                        if is_stopped_within(&mut stopped, after_panic.begin()).await {
                            return;
                        }
                        after_panic.over();
                        continue;
                    }
                };
                if let Err(error) = appender.close().await {
                    warn_rarely!(name.as_str(), extract = %name, %error, "trail not closed in good order");
                }
                match outcome {
                    // A trail that stopped over a failed disk is tried again, and so is a row that was refused: whoever
                    // leaves its table out changes the extract. Everything else needs a person.
                    Err(CaptureError::Trail(_) | CaptureError::RowRefused { .. } | CaptureError::TrailStopped) => {}
                    Ok(()) | Err(_) => return,
                }
            }
            Err((error, reason)) => status.common().update(|status| {
                status.failed(RunState::Retrying, error, reason);
            }),
        }
        if is_stopped_within(&mut stopped, Duration::from_millis(limits::SOURCE_BACKOFF_MILLIS_MAX)).await {
            return;
        }
    }
}

async fn is_stopped_within(stopped: &mut watch::Receiver<bool>, pause: Duration) -> bool {
    tokio::time::timeout(pause, stopped.wait_for(|stop| *stop)).await.is_ok()
}

async fn take_end(entry: &TrailEntry) -> Result<Appender, (String, &'static str)> {
    let trail = entry.served().map_err(|unserved| (unserved.to_string(), "trail"))?;
    let taken = trail.appender_async().await;
    taken.map_err(|error| (error.to_string(), if error.is_disk_full() { "disk_full" } else { "trail" }))
}
