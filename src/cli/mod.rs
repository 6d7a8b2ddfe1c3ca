//! The command line: what each subcommand does with the floors below.

pub mod demo;
