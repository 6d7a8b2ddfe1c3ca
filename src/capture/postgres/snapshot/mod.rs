//! Rows of a table of PostgreSQL, read in chunks.
//!
//! ```text
//! loadable      which tables somebody means, asked before anything is ordered
//!  └ condition    whether a condition that somebody gave can stand in a statement
//! reader        chunks over a connection of its own, in pieces
//!  ├ plan         what a table looks like, and the statements that read it
//!  ├ refusal      what a refusal of the source means
//!  ├ sight        what a chunk's snapshot shows
//!  └ copy_text    COPY's text form -> values as the stream has them
//! ```
//!
//! Leaves to `loader` when a table is read and what becomes of the pieces.

mod condition;
mod copy_text;
pub(super) mod loadable;
mod plan;
pub(super) mod reader;
mod refusal;
pub(super) mod sight;
