//! What a process has cost: processor time and memory, as Linux tells them under `/proc`.

use std::fs;

use serde_json::{Value, json};

use crate::cli::failure::Failure;

/// Linux counts processor time in hundredths of a second, whatever the kernel's own tick is.
const MICROS_PER_TICK: u64 = 10_000;

/// A process on this machine.
#[derive(Debug, Clone, Copy)]
pub(super) struct Process(u32);

/// Its figures at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Usage {
    /// Processor time since its start, in user and kernel mode, in microseconds.
    pub(super) cpu_micros: u64,
    /// Memory resident now, in bytes.
    pub(super) rss_bytes: u64,
}

impl Process {
    /// The process with that id; it must be there.
    pub(super) fn new(pid: u32) -> Result<Self, Failure> {
        let process = Self(pid);
        process.usage().map(|_| process)
    }

    /// This program.
    pub(super) fn own() -> Self {
        Self(std::process::id())
    }

    /// Its figures now.
    pub(super) fn usage(self) -> Result<Usage, Failure> {
        let read = |name: &str| {
            let path = format!("/proc/{}/{name}", self.0);
            fs::read_to_string(&path).map_err(|error| Failure::failed(format!("{path}: {error}")))
        };
        let (stat, status) = (read("stat")?, read("status")?);
        // The name in parentheses may hold anything; behind it, user and kernel time are the 12th and 13th field.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<u64>().ok()).unwrap_or_default();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
        let kibibytes: u64 = resident.trim().trim_end_matches(" kB").parse().unwrap_or_default();
        Ok(Usage { cpu_micros: (ticks(11) + ticks(12)) * MICROS_PER_TICK, rss_bytes: kibibytes << 10 })
    }
}

/// What a process has cost between two moments, for so many records and bytes.
pub(super) fn cost(before: Usage, after: Usage, seconds: f64, records: u64, bytes: u64) -> Value {
    let micros = after.cpu_micros.saturating_sub(before.cpu_micros) as f64;
    let per = |number: u64, unit: f64| (number > 0).then(|| (micros * unit / number as f64 * 1e4).round() / 1e4);
    json!({
        "cpuSeconds": micros / 1e6,
        "cores": (micros / 1e6 / seconds * 1e3).round() / 1e3,
        "cpuMicrosPerRecord": per(records, 1.0),
        "cpuNanosPerByte": per(bytes, 1e3),
        "rssBytes": after.rss_bytes,
        "rssGrownBytes": after.rss_bytes as i64 - before.rss_bytes as i64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_works_uses_the_processor() {
        let process = Process::own();
        let before = process.usage().unwrap();
        let mut sum = 0_u64;
        while process.usage().unwrap().cpu_micros < before.cpu_micros + 20_000 {
            sum = (0..100_000).fold(sum, u64::wrapping_add);
        }
        let after = process.usage().unwrap();
        assert!(after.rss_bytes > 1 << 20);
        let cost = cost(before, after, 1.0, 10, 0);
        assert!(cost["cpuMicrosPerRecord"].as_f64().unwrap() >= 2_000.0 && cost["cpuNanosPerByte"].is_null(), "{cost}");
    }

    #[test]
    fn a_process_that_is_not_there_is_an_error() {
        assert!(matches!(Process::new(u32::MAX), Err(Failure::Failed(_))));
    }
}
