//! `trailcast extract`: makes, lists, checks, starts, stops, loads and removes the extracts of a running server.
//!
//! Owns flags and what is printed. What happens is the server's business: everything goes over REST.

mod bars;
mod check;
mod configuration;
mod load;
mod manage;
mod progress;
mod rest;

use clap::{Args, Subcommand};

use super::client_arguments::ClientArguments;
use super::failure::Failure;
use super::output::print;
use crate::capture;
use configuration::{Configuration, PASSWORDS};
use load::LoadArguments;

#[derive(Debug, Args)]
#[command(after_help = WHERE)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const WHERE: &str = "\
The server is at --url, and --user with TRAILCAST_PASSWORD is who asks: an Administrator to make, change and remove
extracts, an Operator to check one that is there, a User to list them.
Exit codes: 0 done, 1 failed (a check: something has to be mended), 2 wrong usage.";

const CHECK: &str = "\
With --host or --config what is checked is an extract that is not made yet, with the flags of `extract add`; without
them the one of that name. Nothing is changed. Each line is ok, warning or error, with the statement that mends it: they
can be run one after the other, from the top.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Make an extract, and start it
    #[command(after_help = PASSWORDS)]
    Add {
        /// The extract's name
        name: String,
        #[command(flatten)]
        configuration: Configuration,
        /// Make it without starting it
        #[arg(long, env = "TRAILCAST_STOPPED", value_parser = clap::builder::BoolishValueParser::new(), action = clap::ArgAction::SetTrue)]
        stopped: bool,
        #[command(flatten)]
        asked: Asked,
    },
    /// List the extracts and how they are doing
    Ls {
        #[command(flatten)]
        asked: Asked,
    },
    /// Look whether a source has all that an extract needs, and say what to change
    #[command(after_help = CHECK)]
    Check {
        /// The extract's name: slot and publication are called after it
        name: String,
        #[command(flatten)]
        configuration: Configuration,
        #[command(flatten)]
        asked: Asked,
    },
    /// Start an extract
    Start {
        /// The extract's name
        name: String,
        #[command(flatten)]
        asked: Asked,
    },
    /// Stop an extract; its slot keeps the source's log meanwhile
    Stop {
        /// The extract's name
        name: String,
        #[command(flatten)]
        asked: Asked,
    },
    /// Load rows that are there already, beside the changes
    Load {
        /// The extract's name
        name: String,
        #[command(flatten)]
        load: LoadArguments,
        #[command(flatten)]
        asked: Asked,
    },
    /// Print what lets statements that change tables become records, where that is wanted
    Helper {
        /// As SQL, for a superuser of the database to run
        #[arg(long, env = "TRAILCAST_HELPER_SQL", required = true, value_parser = clap::builder::BoolishValueParser::new(), action = clap::ArgAction::SetTrue)]
        sql: bool,
    },
    /// Remove an extract; its trail stays
    Rm {
        /// The extract's name
        name: String,
        /// Drop at the source the slot and the publication that the extract made: asks first
        #[arg(long, env = "TRAILCAST_DROP_SLOT", value_parser = clap::builder::BoolishValueParser::new(), action = clap::ArgAction::SetTrue)]
        drop_slot: bool,
        /// Do not ask
        #[arg(long, env = "TRAILCAST_YES", value_parser = clap::builder::BoolishValueParser::new(), action = clap::ArgAction::SetTrue)]
        yes: bool,
        #[command(flatten)]
        asked: Asked,
    },
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
        Command::Add { name, configuration, stopped, asked } => {
            let address = asked.client.address()?;
            let mut config = configuration.read(&name).await?;
            if stopped {
                config["status"] = "stopped".into();
            }
            manage::add(&address, &name, &config, asked.json).await
        }
        Command::Ls { asked } => manage::list(&asked.client.address()?, asked.json).await,
        Command::Check { name, configuration, asked } => {
            let address = asked.client.address()?;
            let config = if configuration.is_given() { Some(configuration.read(&name).await?) } else { None };
            check::run(&address, &name, config.as_ref(), asked.json).await
        }
        Command::Start { name, asked } => manage::start(&asked.client.address()?, &name, asked.json).await,
        Command::Stop { name, asked } => manage::stop(&asked.client.address()?, &name, asked.json).await,
        Command::Load { name, load, asked } => load::run(&asked.client.address()?, &name, load, asked.json).await,
        Command::Helper { .. } => Ok(print(capture::helper_sql().as_bytes())?),
        Command::Rm { name, drop_slot, yes, asked } => {
            let address = asked.client.address()?;
            if drop_slot && !yes {
                manage::ask_to_drop(&name).await?;
            }
            manage::remove(&address, &name, drop_slot, asked.json).await
        }
    }
}
