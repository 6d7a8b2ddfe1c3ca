//! Starts what runs for long: tasks, and threads of their own. What they do is whose they are.

use std::future::Future;

use tokio::task::JoinHandle;

use crate::limits;
use crate::tasks::{self, Task};

/// Starts a task.
pub(super) fn run(work: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    tokio::spawn(work)
}

/// Starts a task that is started again after a fault of the program itself, until it ends by itself.
pub(super) fn keep<F: Future<Output = ()> + Send + 'static>(task: Task, run: impl FnMut() -> F + Send + 'static) {
    tokio::spawn(tasks::keep(task, run));
}

/// Starts work on a thread that may block for as long as it likes.
pub(super) fn run_blocking(work: impl FnOnce() + Send + 'static) {
    tokio::task::spawn_blocking(work);
}

/// Does one piece of work on a thread of its own, to which the kernel gives a processor when those who serve leave one.
pub(super) fn run_behind_others(kind: &str, work: impl FnOnce() + Send + 'static) {
    let work = move || {
        // The priority is that of a thread on Linux alone; elsewhere it would be the whole program's.
        #[cfg(target_os = "linux")]
        let _ = rustix::process::nice(limits::OFF_THREAD_NICE);
        work();
    };
    if let Err(error) = std::thread::Builder::new().name(kind.to_owned()).spawn(work) {
        // The work is dropped, and whoever waits for it is told.
        tracing::error!(kind, %error, "no thread could be started");
    }
}
