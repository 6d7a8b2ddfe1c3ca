//! What the kernel says of this process: memory, open files, processor time, start; and how its memory is kept.
//!
//! Reads `/proc/self` and nothing else. Where that is not there (other systems than Linux), nothing is said.

use std::fs;

/// Lets pieces of memory of up to so many bytes stay with the process when they are freed. To be called once, before anything
/// large is taken.
///
/// glibc maps each piece of more than 128 KiB by itself and unmaps it when it is freed, until it sees a larger one freed: from
/// then on pieces of up to that size come from the heap, of which it keeps twice as much (mallopt(3), `M_MMAP_THRESHOLD`). So
/// it is shown one. The piece is not touched, so it costs nothing; other C libraries take no notice.
pub fn keep_freed_memory(piece_bytes_max: usize) {
    drop(std::hint::black_box(Vec::<u8>::with_capacity(piece_bytes_max)));
}

/// Figures of this process.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct ProcessFigures {
    /// Resident memory, in bytes.
    pub resident_bytes: Option<u64>,
    /// Open file descriptors.
    pub open_files: Option<u64>,
    /// File descriptors that may be open at once.
    pub open_files_max: Option<u64>,
    /// Processor time used, in seconds.
    pub cpu_seconds: Option<f64>,
    /// When it started, in seconds since 1970.
    pub started_seconds: Option<f64>,
}

impl ProcessFigures {
    /// The figures now. Takes some microseconds.
    pub fn now() -> Self {
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let times = Times::of(&stat);
        let boot = fs::read_to_string("/proc/stat").ok().and_then(|text| line_of(&text, "btime "));
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        Self {
            resident_bytes: line_of(&status, "VmRSS:").map(|kib| kib * 1_024),
            // One of them is the folder that is being read.
            open_files: fs::read_dir("/proc/self/fd").ok().map(|files| (files.count() as u64).saturating_sub(1)),
            open_files_max: line_of(&limits, "Max open files"),
            cpu_seconds: times.map(|times| times.used_ticks / TICKS_PER_SECOND),
            started_seconds: times.zip(boot).map(|(times, boot)| boot as f64 + times.start_ticks / TICKS_PER_SECOND),
        }
    }
}

/// The kernel's unit of time towards programs: 100 a second on every Linux since 2.6.
const TICKS_PER_SECOND: f64 = 100.0;

#[derive(Debug, Clone, Copy, PartialEq)]
struct Times {
    used_ticks: f64,
    start_ticks: f64,
}

impl Times {
    /// Of `/proc/self/stat`, whose second field is a name in brackets that may hold anything.
    fn of(stat: &str) -> Option<Self> {
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        let ticks = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
        Some(Self { used_ticks: ticks(14)? + ticks(15)?, start_ticks: ticks(22)? })
    }
}

/// The first number behind `name` in a line that begins with it.
fn line_of(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_the_program_may_hold_brackets_and_blanks() {
        let stat = "7 (a b) c) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 3 0 1234 0 0";
        assert_eq!(Times::of(stat), Some(Times { used_ticks: 300.0, start_ticks: 1234.0 }));
        assert_eq!(Times::of("7 (x) S"), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_kernel_says_all_of_it() {
        let file = fs::File::open("/proc/self/stat").unwrap();
        let figures = ProcessFigures::now();
        assert!(figures.resident_bytes.unwrap() > 1 << 20);
        assert!(figures.open_files.unwrap() > 3 && figures.open_files_max.unwrap() >= figures.open_files.unwrap());
        assert!(figures.cpu_seconds.unwrap() >= 0.0 && figures.started_seconds.unwrap() > 1.7e9);
        drop(file);
    }
}
