//! Looks beside a stream that goes on meanwhile: when the next one begins, and how one that is under way is waited for.

use std::future::Future;
use std::pin::Pin;

use super::guard::{Cause, Guard, Outcome};
use crate::capture::source::Fault;

type Looking<'a> = Pin<Box<dyn Future<Output = (Guard<'a>, Result<Outcome, Fault>)> + Send + 'a>>;

/// A guard, or a look of it that is under way.
pub(in crate::capture::postgres) struct Lookout<'a> {
    guard: Option<Guard<'a>>,
    looking: Option<Looking<'a>>,
    /// Something hints at a change.
    asked: bool,
}

impl<'a> Lookout<'a> {
    pub(in crate::capture::postgres) fn new(guard: Guard<'a>) -> Self {
        Self { guard: Some(guard), looking: None, asked: false }
    }

    /// Asks for a look soon.
    pub(in crate::capture::postgres) fn ask(&mut self) {
        self.asked = true;
    }

    /// Begins a look if it is time for one, or one was asked for.
    pub(in crate::capture::postgres) fn begin_if_due(&mut self) {
        if self.guard.as_ref().is_some_and(|guard| guard.is_due(self.asked))
            && let Some(mut guard) = self.guard.take()
        {
            self.asked = false;
            self.looking = Some(Box::pin(async move {
                let outcome = guard.look(Cause::Routine).await;
                (guard, outcome)
            }));
        }
    }

    /// Waits for the look that is under way; for ever if none is. Dropping the future loses nothing.
    pub(in crate::capture::postgres) async fn done(&mut self) -> Result<Outcome, Fault> {
        let Some(looking) = &mut self.looking else { return std::future::pending().await };
        let (guard, outcome) = looking.await;
        (self.guard, self.looking) = (Some(guard), None);
        outcome
    }

    /// Looks at once, after the look that is under way.
    pub(in crate::capture::postgres) async fn look(&mut self, cause: Cause<'_>) -> Result<Outcome, Fault> {
        let mut before = Outcome::default();
        if self.looking.is_some() {
            before = self.done().await?;
        }
        let Some(guard) = &mut self.guard else { return Ok(before) };
        let outcome = guard.look(cause).await?;
        Ok(Outcome { gaps: [before.gaps, outcome.gaps].concat(), resume_at: outcome.resume_at.or(before.resume_at) })
    }

    /// What was found stands in the trail, durably.
    pub(in crate::capture::postgres) fn written(&self, outcome: &Outcome) {
        if let Some(guard) = &self.guard {
            guard.written(outcome);
        }
    }
}
