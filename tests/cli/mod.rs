//! The command line as its users see it: what it prints, how it ends, where it goes on.

mod bench;
mod command;
mod config;
mod dead_ends;
mod demo;
mod extract;
mod extract_check;
mod group;
mod losing_nothing;
mod partitions;
mod private_authority;
mod proxy;
mod put;
mod serve;
mod stopping;
mod tail;
mod user;
