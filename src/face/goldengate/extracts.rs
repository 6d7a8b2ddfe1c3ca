//! Extracts over REST.

use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::IntoResponse;
use serde_json::{Value, json};

use super::address::Address;
use super::body;
use super::caller::{Caller, Named};
use super::envelope::{Envelope, Link};
use super::messages::{Fact, Message};
use super::routes::Face;
use super::streams::Answer;
use crate::access::Role;
use crate::catalog::coverage::LostCoverage;
use crate::catalog::extract::ExtractConfig;
use crate::record::ResourceName;
use crate::service::extracts::{ExtractError, ExtractInfo, LeftTrail};

pub(super) fn described(extract: &ExtractInfo) -> Value {
    let mut config = extract.config.redacted();
    config["$schema"] = "trailcast:extract".into();
    config["name"] = extract.name.as_str().into();
    // `status` is what was asked for; `info` is what is.
    config["info"] = status(extract);
    config
}

pub(super) fn status(extract: &ExtractInfo) -> Value {
    let mut status = serde_json::to_value(&extract.status).unwrap_or_default();
    status["name"] = extract.name.as_str().into();
    status["trail"] = extract.config.trail.as_str().into();
    let coverage = &extract.coverage;
    status["degraded"] = coverage.degraded.keys().cloned().collect::<Vec<_>>().into();
    status["coverage"] = json!({"lost": coverage.lost.as_ref().map(lost), "notAsAsked": coverage.degraded, "gaps": coverage.gaps, "gapsWritten": coverage.gaps_written});
    status
}

fn lost(lost: &LostCoverage) -> Value {
    json!({"tables": lost.tables, "from": lost.from, "to": lost.to})
}

pub(super) fn find(face: &Face, caller: &Caller, name: &ResourceName) -> Result<ExtractInfo, ExtractError> {
    face.service.extracts().find(caller.principal(), name)
}

pub(super) async fn list(State(face): State<Face>, caller: Caller, at: Address) -> Answer {
    caller.require(Role::User)?;
    let items: Vec<Value> = face.service.extracts().list(caller.principal()).iter().map(status).collect();
    let response = json!({"$schema": "trailcast:extractCollection", "items": items});
    Ok(Envelope::new(response).link(Link::json("self", at.here())).into_response())
}

pub(super) async fn describe(
    State(face): State<Face>,
    caller: Caller,
    Named(name): Named<ResourceName>,
    at: Address,
) -> Answer {
    caller.require(Role::Operator)?;
    let extract = find(&face, &caller, &name)?;
    Ok(Envelope::new(described(&extract)).link(Link::json("self", at.here())).into_response())
}

pub(super) async fn info(
    State(face): State<Face>,
    caller: Caller,
    Named(name): Named<ResourceName>,
    at: Address,
) -> Answer {
    caller.require(Role::User)?;
    let extract = find(&face, &caller, &name)?;
    Ok(Envelope::new(status(&extract)).link(Link::json("self", at.here())).into_response())
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
    let config: ExtractConfig = body::typed(&headers, content).await?;
    face.service.extracts().make(caller.principal(), &name, config).await?;
    let extract = find(&face, &caller, &name)?;
    Ok(Envelope::new(described(&extract)).link(Link::json("self", at.here())).into_response())
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
    face.service.extracts().patch(caller.principal(), &name, &patch).await?;
    let extract = find(&face, &caller, &name)?;
    Ok(Envelope::new(described(&extract)).link(Link::json("self", at.here())).into_response())
}

pub(super) async fn remove(State(face): State<Face>, caller: Caller, Named(name): Named<ResourceName>) -> Answer {
    caller.require(Role::Administrator)?;
    let LeftTrail { name: trail, is_empty } = face.service.extracts().delete(caller.principal(), &name).await?;
    let holds = if is_empty { "and is empty: delete it too" } else { "with its records: delete it" };
    let done = format!(
        "The extract {name} was deleted; its slot and publication stay at the source. Its trail {trail} stays {holds} \
         (DELETE /services/v2/trails/{trail}), unless an extract of the same name is to go on with it"
    );
    Ok(Envelope::default().message(Message::new(Fact::Done, done)).into_response())
}
