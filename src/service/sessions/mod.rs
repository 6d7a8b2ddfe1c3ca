//! Sessions: from `begin` and a stream to a feed of messages, or a refusal before anything is sent; and members of consumer
//! groups, each of which has one session after the other.

mod acks;
mod begin;
pub mod member;
pub mod places;
pub mod poll;
mod refused;
mod session;
mod start;
pub mod watched;

use std::sync::Arc;

pub use begin::{BeginRequest, InvalidBegin};
pub use refused::{JoinError, RefusedSession, SessionError};
pub use session::OpenSession;

use self::member::Joined;
use self::places::{SessionCaps, SessionPlace, SessionPlaces};
use self::session::Supplies;
use super::groups::{GroupError, GroupInfo, Groups, Joining};
use super::principal::{Principal, Verb};
use super::streams::{LiveSession, Stream};
use super::trails::Trails;
use crate::access::{Limit, LimitHits};
use crate::catalog::stream::QualityOfService;
use crate::clock::SharedClock;
use crate::delivery::budget::Budget;
use crate::delivery::contract::Contract;
use crate::delivery::end::End;
use crate::delivery::group::NotMember;
use crate::delivery::negotiated::Negotiated;
use crate::delivery::notices::Notices;
use crate::record::{GroupName, MemberName, Position};
use crate::trail::Trail;

/// Opens sessions, and has what they need. Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub struct Sessions {
    supplies: Supplies,
    groups: Arc<Groups>,
    places: Arc<SessionPlaces>,
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

/// Who joins which consumer group.
#[derive(Debug, Clone)]
pub struct JoinRequest {
    /// The group.
    pub group: GroupName,
    /// The member; without a name it gets one.
    pub member: Option<MemberName>,
    /// A position at which a session ended, since something is missing there or a record is too large, as the end named it: the
    /// member goes on behind it once it has acknowledged all before it.
    pub skip: Option<String>,
}

impl Sessions {
    /// Sessions over these trails, under these caps, with that many bytes of memory for encoded messages.
    pub(super) fn new(
        trails: Arc<Trails>,
        groups: Arc<Groups>,
        clock: SharedClock,
        caps: SessionCaps,
        delivery_bytes: usize,
        hits: Arc<LimitHits>,
    ) -> Self {
        let supplies = Supplies { trails, clock, budget: Budget::new(delivery_bytes) };
        Self { supplies, groups, places: Arc::new(SessionPlaces::new(caps, hits.clone())), hits }
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
        self.opened(principal, stream, request, None).await.map_err(|error| {
            let error = match error {
                // A trail that the caller may not see is not here for him.
                SessionError::OtherTrail(other) if !principal.may_see(&other) => SessionError::OtherEpoch,
                error => error,
            };
            self.refused(stream, error)
        })
    }

    /// Takes a member into a consumer group of a stream, which is made, beginning where the request says, if it is not there.
    pub async fn join(
        &self,
        principal: Principal<'_>,
        stream: &Arc<Stream>,
        request: SessionRequest,
        joining: JoinRequest,
    ) -> Result<Joined, JoinError> {
        let JoinRequest { group, member, skip } = joining;
        principal.check_stream(Verb::Read, &stream.name).map_err(GroupError::from)?;
        principal.check_source(&stream.config.source.trail).map_err(GroupError::from)?;
        let entry = self.supplies.trails.of(&stream.config.source);
        let entry = entry.ok_or_else(|| GroupError::NoTrail(stream.config.source.trail.clone()))?;
        let trail = entry.served().map_err(GroupError::from)?;
        let place = self.places.take(&request.user, stream.name.as_str());
        let place = Arc::new(place.map_err(|error| self.refused(stream, error.into()))?);
        let number = session::next_number();
        let member = match member {
            Some(member) => member,
            None => MemberName::new(&format!("member-{number}")).map_err(|_| GroupError::NotMember(NotMember))?,
        };
        let config = &stream.config;
        let rules = stream.compiled_rules().await.map_err(|error| self.refused(stream, error.into()))?;
        let joining = Joining {
            stream: &stream.name,
            trail,
            group: &group,
            member,
            timeout: None,
            skips_forward: config.quality_of_service == QualityOfService::AtMostOnce,
        };
        let is_there = || !matches!(*stream.ending.borrow(), Some(End::Gone));
        let begin = &request.begin;
        let start = || self.start_of(stream, begin);
        let membership = self.groups.join(principal, joining, start, is_there).await?;
        let (metadata, negotiated) = (session::metadata_of(trail), request.negotiated.clone());
        let contract = Contract::new(&stream.name, trail.epoch(), config, rules, metadata, negotiated);
        let (sessions, stream, gone) = (self.clone(), stream.clone(), entry.gone.subscribe());
        Ok(Joined { sessions, stream, request, contract, membership, skip, place, gone, number })
    }

    /// The position behind which `begin` lies in the trail of a stream that the caller may read.
    pub async fn start_of(&self, stream: &Stream, begin: &BeginRequest) -> Result<Position, JoinError> {
        let trail = self.trail_of(stream)?;
        let start = start::start_of(&trail, begin, stream.config.contract_hash()).await;
        Ok(start.map_err(|error| self.refused(stream, error))?)
    }

    /// Sets a consumer group to another place, for a caller who may manage its stream; nobody may be in it.
    pub async fn reset_group(
        &self,
        principal: Principal<'_>,
        stream: &Arc<Stream>,
        group: &GroupName,
        begin: &BeginRequest,
    ) -> Result<GroupInfo, JoinError> {
        principal.check_stream(Verb::Manage, &stream.name).map_err(GroupError::from)?;
        self.groups.check_there(&stream.name, group)?;
        let start = self.start_of(stream, begin).await?;
        Ok(self.groups.reset(&stream.name, group, &self.trail_of(stream)?, start).await?)
    }

    fn trail_of(&self, stream: &Stream) -> Result<Trail, GroupError> {
        let entry = self.supplies.trails.of(&stream.config.source);
        let entry = entry.ok_or_else(|| GroupError::NoTrail(stream.config.source.trail.clone()))?;
        Ok(entry.served()?.clone())
    }

    fn refused(&self, stream: &Stream, error: SessionError) -> RefusedSession {
        let trail_start = error.is_of_position().then(|| self.supplies.trails.start_of(&stream.config.source));
        RefusedSession { trail_start, error }
    }

    fn clock(&self) -> &SharedClock {
        &self.supplies.clock
    }

    async fn opened(
        &self,
        principal: Principal<'_>,
        stream: &Arc<Stream>,
        request: SessionRequest,
        place: Option<Arc<SessionPlace>>,
    ) -> Result<OpenSession, SessionError> {
        principal.check_stream(Verb::Read, &stream.name)?;
        principal.check_source(&stream.config.source.trail)?;
        let place = match place {
            Some(place) => place,
            None => Arc::new(self.places.take(&request.user, stream.name.as_str())?),
        };
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
