//! Who changed what, who was refused, who read which stream: one line each, and of refusals one for each address and minute.
//!
//! Owns what a line says and that none is lost in silence. Without writers lines go to the log, as events of the target
//! `audit`; with them they are JSON, one object a line, and the log gets those that a writer does not take. No row,
//! password, token or query ever comes here.

mod events;
mod log_event;
mod refusals;
mod writing;

use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

pub use events::{Action, Actor, AuditedSession, Change, Outcome, SessionEnd, Told};
use log_event::log;
use refusals::{Minute, Refusals, Refused};
pub use writing::Writers;
use writing::{Kind, Line, Losses, write_line, write_lines};

use super::supervisor;
use crate::catalog::audit_file;
use crate::clock::SharedClock;
use crate::limits;
use crate::repeats::warn_rarely;
use crate::tasks::Task;

/// Takes audit lines.
#[derive(Debug)]
pub struct Audit {
    clock: SharedClock,
    queue: OnceLock<mpsc::Sender<Line>>,
    losses: Arc<Losses>,
    refusals: Refusals,
    counted: AtomicU64,
}

impl Audit {
    /// Lines go to the log.
    pub fn new(clock: SharedClock) -> Self {
        Self {
            clock,
            queue: OnceLock::new(),
            losses: Arc::default(),
            refusals: Refusals::default(),
            counted: AtomicU64::new(0),
        }
    }

    /// From now on lines go to these writers; once.
    pub fn write_to(&self, writers: Writers) {
        let (sender, lines) = mpsc::channel(limits::AUDIT_QUEUE_LINES);
        if self.queue.set(sender).is_ok() {
            let losses = self.losses.clone();
            // It ends with the sender, which is the audit's.
            supervisor::run_blocking(move || write_lines(&losses, lines, writers));
        }
    }

    /// Starts telling counted refusals, until the audit is gone.
    pub(super) fn start(self: &Arc<Self>) {
        let audit = Arc::downgrade(self);
        supervisor::keep(Task::Audit, move || keep_telling_refusals(audit.clone()));
    }

    /// Lines that the writer did not take since the start; the log has them.
    pub fn failed(&self) -> u64 {
        self.losses.count()
    }

    /// Refusals since the start that have no line of their own: they are told together.
    pub fn counted_refusals(&self) -> u64 {
        self.counted.load(Ordering::Relaxed)
    }

    /// Whether the writer does not take lines now.
    pub fn is_failing(&self) -> bool {
        self.losses.is_losing()
    }

    /// A change; waits (a little) until the line is written, so that no change is answered before, and flushed unless the
    /// change was refused: whoever may change nothing must not keep the disk busy either. Of refusals the first of an
    /// address and minute has a line; the others are counted.
    pub async fn change(&self, actor: &Actor, change: &Change<'_>) {
        let members = self.of_change(actor, change);
        if !change.is_refused_to(actor) {
            self.take_and_wait(Kind::Change, members, true).await;
        } else if self.refusals.note(actor, change.told.status, self.clock.now()) {
            self.take_and_wait(Kind::Refusal, members, false).await;
        } else {
            self.counted.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Tells the refusals of the minutes that are over, or all that are counted.
    fn tell_refusals(&self, all: bool) {
        for (refused, minute) in self.refusals.take(all) {
            self.take(Kind::Refusal, self.of_refusals(&refused, &minute), false, None);
        }
    }

    fn of_refusals(&self, refused: &Refused, minute: &Minute) -> Map<String, Value> {
        let mut members = Map::new();
        members.insert("time".into(), self.clock.now().to_rfc3339().into());
        members.insert("event".into(), "refusals".into());
        members.insert("user".into(), refused.user.clone().into());
        let address = refused.address.map(|address| match address {
            std::net::IpAddr::V6(network) => format!("{network}/64"),
            address => address.to_string(),
        });
        members.insert("peer".into(), address.into());
        members.insert("since".into(), minute.since.to_rfc3339().into());
        members.insert("seconds".into(), json!((minute.began.elapsed().as_millis() as f64) / 1_000.0));
        members.insert("count".into(), minute.count.into());
        let statuses = minute.statuses.iter().map(|(status, count)| (status.to_string(), json!(count)));
        members.insert("statuses".into(), Value::Object(statuses.collect()));
        members.insert("claimed".into(), minute.claimed.iter().cloned().collect());
        members
    }

    /// A change whose line goes to this writer, and is flushed when this returns. Blocks, as long as it takes.
    pub fn write_change(&self, writer: &mut dyn Write, actor: &Actor, change: &Change<'_>) -> std::io::Result<()> {
        write_line(writer, &self.of_change(actor, change))?;
        writer.flush()
    }

    /// The line of a change.
    fn of_change(&self, actor: &Actor, change: &Change<'_>) -> Map<String, Value> {
        let mut members = self.begin("change", actor);
        members.insert("method".into(), change.told.method.into());
        members.insert("action".into(), change.action.name().into());
        let path = change.path.map(|path| path.chars().take(limits::AUDIT_TEXT_CHARS_MAX).collect::<String>());
        members.insert("path".into(), path.into());
        members.insert("result".into(), change.outcome.name().into());
        members.insert("status".into(), change.told.status.into());
        members.insert("code".into(), change.told.code.into());
        if let Some(detail) = change.detail {
            members
                .insert("detail".into(), detail.chars().take(limits::AUDIT_TEXT_CHARS_MAX).collect::<String>().into());
        }
        members
    }

    /// Takes over the lines of what was changed in the data folder without a server; once there are writers. Unless all of
    /// them are written and flushed they stay for the next start, those that were written too.
    pub(super) async fn take_over_offline(&self, folder: &Path) {
        let lines = on_disk(folder, audit_file::offline_lines).await;
        let taken_over = match lines {
            Ok(lines) if lines.is_empty() => return,
            Ok(lines) => {
                for line in lines {
                    // It may have been waited for: a start does not wait so long for each.
                    if !self.take_over(&line).await {
                        tracing::error!("audit lines of changes made without a server stay for the next start");
                        return;
                    }
                }
                on_disk(folder, audit_file::forget_offline_lines).await
            }
            Err(error) => Err(error),
        };
        if let Err(error) = taken_over {
            tracing::error!(%error, "the audit lines of changes that were made without a server");
        }
    }

    /// A line that was written elsewhere, as it was; says whether it need not stay there: it is written and flushed (without
    /// a writer it is in the log), or nobody can read it.
    async fn take_over(&self, line: &[u8]) -> bool {
        match serde_json::from_slice(line) {
            Ok(Value::Object(members)) if self.queue.get().is_some() => {
                self.take_and_wait(Kind::Change, members, true).await
            }
            Ok(Value::Object(members)) => {
                log(&members);
                true
            }
            _ => {
                tracing::warn!("an audit line of a change made without a server was cut or garbled and is left out");
                true
            }
        }
    }

    /// Says whether the writer has the line, flushed if it is to be.
    async fn take_and_wait(&self, kind: Kind, members: Map<String, Value>, durable: bool) -> bool {
        let (done, written) = oneshot::channel();
        self.take(kind, members, durable, Some(done));
        let patience = Duration::from_secs(limits::AUDIT_WAIT_SECONDS_MAX);
        let Ok(written) = timeout(patience, written).await else {
            warn_rarely!("", "the audit file takes its time; a change goes on before its line is written");
            return false;
        };
        // Nobody answers for a line that went to the log.
        written.unwrap_or(false)
    }

    /// A session begins.
    pub fn session_started(&self, session: &AuditedSession) {
        self.take(Kind::Session, self.session("session-start", session), false, None);
    }

    /// A session ended.
    pub fn session_ended(&self, session: &AuditedSession, end: SessionEnd) {
        let mut members = self.session("session-end", session);
        members.insert("closeCode".into(), end.code.number().into());
        members.insert("records".into(), end.records.into());
        members.insert("bytes".into(), end.bytes.into());
        members.insert("seconds".into(), json!((end.open.as_millis() as f64) / 1_000.0));
        self.take(Kind::Session, members, false, None);
    }

    /// Waits until everything before is written, counted refusals among it; at the end of the server.
    pub(super) async fn flush(&self) {
        self.tell_refusals(true);
        let (done, written) = oneshot::channel();
        if let Some(queue) = self.queue.get()
            && queue.try_send(Line { kind: Kind::Change, members: Map::new(), durable: true, done: Some(done) }).is_ok()
        {
            let _ = timeout(Duration::from_secs(limits::AUDIT_WAIT_SECONDS_MAX), written).await;
        }
    }

    fn begin(&self, event: &str, actor: &Actor) -> Map<String, Value> {
        let mut members = Map::new();
        members.insert("time".into(), self.clock.now().to_rfc3339().into());
        members.insert("event".into(), event.into());
        members.insert("user".into(), actor.user.clone().into());
        if let Some(claimed) = &actor.claimed {
            members.insert("claimed".into(), claimed.as_str().into());
        }
        members.insert("auth".into(), actor.auth.into());
        members.insert("peer".into(), actor.peer.map(|peer| peer.to_string()).into());
        if let Some(via) = actor.peer.and_then(|peer| peer.via) {
            members.insert("via".into(), via.to_string().into());
        }
        members
    }

    fn session(&self, event: &str, session: &AuditedSession) -> Map<String, Value> {
        let mut members = self.begin(event, &session.actor);
        members.insert("session".into(), session.number.into());
        members.insert("stream".into(), session.stream.as_str().into());
        members.insert("begin".into(), session.begin.into());
        members
    }

    fn take(&self, kind: Kind, members: Map<String, Value>, durable: bool, done: Option<oneshot::Sender<bool>>) {
        let Some(queue) = self.queue.get() else { return log(&members) };
        if let Err(refused) = queue.try_send(Line { kind, members, durable, done }) {
            let (mpsc::error::TrySendError::Full(line) | mpsc::error::TrySendError::Closed(line)) = refused;
            self.losses.lost(&line.members, "the audit file is too slow");
        }
    }
}

async fn keep_telling_refusals(audit: Weak<Audit>) {
    let mut every = tokio::time::interval(Duration::from_secs(limits::AUDIT_REFUSALS_LOOK_SECONDS));
    loop {
        every.tick().await;
        let Some(audit) = audit.upgrade() else { return };
        audit.tell_refusals(false);
    }
}

async fn on_disk<R: Send + 'static>(
    folder: &Path,
    work: impl FnOnce(&Path) -> std::io::Result<R> + Send + 'static,
) -> std::io::Result<R> {
    let folder = folder.to_owned();
    let done = tokio::task::spawn_blocking(move || work(&folder)).await;
    done.unwrap_or_else(|error| Err(std::io::Error::other(error)))
}

#[cfg(test)]
mod tests;
