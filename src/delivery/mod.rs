//! From the trail to clients: what passes, and how it is sent.

pub mod rules;
