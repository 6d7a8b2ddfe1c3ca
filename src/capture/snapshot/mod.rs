//! Initial load, whatever the product: which rows of a chunk may be appended behind what the stream has brought, and how far the
//! load of each table is.
//!
//! Owns the two rules that keep load and stream one history. A chunk is read in a snapshot of the source; it is appended between
//! two of the stream's transactions, and then
//!
//! 1. **nothing in it is newer than what comes after it**: the stream has brought every transaction that the snapshot shows
//!    (the product says when, by a place in the log);
//! 2. **nothing in it is older than what came before it**: a row that was changed by a transaction which the stream has brought
//!    and the snapshot does not show is left out, as the stream has given the newer one ([`window`]).
//!
//! What the stream has *not* said of a left-out row (values that did not change and were not sent) is read once more
//! ([`progress`]). Leaves to the product's folder how a chunk is read, what a snapshot shows, and which transactions that
//! were committed before the window began are still not to be seen.

pub(super) mod key;
pub(super) mod loading;
pub(super) mod orders;
pub(super) mod progress;
pub(super) mod status;
#[cfg(test)]
mod tests;
pub(super) mod window;
