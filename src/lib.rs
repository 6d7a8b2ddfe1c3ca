//! Trailcast.

pub mod access;
pub mod catalog;
pub mod clock;
pub mod codec;
pub mod face;
pub mod limits;
pub mod listen;
pub mod record;
