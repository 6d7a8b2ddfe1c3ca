//! The contract of data streams, held against random configurations and random transactions, and against the real
//! server.

mod any_config;
mod any_trail;
mod by_value;
mod catalog;
mod configuration;
mod described;
mod earlier_position;
mod events;
mod gaps;
mod heard;
mod live;
mod mariadb;
mod members;
mod notices;
mod object_names;
mod positions;
mod session;
mod statistics;
