//! Stream resources over REST (contract section 1).

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::LOCATION;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::address::Address;
use super::body;
use super::caller::{Caller, Named};
use super::envelope::{Envelope, Link};
use super::messages::{ErrorAnswer, Fact, Message};
use super::routes::Face;
use crate::access::Role;
use crate::catalog::stream::StreamConfig;
use crate::codec::token;
use crate::delivery::counts::ByOperation;
use crate::record::{Operation, ResourceName, TableName};
use crate::service::streams::{LiveSession, Stream, StreamError};
use crate::trail::Trail;

pub(super) type Answer = Result<Response, ErrorAnswer>;

pub(super) async fn list(State(face): State<Face>, caller: Caller, at: Address) -> Answer {
    caller.require(Role::User)?;
    let items: Vec<Value> =
        face.service.streams().list(caller.principal()).iter().map(|stream| item(&face, stream, &at)).collect();
    let here = at.here();
    let collection = json!({"$schema": "ogg:dataStreamCollection", "items": items});
    let envelope = Envelope::new(collection).link(Link::json("canonical", &here)).link(Link::json("self", here));
    Ok(envelope.into_response())
}

fn item(face: &Face, stream: &Stream, at: &Address) -> Value {
    let url = at.url(&format!("{}/stream/{}", at.prefix(), stream.name));
    json!({
        "$schema": "ogg:collectionItem",
        "name": stream.name.as_str(),
        "status": status(face, stream),
        "details": details(&stream.config),
        "links": [Link::json("parent", at.url(&format!("{}/stream", at.prefix()))), Link::json("canonical", url)],
    })
}

/// What a list says of a stream besides its name.
fn details(config: &StreamConfig) -> Value {
    let mut details = json!({
        "source": {"trail": config.source.trail},
        "qualityOfService": config.as_given().get("qualityOfService").unwrap_or(&json!("exactlyOnce")),
        "cloudEventsFormat": config.cloud_events,
        "bufferSize": config.buffer_bytes,
    });
    if let Some(description) = &config.description {
        details["description"] = description.as_str().into();
    }
    details
}

fn status(face: &Face, stream: &Stream) -> &'static str {
    let trail = face.service.trails().of(&stream.config.source);
    match trail {
        None => "waiting",
        Some(entry) if entry.trail.is_err() => "stopped",
        Some(_) => "running",
    }
}

pub(super) fn links(envelope: Envelope, at: &Address, name: &ResourceName) -> Envelope {
    let url = at.url(&format!("{}/stream/{name}", at.prefix()));
    envelope
        .link(Link::json("canonical", &url))
        .link(Link::json("self", &url))
        .link(Link::described_by(format!("{url}/yaml")))
}

/// Links of what stands under a stream's path: to itself, and to the stream's document.
pub(super) fn links_here(envelope: Envelope, at: &Address, name: &ResourceName) -> Envelope {
    let here = at.here();
    envelope
        .link(Link::json("canonical", &here))
        .link(Link::json("self", here))
        .link(Link::described_by(at.url(&format!("{}/stream/{name}/yaml", at.prefix()))))
}

/// The warning of a stream whose trail is not there yet.
fn with_warnings(face: &Face, envelope: Envelope, config: &StreamConfig) -> Envelope {
    let trail = &config.source.trail;
    match face.service.trails().of(&config.source) {
        Some(_) => envelope,
        None => envelope.message(Message::new(Fact::TrailMissing, trail)),
    }
}

/// The same of a stream that was just made or changed, and the warning of rules that match no table.
async fn with_all_warnings(face: &Face, envelope: Envelope, stream: &Arc<Stream>) -> Envelope {
    let envelope = with_warnings(face, envelope, &stream.config);
    match face.service.streams().unmatched_rules(stream).await {
        Some(unmatched) => envelope.message(Message::new(Fact::RuleUnmatched, unmatched)),
        None => envelope,
    }
}

pub(super) async fn make(
    State(face): State<Face>,
    caller: Caller,
    Named(name): Named<ResourceName>,
    at: Address,
    headers: HeaderMap,
    content: Body,
) -> Answer {
    caller.require(Role::Administrator)?;
    let given = body::json(&headers, content).await?;
    let config = face.service.streams().read_config(given).await?;
    let stream = face.service.streams().make(caller.principal(), &name, config).await?;
    let envelope = Envelope::new(stream.config.as_given().clone());
    let envelope = with_all_warnings(&face, links(envelope, &at, &name), &stream).await;
    let mut response = envelope.into_response();
    if let Ok(url) = HeaderValue::try_from(at.url(&format!("{}/stream/{name}", at.prefix()))) {
        response.headers_mut().insert(LOCATION, url);
    }
    Ok(response)
}

/// The stored configuration. Answers at once, whatever `Content-Type` and query say: generated clients ask before they
/// open the socket.
pub(super) fn describe(face: &Face, caller: &Caller, name: &ResourceName, at: &Address) -> Answer {
    let stream = find(face, caller, name)?;
    let envelope = Envelope::new(stream.config.as_given().clone());
    Ok(with_warnings(face, links(envelope, at, name), &stream.config).into_response())
}

pub(super) fn find(face: &Face, caller: &Caller, name: &ResourceName) -> Result<Arc<Stream>, StreamError> {
    face.service.streams().find(caller.principal(), name)
}

pub(super) async fn patch(
    State(face): State<Face>,
    caller: Caller,
    Named(name): Named<ResourceName>,
    at: Address,
    headers: HeaderMap,
    content: Body,
) -> Answer {
    caller.require(Role::Administrator)?;
    let patch = body::merge_patch(&headers, content).await?;
    let (stream, dropped) = face.service.streams().patch(caller.principal(), &name, &patch).await?;
    let mut envelope = Envelope::new(stream.config.as_given().clone());
    if dropped {
        envelope = envelope.message(Message::new(Fact::DocumentDropped, &name));
    }
    Ok(with_all_warnings(&face, links(envelope, &at, &name), &stream).await.into_response())
}

pub(super) async fn remove(State(face): State<Face>, caller: Caller, Named(name): Named<ResourceName>) -> Answer {
    caller.require(Role::Administrator)?;
    face.service.streams().delete(caller.principal(), &name).await?;
    let done = Message::new(Fact::Done, format!("The data stream {name} was deleted"));
    Ok(Envelope::default().message(done).into_response())
}

pub(super) async fn info(
    State(face): State<Face>,
    caller: Caller,
    Named(name): Named<ResourceName>,
    at: Address,
) -> Answer {
    caller.require(Role::User)?;
    let stream = find(&face, &caller, &name)?;
    let sessions = stream.sessions();
    let trail = face.service.trails().of(&stream.config.source);
    let figures = stream.activity.figures();
    let delivered = stream.activity.encoding.delivered.figures();
    let mut response = json!({
        "$schema": "ogg:collection",
        "name": name.as_str(),
        "status": status(&face, &stream),
        "links": [Link::json("canonical", at.url(&format!("{}/stream/{name}", at.prefix())))],
        "statistics": {
            "sessions": sessions.len(),
            "sessionsOpened": figures.opened,
            "records": figures.records,
            "bytes": figures.bytes,
        },
    });
    let statistics = &mut response["statistics"];
    put_counts(statistics, &delivered.total());
    statistics["tables"] = delivered.tables.iter().map(|(table, counts)| table_counts(table, counts)).collect();
    if delivered.others.iter().any(|count| *count > 0) {
        put_counts(&mut statistics["otherTables"], &delivered.others);
    }
    if caller.require(Role::Operator).is_ok() {
        let trail = trail.as_ref().and_then(|entry| entry.served().ok());
        response["sessions"] = sessions.iter().map(|session| live(&stream, session, trail)).collect();
    }
    Ok(links_here(Envelope::new(response), &at, &name).into_response())
}

fn table_counts(table: &TableName, counts: &ByOperation<u64>) -> Value {
    let mut shown = json!({"tableName": table.to_string()});
    put_counts(&mut shown, counts);
    shown
}

/// Numbers of records by operation, under the names that statistics of GoldenGate's distribution paths have.
fn put_counts(shown: &mut Value, counts: &ByOperation<u64>) {
    for (operation, count) in Operation::ALL.into_iter().zip(counts) {
        let name = match operation {
            Operation::Insert => "inserts",
            Operation::Update => "updates",
            Operation::Delete => "deletes",
            Operation::Truncate => "truncates",
            Operation::Upsert => "upserts",
            Operation::Ddl => "ddlSent",
        };
        shown[name] = (*count).into();
    }
}

/// A live session: who, since when, how far.
fn live(stream: &Stream, session: &LiveSession, trail: Option<&Trail>) -> Value {
    let progress = &session.progress;
    let last = progress.last();
    let durable = trail.map_or(0, |trail| trail.durable().borrow().commit);
    let lag_bytes = trail.zip(progress.read_to()).map(|(trail, read_to)| trail.bytes_behind(read_to));
    // A session that has read everything lags behind nothing, whatever its rules let through.
    let read_all = lag_bytes == Some(0);
    let sent = last.map_or(0, |position| position.commit);
    json!({
        "user": session.user,
        "peer": session.peer,
        "since": session.since.to_rfc3339(),
        "begin": session.begin,
        "state": progress.state().name(),
        "csn": sent,
        "pos": last.map(|position| token::encode(&position, stream.config.contract_hash()).as_str().to_owned()),
        "lagTransactions": if read_all { 0 } else { durable.saturating_sub(progress.passed().max(sent)) },
        "lagBytes": lag_bytes,
        "records": progress.records(),
        "bytes": progress.bytes(),
    })
}

pub(super) async fn errors(
    State(face): State<Face>,
    caller: Caller,
    Named(name): Named<ResourceName>,
    at: Address,
) -> Answer {
    caller.require(Role::User)?;
    let stream = find(&face, &caller, &name)?;
    let mut errors = stream.errors();
    let trail = &stream.config.source.trail;
    match face.service.trails().of(&stream.config.source) {
        None => {
            let waiting = format!("the trail {trail} does not exist yet; sessions wait for it");
            if !errors.contains(&waiting) {
                errors.push(waiting);
            }
        }
        Some(entry) => errors.extend(entry.served().err().map(|unserved| unserved.to_string())),
    }
    let response = json!({"$schema": "ogg:dataStreamErrors", "errors": errors});
    Ok(links_here(Envelope::new(response), &at, &name).into_response())
}
