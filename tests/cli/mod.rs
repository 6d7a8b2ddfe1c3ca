//! The command line as its users see it: what it prints, how it ends, where it goes on.

mod bench;
mod command;
mod demo;
mod put;
mod serve;
mod tail;
