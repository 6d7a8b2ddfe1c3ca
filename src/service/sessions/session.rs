//! One open session: waits for its trail, finds where it begins there, and gives what is to be sent next.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use tokio::sync::watch;

use super::begin::BeginRequest;
use super::places::SessionPlace;
use super::refused::SessionError;
use crate::capture;
use crate::catalog::stream::QualityOfService;
use crate::clock::SharedClock;
use crate::codec::json::{DatabaseInfo, MachineInfo, SourceInfo, StreamMetadata};
use crate::codec::token::{self, Token, TokenScope};
use crate::delivery::budget::Budget;
use crate::delivery::contract::Contract;
use crate::delivery::end::End;
use crate::delivery::fanout::Fanout;
use crate::delivery::negotiated::Negotiated;
use crate::delivery::notices::{Notices, come_back_millis};
use crate::delivery::progress::Progress;
use crate::delivery::rules::Rules;
use crate::delivery::session::{Delivery, Session};
use crate::record::Position;
use crate::service::streams::Stream;
use crate::service::trails::{TrailEntry, Trails};
use crate::trail::{Begin, Reader, SeekError, Trail};

/// What every session takes from the server.
#[derive(Debug, Clone)]
pub(super) struct Supplies {
    pub(super) trails: Arc<Trails>,
    pub(super) clock: SharedClock,
    /// Memory for messages.
    pub(super) budget: Arc<Budget>,
}

/// An open session.
#[derive(Debug)]
pub struct OpenSession {
    stage: Stage,
    supplies: Supplies,
    stream: Arc<Stream>,
    begin: BeginRequest,
    goes_on_from: String,
    negotiated: Negotiated,
    notices: Notices,
    progress: Arc<Progress>,
    ending: watch::Receiver<Option<End>>,
    gone: Option<watch::Receiver<bool>>,
    number: u64,
    place: Arc<SessionPlace>,
}

#[derive(Debug)]
enum Stage {
    /// The trail is not there yet.
    Waiting(watch::Receiver<u64>),
    /// Messages flow.
    Reading(Box<Session>),
}

static SESSIONS: AtomicU64 = AtomicU64::new(1);

/// A number that no other session, and no member of a group, of this life of the server has.
pub(super) fn next_number() -> u64 {
    SESSIONS.fetch_add(1, Ordering::Relaxed)
}

impl OpenSession {
    /// A session in `place`, which waits until its trail is there if it is not.
    pub(super) async fn open(
        supplies: Supplies,
        stream: &Arc<Stream>,
        begin: BeginRequest,
        negotiated: Negotiated,
        notices: Notices,
        place: Arc<SessionPlace>,
    ) -> Result<Self, SessionError> {
        let appeared = supplies.trails.changes();
        let entry = supplies.trails.of(&stream.config.source);
        let mut session = Self {
            stage: Stage::Waiting(appeared),
            supplies,
            stream: stream.clone(),
            // Nothing is there yet, so that all that will be comes after now.
            goes_on_from: match &begin {
                BeginRequest::Now => BeginRequest::Earliest.to_string(),
                other => other.to_string(),
            },
            begin,
            negotiated,
            notices,
            progress: Arc::default(),
            ending: stream.ending.subscribe(),
            gone: None,
            number: next_number(),
            place,
        };
        match entry {
            Some(entry) => session.read(&entry).await?,
            None if matches!(session.begin, BeginRequest::Position(_)) => {
                return Err(SessionError::NoTrail(stream.config.source.trail.clone()));
            }
            None => stream.note_error(format!(
                "the trail {} does not exist yet; sessions wait for it",
                stream.config.source.trail
            )),
        }
        Ok(session)
    }

    /// Tells it from the other sessions of this life of the server.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The `begin` with which the session could be opened again, and give the same, before its client has a position of a
    /// record. In place of `now` it is the position of that moment.
    pub fn goes_on_from(&self) -> &str {
        &self.goes_on_from
    }

    /// What it has done; stays readable after its end.
    pub fn shared_progress(&self) -> Arc<Progress> {
        self.progress.clone()
    }

    /// What to send next; waits for it. May be dropped and called again.
    pub async fn next(&mut self) -> Delivery {
        loop {
            match &mut self.stage {
                Stage::Reading(session) => {
                    let delivery = tokio::select! {
                        biased;
                        () = deleted(&mut self.gone) => Delivery::End(End::Gone),
                        delivery = session.next() => delivery,
                    };
                    if self.noted(&delivery) {
                        return delivery;
                    }
                }
                Stage::Waiting(appeared) => {
                    if let Some(end) = self.ending.borrow_and_update().clone() {
                        return Delivery::End(end);
                    }
                    appeared.mark_unchanged();
                    if let Some(entry) = self.supplies.trails.of(&self.stream.config.source) {
                        if let Err(error) = self.read(&entry).await {
                            self.stream.note_error(error.to_string());
                            return Delivery::End(End::Gone);
                        }
                        continue;
                    }
                    tokio::select! {
                        changed = appeared.changed() => if changed.is_err() { return Delivery::End(End::Gone) },
                        ended = self.ending.changed() => if ended.is_err() { return Delivery::End(End::Gone) },
                    }
                }
            }
        }
    }

    /// The same, but none where everything durable has been sent, or there is no trail yet.
    pub(super) async fn next_to_tail(&mut self) -> Option<Delivery> {
        loop {
            let Stage::Reading(session) = &mut self.stage else { return None };
            let delivery = tokio::select! {
                biased;
                () = deleted(&mut self.gone) => Some(Delivery::End(End::Gone)),
                delivery = session.next_to_tail() => delivery,
            };
            match delivery {
                Some(delivery) if !self.noted(&delivery) => {}
                delivery => return delivery,
            }
        }
    }

    /// Notes what is to be known of a delivery; says whether there is anything in it for the client.
    fn noted(&mut self, delivery: &Delivery) -> bool {
        if let Stage::Reading(session) = &mut self.stage {
            for skipped in session.take_skipped() {
                tracing::warn!(stream = %self.stream.name, "{skipped}");
                self.stream.note_error(skipped);
            }
        }
        match delivery {
            Delivery::Messages(messages) => !messages.is_empty(),
            Delivery::End(end) => {
                self.note(end);
                true
            }
        }
    }

    /// Where to go on behind everything that it has looked at, sent or not; none inside a transaction, or before the first.
    pub(super) fn passed(&self) -> Option<Position> {
        match &self.stage {
            Stage::Reading(session) => session.passed(),
            Stage::Waiting(_) => None,
        }
    }

    /// Whether it has begun to look at a transaction and not come to its end, so that no position is behind all that it gave.
    pub(super) fn is_inside(&self) -> bool {
        matches!(&self.stage, Stage::Reading(session) if session.is_inside())
    }

    /// What to send last where the server stops, if the client wants to hear it.
    pub(super) fn farewell(&mut self) -> Option<Bytes> {
        let Stage::Reading(session) = &mut self.stage else { return None };
        session.farewell(come_back_millis(self.number, self.place.sessions()))
    }

    /// The stream.
    pub(super) fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Waits until the trail is deleted, which leaves nothing to be owed.
    pub(super) async fn trail_gone(&mut self) {
        deleted(&mut self.gone).await;
    }

    /// Whether memory for messages is short.
    pub(super) fn memory_short(&self) -> watch::Receiver<bool> {
        self.supplies.budget.short()
    }

    /// What it has done.
    pub(super) fn progress(&self) -> &Progress {
        &self.progress
    }

    async fn read(&mut self, entry: &TrailEntry) -> Result<(), SessionError> {
        let trail = entry.served()?;
        let (reader, after) = self.reader(trail).await?;
        let rules = self.stream.compiled_rules().await?;
        let fanout = self.fanout(trail, rules);
        let clock = self.supplies.clock.clone();
        let (ending, progress) = (self.ending.clone(), self.progress.clone());
        let session = Session::new(reader, after.as_ref(), fanout, self.notices, clock, ending, progress);
        self.gone = Some(entry.gone.subscribe());
        self.stage = Stage::Reading(Box::new(session));
        Ok(())
    }

    /// A reader where the session begins, and the position that it stands behind, if that is one of this stream.
    async fn reader(&mut self, trail: &Trail) -> Result<(Reader, Option<Position>), SessionError> {
        let begin = self.begin_in(trail)?;
        if begin == Begin::Now {
            let (reader, position) = trail.read_now().await?;
            self.goes_on_from = token::encode(&position, self.stream.config.contract_hash()).as_str().to_owned();
            return Ok((reader, Some(position)));
        }
        let after = match &self.begin {
            BeginRequest::Position(Token { position, scope: TokenScope::Stream(_) }) => Some(*position),
            _ => None,
        };
        match trail.read(begin).await {
            Err(SeekError::Purged { starts_at }) if self.skips_forward() => {
                self.stream.note_error(format!(
                    "records behind a position are no longer kept; a session began at commit number {starts_at} instead, as \
                     qualityOfService atMostOnce asks for"
                ));
                Ok((trail.read(Begin::Earliest).await?, None))
            }
            found => Ok((found?, after)),
        }
    }

    fn skips_forward(&self) -> bool {
        self.stream.config.quality_of_service == QualityOfService::AtMostOnce
    }

    fn begin_in(&self, trail: &Trail) -> Result<Begin, SessionError> {
        let token = match &self.begin {
            // A trail that appears while the session waits has nothing that was there before the session.
            BeginRequest::Now if matches!(self.stage, Stage::Waiting(_)) && self.waited() => {
                return Ok(Begin::Earliest);
            }
            BeginRequest::Now => return Ok(Begin::Now),
            BeginRequest::Earliest => return Ok(Begin::Earliest),
            BeginRequest::Time(time) => return Ok(Begin::Time(*time)),
            BeginRequest::Position(token) => token,
        };
        if token.position.epoch != trail.epoch() {
            let others = self.supplies.trails.served();
            let owner = others.into_iter().find(|other| other.epoch() == token.position.epoch);
            return Err(match owner {
                Some(other) => SessionError::OtherTrail(other.name().clone()),
                None => SessionError::OtherEpoch,
            });
        }
        match token.scope {
            TokenScope::Stream(hash) if hash != self.stream.config.contract_hash() => Err(SessionError::OtherRules),
            TokenScope::Stream(_) | TokenScope::Trail => Ok(Begin::After(token.position)),
        }
    }

    /// Whether the session is registered, that is, was opened before the trail was there.
    fn waited(&self) -> bool {
        self.stream.has_session(self.number)
    }

    fn fanout(&self, trail: &Trail, rules: Rules) -> Arc<Fanout> {
        let (stream, config) = (&self.stream.name, &self.stream.config);
        let make = || {
            let (metadata, rules) = (metadata_of(trail), rules.of_source(trail.source_identity()));
            let rules = rules.of_partitions(trail.current_partitions());
            let contract = Contract::new(stream, trail.epoch(), config, rules, metadata, self.negotiated.clone());
            let (clock, budget) = (self.supplies.clock.clone(), self.supplies.budget.clone());
            let totals = self.stream.activity.encoding.clone();
            Fanout::new(Arc::new(contract), trail.clone(), clock, budget, totals)
        };
        self.stream.fanout(trail.epoch(), &self.negotiated, make)
    }

    fn note(&self, end: &End) {
        if !matches!(end, End::Reconfigured | End::Gone) {
            self.stream.note_error(end.to_string());
        }
    }
}

impl Drop for OpenSession {
    fn drop(&mut self) {
        self.stream.session_ended(self.number);
    }
}

async fn deleted(gone: &mut Option<watch::Receiver<bool>>) {
    match gone {
        Some(gone) => drop(gone.wait_for(|gone| *gone).await),
        None => std::future::pending().await,
    }
}

pub(super) fn metadata_of(trail: &Trail) -> StreamMetadata {
    let description = trail.description();
    let database = match &description.writer {
        crate::trail::Writer::Extract(_) => {
            capture::product_of(trail.source_identity().product().as_deref()).to_owned()
        }
        writer => writer.to_string(),
    };
    StreamMetadata {
        database: DatabaseInfo { name: database, ..DatabaseInfo::default() },
        machine: MachineInfo::default(),
        source: SourceInfo {
            file: description.name.to_string(),
            uri: format!("trail:{}", description.name),
            uri_history: Vec::new(),
            creation_time: description.created.clone(),
            compatibility: "1".to_owned(),
        },
    }
}
