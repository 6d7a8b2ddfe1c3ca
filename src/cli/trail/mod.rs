//! `trailcast trail`: looks inside the trails of a data folder, read-only, beside a running server too; and repairs them, when
//! no server runs. Makes trails of a running server, and changes their partitions.
//!
//! Shows what is durable, as the running server notes it after each flush. What is of a running server goes over REST.

mod dump;
mod ls;
mod online;
mod repair;
mod verify;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Subcommand};

use super::failure::Failure;
use super::output::harmless;
use crate::clock::SystemClock;
use crate::config::DATA_DIR_DEFAULT;
use crate::record::TrailName;
use crate::trail::Trail;
use crate::trail::local::disk::SystemDisk;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// The data folder
    #[arg(long, global = true, env = "TRAILCAST_DATA_DIR", default_value = DATA_DIR_DEFAULT)]
    data_dir: PathBuf,
    /// Print JSON, one object a line
    #[arg(long, global = true, env = "TRAILCAST_JSON", value_parser = clap::builder::BoolishValueParser::new(), action = clap::ArgAction::SetTrue)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the trails
    Ls,
    /// Describe one trail
    Info {
        /// The trail
        trail: String,
    },
    /// Print a trail's records with their header fields
    Dump(dump::Arguments),
    /// Check every frame of a trail
    Verify {
        /// The trail
        trail: String,
    },
    /// Make a trail for puts on a running server
    Make(online::MakeArguments),
    /// Show the partitions of a trail of a running server
    Partitions(online::PartitionsArguments),
    /// Split a partition of a trail of a running server in two
    Split(online::SplitArguments),
    /// Merge two partitions of a trail of a running server
    Merge(online::MergeArguments),
    /// Repair a damaged trail: keep what is whole, mark what is missing, start a new epoch (no server may run)
    Repair(repair::RepairArguments),
    /// Give restored trails a new epoch, so that positions of the lost future are refused (no server may run)
    NewEpoch(repair::NewEpochArguments),
}

/// Runs a subcommand.
pub(super) async fn run(arguments: Arguments) -> Result<(), Failure> {
    let house = House { trails: arguments.data_dir.join("trails"), data_dir: arguments.data_dir, json: arguments.json };
    let done = match arguments.command {
        Command::Ls => ls::list(&house),
        Command::Info { trail } => ls::describe(&house, &trail),
        Command::Dump(dump) => dump::run(&house, &dump).await,
        Command::Verify { trail } => verify::run(&house, &trail),
        Command::Make(arguments) => online::make(arguments, house.json).await,
        Command::Partitions(arguments) => online::partitions(arguments, house.json).await,
        Command::Split(arguments) => online::split(arguments, house.json).await,
        Command::Merge(arguments) => online::merge(arguments, house.json).await,
        Command::Repair(arguments) => repair::repair(&house, &arguments),
        Command::NewEpoch(arguments) => repair::new_epoch(&house, &arguments),
    };
    // What is wrong with a trail may be told with names that stand in it.
    done.map_err(|failure| match failure {
        Failure::Failed(what) => Failure::Failed(harmless(&what)),
        other => other,
    })
}

/// The trails' folder, and how to print.
struct House {
    data_dir: PathBuf,
    trails: PathBuf,
    json: bool,
}

impl House {
    fn names(&self) -> Result<Vec<TrailName>, Failure> {
        let about = |error| Failure::failed(format!("{}: {error}", self.trails.display()));
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.trails).map_err(about)? {
            let name = entry.map_err(about)?.file_name();
            names.extend(name.to_str().and_then(|name| TrailName::new(name).ok()));
        }
        names.sort();
        Ok(names)
    }

    fn folder_of(&self, name: &str) -> Result<PathBuf, Failure> {
        let name = TrailName::new(name).map_err(Failure::usage)?;
        let folder = self.trails.join(name.as_str());
        if !folder.is_dir() {
            return Err(Failure::failed(format!("there is no trail {name} in {}", shown(&self.trails))));
        }
        Ok(folder)
    }

    fn open(&self, name: &str) -> Result<Trail, Failure> {
        let folder = self.folder_of(name)?;
        Trail::open_read_only(&folder, Arc::new(SystemDisk), Arc::new(SystemClock)).map_err(Failure::failed)
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
