//! Tasks that must go on: which kinds there are, how often one of each has panicked, which are down now.
//!
//! Owns what is seen of a panic, in the figures and in the log, and starting again after one. Leaves what a task does, and
//! where it is started, to whoever has it. The figures are those of the process, as its panics are.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use tokio::time::Instant;

use crate::limits;

/// What must go on, or must not take anything along when it ends early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// Accepts connections.
    Listener,
    /// Serves one connection.
    Connection,
    /// Answers one request.
    Request,
    /// Runs one socket of a stream.
    Session,
    /// Encodes one block of a stream.
    Encoder,
    /// Runs one extract.
    Extract,
    /// Writes one trail.
    TrailWriter,
    /// Looks after retention.
    Retention,
    /// Writes audit lines.
    Audit,
    /// Looks for new certificates of the listener.
    Certificates,
    /// Looks for new keys of tokens.
    TokenKeys,
}

impl Task {
    /// Every kind.
    pub const ALL: [Self; 11] = [
        Self::Listener,
        Self::Connection,
        Self::Request,
        Self::Session,
        Self::Encoder,
        Self::Extract,
        Self::TrailWriter,
        Self::Retention,
        Self::Audit,
        Self::Certificates,
        Self::TokenKeys,
    ];

    /// Its name in logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Listener => "listener",
            Self::Connection => "connection",
            Self::Request => "request",
            Self::Session => "session",
            Self::Encoder => "encoder",
            Self::Extract => "extract",
            Self::TrailWriter => "trail_writer",
            Self::Retention => "retention",
            Self::Audit => "audit",
            Self::Certificates => "certificates",
            Self::TokenKeys => "token_keys",
        }
    }

    /// Notes that one of this kind has panicked.
    pub fn note_panic(self) {
        SEEN[self as usize].panics.fetch_add(1, Ordering::Relaxed);
    }

    /// How many have panicked since the process started.
    pub fn panics(self) -> u64 {
        SEEN[self as usize].panics.load(Ordering::Relaxed)
    }

    /// How many wait to be started again.
    pub fn down(self) -> u64 {
        SEEN[self as usize].down.load(Ordering::Relaxed)
    }
}

#[derive(Debug)]
struct Seen {
    panics: AtomicU64,
    down: AtomicU64,
}

static SEEN: [Seen; Task::ALL.len()] =
    [const { Seen { panics: AtomicU64::new(0), down: AtomicU64::new(0) } }; Task::ALL.len()];
static PANICS: AtomicU64 = AtomicU64::new(0);

/// Panics since [`log_panics`], those of no task of the list too.
pub fn panics() -> u64 {
    PANICS.load(Ordering::Relaxed)
}

/// What was being done broke off: a fault of the program itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a fault of the program itself broke it off; the log says where, please report it")]
pub struct Panicked;

/// What `work` comes to, or that it panicked, which counts for `task`.
pub fn caught_here<R>(task: Task, work: impl FnOnce() -> R) -> Result<R, Panicked> {
    if unwatched() {
        return Ok(work());
    }
    catch_unwind(AssertUnwindSafe(work)).map_err(|_| {
        task.note_panic();
        Panicked
    })
}

/// The same for a future.
pub async fn caught<R>(task: Task, future: impl Future<Output = R>) -> Result<R, Panicked> {
    let mut future = pin!(future);
    poll_fn(|context| match caught_here(task, || future.as_mut().poll(context)) {
        Ok(Poll::Ready(outcome)) => Poll::Ready(Ok(outcome)),
        Ok(Poll::Pending) => Poll::Pending,
        Err(panicked) => Poll::Ready(Err(panicked)),
    })
    .await
}

/// Runs a task until it ends by itself; after a panic it is started again.
pub async fn keep<F: Future<Output = ()>>(task: Task, mut run: impl FnMut() -> F) {
    let mut wait = Wait::new(task);
    while caught(task, run()).await.is_err() {
        tokio::time::sleep(wait.begin()).await;
        wait.over();
    }
}

/// The waits before a task that panicked is started again: they double, and are short again once it has run for longer than
/// the longest of them. Shows the task as down meanwhile.
#[derive(Debug)]
pub struct Wait {
    task: Task,
    failures: u32,
    since: Instant,
    down: bool,
}

impl Wait {
    /// Of a task that starts now.
    pub fn new(task: Task) -> Self {
        Self { task, failures: 0, since: Instant::now(), down: false }
    }

    /// It has panicked: how long to wait before it is started again.
    pub fn begin(&mut self) -> Duration {
        let longest = Duration::from_millis(limits::TASK_WAIT_MILLIS_MAX);
        if self.since.elapsed() > longest {
            self.failures = 0;
        }
        let wait = Duration::from_millis(limits::TASK_WAIT_MILLIS_MIN << self.failures.min(16)).min(longest);
        self.failures += 1;
        if !self.down {
            SEEN[self.task as usize].down.fetch_add(1, Ordering::Relaxed);
        }
        self.down = true;
        let wait_millis = wait.as_millis() as u64;
        tracing::error!(
            task = self.task.name(),
            wait_millis,
            "a task has panicked and is started again after the wait"
        );
        wait
    }

    /// It is started again.
    pub fn over(&mut self) {
        self.since = Instant::now();
        if std::mem::take(&mut self.down) {
            SEEN[self.task as usize].down.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        self.over();
    }
}

/// From now on panics go to the log, as events, and are counted.
pub fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        PANICS.fetch_add(1, Ordering::Relaxed);
        log_panic(panic);
    }));
}

fn log_panic(panic: &PanicHookInfo<'_>) {
    // A text that was put together may quote a row.
    let message = panic.payload().downcast_ref::<&'static str>().copied();
    let place = panic.location().map(ToString::to_string);
    let backtrace = Backtrace::capture();
    let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
    let thread = std::thread::current();
    tracing::error!(
        message,
        place,
        thread = thread.name(),
        backtrace,
        "a fault of the program itself (a panic); please report it"
    );
}

/// Whether a test asked that nobody watches tasks, so that it can see what a panic then takes along.
#[cfg(feature = "fault-injection")]
fn unwatched() -> bool {
    std::env::var_os("TRAILCAST_TEST_UNWATCHED").is_some_and(|value| value == "1")
}

#[cfg(not(feature = "fault-injection"))]
const fn unwatched() -> bool {
    false
}

/// Where a test asked that a task of this kind panics (`TRAILCAST_TEST_PANIC=extract`, once, or `extract:3`, so many times in a
/// row), it does.
#[cfg(feature = "fault-injection")]
pub fn may_panic(task: Task) {
    use std::sync::OnceLock;
    static ASKED: OnceLock<Option<(String, AtomicU64)>> = OnceLock::new();
    let asked = ASKED.get_or_init(|| {
        let text = std::env::var("TRAILCAST_TEST_PANIC").ok()?;
        let (name, times) = text.split_once(':').unwrap_or((&text, "1"));
        Some((name.to_owned(), AtomicU64::new(times.parse().ok()?)))
    });
    let Some((name, left)) = asked else { return };
    let one_less = |left: u64| left.checked_sub(1);
    if *name == task.name() && left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less).is_ok() {
        std::panic::panic_any("a test asked for it");
    }
}

/// Nothing panics on purpose.
#[cfg(not(feature = "fault-injection"))]
#[inline]
pub const fn may_panic(_task: Task) {}

/// Where a test asked that work of this kind is held (`TRAILCAST_TEST_HOLD=document:/a/file`), it waits until the file is gone.
#[cfg(feature = "fault-injection")]
pub fn may_be_held(kind: &str) {
    let asked = std::env::var("TRAILCAST_TEST_HOLD").ok();
    let Some((held, file)) = asked.as_deref().and_then(|text| text.split_once(':')) else { return };
    while held == kind && std::path::Path::new(file).exists() {
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Nothing is held on purpose.
#[cfg(not(feature = "fault-injection"))]
#[inline]
pub const fn may_be_held(_kind: &str) {}

/// Whether a test asked that long work is done on the thread that asks for it, so that it can see what then stands still.
#[cfg(feature = "fault-injection")]
pub fn on_the_spot() -> bool {
    std::env::var_os("TRAILCAST_TEST_ON_THE_SPOT").is_some_and(|value| value == "1")
}

/// Long work is never done on the thread that asks for it.
#[cfg(not(feature = "fault-injection"))]
#[inline]
pub const fn on_the_spot() -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_task_that_panics_is_started_again_after_waits_that_double_and_is_shown_as_down_meanwhile() {
        let (mut starts, before, began) = (Vec::new(), Task::Certificates.panics(), Instant::now());
        keep(Task::Certificates, || {
            starts.push((began.elapsed().as_millis(), Task::Certificates.down()));
            let last = starts.len() == 4;
            async move { assert!(last, "not yet") }
        })
        .await;
        assert_eq!(starts, [(0, 0), (100, 0), (300, 0), (700, 0)]);
        assert_eq!(Task::Certificates.panics() - before, 3);
    }

    #[tokio::test(start_paused = true)]
    async fn waits_are_bounded_and_short_again_after_a_long_run() {
        let mut wait = Wait::new(Task::TokenKeys);
        let longest = Duration::from_millis(limits::TASK_WAIT_MILLIS_MAX);
        let last = (0..40).map(|_| wait.begin()).last();
        assert_eq!((last, Task::TokenKeys.down()), (Some(longest), 1));
        wait.over();
        assert_eq!(Task::TokenKeys.down(), 0);
        tokio::time::advance(longest * 2).await;
        assert_eq!(wait.begin(), Duration::from_millis(limits::TASK_WAIT_MILLIS_MIN));
        drop(wait);
        assert_eq!(Task::TokenKeys.down(), 0);
    }

    #[tokio::test]
    async fn what_is_caught_is_counted_and_what_was_done_before_stays() {
        let before = Task::Audit.panics();
        let mut done = 0;
        let outcome = caught(Task::Audit, async {
            done += 1;
            tokio::task::yield_now().await;
            done += 1;
            assert!(done > 2, "broken off");
        })
        .await;
        assert_eq!((outcome, done, Task::Audit.panics() - before), (Err(Panicked), 2, 1));
        assert_eq!(caught_here(Task::Audit, || 7), Ok(7));
    }
}
