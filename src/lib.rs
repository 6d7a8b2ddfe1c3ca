//! Trailcast.

pub mod capture;
pub mod catalog;
pub mod cli;
pub mod clock;
pub mod codec;
pub mod limits;
pub mod record;
pub mod trail;
