//! How far a stream's clients are behind the source, stage by stage: the source's log, the trail's disk, the sessions.
//!
//! Owns what is added up and compared. Each stage's own figures are `capture`'s, the trail's and `delivery`'s.

use super::extracts::Extracts;
use super::streams::Stream;
use super::trails::Trails;
use crate::delivery::progress::Progress;
use crate::record::Timestamp;
use crate::trail::Trail;

/// How far something is behind: in time, as far as that is known, and in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Stage {
    /// Age of the oldest that is not there yet, in seconds.
    pub seconds: Option<f64>,
    /// Bytes that are not there yet.
    pub bytes: Option<u64>,
}

impl Stage {
    /// A session: what of the trail its client has not been given, or has not taken.
    pub fn of_session(progress: &Progress, trail: Option<&Trail>, now: Timestamp) -> Self {
        let bytes = trail.zip(progress.read_to()).map(|(trail, read_to)| trail.bytes_behind(read_to));
        Self { seconds: progress.lag_seconds(now, bytes == Some(0)), bytes }
    }

    /// The further behind of two, in each of the figures.
    #[must_use]
    fn or_further(self, other: Self) -> Self {
        let seconds = match (self.seconds, other.seconds) {
            (Some(one), Some(other)) => Some(one.max(other)),
            (one, other) => one.or(other),
        };
        Self { seconds, bytes: self.bytes.max(other.bytes) }
    }
}

/// Every stage on the way from a source to the clients of a stream.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Lag {
    /// The trail behind the source's log; none where no extract writes the trail.
    pub source: Option<Stage>,
    /// The trail's disk behind what was given to the trail; none while the trail is not served.
    pub trail: Option<Stage>,
    /// The session that is furthest behind the trail; none without sessions.
    pub sessions: Option<Stage>,
}

impl Lag {
    /// Of the sessions of a stream.
    pub(super) fn of_sessions(stream: &Stream, trails: &Trails, now: Timestamp) -> Option<Stage> {
        let entry = trails.of(&stream.config.source);
        let trail = entry.as_ref().and_then(|entry| entry.served().ok());
        let sessions = stream.sessions();
        let lags = sessions.iter().map(|session| Stage::of_session(&session.progress, trail, now));
        lags.reduce(Stage::or_further)
    }

    pub(super) fn of(stream: &Stream, trails: &Trails, extracts: &Extracts, now: Timestamp) -> Self {
        let entry = trails.of(&stream.config.source);
        let trail = entry.as_ref().and_then(|entry| entry.served().ok()).map(|trail| of_trail(trail, now));
        let name = stream.config.source.trail_name();
        let extract = name.and_then(|name| trails.extract_of(&name)).and_then(|name| extracts.get(&name));
        let source = extract.map(|extract| {
            let status = extract.status.common;
            Stage { seconds: status.lag_seconds, bytes: status.lag_bytes }
        });
        Self { source, trail, sessions: Self::of_sessions(stream, trails, now) }
    }
}

fn of_trail(trail: &Trail, now: Timestamp) -> Stage {
    let work = trail.status().counters;
    let age = |since: Timestamp| now.micros().saturating_sub(since.micros()).max(0) as f64 / 1e6;
    Stage { seconds: Some(work.pending_since.map_or(0.0, age)), bytes: Some(work.pending_bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_sessions_the_one_furthest_behind_counts() {
        let at_tail = Stage { seconds: Some(0.0), bytes: Some(0) };
        let slow = Stage { seconds: Some(7.5), bytes: Some(10) };
        let starting = Stage::default();
        assert_eq!(at_tail.or_further(slow), slow);
        assert_eq!(slow.or_further(starting).or_further(at_tail), slow);
    }
}
