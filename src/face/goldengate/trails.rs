//! Trails over REST, and puts into them.

use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use super::envelope::{Empty, Envelope};
use super::error_answer::ErrorAnswer;
use super::messages::{Fact, Message};
use super::put_body::{put_format, types_of};
use super::schema_names::{Trail, TrailCollection};
use super::{Answer, Call};
use crate::access::Role;
use crate::catalog::stream::{ConfigError, merge_patch};
use crate::catalog::trail::TrailSettings;
use crate::face::Content;
use crate::face::operation::{NotThere, Stores, Taken};
use crate::limits;
use crate::record::{ResourceName, TrailName};
use crate::service::retention::retention_of;
use crate::service::trails::TrailInfo;
use crate::trail::{TrailStatus, Writer};

/// Of a trail that could not be opened only name, status, error and retention are known.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Trail)]
pub(super) struct ShownTrail {
    #[serde(rename = "$schema")]
    #[schema(inline)]
    schema: Trail,
    name: String,
    #[schema(inline)]
    status: TrailState,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, pattern = "^[0-9a-f]{16}$")]
    epoch: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    writer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, minimum = 1)]
    /// Those that are open.
    partitions: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    segment_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    created: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    segments: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    bytes: Option<u64>,
    /// Commit number of the oldest transaction that is kept; null while there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>, minimum = 1)]
    first_commit: Option<Option<u64>>,
    /// Commit number of the newest transaction, kept or not; null as long as there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<u64>, minimum = 1)]
    last_commit: Option<Option<u64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    last_commit_ts: Option<Option<String>>,
    /// Why it is stopped.
    #[schema(required)]
    error: Option<String>,
    retention: TrailRetention,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum TrailState {
    Running,
    Stopped,
}

/// When segments are removed; null is never.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct TrailRetention {
    #[schema(required)]
    age_seconds: Option<u64>,
    #[schema(required)]
    bytes: Option<u64>,
}

/// Every trail.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TrailCollection)]
pub(super) struct ShownTrails {
    #[serde(rename = "$schema")]
    #[schema(inline)]
    schema: TrailCollection,
    items: Vec<ShownTrail>,
}

/// What became of a put.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PutAnswer)]
pub(super) struct Acknowledged {
    /// Transactions of the body, all of them: those appended now and those that the trail had already.
    acked: usize,
    /// Position of the last record of the furthest of these transactions; not there where the body has none, as an empty batch
    /// of events. As begin of any stream of the trail it resumes after that record.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, pattern = "^p[0-9a-v]{53}$")]
    pos: Option<String>,
}

async fn shown<N>(call: &Call<N>, info: &TrailInfo) -> Result<ShownTrail, ErrorAnswer> {
    let settings = call.service().trails().settings(call.principal(), &info.name).await?;
    let retention = retention_of(&settings.unwrap_or_default());
    let (description, status) = info.state.as_ref().ok().map(|(description, status)| (description, status)).unzip();
    let error = match &info.state {
        Ok((_, status)) => status.stopped.clone(),
        Err(reason) => Some(reason.to_string()),
    };
    let had_one = |status: &&TrailStatus| status.last_commit > 0;
    Ok(ShownTrail {
        schema: Trail,
        name: info.name.to_string(),
        status: if error.is_some() { TrailState::Stopped } else { TrailState::Running },
        epoch: description.map(|trail| format!("{:016x}", trail.epoch.0)),
        writer: description.map(|trail| trail.writer.to_string()),
        partitions: description.map(|trail| u16::try_from(trail.partitions.open().len()).unwrap_or(u16::MAX)),
        segment_bytes: description.map(|trail| trail.segment_bytes),
        created: description.map(|trail| trail.created.clone()),
        segments: status.map(|status| status.segments),
        bytes: status.map(|status| status.bytes),
        first_commit: status.map(|status| (status.first_commit <= status.last_commit).then_some(status.first_commit)),
        last_commit: status.map(|status| Some(status).filter(had_one).map(|status| status.last_commit)),
        last_commit_ts: status
            .map(|status| Some(status).filter(had_one).map(|status| status.last_commit_ts.to_rfc3339())),
        error,
        retention: TrailRetention { age_seconds: retention.age_seconds, bytes: retention.bytes },
    })
}

/// Every trail
///
/// Role: User.
#[utoipa::path(get, path = "/services/v2/trails", operation_id = "listTrails",
    responses((status = 200, description = "Done", body = Envelope<ShownTrails>)))]
pub(super) async fn list(call: Call) -> Answer<ShownTrails> {
    call.require(Role::User)?;
    let mut items = Vec::new();
    for info in call.service().trails().list(call.principal()) {
        items.push(shown(&call, &info).await?);
    }
    Ok(Envelope::at(&call.at, ShownTrails { schema: TrailCollection, items }))
}

/// A trail's figures
///
/// Role: User.
#[utoipa::path(get, path = "/services/v2/trails/{name}", operation_id = "describeTrail",
    responses((status = 200, description = "Done", body = Envelope<ShownTrail>), NotThere))]
pub(super) async fn describe(call: Call<TrailName>) -> Answer<ShownTrail> {
    call.require(Role::User)?;
    let info = call.service().trails().describe(call.principal(), &call.name)?;
    Ok(Envelope::at(&call.at, shown(&call, &info).await?))
}

/// Makes a trail for puts
///
/// Role: Administrator. Without members a trail takes the server's retention, one partition and segments of 64 MiB.
#[utoipa::path(post, path = "/services/v2/trails/{name}", operation_id = "makeTrail",
    request_body(content = ref("#/components/schemas/TrailSettings"), content_type = "application/json"),
    responses((status = 200, description = "Done", body = Envelope<ShownTrail>), Taken, Stores))]
pub(super) async fn make(call: Call<TrailName>, content: Content) -> Answer<ShownTrail> {
    call.require(Role::Administrator)?;
    let given = content.json().await?;
    let settings = TrailSettings::from_value(&given)?;
    call.service().trails().make(call.principal(), &call.name, Writer::Puts, Some(settings)).await?;
    let info = call.service().trails().describe(call.principal(), &call.name)?;
    Ok(Envelope::at(&call.at, shown(&call, &info).await?))
}

/// Changes a trail's options by a JSON merge patch
///
/// Role: Administrator. segmentBytes and partitions are fixed when the trail is made.
#[utoipa::path(patch, path = "/services/v2/trails/{name}", operation_id = "changeTrail",
    request_body(content((ref("#/components/schemas/TrailSettings") = "application/json"), (ref("#/components/schemas/TrailSettings") = "application/merge-patch+json"))),
    responses((status = 200, description = "Done", body = Envelope<ShownTrail>), NotThere, Stores))]
pub(super) async fn patch(call: Call<TrailName>, content: Content) -> Answer<ShownTrail> {
    call.require(Role::Administrator)?;
    let patch = content.merge_patch().await?;
    let stored = call.service().trails().settings(call.principal(), &call.name).await?.unwrap_or_default();
    let mut given = json!({"retention": {}});
    if let Some(seconds) = stored.retention_seconds {
        given["retention"]["ageSeconds"] = seconds.into();
    }
    if let Some(bytes) = stored.retention_bytes {
        given["retention"]["bytes"] = bytes.into();
    }
    merge_patch(&mut given, &patch);
    let mut settings = TrailSettings::from_value(&given)?;
    let info = call.service().trails().describe(call.principal(), &call.name)?;
    let in_force = info.state.as_ref().ok().map(|(description, _)| description.segment_bytes);
    let open = info.state.as_ref().ok().map(|(description, _)| description.partitions.open().len());
    if settings.partitions.is_some() && settings.partitions.map(usize::from) != open {
        let why = "is fixed when the trail is made; POST …/partitions splits and merges them";
        return Err(ConfigError::new("partitions", why).into());
    }
    settings.partitions = stored.partitions;
    if settings.segment_bytes.is_some() && settings.segment_bytes != in_force {
        return Err(ConfigError::new("segmentBytes", "is fixed when the trail is made").into());
    }
    settings.segment_bytes = stored.segment_bytes;
    call.service().trails().set_settings(call.principal(), &call.name, settings).await?;
    let info = call.service().trails().describe(call.principal(), &call.name)?;
    Ok(Envelope::at(&call.at, shown(&call, &info).await?))
}

/// Deletes a trail with all its records
///
/// Role: Administrator.
#[utoipa::path(delete, path = "/services/v2/trails/{name}", operation_id = "deleteTrail",
    responses((status = 200, description = "Done", body = Envelope<Empty>), NotThere, Taken, Stores))]
pub(super) async fn remove(call: Call<TrailName>) -> Answer {
    call.require(Role::Administrator)?;
    let groups = call.service().groups().of_trail(call.principal(), &call.name);
    call.service().trails().delete(call.principal(), &call.name).await?;
    let readers = call.service().streams().readers_of(call.principal(), &call.name);
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
    if !groups.is_empty() {
        let named: Vec<_> = groups.iter().take(limits::ANSWER_NAMED_GROUPS_MAX).map(String::as_str).collect();
        let more = groups.len() - named.len();
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        done = format!(
            "{done}. Consumer groups have lost their positions, and have to be reset: {}{more}",
            named.join(", ")
        );
    }
    Ok(Envelope::default().message(Message::new(Fact::Done, done)))
}

/// Appends transactions; answered after the flush
///
/// Role: Operator. The body is one transaction, or any number of them with white space between, one a line as a rule (NDJSON); or a
/// CloudEvent, or a batch of them, each of which is one transaction. It is checked whole before anything of it is appended; each
/// transaction is appended whole or not at all, in the body's order. The answer comes after the flush. A transaction whose xid the
/// trail remembers is not appended again; of an event, source and id together are the xid. 400 names line (or number of the event)
/// and member. 409: an extract writes the trail. 503 and 507: try again after Retry-After seconds with the same xids. CloudEvents in
/// binary mode (ce- headers) are refused with 415. docs/puts.md says all of it.
#[utoipa::path(post, path = "/services/v2/trails/{name}/transactions", operation_id = "putTransactions",
    request_body(description = "At most 67108864 bytes, not encoded (Content-Encoding: identity).", content(
        (ref("#/components/schemas/PutTransaction") = "application/json", example = json!(
            {"xid": "order-17", "operations": [{"op": "INSERT", "table": "app.orders", "key": ["id"],
             "after": {"id": 1, "total": 12.5}}]})),
        (ref("#/components/schemas/PutTransaction") = "application/x-ndjson"),
        (ref("#/components/schemas/CloudEvent") = "application/cloudevents+json", example = json!(
            {"specversion": "1.0", "id": "17", "source": "/shop", "type": "shop.order", "time": "2026-07-13T04:00:00Z",
             "data": {"operations": [{"op": "INSERT", "table": "app.orders", "key": ["id"],
             "after": {"id": 1, "total": 12.5}}]}})),
        (ref("#/components/schemas/CloudEventBatch") = "application/cloudevents-batch+json"))),
    responses((status = 200, description = "All transactions of the body are durable", body = Envelope<Acknowledged>),
        NotThere, Taken, Stores))]
pub(super) async fn put(call: Call<TrailName>, content: Content) -> Answer<Acknowledged> {
    call.require(Role::Operator)?;
    let format = put_format(&content)?;
    let bytes = content.read(types_of(format), limits::PUT_BODY_BYTES_MAX).await?;
    let answer = call.service().puts().put_as(call.principal(), format, &call.name, &bytes).await?;
    let pos = answer.pos.map(|pos| pos.as_str().to_owned());
    Ok(Envelope::new(Acknowledged { acked: answer.acked, pos }))
}
