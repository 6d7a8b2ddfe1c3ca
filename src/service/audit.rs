//! Who changed what, who was refused, who read which stream: one line each.
//!
//! Owns what a line says and that none is lost in silence. Without a writer lines go to the log, as events of the target
//! `audit`; with one they are JSON, one object a line, and the log gets those that the writer does not take. No row,
//! password, token or query ever comes here.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::clock::SharedClock;
use crate::limits;
use crate::tasks::{self, Task, caught_here};

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
    /// The peer's address and port.
    pub peer: Option<SocketAddr>,
}

/// A change of what the server holds, tried or done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change<'a> {
    /// The request's method; `START` for what the configuration file makes.
    pub method: &'a str,
    /// The path of the resource, without a query; none if the server has no such path.
    pub path: Option<&'a str>,
    /// The status of the answer.
    pub status: u16,
    /// The code of the answer's main message, if it refuses.
    pub code: Option<&'static str>,
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
}

/// A line for the writer; `done` is told when it was dealt with, which is after a flush if it is `durable`, and whether the
/// writer has it.
#[derive(Debug)]
pub(super) struct Line {
    members: Map<String, Value>,
    durable: bool,
    done: Option<oneshot::Sender<bool>>,
}

impl Audit {
    /// Lines go to the log.
    pub fn new(clock: SharedClock) -> Self {
        Self { clock, queue: OnceLock::new(), failed: AtomicU64::new(0), failing: AtomicBool::new(false) }
    }

    /// From now on lines go to this writer, which gets each whole; once.
    pub fn write_to(self: &std::sync::Arc<Self>, writer: Box<dyn Write + Send>) {
        let (sender, lines) = mpsc::channel(limits::AUDIT_QUEUE_LINES);
        if self.queue.set(sender).is_ok() {
            super::supervisor::run_audit(std::sync::Arc::downgrade(self), lines, writer);
        }
    }

    /// Lines that the writer did not take since the start; the log has them.
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }

    /// Whether the writer does not take lines now.
    pub fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Relaxed)
    }

    /// A change; waits (a little) until the line is written, so that no change is answered before, and flushed unless the
    /// change was refused: whoever may change nothing must not keep the disk busy either.
    pub async fn change(&self, actor: &Actor, change: &Change<'_>) {
        let (members, durable) = self.of_change(actor, change);
        self.take_and_wait(members, durable).await;
    }

    /// A change whose line goes to this writer, and is flushed when this returns. Blocks, as long as it takes.
    pub fn write_change(&self, writer: &mut dyn Write, actor: &Actor, change: &Change<'_>) -> std::io::Result<()> {
        write_line(writer, &self.of_change(actor, change).0)?;
        writer.flush()
    }

    /// The line of a change, and whether it must be flushed before the change is answered.
    fn of_change(&self, actor: &Actor, change: &Change<'_>) -> (Map<String, Value>, bool) {
        let result = match change.status {
            ..=399 => "done",
            401 | 403 | 429 => "refused",
            _ => "failed",
        };
        let action = match change.method {
            "POST" | "START" => "make",
            "PUT" => "set",
            "PATCH" => "change",
            "DELETE" => "delete",
            _ => "read",
        };
        let mut members = self.begin("change", actor);
        members.insert("method".into(), change.method.into());
        members.insert("action".into(), action.into());
        let path = change.path.map(|path| path.chars().take(limits::AUDIT_TEXT_CHARS_MAX).collect::<String>());
        members.insert("path".into(), path.into());
        members.insert("result".into(), result.into());
        members.insert("status".into(), change.status.into());
        members.insert("code".into(), change.code.into());
        (members, result != "refused")
    }

    /// A line that was written elsewhere, as it was; says whether it need not stay there: it is written and flushed (without
    /// a writer it is in the log), or nobody can read it.
    pub(super) async fn take_over(&self, line: &[u8]) -> bool {
        match serde_json::from_slice(line) {
            Ok(Value::Object(members)) if self.queue.get().is_some() => self.take_and_wait(members, true).await,
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
    async fn take_and_wait(&self, members: Map<String, Value>, durable: bool) -> bool {
        let (done, written) = oneshot::channel();
        self.take(members, durable, Some(done));
        let patience = Duration::from_secs(limits::AUDIT_WAIT_SECONDS_MAX);
        let Ok(written) = timeout(patience, written).await else {
            tracing::warn!("the audit file takes its time; a change goes on before its line is written");
            return false;
        };
        // Nobody answers for a line that went to the log.
        written.unwrap_or(false)
    }

    /// A session begins.
    pub fn session_started(&self, session: &Session) {
        self.take(self.session("session-start", session), false, None);
    }

    /// A session ended.
    pub fn session_ended(&self, session: &Session, end: SessionEnd) {
        let mut members = self.session("session-end", session);
        members.insert("closeCode".into(), end.code.into());
        members.insert("records".into(), end.records.into());
        members.insert("bytes".into(), end.bytes.into());
        members.insert("seconds".into(), json!((end.open.as_millis() as f64) / 1_000.0));
        self.take(members, false, None);
    }

    /// Waits until everything before is written; at the end of the server.
    pub(super) async fn flush(&self) {
        let (done, written) = oneshot::channel();
        if let Some(queue) = self.queue.get()
            && queue.try_send(Line { members: Map::new(), durable: true, done: Some(done) }).is_ok()
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
        members
    }

    fn session(&self, event: &str, session: &Session) -> Map<String, Value> {
        let mut members = self.begin(event, &session.actor);
        members.insert("session".into(), session.number.into());
        members.insert("stream".into(), session.stream.as_str().into());
        members.insert("begin".into(), session.begin.into());
        members
    }

    fn take(&self, members: Map<String, Value>, durable: bool, done: Option<oneshot::Sender<bool>>) {
        let Some(queue) = self.queue.get() else { return log(&members) };
        if let Err(refused) = queue.try_send(Line { members, durable, done }) {
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
}

/// Writes lines until the audit is gone. Blocks.
pub(super) fn write_lines(
    audit: &std::sync::Weak<Audit>,
    mut lines: mpsc::Receiver<Line>,
    mut writer: Box<dyn Write + Send>,
) {
    let not_taken = |members: &Map<String, Value>, error: &str| {
        if let Some(audit) = audit.upgrade() {
            audit.not_taken(members, error);
        }
    };
    while let Some(first) = lines.blocking_recv() {
        // Those that came meanwhile share its flush.
        let more = std::iter::from_fn(|| lines.try_recv().ok()).take(limits::AUDIT_FLUSH_LINES_MAX - 1);
        let batch: Vec<Line> = std::iter::once(first).chain(more).collect();
        let written = caught_here(Task::Audit, || write_batch(&mut *writer, &batch));
        // Which of them the writer has is not known then: twice is better than never.
        let written = written.unwrap_or_else(|panicked| batch.iter().map(|_| Err(panicked.to_string())).collect());
        if let (Some(audit), Some(Ok(()))) = (audit.upgrade(), written.last()) {
            audit.failing.store(false, Ordering::Relaxed);
        }
        for (Line { members, done, .. }, written) in batch.into_iter().zip(written) {
            if let Err(error) = &written
                && !members.is_empty()
            {
                not_taken(&members, error);
            }
            let _ = done.map(|done| done.send(written.is_ok()));
        }
    }
}

/// Writes lines and flushes those that must be; what came of each.
fn write_batch(writer: &mut dyn Write, batch: &[Line]) -> Vec<Result<(), String>> {
    tasks::may_panic(Task::Audit);
    let write = |Line { members, .. }: &Line| if members.is_empty() { Ok(()) } else { write_line(writer, members) };
    let mut written: Vec<_> =
        batch.iter().map(write).map(|written| written.map_err(|error| error.to_string())).collect();
    let to_flush = |(line, written): (&Line, &Result<(), String>)| line.durable && written.is_ok();
    if batch.iter().zip(&written).any(to_flush)
        && let Err(error) = writer.flush()
    {
        for (line, written) in batch.iter().zip(&mut written) {
            // Whoever waits for one that need not be flushed hears no more than that it may be lost.
            if line.durable || line.done.is_some() {
                *written = std::mem::replace(written, Ok(())).and(Err(error.to_string()));
            }
        }
    }
    written
}

fn write_line(writer: &mut dyn Write, members: &Map<String, Value>) -> std::io::Result<()> {
    let mut line = serde_json::to_vec(members).unwrap_or_default();
    line.push(b'\n');
    writer.write_all(&line)
}

/// One event of the log, with the members that the line would have; its `time` too, for the log's own may be later.
fn log(members: &Map<String, Value>) {
    let text = |name: &str| members.get(name).and_then(Value::as_str);
    let number = |name: &str| members.get(name).and_then(Value::as_u64);
    let seconds = members.get("seconds").and_then(Value::as_f64);
    tracing::info!(
        target: "audit",
        time = text("time"),
        event = text("event"),
        user = text("user"),
        claimed = text("claimed"),
        auth = text("auth"),
        peer = text("peer"),
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
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::HandClock;
    use crate::record::Timestamp;
    use std::sync::{Arc, Mutex};

    /// What fails now.
    #[derive(Debug, Clone, Copy, Default, PartialEq)]
    enum Trouble {
        #[default]
        None,
        Writing,
        Flushing,
    }

    /// Fails while told to; a `|` in its text is a flush.
    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<(Trouble, String)>>);

    impl Write for Paper {
        fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
            let mut paper = self.0.lock().unwrap();
            if paper.0 == Trouble::Writing {
                return Err(std::io::ErrorKind::StorageFull.into());
            }
            paper.1.push_str(std::str::from_utf8(line).unwrap());
            Ok(line.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            let mut paper = self.0.lock().unwrap();
            if paper.0 == Trouble::Flushing {
                return Err(std::io::ErrorKind::StorageFull.into());
            }
            paper.1.push('|');
            Ok(())
        }
    }

    fn audit() -> (Paper, Arc<Audit>) {
        let clock = Arc::new(HandClock::at(Timestamp::parse("2026-07-13T04:00:00Z").unwrap()));
        let (paper, audit) = (Paper::default(), Arc::new(Audit::new(clock)));
        audit.write_to(Box::new(paper.clone()));
        (paper, audit)
    }

    fn ann() -> Actor {
        let peer = Some("10.0.0.7:4711".parse().unwrap());
        Actor { user: Some("ann".into()), auth: "basic", peer, ..Actor::default() }
    }

    const MADE: Change<'static> =
        Change { method: "POST", path: Some("/services/v2/stream/s1"), status: 200, code: None };

    #[tokio::test]
    async fn a_change_is_one_line_that_is_there_when_it_returns() {
        let (paper, audit) = audit();
        audit.change(&ann(), &MADE).await;
        let text = paper.0.lock().unwrap().1.clone();
        let line: Value = serde_json::from_str(text.strip_suffix("\n|").unwrap()).unwrap();
        let expected = json!({
            "time": line["time"], "event": "change", "user": "ann", "auth": "basic", "peer": "10.0.0.7:4711",
            "method": "POST", "action": "make", "path": "/services/v2/stream/s1", "result": "done", "status": 200,
            "code": null,
        });
        assert_eq!(line, expected);
        assert!(line["time"].as_str().unwrap().starts_with("2026-07-13T04:00:00"));
    }

    #[tokio::test]
    async fn a_full_disk_stops_nothing_and_is_counted_and_passes() {
        let (paper, audit) = audit();
        paper.0.lock().unwrap().0 = Trouble::Writing;
        for _ in 0..3 {
            audit.change(&ann(), &MADE).await;
        }
        assert_eq!(audit.failed(), 3);
        paper.0.lock().unwrap().0 = Trouble::None;
        audit.change(&ann(), &MADE).await;
        assert_eq!((audit.failed(), paper.0.lock().unwrap().1.matches('\n').count()), (3, 1));
    }

    #[tokio::test]
    async fn a_change_is_flushed_before_it_returns_and_neither_refusals_nor_sessions_cost_a_flush() {
        let (paper, audit) = audit();
        let flushes = || paper.0.lock().unwrap().1.matches('|').count();
        audit.change(&ann(), &MADE).await;
        audit.change(&ann(), &Change { status: 404, ..MADE }).await;
        assert_eq!(flushes(), 2);
        for status in [401, 403, 429] {
            audit.change(&ann(), &Change { status, ..MADE }).await;
        }
        audit.session_started(&Session { actor: ann(), number: 9, stream: "s1".into(), begin: "now" });
        audit.change(&ann(), &Change { status: 401, ..MADE }).await;
        assert_eq!((flushes(), paper.0.lock().unwrap().1.matches('\n').count()), (2, 7));
    }

    #[tokio::test]
    async fn a_line_taken_over_is_written_as_it_was_and_a_cut_or_garbled_one_is_left_out() {
        let (paper, audit) = audit();
        let line = r#"{"time":"2020-01-01T00:00:00Z","event":"change","user":"uid 0","auth":"offline"}"#;
        assert!(audit.take_over(line.as_bytes()).await);
        assert!(audit.take_over(&line.as_bytes()[..40]).await);
        let garbled = [&line.as_bytes()[..60], b"\xff", &line.as_bytes()[61..]].concat();
        assert!(audit.take_over(&garbled).await);
        assert_eq!(paper.0.lock().unwrap().1, format!("{line}\n|"));
    }

    #[tokio::test]
    async fn a_line_is_not_taken_over_while_it_cannot_be_written_or_flushed() {
        let (paper, audit) = audit();
        for trouble in [Trouble::Writing, Trouble::Flushing] {
            paper.0.lock().unwrap().0 = trouble;
            assert!(!audit.take_over(b"{\"event\":\"change\"}").await, "{trouble:?}");
        }
        assert_eq!(audit.failed(), 2);
        paper.0.lock().unwrap().0 = Trouble::None;
        assert!(audit.take_over(b"{\"event\":\"change\"}").await);
    }

    #[tokio::test]
    async fn a_sessions_two_lines_have_one_number() {
        let (paper, audit) = audit();
        let session = Session { actor: ann(), number: 9, stream: "s1".into(), begin: "position" };
        audit.session_started(&session);
        let open = Duration::from_millis(1_500);
        audit.session_ended(&session, SessionEnd { code: 4011, records: 3, bytes: 99, open });
        audit.flush().await;
        let text = paper.0.lock().unwrap().1.clone();
        let lines: Vec<Value> =
            text.trim_end_matches('|').lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!((&lines[0]["event"], &lines[1]["event"]), (&json!("session-start"), &json!("session-end")));
        assert!(lines.iter().all(|line| line["session"] == 9 && line["begin"] == "position"));
        assert_eq!((&lines[1]["closeCode"], &lines[1]["seconds"]), (&json!(4011), &json!(1.5)));
    }
}
