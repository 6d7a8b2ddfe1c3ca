//! The contract of data streams, held against random configurations and random transactions, and against the real
//! server.

mod any_config;
mod any_trail;
mod catalog;
mod configuration;
mod described;
mod events;
mod gaps;
mod heard;
mod live;
mod members;
mod object_names;
mod positions;
mod session;
mod statistics;
