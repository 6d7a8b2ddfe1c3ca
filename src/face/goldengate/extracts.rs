//! Extracts over REST.

use axum::extract::Request;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::envelope::{Empty, Envelope};
use super::lag::rounded;
use super::messages::{Fact, Message};
use super::schema_names::ExtractCollection;
use super::{Answer, Call, DROP_SLOT};
use crate::access::Role;
use crate::capture::Released;
use crate::catalog::coverage::LostCoverage;
use crate::catalog::extract::ExtractConfig;
use crate::face::operation::{NotThere, Stores, Taken};
use crate::face::query;
use crate::face::{Content, Refusal};
use crate::record::{ResourceName, TrailName};
use crate::service::extracts::{ExtractError, ExtractInfo, LeftTrail};
use crate::service::lag::Stage;

/// How an extract is doing.
#[derive(Debug, Serialize, ToSchema)]
#[schema(value_type = Object)]
pub(super) struct ExtractStatus(Value);

/// An extract's configuration without its password, and how it is doing.
#[derive(Debug, Serialize, ToSchema)]
#[schema(value_type = Object)]
pub(super) struct DescribedExtract(Value);

/// Every extract.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ExtractCollection)]
pub(super) struct ShownExtracts {
    #[serde(rename = "$schema")]
    #[schema(inline)]
    schema: ExtractCollection,
    items: Vec<ExtractStatus>,
}

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

pub(super) fn find<N>(call: &Call<N>, name: &ResourceName) -> Result<ExtractInfo, ExtractError> {
    call.service().extracts().find(call.principal(), name)
}

/// Every extract
///
/// Role: User.
#[utoipa::path(get, path = "/services/v2/extracts", operation_id = "listExtracts",
    responses((status = 200, description = "Done", body = Envelope<ShownExtracts>)))]
pub(super) async fn list(call: Call) -> Answer<ShownExtracts> {
    call.require(Role::User)?;
    let extracts = call.service().extracts().list(call.principal());
    let items = extracts.iter().map(|extract| ExtractStatus(status(extract))).collect();
    Ok(Envelope::at(&call.at, ShownExtracts { schema: ExtractCollection, items }))
}

/// An extract's configuration
///
/// Role: Operator.
#[utoipa::path(get, path = "/services/v2/extracts/{name}", operation_id = "describeExtract",
    responses((status = 200, description = "Done", body = Envelope<DescribedExtract>), NotThere))]
pub(super) async fn describe(call: Call<ResourceName>) -> Answer<DescribedExtract> {
    call.require(Role::Operator)?;
    let extract = find(&call, &call.name)?;
    Ok(Envelope::at(&call.at, DescribedExtract(described(&extract))))
}

/// An extract's status, position and lag
///
/// Role: User. publication, when there is something to say: refusedWrites, leftOut (each with table, why and mend), insertsOnly,
/// columnsLeftOut, masksUnmatched. waitsFor, while its slot is being made: what, seconds, pid, transactionSeconds. degraded: tables that do not flow
/// as asked although it runs. coverage: lost (tables, from, to) after coverage_lost, notAsAsked with the reason of each table, the
/// last gaps (tables, from, to, and loaded: which of them were loaded as a whole since). streams: how far the clients of each data stream over its trail are behind.
#[utoipa::path(get, path = "/services/v2/extracts/{name}/info", operation_id = "extractInfo",
    responses((status = 200, description = "Done", body = Envelope<ExtractStatus>), NotThere))]
pub(super) async fn info(call: Call<ResourceName>) -> Answer<ExtractStatus> {
    call.require(Role::User)?;
    let extract = find(&call, &call.name)?;
    let mut shown = status(&extract);
    shown["streams"] = streams_over(&call, &extract.config.trail);
    Ok(Envelope::at(&call.at, ExtractStatus(shown)))
}

/// How far the sessions of each stream over the trail are behind it, of streams that the caller may see.
fn streams_over(call: &Call<ResourceName>, trail: &TrailName) -> Value {
    let streams = call.service().streams().list(call.principal()).into_iter();
    let over_it = streams.filter(|stream| stream.config.source.trail_name().as_ref() == Some(trail));
    let lags = over_it.filter_map(|stream| Some((stream.name.clone(), call.service().lag(&stream).sessions?)));
    let shown = |(name, Stage { seconds, bytes }): (ResourceName, Stage)| json!({"name": name.as_str(), "seconds": seconds.map(rounded), "bytes": bytes});
    lags.map(shown).collect()
}

/// Makes and starts an extract
///
/// Role: Administrator. 409 if another extract has the name, the trail, the slot or the publication, or if publishing its tables
/// would have the application's own UPDATEs and DELETEs refused by the source: the message names each table with the statement that
/// mends it. withoutIdentity (skip, insertsOnly) says what to do with such tables instead. 409 too if a mask or a row filter would
/// not hold for a table that is there.
#[utoipa::path(post, path = "/services/v2/extracts/{name}", operation_id = "makeExtract",
    request_body(content = ref("#/components/schemas/Extract"), content_type = "application/json"),
    responses((status = 200, description = "Done", body = Envelope<DescribedExtract>), NotThere, Taken, Stores))]
pub(super) async fn make(call: Call<ResourceName>, content: Content) -> Answer<DescribedExtract> {
    call.require(Role::Administrator)?;
    let config: ExtractConfig = content.typed().await?;
    call.service().extracts().make(call.principal(), &call.name, config).await?;
    let extract = find(&call, &call.name)?;
    Ok(Envelope::at(&call.at, DescribedExtract(described(&extract))))
}

/// Changes, starts or stops an extract
///
/// Role: Administrator. A JSON merge patch of the configuration. 409 as when an extract is made, for what it would publish anew.
/// A hash mask without a key keeps the key that its table and column had. A change of masks or row filters is answered with a message
/// that says what it does not change. {"acceptGap": true}, which is not stored, goes on after coverage_lost: the trail gets a gap that names the tables; 409 when
/// nothing was lost.
#[utoipa::path(patch, path = "/services/v2/extracts/{name}", operation_id = "changeExtract",
    request_body(content((ref("#/components/schemas/ExtractPatch") = "application/json"), (ref("#/components/schemas/ExtractPatch") = "application/merge-patch+json"))),
    responses((status = 200, description = "Done", body = Envelope<DescribedExtract>), NotThere, Taken, Stores))]
pub(super) async fn patch(call: Call<ResourceName>, content: Content) -> Answer<DescribedExtract> {
    call.require(Role::Administrator)?;
    let patch = content.merge_patch().await?;
    let notes = call.service().extracts().patch(call.principal(), &call.name, &patch).await?;
    let extract = find(&call, &call.name)?;
    let answer = Envelope::at(&call.at, DescribedExtract(described(&extract)));
    let answer = notes.limits.iter().fold(answer, |answer, note| answer.message(Message::new(Fact::Done, note)));
    Ok(answer.audit_detail(notes.unmasked))
}

/// Deletes an extract; its trail stays
///
/// Role: Administrator. Its slot and publication stay at the source, unless dropSlot is true: then those that have the names which
/// are made from the extract's are dropped. If that does not work nothing is deleted, which 409 says.
#[utoipa::path(delete, path = "/services/v2/extracts/{name}", operation_id = "deleteExtract",
    params(("dropSlot" = Option<bool>, Query, description = "Whether the replication slot and the publication that the extract made are dropped at the source. A parameter of nearly this name is refused with 400")),
    responses((status = 200, description = "Done", body = Envelope<Empty>), NotThere, Taken, Stores))]
pub(super) async fn remove(call: Call<ResourceName>, request: Request) -> Answer {
    call.require(Role::Administrator)?;
    let drops_slot = drops_slot(request.uri().query())?;
    let extracts = call.service().extracts();
    let (LeftTrail { name: trail, is_empty }, at_source) = if drops_slot {
        let (left, released) = extracts.delete_with_source(call.principal(), &call.name).await?;
        (left, at_source(&released))
    } else {
        (extracts.delete(call.principal(), &call.name).await?, "its slot and publication stay at the source".to_owned())
    };
    let holds = if is_empty { "and is empty: delete it too" } else { "with its records: delete it" };
    let done = format!(
        "The extract {} was deleted; {at_source}. Its trail {trail} stays {holds} \
         (DELETE /services/v2/trails/{trail}), unless an extract of the same name is to go on with it",
        call.name
    );
    Ok(Envelope::default().message(Message::new(Fact::Done, done)))
}

fn drops_slot(query: Option<&str>) -> Result<bool, Refusal> {
    match query::only(query, DROP_SLOT)?.as_deref() {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(Refusal::Query(format!("{DROP_SLOT} is true or false"))),
    }
}

/// What became of slot and publication, in the middle of a sentence.
fn at_source(released: &Released) -> String {
    let Released { dropped, left } = released;
    let dropped = if dropped.is_empty() { "nothing".to_owned() } else { dropped.join(" and ") };
    let left = if left.is_empty() { String::new() } else { format!("; left there: {}", left.join("; ")) };
    format!("{dropped} was dropped at the source{left}")
}
