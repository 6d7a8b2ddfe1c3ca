//! Lines on their way to their files: one thread writes, those that came meanwhile share a flush.
//!
//! Owns the writers, one for each kind of line, so that no kind takes another's room.

use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::{Map, Value};
use tokio::sync::{mpsc, oneshot};

use super::log_event::log;
use crate::limits;
use crate::tasks::{self, Task, caught_here};

/// What a line tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A change, done or failed.
    Change,
    /// A session's start or end.
    Session,
    /// A refusal, or some of them.
    Refusal,
}

/// Where lines go. Each gets them whole.
pub struct Writers {
    /// Those of changes, done and failed.
    pub changes: Box<dyn Write + Send>,
    /// Those of sessions.
    pub sessions: Box<dyn Write + Send>,
    /// Those of refusals, and of whoever nobody knows.
    pub refusals: Box<dyn Write + Send>,
}

impl std::fmt::Debug for Writers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Writers")
    }
}

impl Writers {
    fn of(&mut self, kind: Kind) -> &mut dyn Write {
        match kind {
            Kind::Change => &mut *self.changes,
            Kind::Session => &mut *self.sessions,
            Kind::Refusal => &mut *self.refusals,
        }
    }
}

/// Lines that a writer did not take: the log gets them.
#[derive(Debug, Default)]
pub(super) struct Losses {
    count: AtomicU64,
    /// The last line that was to be written was not.
    losing: AtomicBool,
}

impl Losses {
    /// How many there were since the start.
    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Whether lines are lost now.
    pub(super) fn is_losing(&self) -> bool {
        self.losing.load(Ordering::Relaxed)
    }

    pub(super) fn lost(&self, members: &Map<String, Value>, error: &str) {
        self.losing.store(true, Ordering::Relaxed);
        // The first of many says it; the lines themselves follow one by one.
        if self.count.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::error!(error, "audit lines cannot be written; they go to the log");
        }
        log(members);
    }
}

/// A line for the writer; `done` is told when it was dealt with, which is after a flush if it is `durable`, and whether the
/// writer has it.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) kind: Kind,
    pub(super) members: Map<String, Value>,
    pub(super) durable: bool,
    pub(super) done: Option<oneshot::Sender<bool>>,
}

/// Writes lines until nobody can send another. Blocks.
pub(super) fn write_lines(losses: &Losses, mut lines: mpsc::Receiver<Line>, mut writers: Writers) {
    while let Some(first) = lines.blocking_recv() {
        // Those that came meanwhile share its flush.
        let more = std::iter::from_fn(|| lines.try_recv().ok()).take(limits::AUDIT_FLUSH_LINES_MAX - 1);
        let batch: Vec<Line> = std::iter::once(first).chain(more).collect();
        let written = caught_here(Task::Audit, || write_batch(&mut writers, &batch));
        // Which of them the writer has is not known then: twice is better than never.
        let written = written.unwrap_or_else(|panicked| batch.iter().map(|_| Err(panicked.to_string())).collect());
        if let Some(Ok(())) = written.last() {
            losses.losing.store(false, Ordering::Relaxed);
        }
        for (Line { members, done, .. }, written) in batch.into_iter().zip(written) {
            if let Err(error) = &written
                && !members.is_empty()
            {
                losses.lost(&members, error);
            }
            let _ = done.map(|done| done.send(written.is_ok()));
        }
    }
}

/// Writes lines and flushes those that must be, which are all of changes; what came of each.
fn write_batch(writers: &mut Writers, batch: &[Line]) -> Vec<Result<(), String>> {
    tasks::may_panic(Task::Audit);
    let mut written: Vec<_> = batch
        .iter()
        .map(|Line { kind, members, .. }| match members.is_empty() {
            true => Ok(()),
            false => write_line(writers.of(*kind), members).map_err(|error| error.to_string()),
        })
        .collect();
    let to_flush = |(line, written): (&Line, &Result<(), String>)| line.durable && written.is_ok();
    if batch.iter().zip(&written).any(to_flush)
        && let Err(error) = writers.changes.flush()
    {
        for (line, written) in batch.iter().zip(&mut written) {
            if line.durable {
                *written = std::mem::replace(written, Ok(())).and(Err(error.to_string()));
            }
        }
    }
    written
}

/// One JSON object and the end of its line, as one write.
pub(super) fn write_line(writer: &mut dyn Write, members: &Map<String, Value>) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(members).unwrap_or_default();
    line.push(b'\n');
    writer.write_all(&line)
}
