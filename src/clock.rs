//! The only place that reads the wall clock, and the one beside it that nobody sets.
//!
//! Owns the [`Clock`] trait, the system's clock and one wound by hand for tests. Monotonic waits are tokio's own and do
//! not pass through here.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::record::Timestamp;

/// Tells the time.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// The time now, in UTC.
    fn now(&self) -> Timestamp;

    /// Time since some moment in the past, by a clock that nobody sets: the wall clock goes as far, unless it is set.
    fn steady(&self) -> Duration;
}

/// A clock that many tasks share.
pub type SharedClock = Arc<dyn Clock>;

/// The operating system's clock.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_micros(i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX))
    }

    fn steady(&self) -> Duration {
        use rustix::time::{ClockId, clock_gettime};
        // The one that goes on while the machine sleeps, as the wall clock does; other systems have no other.
        #[cfg(target_os = "linux")]
        let time = clock_gettime(ClockId::Boottime);
        #[cfg(not(target_os = "linux"))]
        let time = clock_gettime(ClockId::Monotonic);
        Duration::try_from(time).unwrap_or_default()
    }
}

/// A clock that moves only when told to.
#[derive(Debug)]
pub struct HandClock {
    wall_micros: AtomicI64,
    steady_seconds: AtomicU64,
}

impl HandClock {
    /// A clock that stands at `start`.
    pub fn at(start: Timestamp) -> Self {
        Self { wall_micros: AtomicI64::new(start.micros()), steady_seconds: AtomicU64::new(0) }
    }

    /// Lets `seconds` go by; if it is negative, sets the clock back.
    pub fn advance_seconds(&self, seconds: i64) {
        self.set_by_seconds(seconds);
        self.steady_seconds.fetch_add(u64::try_from(seconds).unwrap_or_default(), Ordering::SeqCst);
    }

    /// Sets the clock by `seconds`, while no time goes by.
    pub fn set_by_seconds(&self, seconds: i64) {
        self.wall_micros.fetch_add(seconds * 1_000_000, Ordering::SeqCst);
    }
}

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.wall_micros.load(Ordering::SeqCst))
    }

    fn steady(&self) -> Duration {
        Duration::from_secs(self.steady_seconds.load(Ordering::SeqCst))
    }
}
