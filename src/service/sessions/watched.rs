//! A session for as long as its user may have it.

use bytes::Bytes;

use super::session::OpenSession;
use crate::access::rights::{Loss, Rights};
use crate::delivery::end::End;
use crate::delivery::progress::Progress;
use crate::delivery::session::Delivery;
use crate::tasks::{self, Task};

/// An open session and the rights that it stands on.
#[derive(Debug)]
pub struct WatchedSession {
    session: OpenSession,
    rights: Rights,
}

impl WatchedSession {
    /// Puts a session under watch.
    pub fn new(session: OpenSession, rights: Rights) -> Self {
        Self { session, rights }
    }

    /// What it has done; stays readable after its end.
    pub fn shared_progress(&self) -> std::sync::Arc<Progress> {
        self.session.shared_progress()
    }

    /// Whether memory for messages is short.
    pub fn memory_short(&self) -> tokio::sync::watch::Receiver<bool> {
        self.session.memory_short()
    }

    /// What to send next, or the end of the rights, whichever comes first. May be dropped and called again.
    pub async fn next(&mut self) -> Delivery {
        // Asked only when the client has taken everything before.
        self.session.progress().taken();
        tasks::may_panic(Task::Session);
        let delivery = tokio::select! {
            biased;
            end = lost(&mut self.rights) => Delivery::End(end),
            delivery = self.session.next() => delivery,
        };
        self.session.progress().given();
        delivery
    }

    /// The same, but none where everything durable has been sent.
    pub async fn next_to_tail(&mut self) -> Option<Delivery> {
        tasks::may_panic(Task::Session);
        tokio::select! {
            biased;
            end = lost(&mut self.rights) => Some(Delivery::End(end)),
            delivery = self.session.next_to_tail() => delivery,
        }
    }

    /// The session.
    pub(super) fn session(&self) -> &OpenSession {
        &self.session
    }

    /// What to send last where the server stops, if the client wants to hear it.
    pub fn farewell(&mut self) -> Option<Bytes> {
        self.session.farewell()
    }

    /// Waits for an end that does not leave the client the time to take what it was given: its rights are over, or the
    /// trail is gone. May be dropped and called again.
    pub async fn cut_short(&mut self) -> End {
        tokio::select! {
            biased;
            end = lost(&mut self.rights) => end,
            () = self.session.trail_gone() => End::Gone,
        }
    }
}

pub(super) async fn lost(rights: &mut Rights) -> End {
    match rights.lost().await {
        Loss::Expired => End::Expired,
        Loss::Withdrawn => End::Withdrawn,
    }
}
