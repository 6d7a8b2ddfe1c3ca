//! Chance that can be repeated: the SplitMix64 sequence of a seed.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A sequence that its seed decides.
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// The sequence of this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Another one in each run, of the seed in `TRAILCAST_SEED` if there is one; the seed is told, so that the run can be
    /// made again.
    pub fn of_this_run() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
        let seed = std::env::var("TRAILCAST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(now);
        println!("TRAILCAST_SEED={seed}");
        Self(seed)
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ mixed >> 31
    }

    /// A time of at least `from` and less than `to` milliseconds.
    pub fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.number() % (to - from))
    }
}
