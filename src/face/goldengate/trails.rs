//! Trails over REST, and puts into them.

use axum::response::IntoResponse;
use serde_json::{Value, json};

use super::envelope::{Envelope, Link};
use super::messages::{ErrorAnswer, Fact, Message};
use super::put_body::{put_format, types_of};
use super::{Answer, Call};
use crate::access::Role;
use crate::catalog::stream::{ConfigError, merge_patch};
use crate::catalog::trail::TrailSettings;
use crate::face::{Content, Hall};
use crate::limits;
use crate::record::{ResourceName, TrailName};
use crate::service::retention::retention_of;
use crate::service::trails::{TrailError, TrailInfo, writer_name};

async fn described(hall: &Hall, info: &TrailInfo) -> Result<Value, ErrorAnswer> {
    let mut described = state(info);
    let retention = retention_of(&hall.service.trail_settings(&info.name).await?);
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
        Err(reason) => json!({
            "$schema": "trailcast:trail",
            "name": info.name.as_str(),
            "status": "stopped",
            "error": reason,
        }),
    }
}

pub(super) async fn list(call: Call) -> Answer {
    call.require(Role::User)?;
    let mut items = Vec::new();
    for info in call.service().trails().list() {
        items.push(described(&call.hall, &info).await?);
    }
    let response = json!({"$schema": "trailcast:trailCollection", "items": items});
    Ok(Envelope::new(response).link(Link::json("self", call.at.here())).into_response())
}

pub(super) async fn describe(call: Call<TrailName>) -> Answer {
    call.require(Role::User)?;
    let info = call.service().trails().info(&call.name).ok_or_else(|| TrailError::Missing(call.name.clone()))?;
    Ok(Envelope::new(described(&call.hall, &info).await?).link(Link::json("self", call.at.here())).into_response())
}

pub(super) async fn make(call: Call<TrailName>, content: Content) -> Answer {
    call.require(Role::Administrator)?;
    let given = content.json().await?;
    let settings = TrailSettings::from_value(&given)?;
    call.service().make_trail(&call.name, settings).await?;
    let info = call.service().trails().info(&call.name).ok_or_else(|| TrailError::Missing(call.name.clone()))?;
    Ok(Envelope::new(described(&call.hall, &info).await?).link(Link::json("self", call.at.here())).into_response())
}

/// Changes a trail's options by a JSON merge patch.
pub(super) async fn patch(call: Call<TrailName>, content: Content) -> Answer {
    call.require(Role::Administrator)?;
    let patch = content.merge_patch().await?;
    let stored = call.service().trail_settings(&call.name).await?;
    let mut given = json!({"retention": {}});
    if let Some(seconds) = stored.retention_seconds {
        given["retention"]["ageSeconds"] = seconds.into();
    }
    if let Some(bytes) = stored.retention_bytes {
        given["retention"]["bytes"] = bytes.into();
    }
    merge_patch(&mut given, &patch);
    let mut settings = TrailSettings::from_value(&given)?;
    let info = call.service().trails().info(&call.name).ok_or_else(|| TrailError::Missing(call.name.clone()))?;
    let in_force = info.state.as_ref().ok().map(|(description, _)| description.segment_bytes);
    if settings.segment_bytes.is_some() && settings.segment_bytes != in_force {
        return Err(ConfigError::new("segmentBytes", "is fixed when the trail is made").into());
    }
    settings.segment_bytes = stored.segment_bytes;
    call.service().set_trail_settings(&call.name, settings).await?;
    let info = call.service().trails().info(&call.name).ok_or_else(|| TrailError::Missing(call.name.clone()))?;
    Ok(Envelope::new(described(&call.hall, &info).await?).link(Link::json("self", call.at.here())).into_response())
}

pub(super) async fn remove(call: Call<TrailName>) -> Answer {
    call.require(Role::Administrator)?;
    let readers = call.service().delete_trail(&call.name).await?;
    let mut done = format!("The trail {} was deleted", call.name);
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
pub(super) async fn put(call: Call<TrailName>, content: Content) -> Answer {
    call.require(Role::Operator)?;
    let format = put_format(&content)?;
    let bytes = content.read(types_of(format), limits::PUT_BODY_BYTES_MAX).await?;
    let answer = call.service().put_as(format, &call.name, &bytes).await?;
    let mut response = json!({"acked": answer.acked});
    if let Some(pos) = answer.pos {
        response["pos"] = pos.as_str().into();
    }
    Ok(Envelope::new(response).into_response())
}
