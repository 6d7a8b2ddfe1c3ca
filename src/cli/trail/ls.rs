//! `trailcast trail ls` and `info`.

use serde_json::{Value, json};

use super::House;
use crate::cli::failure::Failure;
use crate::cli::output::{harmless, print};
use crate::trail::Trail;

fn described(trail: &Trail) -> Value {
    let (description, status) = (trail.description(), trail.status());
    json!({
        "name": description.name.as_str(),
        "epoch": format!("{:016x}", description.epoch.0),
        "writer": description.writer.to_string(),
        "created": description.created,
        "partitions": description.partitions.open().len(),
        "segmentBytes": description.segment_bytes,
        "segments": status.segments,
        "bytes": status.bytes,
        "firstCommit": (status.first_commit <= status.last_commit).then_some(status.first_commit),
        "lastCommit": (status.last_commit > 0).then_some(status.last_commit),
    })
}

/// Which commits a trail holds, in words: of an empty one there is no first and no last.
fn commits(first: u64, last: u64) -> String {
    match (first, last) {
        (_, 0) => "no commits yet".to_owned(),
        (first, last) if first > last => format!("no commits kept, the last was {last}"),
        (first, last) => format!("commits {first}–{last}"),
    }
}

/// One line a trail; a trail that cannot be opened says why and the others are still listed.
pub(super) fn list(house: &House) -> Result<(), Failure> {
    let mut failed = 0;
    for name in house.names()? {
        let line = match house.open(name.as_str()) {
            Ok(trail) if house.json => described(&trail).to_string(),
            Ok(trail) => {
                let status = trail.status();
                format!(
                    "{name:<24} {}  {} segments  {} bytes",
                    commits(status.first_commit, status.last_commit),
                    status.segments,
                    status.bytes
                )
            }
            Err(Failure::Failed(what)) => {
                failed += 1;
                if house.json {
                    json!({"name": name.as_str(), "error": what}).to_string()
                } else {
                    format!("{name:<24} {}", harmless(&what))
                }
            }
            Err(other) => return Err(other),
        };
        print(format!("{line}\n").as_bytes())?;
    }
    if failed > 0 { Err(Failure::failed(format!("{failed} of the trails cannot be opened"))) } else { Ok(()) }
}

/// All that is known of one trail.
pub(super) fn describe(house: &House, name: &str) -> Result<(), Failure> {
    let described = described(&house.open(name)?);
    let text = match &described {
        Value::Object(members) if !house.json => members
            .iter()
            .map(|(member, value)| match value {
                Value::String(text) => format!("{member:<13} {}\n", harmless(text)),
                Value::Null => format!("{member:<13} none\n"),
                other => format!("{member:<13} {other}\n"),
            })
            .collect(),
        _ => format!("{described}\n"),
    };
    Ok(print(text.as_bytes())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_trail_has_no_first_commit_and_no_last() {
        assert_eq!(commits(1, 0), "no commits yet");
        assert_eq!(commits(51, 50), "no commits kept, the last was 50");
        assert_eq!((commits(1, 1).as_str(), commits(7, 9).as_str()), ("commits 1–1", "commits 7–9"));
    }
}
