//! What a child process says: kept, waited for, and shown when a test fails.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

const LINES_KEPT: usize = 400;

/// The last lines of a child's output.
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
        if lines.kept.len() == LINES_KEPT {
            lines.kept.pop_front();
        }
        lines.kept.push_back(line);
        drop(lines);
        self.0.1.notify_all();
    }

    /// The first kept line that holds `part`, waited for until it comes, the output ends, or `patience` is over.
    pub fn wait_for(&self, part: &str, patience: Duration) -> Option<String> {
        let deadline = Instant::now() + patience;
        let mut lines = self.lines();
        loop {
            if let Some(line) = lines.kept.iter().find(|line| line.contains(part)) {
                return Some(line.clone());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if lines.ended || left.is_zero() {
                return None;
            }
            lines = self.0.1.wait_timeout(lines, left).unwrap_or_else(std::sync::PoisonError::into_inner).0;
        }
    }

    /// Everything kept, as one text.
    pub fn text(&self) -> String {
        self.lines().kept.iter().map(|line| format!("    {line}\n")).collect()
    }
}
