//! `trailcast backup`: a copy of a data folder, while a server runs on it or not.
//!
//! The catalog goes first and each trail then up to its durable mark, so every trail of the copy is whole, and no stream in
//! it speaks of a trail that was made later.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use serde_json::json;

use super::failure::Failure;
use super::output::print;
use crate::catalog::backup::copy_data_folder;
use crate::clock::SystemClock;
use crate::config::DATA_DIR_DEFAULT;
use crate::record::TrailName;
use crate::trail::local::disk::SystemDisk;
use crate::trail::maintenance::backup;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Where the backup goes: a folder that is not there yet, or an empty one
    folder: PathBuf,
    /// The data folder
    #[arg(long, env = "TRAILCAST_DATA_DIR", default_value = DATA_DIR_DEFAULT)]
    data_dir: PathBuf,
    /// Print JSON, one object a line
    #[arg(long, env = "TRAILCAST_JSON", value_parser = clap::builder::BoolishValueParser::new(), action = clap::ArgAction::SetTrue)]
    json: bool,
}

/// Copies into a folder beside the one asked for, which gets its name when it is complete.
pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let (data, target) = (&arguments.data_dir, &arguments.folder);
    let about = |path: &Path| {
        let path = path.display().to_string();
        move |error: std::io::Error| Failure::failed(format!("{path}: {error}"))
    };
    if !data.join("trails").is_dir() {
        return Err(Failure::failed(format!("{} is no data folder: it has no trails", data.display())));
    }
    if target.exists() && std::fs::read_dir(target).map_err(about(target))?.next().is_some() {
        return Err(Failure::usage(format!("{} is not empty", target.display())));
    }
    let mut name = target.file_name().ok_or_else(|| Failure::usage("the backup needs a folder of its own"))?.to_owned();
    name.push(".unfinished");
    let draft = target.with_file_name(name);
    if draft.exists() {
        std::fs::remove_dir_all(&draft).map_err(about(&draft))?;
    }
    make_private(&draft).map_err(about(&draft))?;
    let catalog_bytes = copy_data_folder(data, &draft).map_err(about(data))?;
    tell(arguments.json, json!({"catalog": catalog_bytes}), format!("{:<24} {catalog_bytes} bytes", "catalog"))?;
    let failed = trails(arguments, &draft)?;
    std::fs::rename(&draft, target).map_err(about(target))?;
    if !arguments.json {
        print(
            format!(
                "complete in {0}; before a server runs on it: trailcast trail new-epoch --all --data-dir {0}\n",
                target.display()
            )
            .as_bytes(),
        )?;
    }
    match (failed.missing, failed.damaged) {
        (0, 0) => Ok(()),
        (missing, 0) => Err(Failure::failed(format!("{missing} of the trails are missing from the backup"))),
        (0, damaged) => Err(Failure::failed(format!("{damaged} of the trails are damaged in the backup"))),
        (missing, damaged) => Err(Failure::failed(format!(
            "{missing} of the trails are missing from the backup and {damaged} are damaged in it"
        ))),
    }
}

/// How many trails a backup does not hold whole.
#[derive(Default)]
struct NotWhole {
    missing: usize,
    damaged: usize,
}

/// Copies every trail; returns how many could not be copied whole.
fn trails(arguments: &Arguments, draft: &Path) -> Result<NotWhole, Failure> {
    let from = arguments.data_dir.join("trails");
    let to = draft.join("trails");
    make_private(&to).map_err(Failure::failed)?;
    let mut names: Vec<TrailName> = Vec::new();
    for entry in std::fs::read_dir(&from).map_err(Failure::failed)? {
        let name = entry.map_err(Failure::failed)?.file_name();
        names.extend(name.to_str().and_then(|name| TrailName::new(name).ok()));
    }
    names.sort();
    let mut failed = NotWhole::default();
    for name in names.iter().filter(|name| from.join(name.as_str()).join("trail.json").is_file()) {
        let (trail, copy) = (from.join(name.as_str()), to.join(name.as_str()));
        match backup::copy(&trail, &copy, Arc::new(SystemDisk), Arc::new(SystemClock)) {
            Ok(copied) => {
                failed.damaged += usize::from(copied.bad.is_some());
                let bad = copied.bad.as_ref().map(|bad| format!("  DAMAGED at {bad}")).unwrap_or_default();
                let (commit, segments, bytes) = (copied.last_commit, copied.segments, copied.bytes);
                let line = format!("{name:<24} up to commit {commit}  {segments} segments  {bytes} bytes{bad}");
                let object = json!({
                    "trail": name.as_str(), "lastCommit": commit, "segments": segments, "bytes": bytes,
                    "bad": copied.bad,
                });
                tell(arguments.json, object, line)?;
            }
            // Deleted while we were at it: nothing of it stays, or the copy would have half a trail.
            Err(_) if !trail.exists() => {
                if copy.exists() {
                    std::fs::remove_dir_all(&copy).map_err(Failure::failed)?;
                }
            }
            Err(error) => {
                failed.missing += 1;
                let object = json!({"trail": name.as_str(), "error": error.to_string()});
                tell(arguments.json, object, format!("{name:<24} NOT COPIED: {error}"))?;
            }
        }
    }
    Ok(failed)
}

fn tell(as_json: bool, object: serde_json::Value, line: String) -> Result<(), Failure> {
    let text = if as_json { object.to_string() } else { line };
    Ok(print(format!("{text}\n").as_bytes())?)
}

/// Makes a folder for its owner only, as a data folder is.
fn make_private(path: &Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    if let Some(above) = path.parent().filter(|above| !above.as_os_str().is_empty()) {
        std::fs::create_dir_all(above)?;
    }
    builder.create(path)
}
