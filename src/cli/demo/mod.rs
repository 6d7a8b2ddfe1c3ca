//! `trailcast demo`: the server with a small shop inside that writes real transactions to a trail.

pub mod shop;
