//! Extracts over REST.

use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::envelope::{Empty, Envelope};
use super::messages::{Fact, Message};
use super::schema_names::ExtractCollection;
use super::{Answer, Call};
use crate::access::Role;
use crate::catalog::coverage::LostCoverage;
use crate::catalog::extract::ExtractConfig;
use crate::face::Content;
use crate::face::operation::{NotThere, Stores, Taken};
use crate::record::ResourceName;
use crate::service::extracts::{ExtractError, ExtractInfo, LeftTrail};

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
/// last gaps.
#[utoipa::path(get, path = "/services/v2/extracts/{name}/info", operation_id = "extractInfo",
    responses((status = 200, description = "Done", body = Envelope<ExtractStatus>), NotThere))]
pub(super) async fn info(call: Call<ResourceName>) -> Answer<ExtractStatus> {
    call.require(Role::User)?;
    let extract = find(&call, &call.name)?;
    Ok(Envelope::at(&call.at, ExtractStatus(status(&extract))))
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
/// Role: Administrator.
#[utoipa::path(delete, path = "/services/v2/extracts/{name}", operation_id = "deleteExtract",
    responses((status = 200, description = "Done", body = Envelope<Empty>), NotThere, Stores))]
pub(super) async fn remove(call: Call<ResourceName>) -> Answer {
    call.require(Role::Administrator)?;
    let LeftTrail { name: trail, is_empty } = call.service().extracts().delete(call.principal(), &call.name).await?;
    let holds = if is_empty { "and is empty: delete it too" } else { "with its records: delete it" };
    let done = format!(
        "The extract {} was deleted; its slot and publication stay at the source. Its trail {trail} stays {holds} \
         (DELETE /services/v2/trails/{trail}), unless an extract of the same name is to go on with it",
        call.name
    );
    Ok(Envelope::default().message(Message::new(Fact::Done, done)))
}
