//! What clients of a GoldenGate deployment ask besides streams, trails and extracts, as far as it means something here:
//! commands to an extract, its report, and collections of what a deployment has and this server has not.
//!
//! Owns no state and changes nothing by itself: `start` and `stop` are the change of an extract's `status`.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::envelope::{Empty, Envelope, Items, Link, NamedItem, NoItems, Relation};
use super::error_answer::ErrorAnswer;
use super::messages::{Fact, Message};
use super::schema_names::{CommandResult, Report};
use super::{Answer, Call, extracts};
use crate::access::Role;
use crate::catalog::stream::ConfigError;
use crate::codec::member::Members;
use crate::face::operation::{NotThere, Stores, Taken};
use crate::face::{Content, FromPath, PathNames, Refusal};
use crate::limits;
use crate::record::ResourceName;
use crate::service::refusal;

/// A command to an extract, in the form of GoldenGate's `er:command`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Command {
    /// Taken and not read.
    #[serde(rename = "$schema")]
    _schema: Option<String>,
    #[schema(pattern = "^(STATUS|GETLAG|STATS)$")]
    command: String,
    /// Taken and not read: the report is made when it is asked for.
    #[serde(rename = "isReported")]
    _is_reported: Option<bool>,
}

/// What a command to an extract says.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = CommandResult)]
pub(super) struct CommandReply {
    #[serde(rename = "$schema")]
    #[schema(inline)]
    schema: CommandResult,
    #[schema(pattern = "^(STATUS|GETLAG|STATS)$")]
    command: String,
    /// Of STATUS the whole status of the extract, of GETLAG and STATS some of its members.
    #[schema(value_type = Object)]
    reply_data: Value,
}

/// The lines of the extract's configuration, without secrets, and of how it is doing, as JSON.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ExtractReport {
    #[serde(rename = "$schema")]
    #[schema(inline)]
    schema: Report,
    #[schema(pattern = "^[A-Za-z][A-Za-z0-9_.-]{0,31}\\.rpt$")]
    name: String,
    lines: Vec<String>,
}

/// What a command of a deployment is answered with: that it is done, or a report of nothing.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum Executed {
    Done(Empty),
    Report(NoItems),
}

/// How an extract is doing: STATUS, GETLAG or STATS
///
/// Role: User.
#[utoipa::path(post, path = "/services/v2/extracts/{name}/command", operation_id = "askExtract",
    request_body(content = Command, content_type = "application/json"),
    responses((status = 200, description = "Done", body = Envelope<CommandReply>), NotThere))]
pub(super) async fn command(call: Call<ResourceName>, content: Content) -> Answer<CommandReply> {
    call.require(Role::User)?;
    let Command { command, .. } = content.typed().await?;
    let extract = extracts::find(&call, &call.name)?;
    let status = extracts::status(&extract);
    let of = |members: &[&str]| -> Value {
        members.iter().map(|member| ((*member).to_owned(), status[*member].clone())).collect()
    };
    let reply = match command.as_str() {
        "STATUS" => status,
        "GETLAG" => of(&["name", "status", "position", "lagBytes", "lagSeconds"]),
        "STATS" => of(&["name", "status", "transactions", "records", "receivedBytes", "retries", "starts"]),
        _ => {
            let message = "must be STATUS, GETLAG or STATS; an extract is started and stopped by a PATCH of its status";
            return Err(ConfigError::new("command", message).into());
        }
    };
    Ok(Envelope::at(&call.at, CommandReply { schema: CommandResult, command, reply_data: reply }))
}

/// The report of an extract in a path.
pub(super) struct ReportName {
    extract: ResourceName,
    report: String,
}

impl FromPath for ReportName {
    fn from_path(path: &PathNames) -> Result<Self, Refusal> {
        Ok(Self { extract: path.checked("name")?, report: path.text("report")?.to_owned() })
    }
}

/// The extract's report, NAME.rpt: its configuration without secrets, and how it is doing
///
/// Role: Operator.
#[utoipa::path(get, path = "/services/v2/extracts/{name}/info/reports/{report}", operation_id = "reportOfExtract",
    responses((status = 200, description = "Done", body = Envelope<ExtractReport>), NotThere))]
pub(super) async fn report(call: Call<ReportName>) -> Answer<ExtractReport> {
    call.require(Role::Operator)?;
    let ReportName { extract, report } = &call.name;
    let extract = extracts::find(&call, extract)?;
    if *report != format!("{}.rpt", extract.name) {
        let what = format!("the report {report} does not exist; there is {}.rpt", extract.name);
        return Err(ErrorAnswer::new(refusal::Fact::NotFound, what));
    }
    let text = format!("{:#}", extracts::described(&extract));
    let lines = text.lines().map(str::to_owned).collect();
    Ok(Envelope::at(&call.at, ExtractReport { schema: Report, name: report.clone(), lines }))
}

const EXECUTE_MEMBERS: [&str; 8] =
    ["$schema", "name", "processName", "processType", "force", "reportType", "specification", "credentials"];

/// Starts or stops an extract; reports checkpoint tables, of which there are none
///
/// Role: Administrator for start and stop, Operator for report. Starting and stopping is the change of the extract's status, and
/// is refused as that is.
#[utoipa::path(post, path = "/services/v2/commands/execute", operation_id = "execute",
    request_body(content = ref("#/components/schemas/ExecuteCommand"), content_type = "application/json"),
    responses((status = 200, description = "Done", body = Envelope<Executed>), NotThere, Taken, Stores))]
pub(super) async fn execute(call: Call, content: Content) -> Answer<Executed> {
    call.require(Role::Operator)?;
    let given = content.json().await?;
    let members = Members::of("", &given, &EXECUTE_MEMBERS)?;
    let known = [("start", Some("running")), ("stop", Some("stopped")), ("report", None)];
    let command = members.choice("name", &known)?.ok_or_else(|| members.error("name", "is required"))?;
    let Some(status) = command else {
        let reports = [("checkpointTables", ())];
        members.choice("reportType", &reports)?.ok_or_else(|| members.error("reportType", "is required"))?;
        return Ok(Envelope::new(Executed::Report(NoItems::default())).of_collection(&call.at));
    };
    call.require(Role::Administrator)?;
    let process = members.text("processName", 1, limits::RESOURCE_NAME_CHARS_MAX)?;
    let process = process.ok_or_else(|| members.error("processName", "is required"))?;
    let name = ResourceName::new(process).map_err(|error| members.error("processName", error.to_string()))?;
    call.service().extracts().patch(call.principal(), &name, &json!({ "status": status })).await?;
    let done = Message::new(Fact::Done, format!("The extract {name} is to be {status}"));
    Ok(Envelope::at(&call.at, Executed::Done(Empty {})).message(done))
}

/// Replicats, of which there are none
///
/// Role: User.
#[utoipa::path(get, path = "/services/v2/replicats", operation_id = "listReplicats",
    responses((status = 200, description = "Done", body = Envelope<NoItems>)))]
pub(super) async fn replicats(call: Call) -> Answer<NoItems> {
    none_of_these(&call)
}

/// Distribution paths, of which there are none
///
/// Role: User.
#[utoipa::path(get, path = "/services/v2/sources", operation_id = "listDistributionPaths",
    responses((status = 200, description = "Done", body = Envelope<NoItems>)))]
pub(super) async fn sources(call: Call) -> Answer<NoItems> {
    none_of_these(&call)
}

fn none_of_these(call: &Call) -> Answer<NoItems> {
    call.require(Role::User)?;
    Ok(Envelope::new(NoItems::default()).of_collection(&call.at))
}

/// The roles that a user may have
///
/// Role: User. Clients of a deployment ask for them to see whether they may come in at all.
#[utoipa::path(get, path = "/services/v2/authorizations", operation_id = "listRoles",
    responses((status = 200, description = "Done", body = Envelope<Items<NamedItem>>)))]
pub(super) async fn roles(call: Call) -> Answer<Items<NamedItem>> {
    call.require(Role::User)?;
    let parent = || vec![Link::json(Relation::Parent, call.at.here())];
    let roles = [Role::User, Role::Operator, Role::Administrator];
    let items = roles.iter().map(|role| NamedItem::new(role.to_string(), parent())).collect();
    Ok(Envelope::collection(&call.at, items))
}
