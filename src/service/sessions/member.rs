//! A member of a consumer group on its connection: it is sent the records of the partitions that it has, and hears when those
//! change.
//!
//! While its partitions stay the same it is an ordinary session over these. When they change, that session stops between two
//! messages, the member is told what it has from now on, and, once it has acknowledged all that it was sent, another session
//! begins on the same connection. So everything that it is sent between two such records is in the order of the trail, and an
//! acknowledgement means the same for every partition.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::acks::Acks;
use super::begin::BeginRequest;
use super::places::SessionPlace;
use super::refused::SessionError;
use super::session::OpenSession;
use super::{SessionRequest, Sessions};
use crate::access::Limit;
use crate::access::rights::Rights;
use crate::codec::json::GroupAssignment;
use crate::codec::token::{self, Token, TokenScope};
use crate::delivery::announcements::group_assignment;
use crate::delivery::contract::Contract;
use crate::delivery::end::End;
use crate::delivery::group::{Owned, place_of};
use crate::delivery::negotiated::Partitions;
use crate::delivery::notices::Notices;
use crate::delivery::progress::Progress;
use crate::delivery::session::Delivery;
use crate::limits;
use crate::record::Position;
use crate::service::groups::{GroupError, Membership};
use crate::service::principal::Principal;
use crate::service::sessions::watched::lost;
use crate::service::streams::Stream;
use crate::service::supervisor;
use crate::tasks::{self, Task};

/// What a member was sent over all its sessions; readable after its end.
#[derive(Debug, Default)]
pub struct MemberProgress(Mutex<(u64, Arc<Progress>)>);

impl MemberProgress {
    /// Records sent, metadata not counted.
    pub fn records(&self) -> u64 {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.0 + state.1.records()
    }

    /// That of the last session.
    pub fn current(&self) -> Arc<Progress> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1.clone()
    }

    fn begin(&self, progress: Arc<Progress>) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.0 += state.1.records();
        state.1 = progress;
    }
}

/// A member of a group, connected.
#[derive(Debug)]
pub struct MemberSession {
    sessions: Sessions,
    stream: Arc<Stream>,
    request: SessionRequest,
    contract: Contract,
    membership: Arc<Membership>,
    acks: Arc<Acks>,
    rights: Rights,
    stage: Stage,
    /// Held for as long as it is connected, whether it is sent anything or waits.
    place: Arc<SessionPlace>,
    /// Where it goes on although something is missing or too large there, as an end names it.
    skip: Option<String>,
    /// What of it is to be committed when all that comes before is acknowledged.
    skipping: Option<Position>,
    /// How many sessions it has had.
    begun: u32,
    /// What it was last told that it has.
    told: Option<Vec<u16>>,
    progress: Arc<MemberProgress>,
    changes: watch::Receiver<u64>,
    moves: watch::Receiver<u64>,
    ending: watch::Receiver<Option<End>>,
    gone: watch::Receiver<bool>,
    advance_at: Instant,
}

#[derive(Debug)]
enum Stage {
    /// It is sent nothing.
    Idle,
    /// It is sent the records of these partitions, each had under a generation.
    Reading { session: Box<OpenSession>, of: Vec<(u16, u64)> },
    /// It was sent records and must acknowledge them before it goes on, until then.
    HandingOver { until: Instant },
}

/// A member that has joined and is not connected yet.
#[derive(Debug)]
pub struct Joined {
    pub(super) sessions: Sessions,
    pub(super) stream: Arc<Stream>,
    pub(super) request: SessionRequest,
    pub(super) contract: Contract,
    pub(super) membership: Membership,
    pub(super) skip: Option<String>,
    pub(super) place: Arc<SessionPlace>,
    pub(super) gone: watch::Receiver<bool>,
    pub(super) number: u64,
}

impl Joined {
    /// Tells it from the sessions and other members of this life of the server.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Connects it, for as long as its user has these rights.
    pub fn watched(self, rights: Rights) -> MemberSession {
        MemberSession::new(self, rights)
    }
}

/// What waiting came to.
enum Happened {
    Looked,
    Delivered(Delivery),
    Ended(End),
}

impl MemberSession {
    /// A member that has joined, for as long as its user has these rights. What it acknowledges is committed by a task of its own:
    /// a client that is slow to take what it is sent has its acknowledgements heard all the same.
    fn new(joined: Joined, rights: Rights) -> Self {
        let Joined { sessions, stream, request, contract, membership, skip, place, gone, .. } = joined;
        let (membership, acks) = (Arc::new(membership), Arc::new(Acks::new(contract.hash)));
        supervisor::run(commit(membership.clone(), acks.clone()));
        Self {
            changes: membership.changes(),
            moves: acks.moves(),
            ending: stream.ending.subscribe(),
            sessions,
            stream,
            request,
            contract,
            membership,
            acks,
            rights,
            stage: Stage::Idle,
            place,
            skip,
            skipping: None,
            begun: 0,
            told: None,
            progress: Arc::default(),
            gone,
            advance_at: Instant::now() + Duration::from_secs(limits::GROUP_ADVANCE_SECONDS),
        }
    }

    /// What it was sent; stays readable after its end.
    pub fn shared_progress(&self) -> Arc<MemberProgress> {
        self.progress.clone()
    }

    /// Whether memory for messages is short.
    pub fn memory_short(&self) -> watch::Receiver<bool> {
        self.sessions.budget().short()
    }

    /// Takes what the client says: a text, or something else.
    pub fn inbox(&self) -> impl FnMut(Option<&[u8]>) + Send + 'static {
        let acks = self.acks.clone();
        move |said| match said {
            Some(text) => acks.take(text),
            None => acks.refuse_binary(),
        }
    }

    /// What to send last where the server stops; nothing to a member that waits.
    pub fn farewell(&mut self) -> Option<bytes::Bytes> {
        match &mut self.stage {
            Stage::Reading { session, .. } => session.farewell(),
            Stage::Idle | Stage::HandingOver { .. } => None,
        }
    }

    /// What to send next; waits for it. May be dropped and called again.
    pub async fn next(&mut self) -> Delivery {
        self.progress.current().taken();
        tasks::may_panic(Task::Session);
        let delivery = self.next_delivery().await;
        self.progress.current().given();
        delivery
    }

    async fn next_delivery(&mut self) -> Delivery {
        loop {
            if let Some(end) = self.acks.ended() {
                return Delivery::End(end);
            }
            let Some(share) = self.membership.share() else { return Delivery::End(End::Replaced) };
            let kept: Vec<Owned> = share.0.iter().filter(|owned| !owned.wanted).copied().collect();
            let of: Vec<(u16, u64)> = kept.iter().map(|owned| (owned.partition, owned.generation)).collect();
            if matches!(&self.stage, Stage::Reading { of: read, .. } if *read != of) {
                self.hand_over();
            }
            let has = share.kept();
            if self.told.as_ref() != Some(&has) {
                let told = self.assignment(&has);
                self.told = Some(has);
                if let Some(message) = told {
                    return Delivery::Messages(vec![message]);
                }
            }
            if matches!(self.stage, Stage::HandingOver { .. }) && self.acks.is_settled() {
                if let Some(position) = self.skipping.take() {
                    self.acks.advance(position);
                    continue;
                }
                self.acks.close_window();
                self.stage = Stage::Idle;
                continue;
            }
            if matches!(self.stage, Stage::Idle) {
                let wanted = share.wanted();
                if !wanted.is_empty() {
                    self.membership.give_back(&wanted);
                    continue;
                }
                if !kept.is_empty() {
                    match self.begin(&kept).await {
                        Ok(session) => self.stage = Stage::Reading { session: Box::new(session), of },
                        Err(SessionError::NoMemory) => {
                            tokio::time::sleep(Duration::from_secs(limits::PLACE_RETRY_SECONDS)).await;
                        }
                        Err(error) => return Delivery::End(end_of(error)),
                    }
                    continue;
                }
            }
            match self.happens().await {
                Happened::Looked => {}
                Happened::Ended(end) => return Delivery::End(end),
                Happened::Delivered(Delivery::End(end)) if self.skips(&end) => self.hand_over(),
                Happened::Delivered(delivery) => {
                    let progress = self.progress.current();
                    if let Some(last) = progress.last() {
                        self.acks.sent(progress.last_of_trail(), last);
                    }
                    return delivery;
                }
            }
        }
    }

    /// It is sent nothing more until all that it was sent is acknowledged.
    fn hand_over(&mut self) {
        let patience = Duration::from_secs(limits::GROUP_HAND_OVER_SECONDS);
        self.stage = Stage::HandingOver { until: Instant::now() + patience };
    }

    /// Whether the client has said that it goes on behind what its session ended at.
    fn skips(&mut self, end: &End) -> bool {
        let (End::Gap { after, .. } | End::RecordTooLarge { after, .. }) = end else { return false };
        if self.skip.as_ref() != Some(after) {
            return false;
        }
        self.skipping = token::decode(after).ok().map(|token| token.position);
        self.skipping.is_some()
    }

    /// Waits until there is something to send, or to look at.
    async fn happens(&mut self) -> Happened {
        let advance_at = self.advance_at;
        let handing_over = match &self.stage {
            Stage::HandingOver { until } => Some(*until),
            _ => None,
        };
        let (is_reading, epoch) = (matches!(self.stage, Stage::Reading { .. }), self.contract.epoch);
        let stage = &mut self.stage;
        let delivered = async {
            match stage {
                Stage::Reading { session, .. } => session.next().await,
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            end = lost(&mut self.rights) => Happened::Ended(end),
            _ = self.gone.wait_for(|gone| *gone) => Happened::Ended(End::Gone),
            _ = self.moves.changed() => Happened::Looked,
            () = self.membership.changed(&mut self.changes) => Happened::Looked,
            // A session that reads is owed what was durable at the end, and says the end itself.
            end = ended(&mut self.ending), if !is_reading => Happened::Ended(end),
            () = at(handing_over) => {
                self.sessions.hits.count(Limit::GroupHandOver);
                Happened::Ended(End::AcknowledgedLate)
            }
            delivery = delivered => Happened::Delivered(delivery),
            () = tokio::time::sleep_until(advance_at), if is_reading => {
                self.advance_at = Instant::now() + Duration::from_secs(limits::GROUP_ADVANCE_SECONDS);
                self.membership.look_at_trail();
                self.acks.advance(Position::behind(epoch, self.progress.current().passed()));
                Happened::Looked
            }
        }
    }

    /// Waits for an end that does not leave the client the time to take what it was given.
    pub async fn cut_short(&mut self) -> End {
        loop {
            if let Some(end) = self.acks.ended() {
                return end;
            }
            let Some(share) = self.membership.share() else { return End::Replaced };
            let kept: Vec<(u16, u64)> =
                share.0.iter().filter(|owned| !owned.wanted).map(|owned| (owned.partition, owned.generation)).collect();
            // It takes nothing, and others wait for what it has.
            if matches!(&self.stage, Stage::Reading { of, .. } if *of != kept) {
                self.hand_over();
            }
            let handing_over = match &self.stage {
                Stage::HandingOver { until } => Some(*until),
                _ => None,
            };
            tokio::select! {
                biased;
                end = lost(&mut self.rights) => return end,
                _ = self.gone.wait_for(|gone| *gone) => return End::Gone,
                _ = self.moves.changed() => {}
                () = self.membership.changed(&mut self.changes) => {}
                () = at(handing_over) => {
                    self.sessions.hits.count(Limit::GroupHandOver);
                    return End::AcknowledgedLate;
                }
            }
        }
    }

    /// Begins to send the records of these partitions, each from where it is committed on.
    async fn begin(&mut self, kept: &[Owned]) -> Result<OpenSession, SessionError> {
        let places = kept.iter().map(|owned| (owned.partition, place_of(&owned.committed)));
        let first = kept.iter().map(|owned| owned.committed).min_by_key(Position::order);
        let Some(position) = first else { return Err(SessionError::OtherEpoch) };
        let mut request = self.request.clone();
        request.negotiated.partitions = Partitions::behind(places);
        self.begun += 1;
        request.notices = Notices::all(self.begun);
        // Of the trail: a change of the stream's rules does not matter to a place in the trail.
        request.begin = BeginRequest::Position(Token { position, scope: TokenScope::Trail });
        let session = self.sessions.opened(Principal::House, &self.stream, request, Some(self.place.clone())).await?;
        self.progress.begin(session.shared_progress());
        self.acks.open_window(self.begun, kept, &position);
        Ok(session)
    }

    fn assignment(&self, partitions: &[u16]) -> Option<bytes::Bytes> {
        let assignment = GroupAssignment {
            group: self.membership.group(),
            member: self.membership.name(),
            partitions,
            time: self.sessions.clock().now(),
        };
        group_assignment(&self.contract, &assignment)
    }
}

impl Drop for MemberSession {
    fn drop(&mut self) {
        self.acks.close();
    }
}

/// Commits what a member acknowledges, until its connection is gone and all of it is committed.
async fn commit(membership: Arc<Membership>, acks: Arc<Acks>) {
    let committing = async {
        while let Some(places) = acks.next_to_commit().await {
            // Of partitions that it has lost meanwhile nothing is committed, and whoever has them begins before this.
            match membership.commit(&places).await {
                Ok(_) => {}
                // Put out meanwhile; nothing failed.
                Err(GroupError::NotMember(_)) => acks.end(End::Replaced),
                Err(error) => acks.end(End::Uncommitted(error.to_string())),
            }
            acks.committed();
        }
    };
    if tasks::caught(Task::Session, committing).await.is_err() {
        acks.end(End::Uncommitted("a fault of the program itself broke it off".to_owned()));
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

async fn ended(ending: &mut watch::Receiver<Option<End>>) -> End {
    let end = ending.wait_for(Option::is_some).await.map(|end| end.clone());
    end.ok().flatten().unwrap_or(End::Gone)
}

fn end_of(error: SessionError) -> End {
    match error {
        SessionError::Purged => End::Overtaken,
        SessionError::Unserved(_) | SessionError::Unreadable(_) | SessionError::Rules(_) => {
            End::Unreadable(error.to_string())
        }
        _ => End::Gone,
    }
}
