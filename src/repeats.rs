//! Log lines of what is tried again and again: one a minute, with a count of those that were left out.
//!
//! Owns when such a line is due. What it says, and what counts as the same (a trail, an extract, a kind of trouble), is for
//! whoever logs.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use tokio::time::{Duration, Instant};

use crate::limits;

/// The lines of one place in the source, told apart by a key.
#[derive(Debug, Default)]
pub struct Repeats(Mutex<BTreeMap<String, Seen>>);

#[derive(Debug)]
struct Seen {
    said: Instant,
    left_out: u64,
}

/// A line is to be written now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// Lines like it that were left out since the last one; none if there were none.
    pub left_out: Option<u64>,
}

impl Repeats {
    /// Nothing has been said yet.
    pub const fn new() -> Self {
        Self(Mutex::new(BTreeMap::new()))
    }

    /// Whether the line about `key` is due; if not, it is counted.
    pub fn due(&self, key: &str) -> Option<Due> {
        let pause = Duration::from_secs(limits::REPEATED_LINE_SECONDS);
        let now = Instant::now();
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(seen) = seen.get_mut(key) {
            if now.saturating_duration_since(seen.said) < pause {
                seen.left_out += 1;
                return None;
            }
            let left_out = std::mem::take(&mut seen.left_out);
            seen.said = now;
            return Some(Due { left_out: (left_out > 0).then_some(left_out) });
        }
        if seen.len() >= limits::REPEATED_LINE_KEYS_MAX {
            // Those that nothing was left out of say nothing when they are forgotten.
            seen.retain(|_, seen| now.saturating_duration_since(seen.said) < pause || seen.left_out > 0);
        }
        if seen.len() >= limits::REPEATED_LINE_KEYS_MAX {
            seen.pop_first();
        }
        seen.insert(key.to_owned(), Seen { said: now, left_out: 0 });
        Some(Due { left_out: None })
    }
}

/// Logs a warning of something that is tried again and again: `warn_rarely!(key, fields, "text")`, at most once a minute for
/// each key. The line has a field `left_out` where others were left out before it.
macro_rules! warn_rarely {
    ($key:expr, $($event:tt)+) => {{
        static SAID: $crate::repeats::Repeats = $crate::repeats::Repeats::new();
        if let Some(due) = SAID.due($key) {
            tracing::warn!(left_out = due.left_out, $($event)+);
        }
    }};
}

/// The same with an error.
macro_rules! error_rarely {
    ($key:expr, $($event:tt)+) => {{
        static SAID: $crate::repeats::Repeats = $crate::repeats::Repeats::new();
        if let Some(due) = SAID.due($key) {
            tracing::error!(left_out = due.left_out, $($event)+);
        }
    }};
}

pub(crate) use {error_rarely, warn_rarely};

#[cfg(test)]
mod tests {
    use super::*;

    const SAY: Option<Due> = Some(Due { left_out: None });

    #[tokio::test(start_paused = true)]
    async fn the_same_line_comes_once_a_minute_and_says_how_many_were_left_out() {
        let lines = Repeats::new();
        assert_eq!(lines.due("a1"), SAY);
        // Every 0.2 s, for a minute.
        for _ in 1..limits::REPEATED_LINE_SECONDS * 5 {
            tokio::time::advance(Duration::from_millis(200)).await;
            assert_eq!(lines.due("a1"), None);
        }
        assert_eq!(lines.due("b2"), SAY, "another trail's line is another line");
        tokio::time::advance(Duration::from_millis(200)).await;
        assert_eq!(lines.due("a1"), Some(Due { left_out: Some(limits::REPEATED_LINE_SECONDS * 5 - 1) }));
        tokio::time::advance(Duration::from_secs(limits::REPEATED_LINE_SECONDS)).await;
        assert_eq!(lines.due("a1"), SAY, "nothing was left out since");
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_keys_does_not_grow_it() {
        let lines = Repeats::new();
        for number in 0..limits::REPEATED_LINE_KEYS_MAX * 2 {
            assert_eq!(lines.due(&number.to_string()), SAY);
        }
        assert!(lines.0.lock().unwrap().len() <= limits::REPEATED_LINE_KEYS_MAX);
    }
}
