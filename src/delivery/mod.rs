//! From the trail to clients: what passes, and how it is sent.
//!
//! Owns rules, finished messages and what each connection has heard. A trail's entries become messages once a contract
//! ([`encoder`]), each session adds what its own client must hear first ([`session`]), and a [`feed`] joins the two to
//! a reader, noting its [`progress`]. Leaves sockets to `listen`, resources to `service`.

pub mod batch;
pub mod contract;
pub mod encoder;
pub mod feed;
pub mod progress;
pub mod rules;
pub mod session;
