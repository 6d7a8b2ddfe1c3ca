//! What clients of a GoldenGate deployment ask besides streams, trails and extracts, as far as it means something here:
//! commands to an extract, its report, and collections of what a deployment has and this server has not.
//!
//! Owns no state and changes nothing by itself: `start` and `stop` are the change of an extract's `status`.

use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::IntoResponse;
use serde::Deserialize;
use serde_json::{Value, json};

use super::address::Address;
use super::body;
use super::caller::{Caller, Named, Report};
use super::envelope::{Envelope, Link};
use super::extracts;
use super::messages::{ErrorAnswer, Fact, Message};
use super::routes::Face;
use super::streams::Answer;
use crate::access::Role;
use crate::catalog::stream::ConfigError;
use crate::codec::member::Members;
use crate::limits;
use crate::record::ResourceName;
use crate::service::refusal;

/// A command to an extract, in the form of GoldenGate's `er:command`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Command {
    #[serde(rename = "$schema")]
    _schema: Option<String>,
    command: String,
    /// Whether the report should have the result too. Ours is written when it is asked for, so it always has.
    #[serde(rename = "isReported")]
    _is_reported: Option<bool>,
}

/// Answers `STATUS`, `GETLAG` and `STATS` of an extract.
pub(super) async fn command(
    State(face): State<Face>,
    caller: Caller,
    Named(name): Named<ResourceName>,
    at: Address,
    headers: HeaderMap,
    content: Body,
) -> Answer {
    caller.require(Role::User)?;
    let Command { command, .. } = body::typed(&headers, content).await?;
    let extract = extracts::find(&face, &caller, &name)?;
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
    let response = json!({"$schema": "er:commandResult", "command": command, "replyData": reply});
    Ok(Envelope::new(response).link(Link::json("self", at.here())).into_response())
}

/// The extract's report: its configuration without secrets, and how it is doing.
pub(super) async fn report(
    State(face): State<Face>,
    caller: Caller,
    Named(name): Named<ResourceName>,
    Report(report): Report,
    at: Address,
) -> Answer {
    caller.require(Role::Operator)?;
    let extract = extracts::find(&face, &caller, &name)?;
    if report != format!("{}.rpt", extract.name) {
        let what = format!("the report {report} does not exist; there is {}.rpt", extract.name);
        return Err(ErrorAnswer::new(refusal::Fact::NotFound, what));
    }
    let text = format!("{:#}", extracts::described(&extract));
    let response = json!({"$schema": "ogg:report", "name": report, "lines": text.lines().collect::<Vec<_>>()});
    Ok(Envelope::new(response).link(Link::json("self", at.here())).into_response())
}

const EXECUTE_MEMBERS: [&str; 8] =
    ["$schema", "name", "processName", "processType", "force", "reportType", "specification", "credentials"];

/// The commands of a deployment: `start` and `stop` of an extract, and the report of checkpoint tables, of which there are
/// none.
pub(super) async fn execute(
    State(face): State<Face>,
    caller: Caller,
    at: Address,
    headers: HeaderMap,
    content: Body,
) -> Answer {
    caller.require(Role::Operator)?;
    let given = body::json(&headers, content).await?;
    let members = Members::of("", &given, &EXECUTE_MEMBERS)?;
    let known = [("start", Some("running")), ("stop", Some("stopped")), ("report", None)];
    let command = members.choice("name", &known)?.ok_or_else(|| members.error("name", "is required"))?;
    let here = Link::json("self", at.here());
    let Some(status) = command else {
        let reports = [("checkpointTables", ())];
        members.choice("reportType", &reports)?.ok_or_else(|| members.error("reportType", "is required"))?;
        return Ok(Envelope::collection(Vec::new(), &at.here()).into_response());
    };
    caller.require(Role::Administrator)?;
    let process = members.text("processName", 1, limits::RESOURCE_NAME_CHARS_MAX)?;
    let process = process.ok_or_else(|| members.error("processName", "is required"))?;
    let name = ResourceName::new(process).map_err(|error| members.error("processName", error.to_string()))?;
    face.service.extracts().patch(caller.principal(), &name, &json!({ "status": status })).await?;
    let done = Message::new(Fact::Done, format!("The extract {name} is to be {status}"));
    Ok(Envelope::default().link(here).message(done).into_response())
}

/// Answers for a kind of process that this server does not have: distribution paths, replicats.
pub(super) async fn none_of_these(caller: Caller, at: Address) -> Answer {
    caller.require(Role::User)?;
    Ok(Envelope::collection(Vec::new(), &at.here()).into_response())
}

/// The roles that a user may have. Clients of a deployment ask for them to see whether they may come in at all.
pub(super) async fn roles(caller: Caller, at: Address) -> Answer {
    caller.require(Role::User)?;
    let here = at.here();
    let item = |role: Role| json!({"$schema": "ogg:collectionItem", "name": role.to_string(), "links": [Link::json("parent", &here)]});
    let items: Vec<_> = [Role::User, Role::Operator, Role::Administrator].map(item).into();
    Ok(Envelope::collection(items, &here).into_response())
}
