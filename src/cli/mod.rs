//! The command line: what each subcommand does with the floors below.
//!
//! Owns flags, what is printed, and the exit code: 0 done, 1 failed, 2 usage. Whoever reads our output may go away at any
//! time; that ends the program quietly.

mod backup;
mod bench;
mod client_arguments;
mod config;
pub mod demo;
mod extract;
mod failure;
pub mod furnish;
mod group;
mod hidden_line;
mod how_to_make;
mod logging;
mod output;
mod put;
mod serve;
pub mod server;
mod stop;
mod tail;
mod token_keys;
mod trail;
mod user;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use failure::Failure;

/// Change-data streams anyone can subscribe to.
#[derive(Debug, Parser)]
#[command(name = "trailcast", version, about, arg_required_else_help = true, disable_help_subcommand = true)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Capture changes and serve them as data streams
    Serve(serve::Arguments),
    /// A server with a small shop inside, and its stream live in this terminal
    Demo(demo::Arguments),
    /// Follow a data stream, and go on where it was left
    Tail(tail::Arguments),
    /// Append transactions to a trail, one JSON object a line
    Put(put::Arguments),
    /// Look inside the trails of a data folder, and repair them
    Trail(trail::Arguments),
    /// Check the configuration, or show what holds
    Config(config::Arguments),
    /// Make, change, remove and list users
    User(user::Arguments),
    /// Make, list, check, start, stop, load and remove extracts
    Extract(extract::Arguments),
    /// List, describe, reset and remove consumer groups
    Group(group::Arguments),
    /// Make load and measure: put, subscribe, latency, capture
    Bench(bench::Arguments),
    /// Copy a data folder, while a server runs on it or not
    Backup(backup::Arguments),
}

/// Runs what the command line asks for.
pub fn run() -> ExitCode {
    crate::process::keep_freed_memory(crate::limits::KEPT_PIECE_BYTES_MAX);
    let command_line = match CommandLine::try_parse() {
        Ok(command_line) => command_line,
        Err(error) => {
            // Help and version are no error; the exit code knows.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(failure::USAGE));
        }
    };
    let done = runtime().and_then(|runtime| {
        let done = runtime.block_on(perform(command_line.command));
        // A thread that still reads standard input must not keep the program.
        runtime.shutdown_background();
        logging::finish();
        done
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.map_err(|error| Failure::failed(format!("the operating system gives no threads: {error}")))
}

async fn perform(command: Command) -> Result<(), Failure> {
    match command {
        Command::Serve(arguments) => serve::run(arguments).await,
        Command::Demo(arguments) => demo::run(arguments).await,
        Command::Tail(arguments) => tail::run(arguments).await,
        Command::Put(arguments) => put::run(arguments).await,
        Command::Trail(arguments) => trail::run(arguments).await,
        Command::Config(arguments) => config::run(arguments),
        Command::User(arguments) => user::run(arguments).await,
        Command::Extract(arguments) => extract::run(arguments).await,
        Command::Group(arguments) => group::run(arguments).await,
        Command::Bench(arguments) => bench::run(arguments).await,
        Command::Backup(arguments) => backup::run(&arguments),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_flags_do_not_contradict_each_other() {
        CommandLine::command().debug_assert();
    }

    /// Every command, those within others too.
    fn all_commands() -> Vec<clap::Command> {
        let mut commands = vec![CommandLine::command()];
        let mut at = 0;
        while let Some(command) = commands.get(at).cloned() {
            commands.extend(command.get_subcommands().cloned());
            at += 1;
        }
        commands
    }

    #[test]
    fn every_flag_is_in_the_environment_too() {
        for subcommand in all_commands() {
            for flag in subcommand.get_arguments().filter(|argument| argument.get_long().is_some()) {
                let variable = flag.get_env().unwrap_or_else(|| panic!("{} has none", flag.get_id()));
                assert!(variable.to_str().unwrap().starts_with("TRAILCAST_"), "{variable:?}");
            }
        }
    }

    #[test]
    fn no_flag_takes_a_password() {
        for subcommand in all_commands() {
            assert!(subcommand.get_arguments().all(|argument| {
                let on_the_line = argument.get_long().is_some() || argument.is_positional();
                let name = argument.get_id().as_str();
                !on_the_line || !name.contains("password") || name.ends_with("_file")
            }));
        }
    }

    #[test]
    fn a_wrong_flag_is_usage() {
        let error = CommandLine::try_parse_from(["trailcast", "tail"]).unwrap_err();
        assert_eq!(error.exit_code(), i32::from(failure::USAGE));
        let error = CommandLine::try_parse_from(["trailcast", "serve", "--listen", "here"]).unwrap_err();
        assert!(error.to_string().contains("127.0.0.1:9002"), "{error}");
    }
}
