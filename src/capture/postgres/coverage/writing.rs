//! Gaps into the trail: appended between transactions, and durable before anybody goes on.

use super::guard::{Gap, Outcome};
use crate::capture::postgres::overlap::Mark;
use crate::capture::source::{CaptureError, Fault};
use crate::record::TableName;
use crate::trail::{Appender, Missing};

/// Writes what a look found and waits until it is durable. No transaction may be open. `publications_hash` stands for the
/// publications that the stream names.
pub(in crate::capture::postgres) async fn write(
    appender: &mut Appender,
    outcome: &Outcome,
    publications_hash: u8,
) -> Result<(), Fault> {
    for gap in &outcome.gaps {
        appender.gap(&missing(gap))?;
    }
    if let Some(place) = outcome.resume_at {
        let nothing_since = Mark::none_since(place, publications_hash);
        appender.progress_after(&nothing_since.to_trail(), &place.to_position())?;
    }
    if appender.pending_bytes() > 0 {
        appender.hand_over().await?;
    }
    let durability = appender.durability();
    durability.wait(appender.next_commit() - 1).await.map_err(|_| CaptureError::TrailStopped)?;
    Ok(())
}

/// As the trail has it: a gap that goes on ends nowhere. A name that no trail takes leaves the others; without any, the
/// rows may be of every table.
fn missing(gap: &Gap) -> Missing {
    Missing {
        tables: gap.tables.keys().filter_map(|table| TableName::parse(table).ok()).collect(),
        from: gap.from.to_string(),
        to: gap.to.map(|to| to.to_string()).unwrap_or_default(),
    }
}
