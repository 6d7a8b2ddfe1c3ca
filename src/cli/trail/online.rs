//! `trailcast trail make`, `partitions`, `split` and `merge`: trails of a running server, over REST.

use clap::Args;
use http::Method;
use serde_json::{Value, json};

use crate::cli::client_arguments::ClientArguments;
use crate::cli::failure::Failure;
use crate::cli::output::{harmless, print};
use crate::client::{self, ServerAddress};

const TRAILS: [&str; 3] = ["services", "v2", "trails"];

#[derive(Debug, Args)]
pub(super) struct MakeArguments {
    /// The trail
    trail: String,
    /// How many partitions it has: 1 to 1000 [default: 1]
    #[arg(long, env = "TRAILCAST_PARTITIONS", value_name = "NUMBER")]
    partitions: Option<u16>,
    #[command(flatten)]
    client: ClientArguments,
}

#[derive(Debug, Args)]
pub(super) struct PartitionsArguments {
    /// The trail
    trail: String,
    #[command(flatten)]
    client: ClientArguments,
}

#[derive(Debug, Args)]
pub(super) struct SplitArguments {
    /// The trail
    trail: String,
    /// The partition that becomes two
    partition: u16,
    /// The first hash of the second one, in decimal digits [default: half of the range]
    #[arg(long, env = "TRAILCAST_SPLIT_AT", value_name = "HASH")]
    at: Option<String>,
    #[command(flatten)]
    client: ClientArguments,
}

#[derive(Debug, Args)]
pub(super) struct MergeArguments {
    /// The trail
    trail: String,
    /// One of the two partitions
    partition: u16,
    /// The other one, whose range touches that of the first
    with: u16,
    #[command(flatten)]
    client: ClientArguments,
}

pub(super) async fn make(arguments: MakeArguments, as_json: bool) -> Result<(), Failure> {
    let MakeArguments { trail, partitions, client } = arguments;
    let body = partitions.map_or_else(|| json!({}), |partitions| json!({ "partitions": partitions }));
    let made = ask(&client.address()?, Method::POST, &trail, None, Some(&body)).await?;
    if as_json {
        return line(&made.to_string());
    }
    let partitions = made["partitions"].as_u64().unwrap_or(1);
    let partitions = if partitions == 1 { "1 partition".to_owned() } else { format!("{partitions} partitions") };
    line(&format!("trail {trail} made, with {partitions}"))
}

pub(super) async fn partitions(arguments: PartitionsArguments, as_json: bool) -> Result<(), Failure> {
    let PartitionsArguments { trail, client } = arguments;
    show(&ask(&client.address()?, Method::GET, &trail, Some("partitions"), None).await?, as_json)
}

pub(super) async fn split(arguments: SplitArguments, as_json: bool) -> Result<(), Failure> {
    let SplitArguments { trail, partition, at, client } = arguments;
    let mut split = json!({ "partition": partition });
    if let Some(at) = at {
        split["at"] = at.into();
    }
    change(&client, &trail, &json!({ "split": split }), as_json).await
}

pub(super) async fn merge(arguments: MergeArguments, as_json: bool) -> Result<(), Failure> {
    let MergeArguments { trail, partition, with, client } = arguments;
    change(&client, &trail, &json!({"merge": {"partition": partition, "with": with}}), as_json).await
}

async fn change(client: &ClientArguments, trail: &str, body: &Value, as_json: bool) -> Result<(), Failure> {
    show(&ask(&client.address()?, Method::POST, trail, Some("partitions"), Some(body)).await?, as_json)
}

async fn ask(
    address: &ServerAddress,
    method: Method,
    trail: &str,
    below: Option<&str>,
    body: Option<&Value>,
) -> Result<Value, Failure> {
    let path: Vec<&str> = TRAILS.into_iter().chain([trail]).chain(below).collect();
    Ok(client::ask(address, method, &path, body).await?)
}

/// One line a partition.
fn show(answer: &Value, as_json: bool) -> Result<(), Failure> {
    for partition in answer["items"].as_array().into_iter().flatten() {
        if as_json {
            line(&partition.to_string())?;
            continue;
        }
        let text = |member: &str| partition[member].as_str().unwrap_or("-");
        let parents: Vec<String> =
            partition["parents"].as_array().into_iter().flatten().map(ToString::to_string).collect();
        let number = partition["partition"].as_u64().unwrap_or_default();
        let mut shown = format!("{number:<5} {:<6} {}–{}", text("status"), text("firstHash"), text("lastHash"));
        if !parents.is_empty() {
            shown += &format!("  from {}, after commit {}", parents.join(" and "), partition["openedAfterCommit"]);
        }
        if let Some(closed) = partition["closedAfterCommit"].as_u64() {
            shown += &format!("  closed after commit {closed}");
        }
        line(&harmless(&shown))?;
    }
    Ok(())
}

fn line(text: &str) -> Result<(), Failure> {
    Ok(print(format!("{text}\n").as_bytes())?)
}
