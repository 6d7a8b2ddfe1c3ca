//! Every test that needs more than one module: one binary, so that the crate is linked once.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    unreachable_pub,
    reason = "a test says what went wrong by panicking, and no other crate sees its items"
)]

mod architecture;
mod capture;
mod faces;
mod faults;
mod support;
mod trail;
