//! Sessions: from `begin` and a stream to a feed of messages, or a refusal before anything is sent.

mod begin;
pub mod places;
pub mod poll;
mod refused;
mod session;
pub mod watched;

use std::sync::Arc;

pub use begin::{BeginRequest, InvalidBegin};
pub use refused::{RefusedSession, SessionError};
pub use session::OpenSession;

use self::places::{SessionCaps, SessionPlaces};
use self::session::Supplies;
use super::principal::{Principal, Verb};
use super::streams::{LiveSession, Stream};
use super::trails::Trails;
use crate::access::{Limit, LimitHits};
use crate::clock::SharedClock;
use crate::delivery::budget::Budget;
use crate::delivery::negotiated::Negotiated;
use crate::delivery::notices::Notices;

/// Opens sessions, and has what they need.
#[derive(Debug)]
pub struct Sessions {
    supplies: Supplies,
    places: SessionPlaces,
    hits: Arc<LimitHits>,
}

/// Who opens a session, and how.
#[derive(Debug, Clone)]
pub struct SessionRequest {
    /// The user.
    pub user: String,
    /// The client's address and port.
    pub peer: String,
    /// What was asked, as text.
    pub begin_text: String,
    /// What was asked.
    pub begin: BeginRequest,
    /// What the connection negotiated.
    pub negotiated: Negotiated,
    /// What the session says of itself.
    pub notices: Notices,
}

impl Sessions {
    /// Sessions over these trails, under these caps, with that many bytes of memory for encoded messages.
    pub(super) fn new(
        trails: Arc<Trails>,
        clock: SharedClock,
        caps: SessionCaps,
        delivery_bytes: usize,
        hits: Arc<LimitHits>,
    ) -> Self {
        let supplies = Supplies { trails, clock, budget: Budget::new(delivery_bytes) };
        Self { supplies, places: SessionPlaces::new(caps, hits.clone()), hits }
    }

    /// The memory for encoded messages.
    pub fn budget(&self) -> &Arc<Budget> {
        &self.supplies.budget
    }

    /// Opens a session of a stream, or says why not. `now` is the durable mark at the time of the call.
    pub async fn open(
        &self,
        principal: Principal<'_>,
        stream: &Arc<Stream>,
        request: SessionRequest,
    ) -> Result<OpenSession, RefusedSession> {
        let source = &stream.config.source;
        self.opened(principal, stream, request).await.map_err(|error| {
            let error = match error {
                // A trail that the caller may not see is not here for him.
                SessionError::OtherTrail(other) if !principal.may_see(&other) => SessionError::OtherEpoch,
                error => error,
            };
            let trail_start = error.is_of_position().then(|| self.supplies.trails.start_of(source));
            RefusedSession { trail_start, error }
        })
    }

    async fn opened(
        &self,
        principal: Principal<'_>,
        stream: &Arc<Stream>,
        request: SessionRequest,
    ) -> Result<OpenSession, SessionError> {
        principal.check_stream(Verb::Read, &stream.name)?;
        principal.check_source(&stream.config.source.trail)?;
        let place = self.places.take(&request.user, stream.name.as_str())?;
        if !self.supplies.budget.has_room() {
            self.hits.count(Limit::DeliveryMemory);
            return Err(SessionError::NoMemory);
        }
        let SessionRequest { user, peer, begin_text, begin, negotiated, notices } = request;
        let session = OpenSession::open(self.supplies.clone(), stream, begin, negotiated, notices, place).await?;
        let (since, progress) = (self.supplies.clock.now(), session.shared_progress());
        stream.session_opened(session.number(), LiveSession { user, peer, since, begin: begin_text, progress });
        Ok(session)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::stream::StreamConfig;
    use crate::clock::SystemClock;
    use crate::delivery::end::End;
    use crate::delivery::framing::Framing;
    use crate::delivery::negotiated::Envelope;
    use crate::delivery::session::Delivery;
    use crate::record::{ResourceName, TrailName};
    use crate::service::Service;
    use crate::trail::Writer;

    async fn service(home: &std::path::Path, stream: &ResourceName) -> Arc<Service> {
        let service = Arc::new(Service::open(home, Arc::new(SystemClock), Default::default()).unwrap());
        let trail = TrailName::new("t1").unwrap();
        service.trails().make(Principal::House, &trail, Writer::Puts, None).await.unwrap();
        let config = StreamConfig::parse(br#"{"source":{"trail":"t1"},"bufferSize":131072}"#).unwrap();
        service.streams().make(Principal::House, stream, config).await.unwrap();
        service
    }

    #[tokio::test]
    async fn while_the_delivery_budget_is_used_up_new_sessions_are_refused_and_counted() {
        let home = tempfile::tempdir().unwrap();
        let name = ResourceName::new("s1").unwrap();
        let service = service(home.path(), &name).await;
        let stream = service.streams().get(&name).unwrap();
        let request = SessionRequest {
            user: "u".into(),
            peer: "p".into(),
            begin_text: "now".into(),
            begin: BeginRequest::Now,
            negotiated: Negotiated::new(Framing::WebSocket, Envelope::Records),
            notices: Notices::default(),
        };
        let budget = service.sessions().budget().clone();
        let held = budget.charge(budget.limit(), budget.limit()).unwrap();
        let refused = service.sessions().open(Principal::House, &stream, request.clone()).await.unwrap_err();
        assert!(matches!(refused.error, SessionError::NoMemory));
        assert_eq!(service.limit_hits().of(Limit::DeliveryMemory), 1);
        drop(held);
        assert!(service.sessions().open(Principal::House, &stream, request).await.is_ok());
    }

    #[tokio::test]
    async fn a_session_of_a_changed_stream_gets_what_was_durable_then_and_no_more() {
        let home = tempfile::tempdir().unwrap();
        let name = ResourceName::new("s1").unwrap();
        let service = service(home.path(), &name).await;
        let put = async |text: &str| {
            let row = |number| {
                let value = format!("{text}-{number}-{}", "v".repeat(60_000));
                format!("{{\"op\":\"INSERT\",\"table\":\"t\",\"after\":{{\"v\":\"{value}\"}}}}")
            };
            let rows: Vec<_> = (0..8).map(row).collect();
            let body = format!("{{\"operations\":[{}]}}", rows.join(","));
            service.puts().put(Principal::House, &TrailName::new("t1").unwrap(), body.as_bytes()).await.unwrap();
        };
        put("owed").await;
        let request = SessionRequest {
            user: "u".into(),
            peer: "p".into(),
            begin_text: "earliest".into(),
            begin: BeginRequest::Earliest,
            negotiated: Negotiated::new(Framing::WebSocket, Envelope::Records),
            notices: Notices::default(),
        };
        let stream = service.streams().get(&name).unwrap();
        let mut session = service.sessions().open(Principal::House, &stream, request).await.unwrap();
        // The stream's metadata, then the first records.
        let mut text = String::new();
        for _ in 0..2 {
            let Delivery::Messages(messages) = session.next().await else { panic!("too early an end") };
            messages.iter().for_each(|message| text += &String::from_utf8_lossy(message));
        }
        service.streams().patch(Principal::House, &name, &serde_json::json!({"description": "changed"})).await.unwrap();
        let end = loop {
            match session.next().await {
                Delivery::Messages(messages) => {
                    messages.iter().for_each(|message| text += &String::from_utf8_lossy(message));
                    put("later").await;
                }
                Delivery::End(end) => break end,
            }
        };
        assert_eq!(end, End::Reconfigured);
        assert!((0..8).all(|number| text.contains(&format!("owed-{number}-"))));
        assert!(!text.contains("later-"), "records of after the change");
    }
}
