//! Whether segments may go for their age, which is judged by the wall clock: not while that has just been set.
//!
//! Owns the state machine; it is told the time. A clock that was set makes old of new in a moment, and what retention
//! removes does not come back. The suspension is kept in the catalog, so that a restart does not end it.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::catalog::{Catalog, CatalogError, Shelf};
use crate::clock::Clock;
use crate::limits::{CLOCK_STEADY_SECONDS, CLOCK_STEP_SECONDS_MAX};
use crate::record::Timestamp;
use crate::repeats::warn_rarely;

/// Its name on the shelf.
const STORED: &str = "age-suspension";

/// Why nothing is removed for its age.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AgeSuspension {
    /// By how many seconds the clock was last set, back when negative.
    pub step_seconds: i64,
    /// What it said then, RFC 3339.
    pub noticed: String,
}

/// What both clocks said at one moment.
#[derive(Debug, Clone, Copy)]
struct Reading {
    wall: Timestamp,
    steady: Duration,
}

impl Reading {
    fn of(clock: &dyn Clock) -> Self {
        Self { steady: clock.steady(), wall: clock.now() }
    }

    /// By how many seconds the wall clock was set since then.
    fn step_since(self, before: Self) -> i64 {
        let wall = self.wall.micros().saturating_sub(before.wall.micros()) / 1_000_000;
        wall.saturating_sub(i64::try_from(self.steady.saturating_sub(before.steady).as_secs()).unwrap_or(i64::MAX))
    }
}

/// Watches the clock from pass to pass.
#[derive(Debug)]
pub(super) struct AgeRule(Mutex<State>);

#[derive(Debug)]
struct State {
    last: Option<Reading>,
    suspended: Option<AgeSuspension>,
    /// Since when the clock has run without being set.
    steady_since: Option<Duration>,
}

impl AgeRule {
    /// As the catalog remembers it.
    pub(super) fn open(catalog: &Catalog) -> Result<Self, CatalogError> {
        let suspended = catalog.get(Shelf::Server, STORED)?;
        Ok(Self(Mutex::new(State { last: None, suspended, steady_since: None })))
    }

    /// Looks at the clock before a pass of retention: whether segments may go for their age.
    pub(super) fn look(&self, clock: &dyn Clock, catalog: &Catalog) -> bool {
        let now = Reading::of(clock);
        let mut state = self.lock();
        let step_seconds = state.last.replace(now).map_or(0, |last| now.step_since(last));
        let since = *state.steady_since.get_or_insert(now.steady);
        if step_seconds.unsigned_abs() > CLOCK_STEP_SECONDS_MAX {
            let suspension = AgeSuspension { step_seconds, noticed: now.wall.to_rfc3339() };
            tracing::warn!(
                step_seconds,
                "the clock was set: no segment is removed for its age until the clock has run steadily for 24 hours or an \
                 administrator confirms that it is right"
            );
            if let Err(error) = catalog.put(Shelf::Server, STORED, &suspension) {
                tracing::warn!(%error, "a restart would forget that segments are not to be removed for their age");
            }
            (state.suspended, state.steady_since) = (Some(suspension), Some(now.steady));
        } else if state.suspended.is_some() && now.steady.saturating_sub(since).as_secs() >= CLOCK_STEADY_SECONDS {
            match forget(&mut state, catalog) {
                Ok(()) => tracing::info!("the clock has run steadily; segments are removed for their age again"),
                Err(error) => warn_rarely!("", %error, "segments are still not removed for their age"),
            }
        }
        state.suspended.is_none()
    }

    /// Somebody says that the clock is right. Blocks on the disk.
    pub(super) fn confirm(&self, catalog: &Catalog) -> Result<(), CatalogError> {
        let mut state = self.lock();
        if state.suspended.is_some() {
            forget(&mut state, catalog)?;
            tracing::info!("the clock was confirmed; segments are removed for their age again");
        }
        Ok(())
    }

    /// Why nothing is removed for its age, and for how many seconds more if nobody confirms the clock.
    pub(super) fn suspended(&self, clock: &dyn Clock) -> Option<(AgeSuspension, u64)> {
        let state = self.lock();
        let steady = state.steady_since.map_or(0, |since| clock.steady().saturating_sub(since).as_secs());
        Some((state.suspended.clone()?, CLOCK_STEADY_SECONDS.saturating_sub(steady)))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn forget(state: &mut State, catalog: &Catalog) -> Result<(), CatalogError> {
    catalog.delete(Shelf::Server, STORED)?;
    state.suspended = None;
    Ok(())
}
