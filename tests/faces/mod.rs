//! The program as its users meet it: over HTTP, over WebSocket, from its examples.

mod audit;
mod authentication;
mod bad_input;
mod coverage;
mod demo;
mod examples;
mod gaps;
mod generated_clients;
mod memory;
mod metrics;
mod proxies;
mod retention;
mod token_keys;
