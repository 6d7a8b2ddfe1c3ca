//! Who changed what, who was refused, who read which stream: one line each, and of refusals one for each address and minute.
//!
//! Owns what a line says and that none is lost in silence. Without writers lines go to the log, as events of the target
//! `audit`; with them they are JSON, one object a line, and the log gets those that a writer does not take. No row,
//! password, token or query ever comes here.

mod refusals;
mod writing;

use std::io::Write;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use refusals::{Minute, Refusals, Refused};
pub use writing::Writers;
use writing::{Kind, write_line};
pub(super) use writing::{Line, write_lines};

use crate::access::ClientAddr;
use crate::clock::SharedClock;
use crate::limits;
use crate::repeats::warn_rarely;

/// Who does something, and from where.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Actor {
    /// The user, once known for sure.
    pub user: Option<String>,
    /// The user of this server that a refused credential names.
    pub claimed: Option<String>,
    /// How the user is known: `basic`, `digest`, `token`, `jwt`, `certificate`, `none`; `file` for the configuration file,
    /// `start` for what a server makes by itself, `offline` for who had the data folder while no server ran.
    pub auth: &'static str,
    /// The client's address.
    pub peer: Option<ClientAddr>,
}

/// A change of what the server holds, tried or done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change<'a> {
    /// What was to be done.
    pub action: Action,
    /// The path of the resource, without a query; none if the server has no such path.
    pub path: Option<&'a str>,
    /// What came of it.
    pub outcome: Outcome,
    /// How it was asked and answered.
    pub told: Told<'a>,
}

/// What was to be done to a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Made anew.
    Make,
    /// Set to what is given, whether or not it was there.
    Set,
    /// Changed in some of its members.
    Change,
    /// Deleted.
    Delete,
    /// Read.
    Read,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is done.
    Done,
    /// Whoever asks may not.
    Refused,
    /// Something else was in the way.
    Failed,
}

/// How a change was asked and answered, in the words of the protocol it came over: they stand in its line, and decide nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told<'a> {
    /// The method; `START` for what the configuration file makes.
    pub method: &'a str,
    /// The status of the answer.
    pub status: u16,
    /// The code of the answer's main message, if it refuses.
    pub code: Option<&'static str>,
}

impl Action {
    fn name(self) -> &'static str {
        match self {
            Self::Make => "make",
            Self::Set => "set",
            Self::Change => "change",
            Self::Delete => "delete",
            Self::Read => "read",
        }
    }
}

impl Outcome {
    fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

/// A session of a stream, as its start says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Who reads.
    pub actor: Actor,
    /// Tells this session from the others of this life of the server.
    pub number: u64,
    /// The stream.
    pub stream: String,
    /// What was asked to begin with: `now`, `earliest`, `time` or `position`.
    pub begin: &'static str,
}

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionEnd {
    /// The close code; 1006 for a connection that broke.
    pub code: u16,
    /// Records sent, metadata not counted.
    pub records: u64,
    /// Bytes that the socket took.
    pub bytes: u64,
    /// How long it was open.
    pub open: Duration,
}

/// Takes audit lines.
#[derive(Debug)]
pub struct Audit {
    clock: SharedClock,
    queue: OnceLock<mpsc::Sender<Line>>,
    failed: AtomicU64,
    /// The last line that was to be written was not.
    failing: AtomicBool,
    refusals: Refusals,
    counted: AtomicU64,
}

impl Audit {
    /// Lines go to the log.
    pub fn new(clock: SharedClock) -> Self {
        Self {
            clock,
            queue: OnceLock::new(),
            failed: AtomicU64::new(0),
            failing: AtomicBool::new(false),
            refusals: Refusals::default(),
            counted: AtomicU64::new(0),
        }
    }

    /// From now on lines go to these writers; once.
    pub fn write_to(self: &std::sync::Arc<Self>, writers: Writers) {
        let (sender, lines) = mpsc::channel(limits::AUDIT_QUEUE_LINES);
        if self.queue.set(sender).is_ok() {
            super::supervisor::run_audit(std::sync::Arc::downgrade(self), lines, writers);
        }
    }

    /// Lines that the writer did not take since the start; the log has them.
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Refusals since the start that have no line of their own: they are told together.
    pub fn counted_refusals(&self) -> u64 {
        self.counted.load(Ordering::Relaxed)
    }

    /// Whether the writer does not take lines now.
    pub fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Relaxed)
    }

    /// A change; waits (a little) until the line is written, so that no change is answered before, and flushed unless the
    /// change was refused: whoever may change nothing must not keep the disk busy either. Of refusals the first of an
    /// address and minute has a line; the others are counted.
    pub async fn change(&self, actor: &Actor, change: &Change<'_>) {
        let members = self.of_change(actor, change);
        if !is_refusal(actor, change) {
            self.take_and_wait(Kind::Change, members, true).await;
        } else if self.refusals.note(actor, change.told.status, self.clock.now()) {
            self.take_and_wait(Kind::Refusal, members, false).await;
        } else {
            self.counted.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Tells the refusals of the minutes that are over, or all that are counted.
    pub(super) fn tell_refusals(&self, all: bool) {
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
        members
    }

    /// A line that was written elsewhere, as it was; says whether it need not stay there: it is written and flushed (without
    /// a writer it is in the log), or nobody can read it.
    pub(super) async fn take_over(&self, line: &[u8]) -> bool {
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
    pub fn session_started(&self, session: &Session) {
        self.take(Kind::Session, self.session("session-start", session), false, None);
    }

    /// A session ended.
    pub fn session_ended(&self, session: &Session, end: SessionEnd) {
        let mut members = self.session("session-end", session);
        members.insert("closeCode".into(), end.code.into());
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

    fn session(&self, event: &str, session: &Session) -> Map<String, Value> {
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
            self.not_taken(&line.members, "the audit file is too slow");
        }
    }

    fn not_taken(&self, members: &Map<String, Value>, error: &str) {
        self.failing.store(true, Ordering::Relaxed);
        // The first of many says it; the lines themselves follow one by one.
        if self.failed.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::error!(error, "audit lines cannot be written; they go to the log");
        }
        log(members);
    }

    fn takes_lines_again(&self) {
        self.failing.store(false, Ordering::Relaxed);
    }
}

/// Whether a change was refused for who asks, or asked by nobody who is known: whatever else was wrong with it, anybody can
/// ask so as often as he likes.
fn is_refusal(actor: &Actor, change: &Change<'_>) -> bool {
    let is_of_the_house = matches!(actor.auth, "file" | "start" | "offline");
    match change.outcome {
        Outcome::Done => false,
        Outcome::Refused => true,
        Outcome::Failed => actor.user.is_none() && !is_of_the_house,
    }
}

/// One event of the log, with the members that the line would have; its `time` too, for the log's own may be later.
fn log(members: &Map<String, Value>) {
    let text = |name: &str| members.get(name).and_then(Value::as_str);
    let number = |name: &str| members.get(name).and_then(Value::as_u64);
    let seconds = members.get("seconds").and_then(Value::as_f64);
    let together = |name: &str| members.get(name).filter(|value| !value.is_string()).map(Value::to_string);
    tracing::info!(
        target: "audit",
        time = text("time"),
        event = text("event"),
        user = text("user"),
        claimed = text("claimed").map(str::to_owned).or_else(|| together("claimed")),
        auth = text("auth"),
        peer = text("peer"),
        via = text("via"),
        method = text("method"),
        action = text("action"),
        path = text("path"),
        result = text("result"),
        status = number("status"),
        code = text("code"),
        session = number("session"),
        stream = text("stream"),
        begin = text("begin"),
        closeCode = number("closeCode"),
        records = number("records"),
        bytes = number("bytes"),
        seconds,
        since = text("since"),
        count = number("count"),
        statuses = together("statuses"),
    );
}

#[cfg(test)]
mod tests;
