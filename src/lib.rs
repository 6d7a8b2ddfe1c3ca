//! Trailcast.

pub mod cli;
pub mod catalog;
pub mod clock;
pub mod codec;
pub mod delivery;
pub mod limits;
pub mod record;
pub mod trail;
