//! What a source is told that it may forget.
//!
//! Owns the first rule of capture: **what is confirmed is read off the trail's durable mark and nowhere else, and is never
//! beyond what this session has received**: a source that went back must not be told to forget what it wrote since. Leaves how it
//! is told to the product.

use std::future::Future;

use tokio::sync::watch;

use super::coordinate::Coordinate;
use super::error::{CaptureError, Fault};
use super::fault_injection;
use crate::trail::{Appender, DurableMark};

/// What is durable, what came, and what was confirmed of it.
#[derive(Debug)]
pub(super) struct Confirmation<C> {
    durable: watch::Receiver<DurableMark>,
    /// Everything before it has come in this session or was confirmed before it, in whole transactions; none if a test asked
    /// not to mind.
    complete: Option<C>,
    /// What was last confirmed.
    confirmed: C,
    /// Confirmed without being durable: tests only, see [`fault_injection::confirm_early`].
    early: C,
    /// Until it is known what a warning means, nothing more is confirmed.
    held: bool,
}

impl<C: Coordinate> Confirmation<C> {
    /// Of a session with a source that was told `confirmed` before.
    pub(super) fn new(durable: watch::Receiver<DurableMark>, confirmed: C) -> Self {
        let complete = (!fault_injection::trusts_source()).then_some(confirmed);
        Self { durable, complete, confirmed: C::default(), early: C::default(), held: false }
    }

    /// Every transaction that ends before `place` has come.
    pub(super) fn complete(&mut self, place: &C) {
        if let Some(complete) = &mut self.complete
            && *place > *complete
        {
            complete.clone_from(place);
        }
    }

    /// Confirms nothing more, or goes on confirming.
    pub(super) fn hold(&mut self, held: bool) {
        self.held = held;
    }

    /// Breaks the first rule, for tests that must see it lose.
    pub(super) fn confirm_without_durability(&mut self, place: C) {
        self.early = self.early.clone().max(place);
    }

    /// What the source is to be told now.
    pub(super) fn confirm(&mut self) -> C {
        if !self.held {
            let durable = self.durable();
            let reached = self.complete.clone().map_or(durable.clone(), |complete| durable.min(complete));
            self.confirmed = reached.max(self.early.clone());
        }
        self.confirmed.clone()
    }

    /// What it was told last.
    pub(super) fn confirmed(&self) -> &C {
        &self.confirmed
    }

    /// What the trail holds durably; nothing confirms anything beyond it.
    pub(super) fn durable(&self) -> C {
        of_mark(&self.durable.borrow())
    }

    /// Waits until the durable mark moves.
    pub(super) async fn durable_moved(&mut self) -> Result<(), Fault> {
        self.durable.changed().await.map_err(|_| CaptureError::TrailStopped.into())
    }
}

fn of_mark<C: Coordinate>(mark: &DurableMark) -> C {
    mark.source.as_ref().and_then(C::of_position).unwrap_or_default()
}

/// Waits until the trail holds `place` durably.
pub(super) async fn wait_durable<C: Coordinate>(appender: &Appender, place: &C) -> Result<(), Fault> {
    let mut durable = appender.durable();
    tokio::select! {
        fault = trail_stopped(appender) => Err(fault),
        reached = durable.wait_for(|mark| of_mark::<C>(mark) >= *place) => {
            reached.map(drop).map_err(|_| CaptureError::TrailStopped.into())
        }
    }
}

/// Returns when the trail takes nothing more, and why.
pub(super) fn trail_stopped(appender: &Appender) -> impl Future<Output = Fault> + use<> {
    let durability = appender.durability();
    async move {
        // A commit number that no trail reaches: only the writer's end ends the wait.
        match durability.wait(u64::MAX).await {
            Ok(()) => CaptureError::TrailStopped.into(),
            Err(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::toy::EventNumber;

    #[test]
    fn nothing_is_confirmed_beyond_what_is_durable_and_what_this_session_has_received() {
        let mark = DurableMark { source: Some(EventNumber(100).to_position()), ..DurableMark::default() };
        let (_durable, watched) = watch::channel(mark);
        let mut confirmation = Confirmation::new(watched, EventNumber(50));
        for (complete, expected) in [(0, 50), (80, 80), (70, 80), (200, 100)] {
            confirmation.complete(&EventNumber(complete));
            assert_eq!(
                (confirmation.confirm(), confirmation.confirmed()),
                (EventNumber(expected), &EventNumber(expected))
            );
        }
        confirmation.hold(true);
        assert_eq!(confirmation.confirm(), EventNumber(100));
    }
}
