//! Work that takes a processor for a while: on a thread of its own that leaves the processor to those who serve, a little at the
//! same time, and not too much of it waiting.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::service::supervisor::run_behind_others;
use crate::tasks::{self, Panicked, Task, caught_here};

/// So much of one kind of work at a time.
#[derive(Debug)]
pub(super) struct OffThread {
    kind: &'static str,
    at_once: usize,
    turns: Arc<Semaphore>,
    waiting: AtomicUsize,
    waiting_max: usize,
}

/// As much waits as may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too much of such work is waiting to be done; try again in a moment")]
pub(super) struct Busy;

/// A turn to work.
#[derive(Debug)]
pub(super) struct Turn {
    kind: &'static str,
    _permit: OwnedSemaphorePermit,
}

/// A place among those who wait; given up when dropped, also by who has gone away.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl OffThread {
    /// `at_once` pieces of work at the same time, while at most `waiting_max` wait. `kind` names it for tests.
    pub(super) fn new(kind: &'static str, at_once: usize, waiting_max: usize) -> Self {
        Self { kind, at_once, turns: Arc::new(Semaphore::new(at_once)), waiting: AtomicUsize::new(0), waiting_max }
    }

    /// Pieces of work that are being done or wait for it.
    pub(super) fn busy(&self) -> usize {
        self.at_once.saturating_sub(self.turns.available_permits()) + self.waiting.load(Ordering::Relaxed)
    }

    /// A turn, or that too many wait for one.
    pub(super) async fn turn(&self) -> Result<Turn, Busy> {
        if let Ok(permit) = self.turns.clone().try_acquire_owned() {
            return Ok(Turn { kind: self.kind, _permit: permit });
        }
        let waiting = Waiting(&self.waiting);
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= self.waiting_max {
            return Err(Busy);
        }
        self.acquire(waiting).await
    }

    /// A turn, however many wait: for those whose number has a bound elsewhere.
    pub(super) async fn patient_turn(&self) -> Result<Turn, Busy> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        self.acquire(Waiting(&self.waiting)).await
    }

    async fn acquire(&self, _waiting: Waiting<'_>) -> Result<Turn, Busy> {
        // It is never closed.
        let permit = self.turns.clone().acquire_owned().await.map_err(|_| Busy)?;
        Ok(Turn { kind: self.kind, _permit: permit })
    }
}

impl Turn {
    /// Does the work on a thread of its own. It goes on, and the turn with it, when nobody waits for it any more.
    pub(super) async fn run<R: Send + 'static>(self, work: impl FnOnce() -> R + Send + 'static) -> Result<R, Panicked> {
        let kind = self.kind;
        let work = move || {
            // All of it moves along.
            let turn = self;
            tasks::may_be_held(turn.kind);
            caught_here(Task::Request, work)
        };
        if tasks::on_the_spot() {
            return work();
        }
        let (tell, done) = oneshot::channel();
        run_behind_others(kind, move || {
            // Whoever asked may have gone away.
            let _ = tell.send(work());
        });
        done.await.unwrap_or(Err(Panicked))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn those_who_wait_are_bounded_and_work_goes_on_when_nobody_waits_for_it() {
        let off = OffThread::new("test", 1, 1);
        let (go, held) = mpsc::channel::<()>();
        let (tell, done) = tokio::sync::oneshot::channel();
        let turn = off.turn().await.unwrap();
        let mut working = Box::pin(turn.run(move || {
            held.recv().unwrap();
            tell.send(7).unwrap();
        }));
        assert!(polled(working.as_mut()).is_none());
        let mut second = Box::pin(off.turn());
        assert!(polled(second.as_mut()).is_none());
        assert_eq!(off.turn().await.unwrap_err(), Busy);
        drop(working);
        assert!(polled(second.as_mut()).is_none(), "the work is not done");
        go.send(()).unwrap();
        assert_eq!(done.await, Ok(7));
        let second = second.await.unwrap();
        assert_eq!(off.waiting.load(Ordering::Relaxed), 0);
        let nothing: Vec<u8> = Vec::new();
        assert!(second.run(move || nothing[0]).await.is_err(), "it panics");
        off.turn().await.unwrap();
    }

    fn polled<F: Future>(future: std::pin::Pin<&mut F>) -> Option<F::Output> {
        match future.poll(&mut std::task::Context::from_waker(std::task::Waker::noop())) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        }
    }
}
