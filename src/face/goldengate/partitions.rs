//! Partitions of a trail over REST: shown, split and merged.

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::envelope::Envelope;
use super::schema_names::PartitionCollection;
use super::{Answer, Call};
use crate::access::Role;
use crate::catalog::stream::ConfigError;
use crate::codec::member::Members;
use crate::face::Content;
use crate::face::operation::{NotThere, Stores, Taken};
use crate::record::TrailName;
use crate::trail::{Partition, PartitionChange, PartitionMap};

/// The partitions of a trail, closed ones too.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PartitionCollection)]
pub(super) struct ShownPartitions {
    #[serde(rename = "$schema")]
    #[schema(inline)]
    schema: PartitionCollection,
    items: Vec<ShownPartition>,
}

/// One partition. Hashes are decimal numbers of up to 39 digits, and so are texts.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Partition)]
pub(super) struct ShownPartition {
    partition: u16,
    #[schema(inline)]
    status: PartitionState,
    /// The first hash whose records come to it.
    #[schema(pattern = "^(0|[1-9][0-9]{0,38})$")]
    first_hash: String,
    /// The last one.
    #[schema(pattern = "^(0|[1-9][0-9]{0,38})$")]
    last_hash: String,
    /// The partitions that it was split or merged from.
    parents: Vec<u16>,
    /// It holds records of transactions behind this commit number only.
    opened_after_commit: u64,
    /// It holds none behind this one; null while it is open.
    #[schema(required)]
    closed_after_commit: Option<u64>,
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum PartitionState {
    Open,
    Closed,
}

fn shown(partitions: &PartitionMap) -> ShownPartitions {
    let one = |partition: &Partition| ShownPartition {
        partition: partition.number,
        status: if partition.is_open() { PartitionState::Open } else { PartitionState::Closed },
        first_hash: partition.hashes.start().to_string(),
        last_hash: partition.hashes.end().to_string(),
        parents: partition.parents.clone(),
        opened_after_commit: partition.opened,
        closed_after_commit: partition.closed,
    };
    ShownPartitions { schema: PartitionCollection, items: partitions.all().iter().map(one).collect() }
}

/// The partitions of a trail
///
/// Role: User. Closed ones too, which are read and not written to.
#[utoipa::path(get, path = "/services/v2/trails/{name}/partitions", operation_id = "listPartitions",
    responses((status = 200, description = "Done", body = Envelope<ShownPartitions>), NotThere))]
pub(super) async fn list(call: Call<TrailName>) -> Answer<ShownPartitions> {
    call.require(Role::User)?;
    let partitions = call.service().trails().partitions(call.principal(), &call.name)?;
    Ok(Envelope::at(&call.at, shown(&partitions)))
}

/// Splits a partition of a trail, or merges two
///
/// Role: Administrator. One of split and merge. What is split or merged is closed behind the last transaction so far: its records
/// stay, and new ones go to the partitions that come of it. Puts wait meanwhile. 409: an extract writes the trail, the partition is
/// closed, the ranges do not touch, or there are as many as may be.
#[utoipa::path(post, path = "/services/v2/trails/{name}/partitions", operation_id = "changePartitions",
    request_body(content = ref("#/components/schemas/PartitionChange"), content_type = "application/json"),
    responses((status = 200, description = "Done", body = Envelope<ShownPartitions>), NotThere, Taken, Stores))]
pub(super) async fn change(call: Call<TrailName>, content: Content) -> Answer<ShownPartitions> {
    call.require(Role::Administrator)?;
    let change = change_of(&content.json().await?)?;
    let partitions = call.service().trails().change_partitions(call.principal(), &call.name, change).await?;
    Ok(Envelope::at(&call.at, shown(&partitions)))
}

fn change_of(given: &Value) -> Result<PartitionChange, ConfigError> {
    let members = Members::of("", given, &["$schema", "split", "merge"])?;
    let present = |name| members.get(name).filter(|value| !value.is_null());
    match (present("split"), present("merge")) {
        (Some(split), None) => {
            let split = Members::of("split", split, &["partition", "at"])?;
            let given = split.get("at").is_some_and(|at| !at.is_null());
            let at = if given { split.text("at", 1, 39)? } else { None };
            let at = at.map(|at| {
                let digits = at.bytes().all(|byte| byte.is_ascii_digit()) && (at == "0" || !at.starts_with('0'));
                let hash = at.parse().ok().filter(|_| digits);
                hash.ok_or_else(|| split.error("at", format!("must be decimal digits, from 0 to {}", u128::MAX)))
            });
            Ok(PartitionChange::Split { partition: number(&split, "partition")?, at: at.transpose()? })
        }
        (None, Some(merge)) => {
            let merge = Members::of("merge", merge, &["partition", "with"])?;
            Ok(PartitionChange::Merge { partition: number(&merge, "partition")?, with: number(&merge, "with")? })
        }
        (Some(_), Some(_)) => Err(ConfigError::new("merge", "is not taken beside split; ask for one of the two")),
        (None, None) => Err(ConfigError::new("split", "is required, or merge in its place")),
    }
}

fn number(members: &Members<'_>, name: &str) -> Result<u16, ConfigError> {
    let number = members.number(name, 0, u64::from(u16::MAX))?.and_then(|number| u16::try_from(number).ok());
    number.ok_or_else(|| members.error(name, "is required: the number of a partition"))
}
