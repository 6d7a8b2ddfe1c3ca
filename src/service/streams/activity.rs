//! What a stream's sessions have done, all together and over all revisions of the stream: figures that only grow.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::codec::close_code::CloseCode;
use crate::delivery::encoding_totals::EncodingTotals;
use crate::delivery::progress::{Progress, SessionState};

/// The sessions of one stream, as figures.
#[derive(Debug, Default)]
pub struct StreamActivity {
    sessions: Mutex<Sessions>,
    /// What encoding for them took.
    pub encoding: Arc<EncodingTotals>,
}

#[derive(Debug, Default)]
struct Sessions {
    live: BTreeMap<u64, Arc<Progress>>,
    /// What ended sessions had done.
    ended: StreamFigures,
}

/// The figures of one stream now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StreamFigures {
    /// Sessions opened, live ones included.
    pub opened: u64,
    /// Live sessions, by [`SessionState::ALL`].
    pub live: [u64; SessionState::ALL.len()],
    /// Records sent.
    pub records: u64,
    /// Bytes sent.
    pub bytes: u64,
    /// Ended sessions, by close code.
    pub ends: BTreeMap<CloseCode, u64>,
}

impl StreamActivity {
    pub(super) fn opened(&self, number: u64, progress: Arc<Progress>) {
        let mut sessions = self.lock();
        sessions.ended.opened += 1;
        sessions.live.insert(number, progress);
    }

    pub(super) fn ended(&self, number: u64) {
        let mut sessions = self.lock();
        if let Some(progress) = sessions.live.remove(&number) {
            sessions.ended.records += progress.records();
            sessions.ended.bytes += progress.bytes();
        }
    }

    /// A session was closed with this code; [`CloseCode::BROKEN`] when its connection broke.
    pub fn closed(&self, code: CloseCode) {
        *self.lock().ended.ends.entry(code).or_default() += 1;
    }

    /// The figures now.
    pub fn figures(&self) -> StreamFigures {
        let sessions = self.lock();
        let mut figures = sessions.ended.clone();
        for progress in sessions.live.values() {
            figures.records += progress.records();
            figures.bytes += progress.bytes();
            figures.live[progress.state() as usize] += 1;
        }
        figures
    }

    fn lock(&self) -> MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_and_bytes_never_shrink_when_a_session_ends() {
        let activity = StreamActivity::default();
        for number in 0..3 {
            let progress = Arc::new(Progress::default());
            progress.sent_bytes(10);
            activity.opened(number, progress);
        }
        assert_eq!((activity.figures().opened, activity.figures().bytes, activity.figures().live), (3, 30, [3, 0, 0]));
        activity.ended(1);
        activity.closed(CloseCode::SLOW);
        activity.ended(7);
        let figures = activity.figures();
        assert_eq!((figures.opened, figures.bytes, figures.live), (3, 30, [2, 0, 0]));
        assert_eq!(figures.ends, BTreeMap::from([(CloseCode::SLOW, 1)]));
    }
}
