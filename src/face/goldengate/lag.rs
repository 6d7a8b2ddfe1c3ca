//! How far clients are behind a source, as answers show it.

use serde::Serialize;
use utoipa::ToSchema;

use crate::service::lag::{Lag, Stage};

/// How far the stream's clients are behind its source, stage by stage. null: there is no such stage, or nothing is known of it.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[schema(as = StreamLag)]
pub(super) struct ShownLag {
    /// The trail behind the source's log; only where an extract writes the trail.
    #[schema(required)]
    source: Option<ShownStage>,
    /// The trail's disk behind what was given to the trail.
    #[schema(required)]
    trail: Option<ShownStage>,
    /// The session that is furthest behind the trail.
    #[schema(required)]
    sessions: Option<ShownStage>,
}

/// How far one stage is behind.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[schema(as = LagStage)]
pub(super) struct ShownStage {
    /// Age of the oldest that is not there yet.
    #[schema(required)]
    seconds: Option<f64>,
    /// What is not there yet.
    #[schema(required)]
    bytes: Option<u64>,
}

impl From<Stage> for ShownStage {
    fn from(Stage { seconds, bytes }: Stage) -> Self {
        Self { seconds: seconds.map(rounded), bytes }
    }
}

impl From<Lag> for ShownLag {
    fn from(Lag { source, trail, sessions }: Lag) -> Self {
        Self { source: source.map(Into::into), trail: trail.map(Into::into), sessions: sessions.map(Into::into) }
    }
}

/// To milliseconds.
pub(super) fn rounded(seconds: f64) -> f64 {
    (seconds * 1e3).round() / 1e3
}
