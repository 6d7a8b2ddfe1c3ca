//! Skips that are seen: a test that cannot run here says so, and `tests/run` counts it.

use std::io::Write;

/// Says on standard error, and in the file that `tests/run` sums up, that something was not tested here and why.
pub fn skip(reason: &str) {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    let line = format!("SKIPPED: {test}: {reason}\n");
    // Past the capture of the test harness, which hides what a passing test prints.
    std::io::stderr().write_all(line.as_bytes()).unwrap();
    if let Some(list) = std::env::var_os("TRAILCAST_TEST_SKIPS") {
        let mut list = std::fs::OpenOptions::new().create(true).append(true).open(list).unwrap();
        list.write_all(line.as_bytes()).unwrap();
    }
}
