//! The looks of one check: each has its time, all together have theirs, and one that fails says so and stands in nobody's way.

use std::future::Future;

use tokio::time::{Duration, Instant, timeout_at};

use crate::capture::error::Fault;
use crate::capture::finding::Finding;
use crate::limits;

/// What was found so far, and how much time is left.
#[derive(Debug)]
pub(super) struct Looks {
    findings: Vec<Finding>,
    end: Instant,
}

impl Looks {
    pub(super) fn begin() -> Self {
        let end = Instant::now() + Duration::from_secs(limits::SOURCE_CHECK_SECONDS_MAX);
        Self { findings: Vec::new(), end }
    }

    /// All that was found.
    pub(super) fn findings(self) -> Vec<Finding> {
        self.findings
    }

    pub(super) fn add(&mut self, found: impl IntoIterator<Item = Finding>) {
        self.findings.extend(found);
    }

    /// One look, within its time.
    pub(super) async fn timed<T>(&self, look: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
        let limit = Duration::from_secs(limits::SOURCE_CHECK_LOOK_SECONDS_MAX);
        let end = self.end.min(Instant::now() + limit);
        let late = |_| Fault::Passing(format!("no answer from the source within {} s", limit.as_secs()));
        timeout_at(end, look).await.map_err(late)?
    }

    /// What a look gives; nothing if it failed, which is said.
    pub(super) async fn within<T>(
        &mut self,
        what: &'static str,
        look: impl Future<Output = Result<T, Fault>>,
    ) -> Option<T> {
        if Instant::now() >= self.end {
            let seconds = limits::SOURCE_CHECK_SECONDS_MAX;
            let late = format!("this was not looked at: the {seconds} s for the whole check are over; check again");
            self.add([Finding::error(what, late)]);
            return None;
        }
        match self.timed(look).await {
            Ok(given) => Some(given),
            Err(fault) => {
                self.add([Finding::error(what, format!("this could not be looked at: {fault}"))]);
                None
            }
        }
    }

    /// The same of a look that gives findings.
    pub(super) async fn take(&mut self, what: &'static str, look: impl Future<Output = Result<Vec<Finding>, Fault>>) {
        let found = self.within(what, look).await;
        self.add(found.unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::finding::FindingState;

    #[tokio::test(start_paused = true)]
    async fn a_look_that_hangs_or_fails_says_so_and_the_others_are_made() {
        let mut looks = Looks::begin();
        let hangs = || std::future::pending::<Result<Vec<Finding>, Fault>>();
        looks.take("slots", hangs()).await;
        looks.take("clock", async { Ok(vec![Finding::ok("clock", "they agree")]) }).await;
        looks.take("tables", async { Err(Fault::Passing("no such thing".into())) }).await;
        for _ in 0..limits::SOURCE_CHECK_SECONDS_MAX / limits::SOURCE_CHECK_LOOK_SECONDS_MAX {
            looks.take("disk", hangs()).await;
        }
        looks.take("timeouts", hangs()).await;
        let found = looks.findings();
        let of = |at: usize| (found[at].what, found[at].state);
        assert_eq!(of(0), ("slots", FindingState::Error));
        assert!(found[0].message.contains("within 8 s"), "{}", found[0].message);
        assert_eq!((of(1), of(2)), (("clock", FindingState::Ok), ("tables", FindingState::Error)));
        let last = found.last().unwrap();
        assert!(last.what == "timeouts" && last.message.contains("the 40 s for the whole check are over"), "{last:?}");
    }
}
