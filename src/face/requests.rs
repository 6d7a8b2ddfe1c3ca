//! Requests answered and refused, as figures: whoever answers counts here.
//!
//! Owns what of the figures is HTTP: routes, methods, statuses. What the service counts stands in its own metrics.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::service::metrics::Page;
use crate::service::metrics::table::Metric;
use crate::service::refusal::Fact;

/// How requests were answered since the server started.
#[derive(Debug, Default)]
pub struct Requests(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    answers: BTreeMap<RequestKind, u64>,
    refusals: BTreeMap<&'static str, u64>,
}

/// A kind of request and of answer. There are few of them: a route counts as its template.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestKind {
    /// The template, such as `/services/v2/stream/{name}`; `other` for what no route takes.
    pub route: String,
    /// The method; `other` for what HTTP does not know.
    pub method: &'static str,
    /// The class of the answer's status: 1 to 5.
    pub class: u16,
}

/// Limits that are seen by the answers which they refuse: their names, and those of the facts.
const LIMITS: [(&str, &str); 2] = [("failed_log_ins", "throttled"), ("body_bytes", "too-large")];

impl Requests {
    /// A request was answered.
    pub fn answered(&self, kind: RequestKind) {
        *self.lock().answers.entry(kind).or_default() += 1;
    }

    /// An answer refused something, for a fact of this name.
    pub fn refused(&self, fact: &'static str) {
        *self.lock().refusals.entry(fact).or_default() += 1;
    }

    /// Adds the figures to the page of all.
    pub fn sample(&self, page: &mut Page) {
        let counts = self.lock();
        for (kind, count) in &counts.answers {
            let class = format!("{}xx", kind.class);
            page.add(Metric::Requests, &[&kind.route, kind.method, &class], *count as f64);
        }
        for (fact, count) in &counts.refusals {
            page.add(Metric::Refusals, &[fact], *count as f64);
        }
        let refused = |fact: &str| counts.refusals.get(fact).copied().unwrap_or_default() as f64;
        for fact in Fact::POSITIONS {
            let name = fact.name();
            page.add(Metric::PositionsRefused, &[name.strip_prefix("position-").unwrap_or(name)], refused(name));
        }
        for (limit, fact) in LIMITS {
            page.add(Metric::LimitHits, &[limit], refused(fact));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
