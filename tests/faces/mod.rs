//! The program as its users meet it: over HTTP, over WebSocket, from its examples.

mod audit;
mod authentication;
mod bad_input;
mod browser;
mod cloudevents;
mod coverage;
mod cross_origin;
mod dead_ends;
mod demo;
mod documents;
mod examples;
mod front_page;
mod gaps;
mod generated_clients;
mod grants;
mod hall;
mod http_edge;
mod mcp;
mod memory;
mod metrics;
mod openapi;
mod promised;
mod proxies;
mod queries;
mod retention;
mod token_keys;
