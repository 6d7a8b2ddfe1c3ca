//! Initial loads over REST: orders, and how far they are.

use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::envelope::Envelope;
use super::{Answer, Call, extracts};
use crate::access::Role;
use crate::catalog::load::{LoadPatch, LoadRequest};
use crate::face::Content;
use crate::face::operation::{NotThere, Stores, Taken};
use crate::record::ResourceName;
use crate::service::extracts::ExtractInfo;

/// How the initial loads of an extract are doing.
#[derive(Debug, Serialize, ToSchema)]
#[schema(value_type = Object)]
pub(super) struct LoadStatus(Value);

fn shown(extract: &ExtractInfo) -> LoadStatus {
    let none = || json!({"state": "done", "tables": [], "waitsFor": null});
    let status = extract.status.common.snapshot.as_ref();
    LoadStatus(status.map_or_else(none, |status| serde_json::to_value(status).unwrap_or_else(|_| none())))
}

/// How far the initial loads of an extract are
///
/// Role: User. The member snapshot of the extract's info.
#[utoipa::path(get, path = "/services/v2/extracts/{name}/load", operation_id = "describeLoad",
    responses((status = 200, description = "Done", body = Envelope<LoadStatus>), NotThere))]
pub(super) async fn describe(call: Call<ResourceName>) -> Answer<LoadStatus> {
    call.require(Role::User)?;
    let extract = extracts::find(&call, &call.name)?;
    Ok(Envelope::at(&call.at, shown(&extract)))
}

/// Loads tables of an extract, each from its beginning
///
/// Role: Administrator. tables: patterns of tables that the extract captures. where: a condition in SQL, run READ ONLY with a time
/// limit; the source is asked first whether it means anything. 409 where the source cannot be asked.
#[utoipa::path(post, path = "/services/v2/extracts/{name}/load", operation_id = "loadTables",
    request_body(content = ref("#/components/schemas/LoadRequest"), content_type = "application/json"),
    responses((status = 200, description = "Done", body = Envelope<LoadStatus>), NotThere, Taken, Stores))]
pub(super) async fn load(call: Call<ResourceName>, content: Content) -> Answer<LoadStatus> {
    call.require(Role::Administrator)?;
    let request: LoadRequest = content.typed().await?;
    call.service().extracts().load(call.principal(), &call.name, &request).await?;
    let extract = extracts::find(&call, &call.name)?;
    Ok(Envelope::at(&call.at, shown(&extract)))
}

/// Lets the loads of an extract rest, go on, or end where they are
///
/// Role: Administrator. tables, patterns, only beside the status cancelled. 409 where there is nothing to cancel.
#[utoipa::path(patch, path = "/services/v2/extracts/{name}/load", operation_id = "changeLoad",
    request_body(content((ref("#/components/schemas/LoadPatch") = "application/json"), (ref("#/components/schemas/LoadPatch") = "application/merge-patch+json"))),
    responses((status = 200, description = "Done", body = Envelope<LoadStatus>), NotThere, Taken, Stores))]
pub(super) async fn patch(call: Call<ResourceName>, content: Content) -> Answer<LoadStatus> {
    call.require(Role::Administrator)?;
    let patch: LoadPatch = content.typed_patch().await?;
    call.service().extracts().change_load(call.principal(), &call.name, &patch).await?;
    let extract = extracts::find(&call, &call.name)?;
    Ok(Envelope::at(&call.at, shown(&extract)))
}
