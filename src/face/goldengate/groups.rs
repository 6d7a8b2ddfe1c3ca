//! Consumer groups over REST: how far each is, another place to go on from, its end. A group is made by its first member, on the
//! stream's socket.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::envelope::{Empty, Envelope};
use super::messages::{Fact, Message};
use super::schema_names::{ConsumerGroup, GroupCollection};
use super::{Answer, Call, streams};
use crate::access::Role;
use crate::codec::token;
use crate::delivery::group::MemberInfo;
use crate::face::operation::{NotThere, Stores, Taken};
use crate::face::{Content, FromPath, PathNames, Refusal};
use crate::record::{GroupName, ResourceName};
use crate::service::groups::{GroupInfo, PartitionLag};
use crate::service::principal::Verb;
use crate::service::sessions::BeginRequest;

/// A group in a path: its stream, and its own name.
#[derive(Debug)]
pub(super) struct GroupPath {
    stream: ResourceName,
    group: GroupName,
}

impl FromPath for GroupPath {
    fn from_path(path: &PathNames) -> Result<Self, Refusal> {
        Ok(Self { stream: path.checked("name")?, group: path.checked("group")? })
    }
}

/// Every consumer group.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ShownGroups {
    #[serde(rename = "$schema")]
    #[schema(inline)]
    schema: GroupCollection,
    items: Vec<ShownGroup>,
}

/// How a consumer group is doing.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ShownGroup {
    #[serde(rename = "$schema")]
    #[schema(inline)]
    schema: ConsumerGroup,
    stream: String,
    group: String,
    /// The trail that its positions are of.
    trail: String,
    /// ready; no-trail: its trail is not served; other-epoch and overtaken: it has to be reset, because its positions are of
    /// another life of the trail, or because retention has removed what it has not read.
    status: &'static str,
    /// Transactions of the trail behind the partition that is furthest behind; null where the group cannot go on.
    #[schema(required)]
    lag_transactions: Option<u64>,
    /// When it was last used.
    #[schema(format = DateTime)]
    used: String,
    members: Vec<ShownMember>,
    partitions: Vec<ShownPartition>,
}

/// A member of a consumer group that is connected.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ShownMember {
    member: String,
    /// None of one that waits.
    partitions: Vec<u16>,
}

/// How far one partition of a consumer group is.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ShownPartition {
    partition: u16,
    /// The member that has it.
    #[schema(required)]
    member: Option<String>,
    /// The position behind which it goes on.
    pos: String,
    /// Commit number of that position.
    csn: u64,
    /// Whether it was ever acknowledged; else it is where the group began.
    committed: bool,
    #[schema(required)]
    lag_transactions: Option<u64>,
}

/// Where a consumer group goes on.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct GroupReset {
    /// earliest, now, an ISO 8601 timestamp with zone, or a position: as begin of a stream's socket.
    begin: String,
}

fn shown(info: GroupInfo) -> ShownGroup {
    let lag_transactions = info.lag_transactions();
    let member = |member: MemberInfo| ShownMember { member: member.name.to_string(), partitions: member.partitions };
    let partition = |partition: PartitionLag| ShownPartition {
        partition: partition.partition,
        member: partition.owner.map(|owner| owner.to_string()),
        pos: token::encode_trail(&partition.position).as_str().to_owned(),
        csn: partition.position.commit,
        committed: partition.is_committed,
        lag_transactions: partition.lag_transactions,
    };
    ShownGroup {
        schema: ConsumerGroup,
        stream: info.stream.to_string(),
        group: info.name.to_string(),
        trail: info.trail.to_string(),
        status: info.state.name(),
        lag_transactions,
        used: info.used.to_rfc3339(),
        members: info.members.into_iter().map(member).collect(),
        partitions: info.partitions.into_iter().map(partition).collect(),
    }
}

/// Every consumer group and how it is doing
///
/// Role: User.
#[utoipa::path(get, path = "/services/v2/groups", operation_id = "listGroups",
    responses((status = 200, description = "Done", body = Envelope<ShownGroups>)))]
pub(super) async fn list(call: Call) -> Answer<ShownGroups> {
    call.require(Role::User)?;
    let items = call.service().groups().list(call.principal()).into_iter().map(shown).collect();
    Ok(Envelope::at(&call.at, ShownGroups { schema: GroupCollection, items }))
}

/// How a consumer group is doing
///
/// Role: User.
#[utoipa::path(get, path = "/services/v2/stream/{name}/groups/{group}", operation_id = "describeGroup",
    responses((status = 200, description = "Done", body = Envelope<ShownGroup>), NotThere))]
pub(super) async fn describe(call: Call<GroupPath>) -> Answer<ShownGroup> {
    call.require(Role::User)?;
    streams::find(&call, &call.name.stream)?;
    let info = call.service().groups().describe(call.principal(), &call.name.stream, &call.name.group)?;
    Ok(Envelope::at(&call.at, shown(info)))
}

/// Sets a consumer group to another place
///
/// Role: Administrator. 409 while it has members, and where begin is a position that the stream does not take.
#[utoipa::path(patch, path = "/services/v2/stream/{name}/groups/{group}", operation_id = "resetGroup",
    request_body(content((GroupReset = "application/json"), (GroupReset = "application/merge-patch+json"))),
    responses((status = 200, description = "Done", body = Envelope<ShownGroup>), NotThere, Taken, Stores))]
pub(super) async fn reset(call: Call<GroupPath>, content: Content) -> Answer<ShownGroup> {
    call.require(Role::Administrator)?;
    let GroupReset { begin } = content.typed_patch().await?;
    let begin = BeginRequest::parse(&begin)?;
    let stream = call.service().streams().find_for(call.principal(), Verb::Manage, &call.name.stream)?;
    let reset = call.service().sessions().reset_group(call.principal(), &stream, &call.name.group, &begin);
    Ok(Envelope::at(&call.at, shown(reset.await?)))
}

/// Removes a consumer group with its positions
///
/// Role: Administrator. 409 while it has members.
#[utoipa::path(delete, path = "/services/v2/stream/{name}/groups/{group}", operation_id = "deleteGroup",
    responses((status = 200, description = "Done", body = Envelope<Empty>), NotThere, Taken, Stores))]
pub(super) async fn remove(call: Call<GroupPath>) -> Answer {
    call.require(Role::Administrator)?;
    let GroupPath { stream, group } = &call.name;
    call.service().streams().find_for(call.principal(), Verb::Manage, stream)?;
    call.service().groups().remove(stream, group).await?;
    let done = format!("The consumer group {group} of the data stream {stream} was removed");
    Ok(Envelope::default().message(Message::new(Fact::Done, done)))
}
