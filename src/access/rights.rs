//! The rights of somebody who is connected for long: they end when the credential expires, or when the user loses them.

use tokio::sync::watch;
use tokio::time::{Duration, Instant, sleep_until};

use super::authenticator::Identity;
use crate::catalog::{Catalog, Role, Shelf, User};
use crate::record::Timestamp;

/// How rights ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// The credential's time is over.
    Expired,
    /// The user is gone, or has a lesser role.
    Withdrawn,
}

/// Rights under watch.
#[derive(Debug)]
pub struct Rights {
    catalog: Catalog,
    /// `None`: the identity is not one of the catalog, and so only expires.
    user: Option<String>,
    needed: Role,
    until: Option<Instant>,
    /// Counts changes of users.
    changes: watch::Receiver<u64>,
    /// The count at the last look; `None` before the first, so that nothing between log-in and now is missed.
    looked_at: Option<u64>,
}

impl Rights {
    pub(super) fn new(
        catalog: Catalog,
        changes: watch::Receiver<u64>,
        identity: &Identity,
        needed: Role,
        now: Timestamp,
    ) -> Self {
        let until = identity.expires.map(|expires| {
            let left = u64::try_from(expires.micros().saturating_sub(now.micros())).unwrap_or(0);
            // A token of the far future is one without an end; the clock of the runtime cannot count so far.
            Instant::now() + Duration::from_micros(left).min(Duration::from_secs(365 * 86_400))
        });
        let user = identity.stored.then(|| identity.name.clone());
        Self { catalog, user, needed, until, changes, looked_at: None }
    }

    /// Waits until the rights are lost. May be dropped and called again.
    pub async fn lost(&mut self) -> Loss {
        loop {
            let (until, seen) = (self.until, self.looked_at);
            let expired = async {
                match until {
                    Some(until) => sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            let changes = &mut self.changes;
            let count = tokio::select! {
                biased;
                () = expired => return Loss::Expired,
                count = async { changes.wait_for(|count| Some(*count) != seen).await.map(|count| *count) } => count,
            };
            // The sender goes with the server.
            let Ok(count) = count else { return std::future::pending().await };
            if !self.still_there().await {
                return Loss::Withdrawn;
            }
            // Noted only now: a look that was dropped halfway is taken again.
            self.looked_at = Some(count);
        }
    }

    async fn still_there(&self) -> bool {
        let Some(name) = self.user.clone() else { return true };
        let (catalog, needed) = (self.catalog.clone(), self.needed);
        let look = tokio::task::spawn_blocking(move || catalog.get::<User>(Shelf::Users, &name));
        // Rights that cannot be looked up are none.
        matches!(look.await, Ok(Ok(Some(user))) if user.role >= needed)
    }
}
