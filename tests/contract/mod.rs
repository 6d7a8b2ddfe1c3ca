//! The contract of data streams, held against random configurations and random transactions, and against the real
//! server.

mod any_config;
mod any_trail;
mod described;
mod heard;
mod session;
