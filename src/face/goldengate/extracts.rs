//! Extracts over REST.

use axum::response::IntoResponse;
use serde_json::{Value, json};

use super::envelope::{Envelope, Link};
use super::messages::{Fact, Message};
use super::{Answer, Call};
use crate::access::Role;
use crate::catalog::coverage::LostCoverage;
use crate::catalog::extract::ExtractConfig;
use crate::face::{Content, Hall};
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

pub(super) fn find(hall: &Hall, name: &ResourceName) -> Result<ExtractInfo, ExtractError> {
    hall.service.extracts().get(name).ok_or_else(|| ExtractError::Missing(name.clone()))
}

pub(super) async fn list(call: Call) -> Answer {
    call.require(Role::User)?;
    let items: Vec<Value> = call.service().extracts().list().iter().map(status).collect();
    let response = json!({"$schema": "trailcast:extractCollection", "items": items});
    Ok(Envelope::new(response).link(Link::json("self", call.at.here())).into_response())
}

pub(super) async fn describe(call: Call<ResourceName>) -> Answer {
    call.require(Role::Operator)?;
    let extract = find(&call.hall, &call.name)?;
    Ok(Envelope::new(described(&extract)).link(Link::json("self", call.at.here())).into_response())
}

pub(super) async fn info(call: Call<ResourceName>) -> Answer {
    call.require(Role::User)?;
    let extract = find(&call.hall, &call.name)?;
    Ok(Envelope::new(status(&extract)).link(Link::json("self", call.at.here())).into_response())
}

pub(super) async fn make(call: Call<ResourceName>, content: Content) -> Answer {
    call.require(Role::Administrator)?;
    let config: ExtractConfig = content.typed().await?;
    call.service().make_extract(&call.name, config).await?;
    let extract = find(&call.hall, &call.name)?;
    Ok(Envelope::new(described(&extract)).link(Link::json("self", call.at.here())).into_response())
}

pub(super) async fn patch(call: Call<ResourceName>, content: Content) -> Answer {
    call.require(Role::Administrator)?;
    let patch = content.merge_patch().await?;
    call.service().patch_extract(&call.name, &patch).await?;
    let extract = find(&call.hall, &call.name)?;
    Ok(Envelope::new(described(&extract)).link(Link::json("self", call.at.here())).into_response())
}

pub(super) async fn remove(call: Call<ResourceName>) -> Answer {
    call.require(Role::Administrator)?;
    let LeftTrail { name: trail, is_empty } = call.service().delete_extract(&call.name).await?;
    let holds = if is_empty { "and is empty: delete it too" } else { "with its records: delete it" };
    let done = format!(
        "The extract {} was deleted; its slot and publication stay at the source. Its trail {trail} stays {holds} \
         (DELETE /services/v2/trails/{trail}), unless an extract of the same name is to go on with it",
        call.name
    );
    Ok(Envelope::default().message(Message::new(Fact::Done, done)).into_response())
}
