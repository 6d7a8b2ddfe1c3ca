//! Whether the server does its work: what `/readyz` says.

use crate::capture::{RunState, Status};
use crate::limits;
use crate::service::Service;
use crate::service::trails::TrailInfo;

impl Service {
    /// Why the server is not ready, each line naming the trail or the extract: trails that are stopped or whose disk does
    /// not answer, extracts that do not capture or stand still. Empty when all is well. May wait for a trail that is
    /// being opened again.
    pub fn troubles(&self) -> Vec<String> {
        let trails = self.trails.list();
        let trails = trails.iter().filter_map(|trail| self.trouble_of_trail(trail));
        let extracts = self.extracts.list();
        let extracts = extracts.iter().filter_map(|extract| {
            trouble_of_extract(&extract.status).map(|trouble| format!("extract {} {trouble}", extract.name))
        });
        trails.chain(extracts).collect()
    }

    fn trouble_of_trail(&self, trail: &TrailInfo) -> Option<String> {
        let status = match &trail.state {
            Err(reason) => return Some(reason.clone()),
            Ok((_, status)) => status,
        };
        if let Some(reason) = &status.stopped {
            return Some(format!("trail {} has stopped: {reason}", trail.name));
        }
        let stalled = status.work.stalled_seconds(self.clock.now());
        let waits = stalled >= limits::TRAIL_STALL_SECONDS;
        waits.then(|| format!("trail {} has written nothing for {stalled} s, and bytes wait", trail.name))
    }
}

fn trouble_of_extract(status: &Status) -> Option<String> {
    let state = match status.status {
        RunState::Failed => "has failed",
        RunState::Retrying => "is retrying",
        RunState::Running => {
            let stalled = status.stalled_seconds();
            let stands = stalled >= limits::SOURCE_STALL_SECONDS;
            return stands.then(|| format!("has taken nothing for {stalled} s, and its source has gone on"));
        }
        RunState::Starting => {
            let waits = status.waits_for.as_ref().map(|wait| format!(": {}", wait.what));
            return Some(format!("is starting{}", waits.unwrap_or_default()));
        }
        RunState::Stopped => return None,
    };
    Some(format!("{state}: {}", status.last_error.as_deref().unwrap_or_default()))
}
