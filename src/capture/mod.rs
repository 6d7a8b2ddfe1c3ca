//! From a database's log into a trail.
//!
//! Owns the run loop that outlives passing faults, what becomes of what any source sends, the status that REST shows, and one
//! folder per database product. Leaves durability to `trail`: nothing is confirmed to a source before the trail's durable mark
//! has passed it.
//!
//! ```text
//! run -> source -> a product's folder -> intake -> trail
//! ```

mod catch_up;
mod confirmation;
mod coordinate;
mod coverage;
mod error;
mod extract_status;
mod fault_injection;
mod finding;
mod gap;
mod held;
mod intake;
mod mask;
mod overlap;
pub mod postgres;
mod released;
mod run;
mod shutdown;
mod snapshot;
mod source;
mod status;
mod taken;
#[cfg(test)]
mod toy;
mod value_rules;
mod visit;
mod wait;

pub use coverage::SharedCoverage;
pub use error::CaptureError;
pub use extract_status::{ExtractStatus, KeptLog, ProductStatus, SharedStatus};
pub use finding::{Finding, FindingState};
pub use released::Released;
pub use run::{Capture, loadable, preflight};
pub use snapshot::orders::SharedLoads;
pub use snapshot::status::{LoadState, LoadStatus, TableLoadState, TableLoadStatus};
pub use source::{Named, helper_sql, product_of, shared_at_source};
pub use status::{RunState, Status};
pub use visit::{check, release};
pub use wait::Wait;
