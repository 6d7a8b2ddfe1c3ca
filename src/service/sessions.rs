//! Sessions: from `begin` and a stream to a feed of messages, or a refusal before the connection is upgraded.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;

use crate::access::Limit;
use crate::catalog::stream::QualityOfService;
use crate::codec::json::{DatabaseInfo, MachineInfo, SourceInfo, StreamMetadata};
use crate::codec::token::{self, Token, TokenScope};
use crate::delivery::contract::Contract;
use crate::delivery::fanout::Fanout;
use crate::delivery::feed::{Delivery, DeliveryEnd, Progress, SessionFeed};
use crate::delivery::rules::Rules;
use crate::record::{Position, Timestamp, TrailName};
use crate::service::Service;
use crate::service::session_places::{NoPlace, SessionPlace};
use crate::service::streams::{LiveSession, Stream};
use crate::service::trails::TrailEntry;
use crate::trail::{Begin, Reader, SeekError, Trail};

/// What a client asks to begin with (contract section 4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BeginRequest {
    /// At the first transaction kept.
    Earliest,
    /// Behind everything durable.
    Now,
    /// At the first transaction committed at or after this time.
    Time(Timestamp),
    /// After a record.
    Position(Token),
}

/// The text is none of the four forms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidBegin {
    /// It has the length of a position and is none.
    #[error("it is not a position that this server gave out, or it was changed on the way")]
    Position,
    /// It is no form of `begin`.
    #[error(
        "begin must be now, earliest, an ISO 8601 timestamp with zone and at most nine digits after the second \
         (2026-07-13T04:00:00Z), the op_ts of a record (2026-07-13 04:00:00.000000, in UTC), or the pos of a record"
    )]
    Form,
}

impl BeginRequest {
    /// Which of the four forms it has.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Earliest => "earliest",
            Self::Now => "now",
            Self::Time(_) => "time",
            Self::Position(_) => "position",
        }
    }

    /// Reads a percent-decoded `begin`. A `+` that arrived as a space is tolerated in offsets.
    pub fn parse(text: &str) -> Result<Self, InvalidBegin> {
        match text {
            "now" => return Ok(Self::Now),
            "earliest" => return Ok(Self::Earliest),
            _ => {}
        }
        if let Ok(token) = token::decode(text) {
            return Ok(Self::Position(token));
        }
        if let Ok(time) = Timestamp::parse_begin(text).or_else(|_| Timestamp::parse_begin(&plus_restored(text))) {
            return Ok(Self::Time(time));
        }
        let looks_like_position = text.len() >= 40 && !text.contains(':');
        Err(if looks_like_position { InvalidBegin::Position } else { InvalidBegin::Form })
    }
}

impl fmt::Display for BeginRequest {
    /// A text that [`Self::parse`] reads as the same.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Earliest => f.write_str("earliest"),
            Self::Now => f.write_str("now"),
            Self::Time(time) => f.write_str(&time.to_rfc3339()),
            Self::Position(token) => f.write_str(token::encode_token(token).as_str()),
        }
    }
}

/// `2026-07-13T14:00:00 02:00` was `…+02:00` before somebody forgot to encode the plus sign.
fn plus_restored(text: &str) -> String {
    match text.rsplit_once(' ') {
        Some((before, offset)) => format!("{before}+{offset}"),
        None => text.to_owned(),
    }
}

/// A session is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// The position is of another trail.
    #[error("the position belongs to another trail, which is {0}")]
    OtherTrail(TrailName),
    /// The position was taken under other source or rules.
    #[error(
        "the position was taken under other rules; begin with a time, or with the position that a put answered, to cross a \
         change of rules"
    )]
    OtherRules,
    /// The position is of another life of the trail, or of a trail that is not known.
    #[error(
        "the position belongs to an earlier life of the trail, before it was repaired, restored or made anew, or to a trail \
         that is not here"
    )]
    OtherEpoch,
    /// The trail has not come so far.
    #[error("the position is beyond the end of the trail, which is commit number {ends_at}")]
    BeyondEnd {
        /// Commit number of the last transaction.
        ends_at: u64,
    },
    /// Retention has removed what comes after the position.
    #[error("records after the position are no longer kept")]
    Purged,
    /// The trail is not there yet, so no position can be of it.
    #[error("the position belongs to another trail, as trail {0} does not exist yet")]
    NoTrail(String),
    /// The trail is not served.
    #[error("{0}")]
    TrailStopped(String),
    /// No place is left for it.
    #[error(transparent)]
    Full(#[from] NoPlace),
    /// The memory for messages is used up by sessions that are slow to take theirs.
    #[error("the server's memory for messages is used up")]
    NoMemory,
}

impl From<SeekError> for SessionError {
    fn from(error: SeekError) -> Self {
        match error {
            SeekError::Purged { .. } => Self::Purged,
            SeekError::Beyond { ends_at } => Self::BeyondEnd { ends_at },
            SeekError::OtherEpoch | SeekError::OtherTransaction => Self::OtherEpoch,
            SeekError::Read(error) => Self::TrailStopped(error.to_string()),
        }
    }
}

impl SessionError {
    /// Whether it is the position that is refused, so that whoever asks must begin elsewhere.
    fn is_of_position(&self) -> bool {
        matches!(
            self,
            Self::OtherTrail(_) | Self::OtherRules | Self::OtherEpoch | Self::BeyondEnd { .. } | Self::Purged
        )
    }
}

/// A session that is refused before it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedSession {
    /// Why.
    pub error: SessionError,
    /// Where its trail starts, in words, for whoever must begin elsewhere.
    pub trail_start: Option<String>,
}

impl fmt::Display for RefusedSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.trail_start {
            Some(trail_start) => write!(f, "{}; {trail_start}", self.error),
            None => self.error.fmt(f),
        }
    }
}

impl std::error::Error for RefusedSession {}

/// An open session.
#[derive(Debug)]
pub struct OpenSession {
    stage: Stage,
    service: Arc<Service>,
    stream: Arc<Stream>,
    begin: BeginRequest,
    goes_on_from: String,
    event_framing: bool,
    progress: Arc<Progress>,
    ending: watch::Receiver<Option<DeliveryEnd>>,
    gone: Option<watch::Receiver<bool>>,
    number: u64,
    _place: SessionPlace,
}

#[derive(Debug)]
enum Stage {
    /// The trail is not there yet.
    Waiting(watch::Receiver<u64>),
    /// Messages flow.
    Reading(Box<SessionFeed>),
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
    /// One CloudEvent a message (subprotocol `cloudevents.json`).
    pub event_framing: bool,
}

static SESSIONS: AtomicU64 = AtomicU64::new(1);

impl Service {
    /// Opens a session of a stream, or says why not. `now` is the durable mark at the time of the call.
    pub async fn open_session(
        self: &Arc<Self>,
        stream: &Arc<Stream>,
        request: SessionRequest,
    ) -> Result<OpenSession, RefusedSession> {
        self.session(stream, request).await.map_err(|error| RefusedSession {
            trail_start: error.is_of_position().then(|| self.trails.start_of(&stream.config.source)),
            error,
        })
    }

    async fn session(
        self: &Arc<Self>,
        stream: &Arc<Stream>,
        request: SessionRequest,
    ) -> Result<OpenSession, SessionError> {
        let place = self.session_places.take(&request.user, stream.name.as_str())?;
        if !self.delivery_budget.has_room() {
            self.limit_hits().count(Limit::DeliveryMemory);
            return Err(SessionError::NoMemory);
        }
        let appeared = self.trails.changes();
        let entry = stream.config.source.trail_name().and_then(|name| self.trails.get(&name));
        let progress = Arc::new(Progress::default());
        let mut session = OpenSession {
            stage: Stage::Waiting(appeared),
            service: self.clone(),
            stream: stream.clone(),
            begin: request.begin.clone(),
            // Nothing is there yet, so that all that will be comes after now.
            goes_on_from: match &request.begin {
                BeginRequest::Now => BeginRequest::Earliest.to_string(),
                other => other.to_string(),
            },
            event_framing: request.event_framing,
            progress: progress.clone(),
            ending: stream.ending.subscribe(),
            gone: None,
            number: SESSIONS.fetch_add(1, Ordering::Relaxed),
            _place: place,
        };
        match entry {
            Some(entry) => session.read(&entry).await?,
            None if matches!(request.begin, BeginRequest::Position(_)) => {
                return Err(SessionError::NoTrail(stream.config.source.trail.clone()));
            }
            None => stream.note_error(format!(
                "the trail {} does not exist yet; sessions wait for it",
                stream.config.source.trail
            )),
        }
        let since = self.clock.now();
        let live = LiveSession { user: request.user, peer: request.peer, since, begin: request.begin_text, progress };
        stream.session_opened(session.number, live);
        Ok(session)
    }
}

impl OpenSession {
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
                Stage::Reading(feed) => {
                    let delivery = tokio::select! {
                        biased;
                        () = deleted(&mut self.gone) => Delivery::End(DeliveryEnd::Gone),
                        delivery = feed.next() => delivery,
                    };
                    for skipped in feed.take_skipped() {
                        tracing::warn!(stream = %self.stream.name, "{skipped}");
                        self.stream.note_error(skipped);
                    }
                    match &delivery {
                        Delivery::Messages(messages) if messages.is_empty() => continue,
                        Delivery::Messages(_) => {}
                        Delivery::End(end) => self.note(end),
                    }
                    return delivery;
                }
                Stage::Waiting(appeared) => {
                    if let Some(end) = self.ending.borrow_and_update().clone() {
                        return Delivery::End(end);
                    }
                    appeared.mark_unchanged();
                    let name = self.stream.config.source.trail_name();
                    if let Some(entry) = name.and_then(|name| self.service.trails.get(&name)) {
                        if let Err(error) = self.read(&entry).await {
                            self.stream.note_error(error.to_string());
                            return Delivery::End(DeliveryEnd::Gone);
                        }
                        continue;
                    }
                    tokio::select! {
                        changed = appeared.changed() => if changed.is_err() { return Delivery::End(DeliveryEnd::Gone) },
                        ended = self.ending.changed() => if ended.is_err() { return Delivery::End(DeliveryEnd::Gone) },
                    }
                }
            }
        }
    }

    /// Waits until the trail is deleted, which leaves nothing to be owed.
    pub(super) async fn trail_gone(&mut self) {
        deleted(&mut self.gone).await;
    }

    /// Whether memory for messages is short.
    pub(super) fn memory_short(&self) -> watch::Receiver<bool> {
        self.service.delivery_budget.short()
    }

    /// What it has done.
    pub(super) fn progress(&self) -> &Progress {
        &self.progress
    }

    async fn read(&mut self, entry: &TrailEntry) -> Result<(), SessionError> {
        let trail = entry.trail.as_ref().map_err(|reason| SessionError::TrailStopped(reason.clone()))?;
        let (reader, after) = self.reader(trail).await?;
        let rules = self.service.rules_of(&self.stream).await;
        let rules = rules.map_err(|error| SessionError::TrailStopped(error.to_string()))?;
        let fanout = self.fanout(trail, rules);
        let clock = self.service.clock.clone();
        let feed = SessionFeed::new(reader, after.as_ref(), fanout, clock, self.ending.clone(), self.progress.clone());
        self.gone = Some(entry.gone.subscribe());
        self.stage = Stage::Reading(Box::new(feed));
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
            let others = self.service.trails.list();
            let owner = others.into_iter().find(|other| {
                other.state.as_ref().is_ok_and(|(description, _)| description.epoch == token.position.epoch)
            });
            return Err(match owner {
                Some(other) => SessionError::OtherTrail(other.name),
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
            let contract = Contract::new(stream, trail.epoch(), config, rules, metadata, self.event_framing);
            let (clock, budget) = (self.service.clock.clone(), self.service.delivery_budget.clone());
            let work = self.stream.activity.encoding.clone();
            Fanout::new(Arc::new(contract), trail.clone(), clock, budget, work)
        };
        self.stream.fanout(trail.epoch(), self.event_framing, make)
    }

    fn note(&self, end: &DeliveryEnd) {
        if !matches!(end, DeliveryEnd::Reconfigured | DeliveryEnd::Gone) {
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

fn metadata_of(trail: &Trail) -> StreamMetadata {
    let description = trail.description();
    let database = match description.writer {
        crate::trail::Writer::Puts => "puts",
        crate::trail::Writer::Extract(_) => "PostgreSQL",
    };
    StreamMetadata {
        database: DatabaseInfo { name: database.to_owned(), ..DatabaseInfo::default() },
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::stream::StreamConfig;
    use crate::record::{Epoch, ResourceName};

    #[test]
    fn begin_has_four_forms_and_a_forgotten_plus_is_tolerated() {
        let noon = BeginRequest::Time(Timestamp::parse("2026-07-13T12:00:00Z").unwrap());
        assert_eq!(BeginRequest::parse("2026-07-13T14:00:00 02:00"), Ok(noon.clone()));
        assert_eq!(BeginRequest::parse("2026-07-13 14:00:00 02:00"), Ok(noon.clone()));
        assert_eq!(BeginRequest::parse("2026-07-13 12:00:00Z"), Ok(noon));
        assert_eq!(BeginRequest::parse("now"), Ok(BeginRequest::Now));
        assert_eq!(BeginRequest::parse("earliest"), Ok(BeginRequest::Earliest));
        let token = token::encode_trail(&Position::behind(Epoch(1), 2));
        for text in ["now", "earliest", "2026-07-13T12:00:00.000001Z", token.as_str()] {
            assert_eq!(BeginRequest::parse(text).unwrap().to_string(), text);
        }
        let op_ts = BeginRequest::Time(Timestamp::parse("2026-07-13T05:30:00Z").unwrap());
        assert_eq!(BeginRequest::parse("2026-07-13 05:30:00.000000"), Ok(op_ts.clone()));
        assert_eq!(BeginRequest::parse("2026-07-13T07:30:00,000000999 02:00"), Ok(op_ts));
        for bad in ["", "0", "Now", "latest", "2026-07-13", "2026-07-13T14:00:00", "2026-07-13T14:00:00.0123456789Z"] {
            assert_eq!(BeginRequest::parse(bad), Err(InvalidBegin::Form), "{bad}");
        }
        for length in [44, 54] {
            assert_eq!(BeginRequest::parse(&"A".repeat(length)), Err(InvalidBegin::Position));
        }
        let earlier = BeginRequest::parse("AQAAAAAAAAABAAAAAAAAAAIAAAADAAAABAAAAAUckLK_").unwrap();
        assert_eq!(BeginRequest::parse(&earlier.to_string()), Ok(earlier), "it is told as the position of today");
    }

    async fn service(home: &std::path::Path, stream: &ResourceName) -> Arc<Service> {
        let service = Arc::new(Service::open(home, Arc::new(crate::clock::SystemClock), Default::default()).unwrap());
        let trail = TrailName::new("t1").unwrap();
        service.trails().make(&trail, crate::trail::Writer::Puts).await.unwrap();
        let config = StreamConfig::parse(br#"{"source":{"trail":"t1"},"bufferSize":131072}"#).unwrap();
        service.make_stream(stream, config).await.unwrap();
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
            event_framing: false,
        };
        let budget = service.delivery_budget.clone();
        let held = budget.charge(budget.limit(), budget.limit()).unwrap();
        let refused = service.open_session(&stream, request.clone()).await.unwrap_err();
        assert_eq!(refused.error, SessionError::NoMemory);
        assert_eq!(service.limit_hits().of(Limit::DeliveryMemory), 1);
        drop(held);
        assert!(service.open_session(&stream, request).await.is_ok());
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
            service.put(&TrailName::new("t1").unwrap(), body.as_bytes()).await.unwrap();
        };
        put("owed").await;
        let request = SessionRequest {
            user: "u".into(),
            peer: "p".into(),
            begin_text: "earliest".into(),
            begin: BeginRequest::Earliest,
            event_framing: false,
        };
        let stream = service.streams().get(&name).unwrap();
        let mut session = service.open_session(&stream, request).await.unwrap();
        // The stream's metadata, then the first records.
        let mut text = String::new();
        for _ in 0..2 {
            let Delivery::Messages(messages) = session.next().await else { panic!("too early an end") };
            messages.iter().for_each(|message| text += &String::from_utf8_lossy(message));
        }
        service.patch_stream(&name, &serde_json::json!({"description": "changed"})).await.unwrap();
        let end = loop {
            match session.next().await {
                Delivery::Messages(messages) => {
                    messages.iter().for_each(|message| text += &String::from_utf8_lossy(message));
                    put("later").await;
                }
                Delivery::End(end) => break end,
            }
        };
        assert_eq!(end, DeliveryEnd::Reconfigured);
        assert!((0..8).all(|number| text.contains(&format!("owed-{number}-"))));
        assert!(!text.contains("later-"), "records of after the change");
    }
}
