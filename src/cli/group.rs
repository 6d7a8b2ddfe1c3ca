//! `trailcast group`: lists, describes, resets and removes the consumer groups of a running server.
//!
//! Owns flags and what is printed. What happens is the server's business: everything goes over REST.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Value, json};

use super::client_arguments::ClientArguments;
use super::failure::Failure;
use super::output::{harmless, print, shown};
use crate::client::{self, ServerAddress};

#[derive(Debug, Args)]
#[command(after_help = WHERE)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const WHERE: &str = "\
A group is made by its first member, which connects to a stream with ?group=NAME. The server is at --url, and --user with
TRAILCAST_PASSWORD is who asks: a User to list and describe, an Administrator to reset and remove.
Exit codes: 0 done, 1 failed, 2 wrong usage.";

#[derive(Debug, Subcommand)]
enum Command {
    /// List the groups and how far behind each is
    Ls {
        #[command(flatten)]
        asked: Asked,
    },
    /// Show a group's partitions and members
    Describe {
        #[command(flatten)]
        named: Named,
        #[command(flatten)]
        asked: Asked,
    },
    /// Let a group go on from another place: asks first
    Reset {
        #[command(flatten)]
        named: Named,
        /// The place: earliest, now, a timestamp with zone, or the pos of a record
        #[arg(long, env = "TRAILCAST_BEGIN", value_name = "PLACE")]
        begin: String,
        #[command(flatten)]
        sure: Sure,
        #[command(flatten)]
        asked: Asked,
    },
    /// Remove a group with its positions: asks first
    Rm {
        #[command(flatten)]
        named: Named,
        #[command(flatten)]
        sure: Sure,
        #[command(flatten)]
        asked: Asked,
    },
}

/// Which group.
#[derive(Debug, Args)]
struct Named {
    /// The stream
    stream: String,
    /// The group
    group: String,
}

#[derive(Debug, Args)]
struct Sure {
    /// Do not ask
    #[arg(long, env = "TRAILCAST_YES", value_parser = clap::builder::BoolishValueParser::new(), action = clap::ArgAction::SetTrue)]
    yes: bool,
}

/// Whom to ask, and in which form to answer.
#[derive(Debug, Args)]
struct Asked {
    /// Print JSON, one object a line
    #[arg(long, env = "TRAILCAST_JSON", value_parser = clap::builder::BoolishValueParser::new(), action = clap::ArgAction::SetTrue)]
    json: bool,
    #[command(flatten)]
    client: ClientArguments,
}

/// Runs a subcommand.
pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    match arguments.command {
        Command::Ls { asked } => list(&asked).await,
        Command::Describe { named, asked } => {
            let group = ask(&asked.client.address()?, Method::GET, &named, None).await?;
            let text = if asked.json { format!("{group}\n") } else { described(&group) };
            Ok(print(text.as_bytes())?)
        }
        Command::Reset { named, begin, sure, asked } => {
            let address = asked.client.address()?;
            let before = ask(&address, Method::GET, &named, None).await?;
            if !sure.yes {
                confirm(&format!("{}All of it goes on from {}. [y/N] ", described(&before), shown(&begin))).await?;
            }
            let after = ask(&address, Method::PATCH, &named, Some(&json!({ "begin": begin }))).await?;
            let text = if asked.json { format!("{after}\n") } else { described(&after) };
            Ok(print(text.as_bytes())?)
        }
        Command::Rm { named, sure, asked } => {
            let address = asked.client.address()?;
            if !sure.yes {
                let before = ask(&address, Method::GET, &named, None).await?;
                confirm(&format!("{}Remove it with these positions? [y/N] ", described(&before))).await?;
            }
            ask(&address, Method::DELETE, &named, None).await?;
            let Named { stream, group } = named;
            let object = json!({"stream": stream, "group": group, "removed": true});
            let text = if asked.json {
                object.to_string()
            } else {
                format!("consumer group {} of stream {} removed", shown(&group), shown(&stream))
            };
            Ok(print(format!("{text}\n").as_bytes())?)
        }
    }
}

async fn ask(address: &ServerAddress, method: Method, named: &Named, body: Option<&Value>) -> Result<Value, Failure> {
    let path = ["services", "v2", "stream", &named.stream, "groups", &named.group];
    Ok(client::ask(address, method, &path, body).await?)
}

/// One line a group.
async fn list(asked: &Asked) -> Result<(), Failure> {
    let mut answer = client::ask(&asked.client.address()?, Method::GET, &["services", "v2", "groups"], None).await?;
    let Value::Array(groups) = answer["items"].take() else {
        return Err(Failure::failed("the answer is no list of groups"));
    };
    let lines = groups.iter().map(|group| if asked.json { group.to_string() } else { harmless(&line(group)) });
    let text: String = lines.map(|line| line + "\n").collect();
    Ok(print(text.as_bytes())?)
}

fn text<'v>(value: &'v Value, member: &str) -> &'v str {
    value[member].as_str().unwrap_or("-")
}

fn number(value: &Value, member: &str) -> String {
    value[member].as_u64().map_or_else(|| "-".to_owned(), |number| number.to_string())
}

fn line(group: &Value) -> String {
    let members = group["members"].as_array().map_or(0, Vec::len);
    let mut line = format!(
        "{:<24} {:<24} {:<12} {members} members  lag {} transactions",
        text(group, "stream"),
        text(group, "group"),
        text(group, "status"),
        number(group, "lagTransactions"),
    );
    if ["other-epoch", "overtaken"].contains(&text(group, "status")) {
        line += "  has to be reset: trailcast group reset";
    }
    line
}

/// A group's line, and one for each partition and each member that waits.
fn described(group: &Value) -> String {
    let mut lines = vec![line(group)];
    for partition in group["partitions"].as_array().into_iter().flatten() {
        let began = if partition["committed"] == true { "" } else { "  nothing acknowledged yet" };
        lines.push(format!(
            "  partition {:<6} {:<24} after {} (commit {})  lag {} transactions{began}",
            number(partition, "partition"),
            text(partition, "member"),
            text(partition, "pos"),
            number(partition, "csn"),
            number(partition, "lagTransactions"),
        ));
    }
    let members = group["members"].as_array().into_iter().flatten();
    let waiting = members.filter(|member| member["partitions"].as_array().is_none_or(Vec::is_empty));
    lines.extend(waiting.map(|member| format!("  waits            {}", text(member, "member"))));
    lines.iter().map(|line| harmless(line) + "\n").collect()
}

/// Shows what is to be done, and asks.
async fn confirm(question: &str) -> Result<(), Failure> {
    if !io::stdin().is_terminal() {
        return Err(Failure::usage("this asks first, and there is no terminal: give --yes"));
    }
    let question = question.to_owned();
    let answered = tokio::task::spawn_blocking(move || -> io::Result<String> {
        let mut terminal = io::stderr().lock();
        write!(terminal, "{question}")?;
        terminal.flush()?;
        let mut answer = String::new();
        io::Read::take(io::stdin().lock(), 16).read_line(&mut answer)?;
        Ok(answer)
    });
    let answer = answered.await.map_err(Failure::failed)?;
    let answer = answer.map_err(|error| Failure::failed(format!("the terminal: {error}")))?;
    if matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes") {
        return Ok(());
    }
    Err(Failure::failed("nothing was changed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_shown_with_its_partitions_and_who_waits() {
        let group = json!({
            "stream": "s1", "group": "g1", "status": "ready", "lagTransactions": 3,
            "members": [{"member": "m1", "partitions": [0]}, {"member": "m2", "partitions": []}],
            "partitions": [{"partition": 0, "member": "m1", "pos": "P", "csn": 7, "committed": false, "lagTransactions": 3}],
        });
        let said = described(&group);
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(lines.len(), 3);
        assert!(lines[0].ends_with("2 members  lag 3 transactions"), "{said}");
        assert!(lines[1].ends_with("after P (commit 7)  lag 3 transactions  nothing acknowledged yet"), "{said}");
        assert!(lines[2].ends_with(" m2"), "{said}");
        assert!(line(&json!({"status": "overtaken"})).ends_with("trailcast group reset"));
    }
}
