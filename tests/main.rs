//! The one test binary, so that the crate is linked once. Each module's header tells its goal and its method.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    clippy::print_stdout,
    unreachable_pub,
    reason = "a test says what went wrong by panicking, and no other crate sees its items"
)]

mod architecture;
mod capture;
mod cli;
mod contract;
mod faces;
mod faults;
mod pages;
mod support;
mod trail;
mod upgrade;
