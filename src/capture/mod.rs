//! From a database's log into a trail.
//!
//! Owns the run loop that outlives passing faults, the status that REST shows, and one folder per database product.
//! Leaves durability to `trail`: nothing is confirmed to a source before the trail's durable mark has passed it.

mod coverage;
pub mod postgres;
mod run;
mod source;

pub use coverage::SharedCoverage;
pub use run::{preflight, run, watch};
pub use source::{CaptureError, PublicationStatus, RefusedWrites, RunState, SharedStatus, SlotStatus, Status, Wait};
