//! `trailcast trail verify`: every frame of every segment.

use serde_json::json;

use super::House;
use crate::cli::failure::Failure;
use crate::cli::output::{harmless, print};

/// Prints a line a segment; fails with the first bad position.
pub(super) fn run(house: &House, name: &str) -> Result<(), Failure> {
    let trail = house.open(name)?;
    let mut first_bad = None;
    for report in trail.verify().map_err(Failure::failed)? {
        let bad = report.bad.as_ref().map(|(at, what)| format!("{at}: {what}"));
        let line = if house.json {
            let mut line = json!({
                "segment": report.segment, "format": report.version, "bytes": report.bytes, "frames": report.frames,
                "transactions": report.transactions, "closed": report.closed,
                "unmarkedBytes": report.unmarked_bytes, "bad": bad,
            });
            report.counts.named().into_iter().for_each(|(name, _, count)| line[name] = count.into());
            line.to_string()
        } else {
            let state = if report.closed { "closed" } else { "open" };
            let verdict = bad.as_ref().map_or("good".to_owned(), |bad| harmless(&format!("BAD at {bad}")));
            let rarer = report.counts.named().into_iter().filter(|(_, _, count)| *count > 0);
            let rarer: String = rarer.map(|(_, words, count)| format!(", {count} {words}")).collect();
            format!(
                "segment {:>6}  {:>12} bytes  {:>10} frames  {:>9} transactions  {state:<6}  {verdict}{rarer}",
                report.segment, report.bytes, report.frames, report.transactions
            )
        };
        print(format!("{line}\n").as_bytes())?;
        first_bad = first_bad.or(bad);
    }
    match first_bad {
        Some(bad) => Err(Failure::failed(format!("trail {name} is damaged at {bad}"))),
        None => Ok(()),
    }
}
