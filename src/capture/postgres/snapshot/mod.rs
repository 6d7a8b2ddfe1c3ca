//! Initial loads of PostgreSQL: rows read beside the stream, and appended between its transactions.
//!
//! ```text
//! loader    what is loaded next, what it waits for, what becomes of a piece that was read
//!  ├ loadable   which tables somebody means, asked before anything is ordered
//!  ├ look       whether a table may be read yet
//!  │  └ unseen     transactions that a window cannot hold and a snapshot does not show yet
//!  └ reader     chunks over a connection of its own, in pieces
//!     ├ plan        what a table looks like, and the statements that read it
//!     ├ sight       what a chunk's snapshot shows
//!     └ copy_text   COPY's text form -> values as the stream has them
//! condition   whether a condition that somebody gave can stand in a statement
//! ```
//!
//! The rules are `capture::snapshot`'s; this folder knows what a snapshot is here, and why a commit is streamed before it is seen: the
//! server writes the commit to its log, waits for a synchronous standby, and only then lets others see it.

pub(super) mod condition;
mod copy_text;
pub(super) mod loadable;
pub(super) mod loader;
mod look;
mod plan;
pub(super) mod reader;
mod sight;
mod unseen;
