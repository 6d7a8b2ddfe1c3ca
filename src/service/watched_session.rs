//! A session for as long as its user may have it.

use crate::access::rights::{Loss, Rights};
use crate::delivery::feed::{Delivery, DeliveryEnd};
use crate::service::sessions::OpenSession;

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

    /// Whether memory for messages is short.
    pub fn memory_short(&self) -> tokio::sync::watch::Receiver<bool> {
        self.session.memory_short()
    }

    /// What to send next, or the end of the rights, whichever comes first. May be dropped and called again.
    pub async fn next(&mut self) -> Delivery {
        // Asked only when the client has taken everything before.
        self.session.progress().taken();
        let delivery = tokio::select! {
            biased;
            loss = self.rights.lost() => Delivery::End(match loss {
                Loss::Expired => DeliveryEnd::Expired,
                Loss::Withdrawn => DeliveryEnd::Withdrawn,
            }),
            delivery = self.session.next() => delivery,
        };
        self.session.progress().given();
        delivery
    }
}
