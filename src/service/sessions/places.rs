//! The places of sessions: in all, of each user, of each stream.

use std::sync::Arc;

use crate::access::{Limit, LimitHits, Place, Places};
use crate::limits;

/// How many sessions there may be at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionCaps {
    /// In all.
    pub all: usize,
    /// Of one user.
    pub per_user: usize,
    /// Of one stream.
    pub per_stream: usize,
}

impl Default for SessionCaps {
    /// No user and no stream is held to less than the whole: one user is often a fleet of clients, and one stream often
    /// all that a server has.
    fn default() -> Self {
        Self { all: limits::SESSIONS_MAX, per_user: limits::SESSIONS_MAX, per_stream: limits::SESSIONS_MAX }
    }
}

/// No place is left for a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoPlace {
    /// As many sessions as the server takes.
    #[error("the server has {0} sessions already")]
    Server(usize),
    /// As many as one user may have.
    #[error("the user has {0} sessions already")]
    User(usize),
    /// As many as one stream may have.
    #[error("the stream has {0} sessions already")]
    Stream(usize),
}

/// The places of a server's sessions.
#[derive(Debug)]
pub struct SessionPlaces {
    all: Arc<Places<()>>,
    users: Arc<Places<Arc<str>>>,
    streams: Arc<Places<Arc<str>>>,
    hits: Arc<LimitHits>,
}

/// What one session takes; free again when it is dropped.
#[derive(Debug)]
pub struct SessionPlace {
    in_all: Place<()>,
    _of_user: Place<Arc<str>>,
    _of_stream: Place<Arc<str>>,
}

impl SessionPlace {
    /// How many sessions there are in all.
    pub(super) fn sessions(&self) -> usize {
        self.in_all.of_its_key()
    }
}

impl SessionPlaces {
    /// Places under these caps; refusals are counted.
    pub fn new(caps: SessionCaps, hits: Arc<LimitHits>) -> Self {
        Self {
            all: Arc::new(Places::new(caps.all)),
            users: Arc::new(Places::new(caps.per_user)),
            streams: Arc::new(Places::new(caps.per_stream)),
            hits,
        }
    }

    /// A place for a session of `user` on `stream`.
    pub fn take(&self, user: &str, stream: &str) -> Result<SessionPlace, NoPlace> {
        let refused = |limit, error| {
            self.hits.count(limit);
            error
        };
        let in_all = self.all.take(()).ok_or_else(|| refused(Limit::Sessions, NoPlace::Server(self.all.most())))?;
        let of_user = self.users.take(user.into());
        let of_user = of_user.ok_or_else(|| refused(Limit::SessionsPerUser, NoPlace::User(self.users.most())))?;
        let of_stream = self.streams.take(stream.into());
        let of_stream =
            of_stream.ok_or_else(|| refused(Limit::SessionsPerStream, NoPlace::Stream(self.streams.most())))?;
        Ok(SessionPlace { in_all, _of_user: of_user, _of_stream: of_stream })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_are_capped_in_all_per_user_and_per_stream_and_each_refusal_is_counted() {
        let hits = Arc::new(LimitHits::default());
        let places = SessionPlaces::new(SessionCaps { all: 4, per_user: 2, per_stream: 3 }, hits.clone());
        let mut held = vec![places.take("ann", "s").unwrap(), places.take("ann", "s").unwrap()];
        assert_eq!(places.take("ann", "t").unwrap_err(), NoPlace::User(2));
        held.push(places.take("bob", "s").unwrap());
        assert_eq!(places.take("bob", "s").unwrap_err(), NoPlace::Stream(3));
        held.push(places.take("bob", "t").unwrap());
        assert_eq!(places.take("cid", "u").unwrap_err(), NoPlace::Server(4));
        assert_eq!(
            [Limit::SessionsPerUser, Limit::SessionsPerStream, Limit::Sessions].map(|limit| hits.of(limit)),
            [1, 1, 1]
        );
        held.clear();
        places.take("ann", "s").unwrap();
    }
}
