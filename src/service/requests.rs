//! Requests answered and refused, as figures: whoever answers counts here.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How requests were answered since the server started.
#[derive(Debug, Default)]
pub struct Requests(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    answers: BTreeMap<RequestKind, u64>,
    refusals: BTreeMap<&'static str, u64>,
    puts: BTreeMap<&'static str, u64>,
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

impl Requests {
    /// A request was answered.
    pub fn answered(&self, kind: RequestKind) {
        *self.lock().answers.entry(kind).or_default() += 1;
    }

    /// An answer refused something, with a reason of a fixed list.
    pub fn refused(&self, reason: &'static str) {
        *self.lock().refusals.entry(reason).or_default() += 1;
    }

    /// A put was refused, with a reason of a fixed list.
    pub(super) fn put_refused(&self, reason: &'static str) {
        *self.lock().puts.entry(reason).or_default() += 1;
    }

    /// Answers by their kind.
    pub fn answers(&self) -> BTreeMap<RequestKind, u64> {
        self.lock().answers.clone()
    }

    /// Refusals by their reason.
    pub fn refusals(&self) -> BTreeMap<&'static str, u64> {
        self.lock().refusals.clone()
    }

    /// Refused puts by their reason.
    pub fn refused_puts(&self) -> BTreeMap<&'static str, u64> {
        self.lock().puts.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
