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
use crate::limits;
use crate::record::TrailName;
use crate::service::trails::{TrailError, TrailInfo, writer_name};
use crate::trail::Writer;

fn described(info: &TrailInfo) -> Value {
    match &info.state {
        Ok((description, status)) => json!({
            "$schema": "trailcast:trail",
            "name": info.name.as_str(),
            "status": if status.stopped.is_some() { "stopped" } else { "running" },
            "epoch": format!("{:016x}", description.epoch.0),
            "writer": writer_name(&description.writer),
            "partitions": description.partitions,
            "created": description.created,
            "segments": status.segments,
            "bytes": status.bytes,
            "firstCommit": status.first_commit,
            "lastCommit": status.last_commit,
            "lastCommitTs": (status.last_commit > 0).then(|| status.last_commit_ts.to_rfc3339()),
            "error": status.stopped,
        }),
        Err(reason) => json!({
            "$schema": "trailcast:trail",
            "name": info.name.as_str(),
            "status": "stopped",
            "error": reason,
        }),
    }
}

pub(super) async fn list(State(face): State<Face>, caller: Caller, at: Address) -> Answer {
    caller.require(Role::User)?;
    let items: Vec<Value> = face.service.trails().list().iter().map(described).collect();
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
    let info = face.service.trails().info(&name).ok_or(TrailError::Missing(name))?;
    Ok(Envelope::new(described(&info)).link(Link::json("self", at.here())).into_response())
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
    let members = given.as_object().ok_or_else(|| ErrorAnswer::new(Fact::OutOfRange, "body: must be an object"))?;
    if let Some(unknown) = members.keys().find(|member| member.as_str() != "$schema") {
        return Err(ErrorAnswer::new(Fact::UnknownMember, unknown));
    }
    face.service.trails().make(&name, Writer::Puts).await?;
    let info = face.service.trails().info(&name).ok_or(TrailError::Missing(name))?;
    Ok(Envelope::new(described(&info)).link(Link::json("self", at.here())).into_response())
}

pub(super) async fn remove(State(face): State<Face>, caller: Caller, Named(name): Named<TrailName>) -> Answer {
    caller.require(Role::Administrator)?;
    face.service.delete_trail(&name).await?;
    Ok(Envelope::default().message(Message::new(Fact::Done, format!("The trail {name} was deleted"))).into_response())
}

/// Appends transactions to a trail that was made for puts.
pub(super) async fn put(
    State(face): State<Face>,
    caller: Caller,
    Named(name): Named<TrailName>,
    headers: HeaderMap,
    content: Body,
) -> Answer {
    caller.require(Role::Operator)?;
    let bytes = body::read(&headers, content, limits::PUT_BODY_BYTES_MAX).await?;
    let answer = face.service.put(&name, &bytes).await?;
    Ok(Envelope::new(json!({"acked": answer.acked, "pos": answer.pos.as_str()})).into_response())
}
