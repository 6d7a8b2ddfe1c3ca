//! Coverage: whether every table that the patterns name is published as asked, now and without a break since the last look.
//!
//! `facts` says what PostgreSQL gives of each table, `query` reads it, `compare` judges two looks, `repair` puts back what
//! our own publication has lost, `lacking` tells people what is not as asked, `check` does one look with all of that and decides whether the extract goes on,
//! `background_check` has that happen beside the stream.

mod background_check;
mod check;
mod compare;
mod facts;
mod lacking;
mod query;
mod repair;
#[cfg(test)]
mod tests;

pub(super) use self::background_check::BackgroundCheck;
pub(super) use self::check::{Cause, CoverageCheck};
pub(super) use self::lacking::{Lacking, lacking};
