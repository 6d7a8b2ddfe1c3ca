//! Trails over REST, and puts into them.

use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::IntoResponse;
use serde_json::{Value, json};

use super::address::Address;
use super::body;
use super::caller::{Caller, Named};
use super::envelope::{Envelope, Link};
use super::messages::{ErrorAnswer, Fact, Message};
use super::routes::Face;
use super::streams::Answer;
use crate::access::Role;
use crate::catalog::stream::{ConfigError, merge_patch};
use crate::catalog::trail::TrailSettings;
use crate::limits;
use crate::record::{ResourceName, TrailName};
use crate::service::retention::retention_of;
use crate::service::trails::{TrailInfo, writer_name};
use crate::trail::Writer;

async fn described(face: &Face, caller: &Caller, info: &TrailInfo) -> Result<Value, ErrorAnswer> {
    let mut described = state(info);
    let settings = face.service.trails().settings(caller.principal(), &info.name).await?;
    let retention = retention_of(&settings.unwrap_or_default());
    described["retention"] = json!({"ageSeconds": retention.age_seconds, "bytes": retention.bytes});
    Ok(described)
}

fn state(info: &TrailInfo) -> Value {
    match &info.state {
        Ok((description, status)) => json!({
            "$schema": "trailcast:trail",
            "name": info.name.as_str(),
            "status": if status.stopped.is_some() { "stopped" } else { "running" },
            "epoch": format!("{:016x}", description.epoch.0),
            "writer": writer_name(&description.writer),
            "partitions": description.partitions,
            "segmentBytes": description.segment_bytes,
            "created": description.created,
            "segments": status.segments,
            "bytes": status.bytes,
            "firstCommit": (status.first_commit <= status.last_commit).then_some(status.first_commit),
            "lastCommit": (status.last_commit > 0).then_some(status.last_commit),
            "lastCommitTs": (status.last_commit > 0).then(|| status.last_commit_ts.to_rfc3339()),
            "error": status.stopped,
        }),
        Err(unserved) => json!({
            "$schema": "trailcast:trail",
            "name": info.name.as_str(),
            "status": "stopped",
            "error": unserved.to_string(),
        }),
    }
}

pub(super) async fn list(State(face): State<Face>, caller: Caller, at: Address) -> Answer {
    caller.require(Role::User)?;
    let mut items = Vec::new();
    for info in face.service.trails().list(caller.principal()) {
        items.push(described(&face, &caller, &info).await?);
    }
    let response = json!({"$schema": "trailcast:trailCollection", "items": items});
    Ok(Envelope::new(response).link(Link::json("self", at.here())).into_response())
}

pub(super) async fn describe(
    State(face): State<Face>,
    caller: Caller,
    Named(name): Named<TrailName>,
    at: Address,
) -> Answer {
    caller.require(Role::User)?;
    let info = face.service.trails().describe(caller.principal(), &name)?;
    Ok(Envelope::new(described(&face, &caller, &info).await?).link(Link::json("self", at.here())).into_response())
}

pub(super) async fn make(
    State(face): State<Face>,
    caller: Caller,
    Named(name): Named<TrailName>,
    at: Address,
    headers: HeaderMap,
    content: Body,
) -> Answer {
    caller.require(Role::Administrator)?;
    let given = body::json(&headers, content).await?;
    let settings = TrailSettings::from_value(&given)?;
    face.service.trails().make(caller.principal(), &name, Writer::Puts, Some(settings)).await?;
    let info = face.service.trails().describe(caller.principal(), &name)?;
    Ok(Envelope::new(described(&face, &caller, &info).await?).link(Link::json("self", at.here())).into_response())
}

/// Changes a trail's options by a JSON merge patch.
pub(super) async fn patch(
    State(face): State<Face>,
    caller: Caller,
    Named(name): Named<TrailName>,
    at: Address,
    headers: HeaderMap,
    content: Body,
) -> Answer {
    caller.require(Role::Administrator)?;
    let patch = body::merge_patch(&headers, content).await?;
    let stored = face.service.trails().settings(caller.principal(), &name).await?.unwrap_or_default();
    let mut given = json!({"retention": {}});
    if let Some(seconds) = stored.retention_seconds {
        given["retention"]["ageSeconds"] = seconds.into();
    }
    if let Some(bytes) = stored.retention_bytes {
        given["retention"]["bytes"] = bytes.into();
    }
    merge_patch(&mut given, &patch);
    let mut settings = TrailSettings::from_value(&given)?;
    let info = face.service.trails().describe(caller.principal(), &name)?;
    let in_force = info.state.as_ref().ok().map(|(description, _)| description.segment_bytes);
    if settings.segment_bytes.is_some() && settings.segment_bytes != in_force {
        return Err(ConfigError::new("segmentBytes", "is fixed when the trail is made").into());
    }
    settings.segment_bytes = stored.segment_bytes;
    face.service.trails().set_settings(caller.principal(), &name, settings).await?;
    let info = face.service.trails().describe(caller.principal(), &name)?;
    Ok(Envelope::new(described(&face, &caller, &info).await?).link(Link::json("self", at.here())).into_response())
}

pub(super) async fn remove(State(face): State<Face>, caller: Caller, Named(name): Named<TrailName>) -> Answer {
    caller.require(Role::Administrator)?;
    face.service.trails().delete(caller.principal(), &name).await?;
    let readers = face.service.streams().readers_of(caller.principal(), &name);
    let mut done = format!("The trail {name} was deleted");
    if !readers.is_empty() {
        let named: Vec<_> = readers.iter().take(limits::ANSWER_NAMED_STREAMS_MAX).map(ResourceName::as_str).collect();
        let more = readers.len() - named.len();
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        done = format!(
            "{done}. Data streams that read it stay, and wait until a trail of that name is made again or they are deleted: \
             {}{more}",
            named.join(", ")
        );
    }
    Ok(Envelope::default().message(Message::new(Fact::Done, done)).into_response())
}

/// Appends transactions to a trail that was made for puts: NDJSON, or CloudEvents whose data they are.
pub(super) async fn put(
    State(face): State<Face>,
    caller: Caller,
    Named(name): Named<TrailName>,
    headers: HeaderMap,
    content: Body,
) -> Answer {
    caller.require(Role::Operator)?;
    let format = body::put_format(&headers)?;
    let bytes = body::read(&headers, content, body::types_of(format), limits::PUT_BODY_BYTES_MAX).await?;
    let answer = face.service.puts().put_as(caller.principal(), format, &name, &bytes).await?;
    let mut response = json!({"acked": answer.acked});
    if let Some(pos) = answer.pos {
        response["pos"] = pos.as_str().into();
    }
    Ok(Envelope::new(response).into_response())
}
