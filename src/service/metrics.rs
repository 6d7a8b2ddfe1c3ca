//! Figures for monitoring, in the text format of Prometheus (exposition format 0.0.4).
//!
//! Every metric's name, kind and help stand in one table here; `docs/metrics.md` is held equal to it by a test.

use std::fmt::Write as _;

use crate::capture::RunState;
use crate::service::Service;

/// A metric: name, kind, help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// Its name, with its unit.
    pub name: &'static str,
    /// `gauge` or `counter`.
    pub kind: &'static str,
    /// What it says.
    pub help: &'static str,
}

const fn metric(name: &'static str, kind: &'static str, help: &'static str) -> Metric {
    Metric { name, kind, help }
}

const TRAIL_BYTES: Metric = metric("trailcast_trail_bytes", "gauge", "Bytes of a trail's segments on disk.");
const TRAIL_SEGMENTS: Metric = metric("trailcast_trail_segments", "gauge", "Segments of a trail on disk.");
const TRAIL_FIRST: Metric =
    metric("trailcast_trail_first_commit", "gauge", "Commit number of the first transaction that a trail keeps.");
const TRAIL_LAST: Metric =
    metric("trailcast_trail_last_commit", "gauge", "Commit number of a trail's last durable transaction.");
const TRAIL_LAST_SECONDS: Metric = metric(
    "trailcast_trail_last_commit_timestamp_seconds",
    "gauge",
    "Commit time of a trail's last durable transaction, in seconds since 1970.",
);
const TRAIL_WRITTEN: Metric =
    metric("trailcast_trail_written_bytes_total", "counter", "Bytes written to a trail since the server started.");
const TRAIL_FLUSHES: Metric =
    metric("trailcast_trail_flushes_total", "counter", "Flushes of a trail since the server started.");
const TRAIL_FLUSH_SECONDS: Metric = metric(
    "trailcast_trail_flush_seconds_total",
    "counter",
    "Time that a trail's flushes took together since the server started, in seconds.",
);
const TRAIL_STOPPED: Metric =
    metric("trailcast_trail_stopped", "gauge", "1 when a trail does not take appends or is not served, else 0.");
const CAPTURE_UP: Metric = metric("trailcast_capture_running", "gauge", "1 when an extract captures, else 0.");
const CAPTURE_LAG_BYTES: Metric =
    metric("trailcast_capture_lag_bytes", "gauge", "Bytes of the source's log that an extract has still to take.");
const CAPTURE_LAG_SECONDS: Metric = metric(
    "trailcast_capture_lag_seconds",
    "gauge",
    "Age of the last transaction that an extract has taken, in seconds.",
);
const CAPTURE_TRANSACTIONS: Metric = metric(
    "trailcast_capture_transactions_total",
    "counter",
    "Transactions that an extract has taken since it started.",
);
const CAPTURE_RETRIES: Metric =
    metric("trailcast_capture_retries_total", "counter", "Connections to the source that an extract has lost.");
const SESSIONS: Metric = metric("trailcast_stream_sessions", "gauge", "Live sessions of a stream.");
const SESSION_RECORDS: Metric =
    metric("trailcast_stream_session_records", "gauge", "Records sent by the live sessions of a stream.");
const SESSION_BYTES: Metric =
    metric("trailcast_stream_session_bytes", "gauge", "Bytes sent by the live sessions of a stream.");

/// Every metric, in the order in which they are given.
pub const METRICS: [Metric; 17] = [
    TRAIL_BYTES,
    TRAIL_SEGMENTS,
    TRAIL_FIRST,
    TRAIL_LAST,
    TRAIL_LAST_SECONDS,
    TRAIL_WRITTEN,
    TRAIL_FLUSHES,
    TRAIL_FLUSH_SECONDS,
    TRAIL_STOPPED,
    CAPTURE_UP,
    CAPTURE_LAG_BYTES,
    CAPTURE_LAG_SECONDS,
    CAPTURE_TRANSACTIONS,
    CAPTURE_RETRIES,
    SESSIONS,
    SESSION_RECORDS,
    SESSION_BYTES,
];

/// Samples in the order of their metrics. Names of resources need no escaping in labels.
#[derive(Default)]
struct Samples(Vec<(Metric, &'static str, String, f64)>);

impl Samples {
    fn add(&mut self, metric: Metric, label: &'static str, of: impl ToString, value: f64) {
        self.0.push((metric, label, of.to_string(), value));
    }

    fn text(&self) -> String {
        let mut out = String::new();
        for metric in METRICS {
            let _ = writeln!(out, "# HELP {} {}\n# TYPE {} {}", metric.name, metric.help, metric.name, metric.kind);
            for (_, label, of, value) in self.0.iter().filter(|(of, ..)| *of == metric) {
                let _ = writeln!(out, "{}{{{label}=\"{of}\"}} {value}", metric.name);
            }
        }
        out
    }
}

impl Service {
    /// All figures now.
    pub fn metrics(&self) -> String {
        let mut samples = Samples::default();
        self.sample_trails(&mut samples);
        self.sample_extracts(&mut samples);
        for stream in self.streams.list() {
            let sessions = stream.sessions();
            let sum = |figure: fn(&crate::delivery::feed::Progress) -> u64| -> f64 {
                sessions.iter().map(|session| figure(&session.progress)).sum::<u64>() as f64
            };
            samples.add(SESSIONS, "stream", &stream.name, sessions.len() as f64);
            samples.add(SESSION_RECORDS, "stream", &stream.name, sum(crate::delivery::feed::Progress::records));
            samples.add(SESSION_BYTES, "stream", &stream.name, sum(crate::delivery::feed::Progress::bytes));
        }
        samples.text()
    }

    fn sample_trails(&self, samples: &mut Samples) {
        for trail in self.trails.list() {
            let stopped = trail.state.as_ref().map_or(true, |(_, status)| status.stopped.is_some());
            samples.add(TRAIL_STOPPED, "trail", &trail.name, f64::from(u8::from(stopped)));
            let Ok((_, status)) = trail.state else { continue };
            let figures = [
                (TRAIL_BYTES, status.bytes as f64),
                (TRAIL_SEGMENTS, status.segments as f64),
                (TRAIL_FIRST, status.first_commit as f64),
                (TRAIL_LAST, status.last_commit as f64),
                (TRAIL_LAST_SECONDS, status.last_commit_ts.micros() as f64 / 1e6),
                (TRAIL_WRITTEN, status.written_bytes as f64),
                (TRAIL_FLUSHES, status.flushes as f64),
                (TRAIL_FLUSH_SECONDS, status.flush_nanos as f64 / 1e9),
            ];
            figures.into_iter().for_each(|(metric, value)| samples.add(metric, "trail", &trail.name, value));
        }
    }

    fn sample_extracts(&self, samples: &mut Samples) {
        for extract in self.extracts.list() {
            let status = extract.status;
            let running = f64::from(u8::from(status.status == RunState::Running));
            samples.add(CAPTURE_UP, "extract", &extract.name, running);
            if let Some(bytes) = status.lag_bytes {
                samples.add(CAPTURE_LAG_BYTES, "extract", &extract.name, bytes as f64);
            }
            if let Some(seconds) = status.lag_seconds {
                samples.add(CAPTURE_LAG_SECONDS, "extract", &extract.name, seconds);
            }
            samples.add(CAPTURE_TRANSACTIONS, "extract", &extract.name, status.transactions as f64);
            samples.add(CAPTURE_RETRIES, "extract", &extract.name, status.retries as f64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_about_metrics_lists_every_metric_with_its_help() {
        let page = include_str!("../../docs/metrics.md");
        let rows: Vec<_> = page.lines().filter(|line| line.starts_with("| `")).collect();
        let expected: Vec<_> =
            METRICS.iter().map(|metric| format!("| `{}` | {} | {} |", metric.name, metric.kind, metric.help)).collect();
        assert_eq!(rows, expected);
    }

    #[test]
    fn samples_stand_under_their_help() {
        let mut samples = Samples::default();
        samples.add(TRAIL_BYTES, "trail", "a1", 5.0);
        let text = samples.text();
        assert!(text.contains("# TYPE trailcast_trail_bytes gauge\ntrailcast_trail_bytes{trail=\"a1\"} 5\n"), "{text}");
    }
}
