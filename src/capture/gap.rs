//! Gaps into the trail: ranges of the source's log in which rows of some tables may be missing.
//!
//! Owns how they get there: between transactions, and durable before anybody goes on. That there is one is for the folder of
//! the source's product to find out.

use std::collections::BTreeMap;

use super::coordinate::Coordinate;
use super::error::{CaptureError, Fault};
use super::overlap::Mark;
use crate::record::TableName;
use crate::trail::{Appender, Missing};

/// A range of the source's log in which rows of some tables may be missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Gap<C> {
    /// The tables, and why.
    pub(super) tables: BTreeMap<String, String>,
    pub(super) from: C,
    /// None while it goes on.
    pub(super) to: Option<C>,
}

/// What has to stand in the trail before anything else is handed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Gaps<C> {
    pub(super) gaps: Vec<Gap<C>>,
    /// The source cannot show what lies before this place: the trail goes on from there.
    pub(super) resume_at: Option<C>,
}

impl<C> Default for Gaps<C> {
    fn default() -> Self {
        Self { gaps: Vec::new(), resume_at: None }
    }
}

impl<C: Coordinate> Gaps<C> {
    /// Whether there is nothing to write.
    pub(super) fn is_empty(&self) -> bool {
        self.gaps.is_empty() && self.resume_at.is_none()
    }

    /// Adds what was found later.
    pub(super) fn extend(&mut self, later: Self) {
        self.gaps.extend(later.gaps);
        self.resume_at = later.resume_at.or(self.resume_at.take());
    }

    /// Writes them and waits until they are durable. No transaction may be open. `selection` is of what the stream asks the
    /// source for.
    pub(super) async fn write(&self, appender: &mut Appender, selection: u8) -> Result<(), Fault> {
        for gap in &self.gaps {
            appender.gap(&gap.missing())?;
        }
        if let Some(place) = &self.resume_at {
            let nothing_since = Mark::none_since(place.clone(), selection);
            appender.progress_after(&nothing_since.to_trail(), &place.to_position())?;
        }
        if appender.pending_bytes() > 0 {
            appender.hand_over().await?;
        }
        let durability = appender.durability();
        durability.wait(appender.next_commit() - 1).await.map_err(|_| CaptureError::TrailStopped)?;
        Ok(())
    }
}

impl<C: Coordinate> Gap<C> {
    /// As the trail has it: a gap that goes on ends nowhere. A name that no trail takes leaves the others; without any, the
    /// rows may be of every table.
    fn missing(&self) -> Missing {
        Missing {
            tables: self.tables.keys().filter_map(|table| TableName::parse(table).ok()).collect(),
            from: self.from.to_string(),
            to: self.to.as_ref().map(ToString::to_string).unwrap_or_default(),
        }
    }
}
