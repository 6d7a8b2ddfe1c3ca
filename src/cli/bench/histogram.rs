//! Durations in a fixed number of buckets, each within 1.6 % of what it counts.

use std::time::Duration;

use serde_json::{Value, json};

/// Buckets to each doubling.
const STEPS: u64 = 64;
const STEP_BITS: u32 = 6;

/// How often which duration was seen, in nanoseconds.
#[derive(Debug, Clone)]
pub(super) struct Histogram {
    counts: Vec<u64>,
    seen: u64,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; Self::bucket(u64::MAX) + 1], seen: 0, max: 0 }
    }
}

impl Histogram {
    fn bucket(nanos: u64) -> usize {
        let doublings = (u64::BITS - nanos.leading_zeros()).saturating_sub(STEP_BITS + 1);
        (u64::from(doublings) * STEPS + (nanos >> doublings)) as usize
    }

    /// The largest duration of a bucket.
    fn top(bucket: usize) -> u64 {
        let bucket = bucket as u64;
        let doublings = (bucket / STEPS).saturating_sub(1);
        let lowest = (bucket - doublings * STEPS) << doublings;
        lowest + ((1 << doublings) - 1)
    }

    /// Counts one.
    pub(super) fn add(&mut self, nanos: u64) {
        if let Some(count) = self.counts.get_mut(Self::bucket(nanos)) {
            *count += 1;
        }
        self.seen += 1;
        self.max = self.max.max(nanos);
    }

    /// Counts one.
    pub(super) fn add_duration(&mut self, duration: Duration) {
        self.add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Counts what another has counted.
    pub(super) fn merge(&mut self, other: &Self) {
        self.counts.iter_mut().zip(&other.counts).for_each(|(mine, theirs)| *mine += theirs);
        self.seen += other.seen;
        self.max = self.max.max(other.max);
    }

    /// How many were counted.
    pub(super) fn seen(&self) -> u64 {
        self.seen
    }

    /// The duration that this share of them does not pass, in microseconds.
    pub(super) fn quantile_micros(&self, share: f64) -> f64 {
        let wanted = (share * self.seen as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return Self::top(bucket).min(self.max) as f64 / 1e3;
            }
        }
        self.max as f64 / 1e3
    }

    /// Median, tails and maximum in microseconds.
    pub(super) fn to_json(&self) -> Value {
        let rounded = |micros: f64| (micros * 10.0).round() / 10.0;
        json!({
            "count": self.seen,
            "p50Micros": rounded(self.quantile_micros(0.5)),
            "p90Micros": rounded(self.quantile_micros(0.9)),
            "p99Micros": rounded(self.quantile_micros(0.99)),
            "maxMicros": rounded(self.max as f64 / 1e3),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_two_percent() {
        let mut histogram = Histogram::default();
        (1..=100_000).for_each(|micros| histogram.add(micros * 1_000));
        for (share, exact) in [(0.5, 50_000.0), (0.9, 90_000.0), (0.99, 99_000.0), (1.0, 100_000.0)] {
            let found = histogram.quantile_micros(share);
            assert!((exact..=exact * 1.02).contains(&found), "{share}: {found}");
        }
    }

    #[test]
    fn each_bucket_ends_where_the_next_begins() {
        for bucket in 0..Histogram::bucket(u64::MAX) {
            let top = Histogram::top(bucket);
            assert_eq!((Histogram::bucket(top), Histogram::bucket(top + 1)), (bucket, bucket + 1));
        }
        assert_eq!(Histogram::default().quantile_micros(0.5), 0.0);
    }
}
