//! Trailcast.

pub mod access;
pub mod capture;
pub mod catalog;
pub mod cli;
pub mod client;
pub mod clock;
pub mod codec;
pub mod config;
pub mod delivery;
pub mod face;
pub mod limits;
pub mod listen;
pub mod record;
pub mod service;
pub mod trail;
