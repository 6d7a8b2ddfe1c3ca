//! Coverage: whether every table that the patterns name is published as asked, now and without a break since the last look.
//!
//! `facts` says what PostgreSQL gives of each table, `query` reads it, `compare` judges two looks, `mend` puts back what our
//! own publication has lost, `guard` does one look with all of that and decides whether the extract goes on,
//! `lookout` has that happen beside the stream, `writing` puts the gaps into the trail.

mod compare;
mod facts;
mod guard;
mod lookout;
mod mend;
mod query;
#[cfg(test)]
mod tests;
mod writing;

pub(super) use self::guard::{Cause, Guard, Outcome};
pub(super) use self::lookout::Lookout;
pub(super) use self::writing::write;
