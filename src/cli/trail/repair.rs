//! `trailcast trail repair` and `trailcast trail new-epoch`: what changes a trail, and so needs the data folder for itself.

use std::fmt::Write as _;
use std::sync::Arc;

use clap::Args;
use serde_json::json;

use super::House;
use crate::catalog::{DataFolder, FolderError};
use crate::cli::failure::Failure;
use crate::cli::output::{harmless_lines, print};
use crate::clock::SystemClock;
use crate::record::TrailName;
use crate::trail::local::disk::SystemDisk;
use crate::trail::maintenance::repair::{self, Repair};

#[derive(Debug, Args)]
pub(super) struct RepairArguments {
    /// The trail
    trail: String,
    /// Say what would be done, and change nothing; works beside a running server too
    #[arg(long, env = "TRAILCAST_DRY_RUN", value_parser = clap::builder::BoolishValueParser::new(), action = clap::ArgAction::SetTrue)]
    dry_run: bool,
}

#[derive(Debug, Args)]
pub(super) struct NewEpochArguments {
    /// The trail
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    trail: Option<String>,
    /// Every trail of the data folder
    #[arg(long, env = "TRAILCAST_ALL", value_parser = clap::builder::BoolishValueParser::new(), action = clap::ArgAction::SetTrue)]
    all: bool,
}

/// Repairs a trail and tells what was lost.
pub(super) fn repair(house: &House, arguments: &RepairArguments) -> Result<(), Failure> {
    let folder = house.folder_of(&arguments.trail)?;
    let told = if arguments.dry_run {
        repair::plan(&folder, Arc::new(SystemDisk))
    } else {
        let _ours = own(house)?;
        repair::repair(&folder, Arc::new(SystemDisk), Arc::new(SystemClock))
    };
    let told = told.map_err(Failure::failed)?;
    let text =
        if house.json { as_json(&arguments.trail, &told) } else { harmless_lines(&as_text(&arguments.trail, &told)) };
    Ok(print(text.as_bytes())?)
}

/// Gives trails a new epoch.
pub(super) fn new_epoch(house: &House, arguments: &NewEpochArguments) -> Result<(), Failure> {
    let names: Vec<String> = match &arguments.trail {
        Some(trail) => vec![trail.clone()],
        None => {
            let is_trail = |name: &&TrailName| house.trails.join(name.as_str()).join("trail.json").is_file();
            house.names()?.iter().filter(is_trail).map(TrailName::to_string).collect()
        }
    };
    let _ours = own(house)?;
    for name in names {
        let folder = house.folder_of(&name)?;
        let changed = repair::new_epoch(&folder, Arc::new(SystemDisk));
        let (old, new) = changed.map_err(Failure::failed)?;
        let line = if house.json {
            json!({"trail": name, "oldEpoch": format!("{:016x}", old.0), "newEpoch": format!("{:016x}", new.0)})
                .to_string()
        } else {
            format!("{name:<24} epoch {:016x}, positions of epoch {:016x} are refused from now on", new.0, old.0)
        };
        print(format!("{line}\n").as_bytes())?;
    }
    Ok(())
}

fn own(house: &House) -> Result<DataFolder, Failure> {
    let ours = DataFolder::open(&house.data_dir);
    ours.map_err(|error| match error {
        FolderError::InUse(_) => Failure::failed(format!("{error}; stop the server first")),
        FolderError::Io { .. } => Failure::failed(error),
    })
}

fn as_json(trail: &str, told: &Repair) -> String {
    let place = |place: &repair::DamagedRange| json!({"file": place.file, "segment": place.segment, "from": place.from, "to": place.to, "what": place.what});
    let gap = |gap: &crate::trail::Gap| json!({"firstMissing": gap.first, "next": gap.next});
    let object = json!({
        "trail": trail,
        "changed": told.new_epoch.is_some() || told.finished_earlier,
        "damage": told.damage.iter().map(place).collect::<Vec<_>>(),
        "gaps": told.gaps.iter().map(gap).collect::<Vec<_>>(),
        "segments": told.segments,
        "nextCommit": told.next_commit,
        "source": told.source.as_ref().map(|source| &source.0),
        "oldEpoch": format!("{:016x}", told.old_epoch.0),
        "newEpoch": told.new_epoch.map(|epoch| format!("{:016x}", epoch.0)),
        "keptIn": told.kept_in,
    });
    format!("{object}\n")
}

fn as_text(trail: &str, told: &Repair) -> String {
    let mut out = String::new();
    if told.finished_earlier {
        let _ = writeln!(out, "an interrupted repair of trail {trail} is finished");
    }
    let Some(first) = told.damage.first() else {
        let _ = writeln!(out, "trail {trail} is not damaged; nothing to repair");
        return out;
    };
    let _ = writeln!(out, "trail {trail} is damaged, first at byte {} of {}", first.from, first.file);
    for place in &told.damage {
        let _ = writeln!(out, "  {}  bytes {} to {}: {}", place.file, place.from, place.to, place.what);
    }
    let done = told.new_epoch.is_some();
    for gap in &told.gaps {
        let marked = if done { "a gap marker stands there" } else { "a gap marker would stand there" };
        let _ = writeln!(out, "{gap}; {marked}, and number {} follows", gap.next);
    }
    if told.gaps.is_empty() {
        let _ = writeln!(out, "no transaction is lost");
    }
    let segments: Vec<String> = told.segments.iter().map(u64::to_string).collect();
    let _ = writeln!(out, "segments {}: {}", if done { "written anew" } else { "to write anew" }, segments.join(", "));
    match (&told.new_epoch, &told.kept_in) {
        (Some(epoch), Some(kept_in)) => {
            if let Some(source) = &told.source {
                let _ = writeln!(out, "the source had been taken up to {source}");
            }
            let _ = writeln!(out, "damaged files are kept in {}", kept_in.display());
            let _ = writeln!(out, "new epoch {:016x}: positions given out before are refused", epoch.0);
        }
        _ => out.push_str("nothing was changed\n"),
    }
    out
}
