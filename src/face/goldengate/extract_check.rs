//! Checks of sources over REST: of an extract's, and of one that is to be made.

use serde::Serialize;
use utoipa::ToSchema;

use super::envelope::Envelope;
use super::schema_names::ExtractCheck;
use super::{Answer, Call};
use crate::access::Role;
use crate::capture::{Finding, FindingState};
use crate::catalog::extract::ExtractConfig;
use crate::face::Content;
use crate::face::operation::NotThere;
use crate::record::ResourceName;

/// What a source says of an extract.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ExtractCheck)]
pub(super) struct ShownCheck {
    #[serde(rename = "$schema")]
    #[schema(inline)]
    schema: ExtractCheck,
    /// The extract's name.
    name: String,
    /// Whether nothing is an error.
    ready: bool,
    /// In an order in which they can be mended one after the other.
    findings: Vec<ShownFinding>,
}

/// One thing that was looked at.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ExtractFinding)]
pub(super) struct ShownFinding {
    /// What was looked at, such as wal_level.
    what: &'static str,
    state: ShownState,
    /// What was found, and what to do about it.
    message: String,
    /// What mends it, to be run at the source as it stands here.
    #[serde(skip_serializing_if = "Option::is_none")]
    statement: Option<String>,
    /// Whether the source has to be restarted after the statement.
    needs_restart: bool,
}

/// Whether something is as it has to be; the extract works with a warning.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = ExtractFindingState)]
enum ShownState {
    Ok,
    Warning,
    Error,
}

fn shown(name: &ResourceName, findings: Vec<Finding>) -> ShownCheck {
    ShownCheck {
        schema: ExtractCheck,
        name: name.to_string(),
        ready: findings.iter().all(|finding| finding.state != FindingState::Error),
        findings: findings.into_iter().map(shown_finding).collect(),
    }
}

fn shown_finding(finding: Finding) -> ShownFinding {
    let Finding { what, state, message, statement, needs_restart } = finding;
    let state = match state {
        FindingState::Ok => ShownState::Ok,
        FindingState::Warning => ShownState::Warning,
        FindingState::Error => ShownState::Error,
    };
    ShownFinding { what, state, message, statement, needs_restart }
}

/// What an extract's source says of it
///
/// Role: Operator. Connects to the source, looks, and changes nothing. What cannot be looked at is a finding too, so that the answer is 200 although the
/// source is down. 503 while other checks are under way.
#[utoipa::path(get, path = "/services/v2/extracts/{name}/check", operation_id = "checkExtract",
    responses((status = 200, description = "Done", body = Envelope<ShownCheck>), NotThere))]
pub(super) async fn of_extract(call: Call<ResourceName>) -> Answer<ShownCheck> {
    call.require(Role::Operator)?;
    let service = call.service();
    let findings = service.extracts().check(call.principal(), &call.name, service.clock()).await?;
    Ok(Envelope::at(&call.at, shown(&call.name, findings)))
}

/// What a source says of an extract that is to be made
///
/// Role: Administrator. The body is that of an extract, which is not made. As the check of one that is there; the first finding says
/// whether the name, the trail and what it uses at the source are free.
#[utoipa::path(post, path = "/services/v2/extracts/{name}/check", operation_id = "checkNewExtract",
    request_body(content = ref("#/components/schemas/Extract"), content_type = "application/json"),
    responses((status = 200, description = "Done", body = Envelope<ShownCheck>), NotThere))]
pub(super) async fn of_new(call: Call<ResourceName>, content: Content) -> Answer<ShownCheck> {
    call.require(Role::Administrator)?;
    let config: ExtractConfig = content.typed().await?;
    let service = call.service();
    let findings = service.extracts().check_new(call.principal(), &call.name, &config, service.clock()).await?;
    Ok(Envelope::at(&call.at, shown(&call.name, findings)))
}
