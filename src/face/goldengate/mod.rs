//! The native face: GoldenGate Data Streams over REST and WebSocket (contract goldengate-data-streams).
//!
//! Owns paths, envelopes, message codes and the translation of the service's errors. Holds no state of its own.

mod address;
mod audit;
mod body;
mod caller;
mod commands;
mod credentials;
mod cross_origin;
mod document;
pub mod envelope;
mod extracts;
mod front_page;
mod health;
pub mod messages;
mod metadata_catalog;
mod openapi;
mod pieces;
mod query;
mod refusal;
mod retention;
mod routes;
mod socket;
mod streams;
mod tokens;
mod trails;
mod users;

pub use envelope::{Envelope, Link};
pub use messages::{ErrorAnswer, Fact, Message, Severity};
pub use routes::{Face, router};
