//! Looks beside a stream that goes on meanwhile: when the next one begins, and how one that is under way is waited for.

use std::future::Future;
use std::pin::Pin;

use super::check::{Cause, CoverageCheck};
use crate::capture::error::Fault;
use crate::capture::gap::Gaps;
use crate::capture::postgres::lsn::Lsn;

type Looking<'a> = Pin<Box<dyn Future<Output = (CoverageCheck<'a>, Result<Gaps<Lsn>, Fault>)> + Send + 'a>>;

/// A check, or one of its looks that is under way.
pub(in crate::capture::postgres) struct BackgroundCheck<'a> {
    check: Option<CoverageCheck<'a>>,
    looking: Option<Looking<'a>>,
    /// Something hints at a change.
    asked: bool,
}

impl<'a> BackgroundCheck<'a> {
    pub(in crate::capture::postgres) fn new(check: CoverageCheck<'a>) -> Self {
        Self { check: Some(check), looking: None, asked: false }
    }

    /// Asks for a look soon.
    pub(in crate::capture::postgres) fn ask(&mut self) {
        self.asked = true;
    }

    /// Begins a look if it is time for one, or one was asked for.
    pub(in crate::capture::postgres) fn begin_if_due(&mut self) {
        if self.check.as_ref().is_some_and(|check| check.is_due(self.asked))
            && let Some(mut check) = self.check.take()
        {
            self.asked = false;
            self.looking = Some(Box::pin(async move {
                let outcome = check.look(Cause::Routine).await;
                (check, outcome)
            }));
        }
    }

    /// Waits for the look that is under way; for ever if none is. Dropping the future loses nothing.
    pub(in crate::capture::postgres) async fn done(&mut self) -> Result<Gaps<Lsn>, Fault> {
        let Some(looking) = &mut self.looking else { return std::future::pending().await };
        let (check, outcome) = looking.await;
        (self.check, self.looking) = (Some(check), None);
        outcome
    }

    /// Looks at once, after the look that is under way.
    pub(in crate::capture::postgres) async fn look(&mut self, cause: Cause<'_>) -> Result<Gaps<Lsn>, Fault> {
        let mut before = Gaps::default();
        if self.looking.is_some() {
            before = self.done().await?;
        }
        let Some(check) = &mut self.check else { return Ok(before) };
        before.extend(check.look(cause).await?);
        Ok(before)
    }

    /// What was found stands in the trail, durably.
    pub(in crate::capture::postgres) fn written(&self, outcome: &Gaps<Lsn>) {
        if let Some(check) = &self.check {
            check.written(outcome);
        }
    }
}
