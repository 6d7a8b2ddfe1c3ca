//! Waits for what arrives later (a line, a figure, a state): looked at again and again, up to a deadline. Whoever looks at
//! such a thing once has a test that fails on a busy machine.

use std::path::Path;
use std::time::{Duration, Instant};

/// Time that anything may take to arrive. Far beyond what it needs: it only ends a test that would never end.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// Looks until `look` gives what is waited for; panics with what it saw last.
pub fn until<T>(mut look: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match look() {
            Ok(found) => return found,
            Err(seen) => assert!(Instant::now() < deadline, "it does not come: {seen}"),
        }
        // Nothing tells of it.
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Waits until the file holds this text.
pub fn wait_for_file(path: &Path, expected: &str) {
    until(|| {
        let held = std::fs::read_to_string(path).unwrap_or_default();
        if held.trim() == expected { Ok(()) } else { Err(format!("{} holds {held}", path.display())) }
    });
}
