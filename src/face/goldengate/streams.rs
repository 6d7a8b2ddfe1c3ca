//! Stream resources over REST (contract section 1).

use std::sync::Arc;

use axum::http::HeaderValue;
use axum::http::header::LOCATION;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::envelope::{Empty, Envelope, Link, Relation};
use super::error_answer::ErrorAnswer;
use super::lag::{ShownLag, rounded};
use super::messages::{Fact, Message};
use super::proxied::prefix;
use super::schema_names::{Collection, CollectionItem, DataStreamCollection, DataStreamErrors};
use super::{Answer, Call};
use crate::access::Role;
use crate::catalog::stream::StreamConfig;
use crate::codec::token;
use crate::delivery::counts::ByOperation;
use crate::face::operation::{NotThere, Stores, Taken};
use crate::face::{Address, Content, Hall};
use crate::record::{Operation, ResourceName, TableName, Timestamp};
use crate::service::lag::Stage;
use crate::service::streams::{LiveSession, Stream, StreamError};
use crate::trail::Trail;

/// The configuration of a data stream, as at /services/v2/metadata-catalog/dataStream.
#[derive(Debug, Serialize, ToSchema)]
#[schema(value_type = Object)]
pub(super) struct DataStream(Value);

/// Every data stream.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct StreamCollection {
    #[serde(rename = "$schema")]
    #[schema(inline)]
    schema: DataStreamCollection,
    items: Vec<StreamItem>,
}

/// What a list says of a data stream.
#[derive(Debug, Serialize, ToSchema)]
struct StreamItem {
    #[serde(rename = "$schema")]
    #[schema(inline)]
    schema: CollectionItem,
    name: String,
    status: StreamStatus,
    details: StreamDetails,
    links: Vec<Link>,
}

/// What a list says of a stream besides its name.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct StreamDetails {
    source: StreamSource,
    quality_of_service: QualityOfService,
    cloud_events_format: bool,
    /// Bytes.
    buffer_size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    description: Option<String>,
}

/// What a stream reads.
#[derive(Debug, Serialize, ToSchema)]
struct StreamSource {
    trail: String,
}

/// What a stream's configuration asks for; each of them is the same here.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
enum QualityOfService {
    #[default]
    #[serde(rename = "exactlyOnce")]
    Exactly,
    #[serde(rename = "atLeastOnce")]
    AtLeast,
    #[serde(rename = "atMostOnce")]
    AtMost,
}

/// waiting: its trail does not exist yet; stopped: its trail is stopped.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum StreamStatus {
    Running,
    Waiting,
    Stopped,
}

/// How a data stream is doing.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct StreamInfo {
    #[serde(rename = "$schema")]
    #[schema(inline)]
    schema: Collection,
    name: String,
    status: StreamStatus,
    links: Vec<Link>,
    statistics: StreamStatistics,
    lag: ShownLag,
    /// For Operators.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    sessions: Option<Vec<Session>>,
}

/// Over all sessions since the server started, those that ended and those of earlier configurations included.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct StreamStatistics {
    sessions: usize,
    sessions_opened: u64,
    /// Records sent, heartbeats included.
    records: u64,
    bytes: u64,
    inserts: u64,
    updates: u64,
    deletes: u64,
    truncates: u64,
    upserts: u64,
    /// Statements sent.
    ddl_sent: u64,
    /// The tables of which records were sent, in the order of their names.
    #[schema(max_items = 200)]
    tables: Vec<TableStatistics>,
    /// Of all tables beyond the first 200, if there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    other_tables: Option<RecordCounts>,
}

/// Records of one table that were sent.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct TableStatistics {
    table_name: String,
    inserts: u64,
    updates: u64,
    deletes: u64,
    truncates: u64,
    upserts: u64,
    /// Statements sent.
    ddl_sent: u64,
}

/// Numbers of records by operation, under the names that statistics of GoldenGate's distribution paths have.
#[derive(Debug, Default, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct RecordCounts {
    inserts: u64,
    updates: u64,
    deletes: u64,
    truncates: u64,
    upserts: u64,
    /// Statements sent.
    ddl_sent: u64,
}

/// A live session: who, since when, how far.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Session {
    user: String,
    /// Address and port of the client.
    peer: String,
    #[schema(format = DateTime)]
    since: String,
    begin: String,
    state: &'static str,
    /// Commit number of the last record sent.
    csn: u64,
    /// Position of the last record sent.
    #[schema(required)]
    pos: Option<String>,
    lag_transactions: u64,
    #[schema(required)]
    lag_bytes: Option<u64>,
    /// Age of the oldest transaction that the client has not taken.
    #[schema(required)]
    lag_seconds: Option<f64>,
    records: u64,
    bytes: u64,
}

/// What went wrong lately.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct StreamErrors {
    #[serde(rename = "$schema")]
    #[schema(inline)]
    schema: DataStreamErrors,
    errors: Vec<String>,
}

/// Every data stream
///
/// Role: User.
#[utoipa::path(get, path = "/services/v2/stream", operation_id = "listStreams",
    responses((status = 200, description = "Done", body = Envelope<StreamCollection>)))]
pub(super) async fn list(call: Call) -> Answer<StreamCollection> {
    call.require(Role::User)?;
    let streams = call.service().streams().list(call.principal());
    let items = streams.iter().map(|stream| item(&call.hall, stream, &call.at)).collect();
    let collection = StreamCollection { schema: DataStreamCollection, items };
    let here = call.at.here();
    Ok(Envelope::new(collection).link(Link::json(Relation::Canonical, &here)).link(Link::json(Relation::Itself, here)))
}

fn item(hall: &Hall, stream: &Stream, at: &Address) -> StreamItem {
    let config = &stream.config;
    let parent = at.url(&format!("{}/stream", prefix(at)));
    let canonical = format!("{parent}/{}", stream.name);
    let quality = config.as_given().get("qualityOfService").cloned().unwrap_or_default();
    StreamItem {
        schema: CollectionItem,
        name: stream.name.to_string(),
        status: status(hall, stream),
        details: StreamDetails {
            source: StreamSource { trail: config.source.trail.clone() },
            quality_of_service: serde_json::from_value(quality).unwrap_or_default(),
            cloud_events_format: config.cloud_events,
            buffer_size: config.buffer_bytes,
            description: config.description.clone(),
        },
        links: vec![Link::json(Relation::Parent, parent), Link::json(Relation::Canonical, canonical)],
    }
}

fn status(hall: &Hall, stream: &Stream) -> StreamStatus {
    let trail = hall.service.trails().of(&stream.config.source);
    match trail {
        None => StreamStatus::Waiting,
        Some(entry) if entry.trail.is_err() => StreamStatus::Stopped,
        Some(_) => StreamStatus::Running,
    }
}

fn links<T>(envelope: Envelope<T>, at: &Address, name: &ResourceName) -> Envelope<T> {
    let url = at.url(&format!("{}/stream/{name}", prefix(at)));
    envelope
        .link(Link::json(Relation::Canonical, &url))
        .link(Link::json(Relation::Itself, &url))
        .link(Link::described_by(format!("{url}/yaml")))
}

/// Links of what stands under a stream's path: to itself, and to the stream's document.
pub(super) fn links_here<T>(envelope: Envelope<T>, at: &Address, name: &ResourceName) -> Envelope<T> {
    let here = at.here();
    envelope
        .link(Link::json(Relation::Canonical, &here))
        .link(Link::json(Relation::Itself, here))
        .link(Link::described_by(at.url(&format!("{}/stream/{name}/yaml", prefix(at)))))
}

/// The warning of a stream whose trail is not there yet.
fn with_warnings<T>(hall: &Hall, envelope: Envelope<T>, config: &StreamConfig) -> Envelope<T> {
    let trail = &config.source.trail;
    match hall.service.trails().of(&config.source) {
        Some(_) => envelope,
        None => envelope.message(Message::new(Fact::TrailMissing, trail)),
    }
}

/// The same of a stream that was just made or changed, and the warning of rules that match no table.
async fn with_all_warnings<T>(hall: &Hall, envelope: Envelope<T>, stream: &Arc<Stream>) -> Envelope<T> {
    let envelope = with_warnings(hall, envelope, &stream.config);
    match hall.service.streams().unmatched_rules(stream).await {
        Some(unmatched) => envelope.message(Message::new(Fact::RuleUnmatched, unmatched)),
        None => envelope,
    }
}

/// Makes a data stream
///
/// Role: Administrator.
#[utoipa::path(post, path = "/services/v2/stream/{name}", operation_id = "makeStream",
    request_body(content = ref("#/components/schemas/DataStream"), content_type = "application/json"),
    responses(
        (status = 200, body = Envelope<DataStream>, description = "Made; the answer holds the configuration as given. \
            A message warns while the trail does not exist, and of rules that match none of its tables",
            headers(("Location" = String, description = "Where the stream is"))),
        Taken, Stores))]
pub(super) async fn make(call: Call<ResourceName>, content: Content) -> Result<Response, ErrorAnswer> {
    call.require(Role::Administrator)?;
    let given = content.json().await?;
    let config = call.service().streams().read_config(given).await?;
    let stream = call.service().streams().make(call.principal(), &call.name, config).await?;
    let envelope = Envelope::new(DataStream(stream.config.as_given().clone()));
    let envelope = with_all_warnings(&call.hall, links(envelope, &call.at, &call.name), &stream).await;
    let mut response = envelope.into_response();
    if let Ok(url) = HeaderValue::try_from(call.at.url(&format!("{}/stream/{}", prefix(&call.at), call.name))) {
        response.headers_mut().insert(LOCATION, url);
    }
    Ok(response)
}

/// The stored configuration. Answers at once, whatever `Content-Type` and query say: generated clients ask before they
/// open the socket.
pub(super) fn describe(call: &Call<ResourceName>) -> Answer<DataStream> {
    let stream = find(call, &call.name)?;
    let envelope = Envelope::new(DataStream(stream.config.as_given().clone()));
    Ok(with_warnings(&call.hall, links(envelope, &call.at, &call.name), &stream.config))
}

pub(super) fn find<N>(call: &Call<N>, name: &ResourceName) -> Result<Arc<Stream>, StreamError> {
    call.service().streams().find(call.principal(), name)
}

/// Changes the configuration by a JSON merge patch, all or nothing
///
/// Role: Administrator.
#[utoipa::path(patch, path = "/services/v2/stream/{name}", operation_id = "changeStream",
    request_body(description = "A JSON merge patch of the stream's configuration", content(
        (Object = "application/json"), (Object = "application/merge-patch+json"))),
    responses(
        (status = 200, body = Envelope<DataStream>, description = "Changed; the answer holds the whole configuration. \
            A message says when a document of one's own was dropped, and warns of rules that match none of the trail's \
            tables"),
        NotThere, Stores))]
pub(super) async fn patch(call: Call<ResourceName>, content: Content) -> Answer<DataStream> {
    call.require(Role::Administrator)?;
    let patch = content.merge_patch().await?;
    let (stream, dropped) = call.service().streams().patch(call.principal(), &call.name, &patch).await?;
    let mut envelope = Envelope::new(DataStream(stream.config.as_given().clone()));
    if dropped {
        envelope = envelope.message(Message::new(Fact::DocumentDropped, &call.name));
    }
    Ok(with_all_warnings(&call.hall, links(envelope, &call.at, &call.name), &stream).await)
}

/// Deletes a data stream; its trail stays
///
/// Role: Administrator. 409 while it has consumer groups, whose positions would be lost.
#[utoipa::path(delete, path = "/services/v2/stream/{name}", operation_id = "deleteStream",
    responses((status = 200, description = "Done", body = Envelope<Empty>), NotThere, Taken, Stores))]
pub(super) async fn remove(call: Call<ResourceName>) -> Answer {
    call.require(Role::Administrator)?;
    call.service().streams().delete(call.principal(), &call.name).await?;
    let done = Message::new(Fact::Done, format!("The data stream {} was deleted", call.name));
    Ok(Envelope::default().message(done))
}

/// Status, statistics and, for Operators, live sessions
///
/// Role: User.
#[utoipa::path(get, path = "/services/v2/stream/{name}/info", operation_id = "streamInfo",
    responses((status = 200, description = "Done", body = Envelope<StreamInfo>), NotThere))]
pub(super) async fn info(call: Call<ResourceName>) -> Answer<StreamInfo> {
    call.require(Role::User)?;
    let stream = find(&call, &call.name)?;
    let sessions = stream.sessions();
    let trail = call.service().trails().of(&stream.config.source);
    let trail = trail.as_ref().and_then(|entry| entry.served().ok());
    let shown = call.require(Role::Operator).is_ok();
    let now = call.service().clock().now();
    let info = StreamInfo {
        schema: Collection,
        name: call.name.to_string(),
        status: status(&call.hall, &stream),
        links: vec![Link::json(
            Relation::Canonical,
            call.at.url(&format!("{}/stream/{}", prefix(&call.at), call.name)),
        )],
        statistics: statistics(&stream, sessions.len()),
        lag: call.service().lag(&stream).into(),
        sessions: shown.then(|| sessions.iter().map(|session| live(&stream, session, trail, now)).collect()),
    };
    Ok(links_here(Envelope::new(info), &call.at, &call.name))
}

fn statistics(stream: &Stream, sessions: usize) -> StreamStatistics {
    let figures = stream.activity.figures();
    let delivered = stream.activity.encoding.delivered.figures();
    let RecordCounts { inserts, updates, deletes, truncates, upserts, ddl_sent } = counted(&delivered.total());
    let table = |(table, counts): &(TableName, ByOperation<u64>)| {
        let RecordCounts { inserts, updates, deletes, truncates, upserts, ddl_sent } = counted(counts);
        TableStatistics { table_name: table.to_string(), inserts, updates, deletes, truncates, upserts, ddl_sent }
    };
    let has_others = delivered.others.iter().any(|count| *count > 0);
    StreamStatistics {
        sessions,
        sessions_opened: figures.opened,
        records: figures.records,
        bytes: figures.bytes,
        inserts,
        updates,
        deletes,
        truncates,
        upserts,
        ddl_sent,
        tables: delivered.tables.iter().map(table).collect(),
        other_tables: has_others.then(|| counted(&delivered.others)),
    }
}

fn counted(counts: &ByOperation<u64>) -> RecordCounts {
    let mut counted = RecordCounts::default();
    for (operation, count) in Operation::ALL.into_iter().zip(counts) {
        let place = match operation {
            Operation::Insert => &mut counted.inserts,
            Operation::Update => &mut counted.updates,
            Operation::Delete => &mut counted.deletes,
            Operation::Truncate => &mut counted.truncates,
            Operation::Upsert => &mut counted.upserts,
            Operation::Ddl => &mut counted.ddl_sent,
        };
        *place = *count;
    }
    counted
}

/// A live session: who, since when, how far.
fn live(stream: &Stream, session: &LiveSession, trail: Option<&Trail>, now: Timestamp) -> Session {
    let progress = &session.progress;
    let last = progress.last();
    let durable = trail.map_or(0, |trail| trail.durable().borrow().commit);
    let Stage { seconds: lag_seconds, bytes: lag_bytes } = Stage::of_session(progress, trail, now);
    // A session that has read everything lags behind nothing, whatever its rules let through.
    let read_all = lag_bytes == Some(0);
    let sent = last.map_or(0, |position| position.commit);
    let pos = last.map(|position| token::encode(&position, stream.config.contract_hash()).as_str().to_owned());
    Session {
        user: session.user.clone(),
        peer: session.peer.clone(),
        since: session.since.to_rfc3339(),
        begin: session.begin.clone(),
        state: progress.state().name(),
        csn: sent,
        pos,
        lag_transactions: if read_all { 0 } else { durable.saturating_sub(progress.passed().max(sent)) },
        lag_bytes,
        lag_seconds: lag_seconds.map(rounded),
        records: progress.records(),
        bytes: progress.bytes(),
    }
}

/// What went wrong lately
///
/// Role: User.
#[utoipa::path(get, path = "/services/v2/stream/{name}/info/errors", operation_id = "streamErrors",
    responses((status = 200, description = "Done", body = Envelope<StreamErrors>), NotThere))]
pub(super) async fn errors(call: Call<ResourceName>) -> Answer<StreamErrors> {
    call.require(Role::User)?;
    let stream = find(&call, &call.name)?;
    let mut errors = stream.errors();
    let trail = &stream.config.source.trail;
    match call.service().trails().of(&stream.config.source) {
        None => {
            let waiting = format!("the trail {trail} does not exist yet; sessions wait for it");
            if !errors.contains(&waiting) {
                errors.push(waiting);
            }
        }
        Some(entry) => errors.extend(entry.served().err().map(|unserved| unserved.to_string())),
    }
    errors.extend(call.service().streams().unmatched_partitions(&stream));
    let response = StreamErrors { schema: DataStreamErrors, errors };
    Ok(links_here(Envelope::new(response), &call.at, &call.name))
}
