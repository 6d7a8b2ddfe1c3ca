//! From the trail to clients: what passes, and how it is sent.
//!
//! Owns rules, finished messages and what each connection has heard. A trail's entries become messages once a contract
//! ([`encoder`]): a stretch of the trail becomes a [`block`], which all sessions of the contract share ([`fanout`]) within
//! the server's [`budget`]; how much memory one will need is an `estimate` until it is made. Each session adds what its
//! own client must hear first ([`session`]); a [`feed`] leads it from block to block, noting its [`progress`]
//! and, for the stream, how many records of what it was given ([`counts`]). Leaves
//! sockets to `listen`, resources to `service`.

pub mod batch;
pub mod block;
pub mod budget;
pub mod contract;
pub mod counts;
mod cursor;
pub mod encoder;
mod estimate;
pub mod fanout;
pub mod feed;
mod gap;
pub mod progress;
pub mod rules;
pub mod session;
