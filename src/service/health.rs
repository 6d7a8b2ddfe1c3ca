//! Whether the server does its work: what `/readyz` says.

use crate::capture::RunState;
use crate::service::Service;

impl Service {
    /// Why the server is not ready: trails that are stopped, extracts that do not capture. Empty when all is well.
    pub fn troubles(&self) -> Vec<String> {
        let trails = self.trails.list().into_iter().filter_map(|trail| match trail.state {
            Err(reason) => Some(reason),
            Ok((_, status)) => status.stopped.map(|reason| format!("trail {} has stopped: {reason}", trail.name)),
        });
        let extracts = self.extracts.list().into_iter().filter_map(|extract| {
            let state = match extract.status.status {
                RunState::Failed => "has failed",
                RunState::Retrying => "is retrying",
                RunState::Starting | RunState::Running | RunState::Stopped => return None,
            };
            let error = extract.status.last_error.unwrap_or_default();
            Some(format!("extract {} {state}: {error}", extract.name))
        });
        trails.chain(extracts).collect()
    }
}
