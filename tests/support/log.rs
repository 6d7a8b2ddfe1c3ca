//! What a child process says: kept, waited for, and shown when a test fails.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// More than any test makes a child say: what is kept is all of it.
const LINES_KEPT: usize = 100_000;
/// Of these, the last ones are shown when a test fails.
const LINES_SHOWN: usize = 400;

/// The lines of a child's output.
#[derive(Debug, Clone, Default)]
pub struct Log(Arc<(Mutex<Lines>, Condvar)>);

#[derive(Debug, Default)]
struct Lines {
    kept: VecDeque<String>,
    ended: bool,
}

impl Log {
    /// Reads `output` to its end on a thread of its own, so that the child never waits for us.
    pub fn follow(output: impl Read + Send + 'static) -> Self {
        let log = Self::default();
        let writer = log.clone();
        std::thread::spawn(move || {
            let mut output = BufReader::new(output);
            let mut line = Vec::new();
            while output.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
                writer.push(String::from_utf8_lossy(&line).trim_end().to_owned());
                line.clear();
            }
            writer.lines().ended = true;
            writer.0.1.notify_all();
        });
        log
    }

    fn lines(&self) -> std::sync::MutexGuard<'_, Lines> {
        self.0.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn push(&self, line: String) {
        let mut lines = self.lines();
        assert!(lines.kept.len() < LINES_KEPT, "a child says more than is kept");
        lines.kept.push_back(line);
        drop(lines);
        self.0.1.notify_all();
    }

    /// The first line that holds `part`, waited for until it comes, the output ends, or `patience` is over.
    pub fn wait_for(&self, part: &str, patience: Duration) -> Option<String> {
        self.wait_for_lines(part, 1, patience).map(|mut lines| lines.swap_remove(0))
    }

    /// The lines that hold `part`, once there are `count` of them, waited for likewise.
    pub fn wait_for_lines(&self, part: &str, count: usize, patience: Duration) -> Option<Vec<String>> {
        self.wait(patience, |lines| {
            let found: Vec<_> = lines.kept.iter().filter(|line| line.contains(part)).cloned().collect();
            (found.len() >= count).then_some(found)
        })
    }

    /// All that the child said, once it has ended; `None` if it has not within `patience`.
    pub fn whole(&self, patience: Duration) -> Option<String> {
        self.wait(patience, |lines| lines.ended.then(|| lines.kept.iter().map(|line| format!("{line}\n")).collect()))
    }

    fn wait<T>(&self, patience: Duration, mut found: impl FnMut(&Lines) -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + patience;
        let mut lines = self.lines();
        loop {
            let is = found(&lines);
            let left = deadline.saturating_duration_since(Instant::now());
            if is.is_some() || lines.ended || left.is_zero() {
                return is;
            }
            lines = self.0.1.wait_timeout(lines, left).unwrap_or_else(std::sync::PoisonError::into_inner).0;
        }
    }

    /// Its last lines so far, for the message of a test that fails and for nothing else: the next line may be on its way.
    pub fn text(&self) -> String {
        let lines = self.lines();
        let shown = lines.kept.len().saturating_sub(LINES_SHOWN);
        lines.kept.iter().skip(shown).map(|line| format!("    {line}\n")).collect()
    }
}
