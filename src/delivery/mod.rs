//! From the trail to clients: what passes, and how it is sent.
//!
//! Owns rules, messages and what each connection has been told. A trail's entries become messages of a contract
//! ([`encoder`]), which every connection that has [`negotiated`] the same shares; what stands around a message is its
//! [`framing`]. A stretch of the trail becomes a [`block`], which all sessions of the contract share ([`fanout`]) within
//! the server's [`budget`]; how much memory one will need is an `estimate` until it is made. A [`session`] goes from block
//! to block until its [`end`], noting its [`progress`] and, for the stream, how many records of what it was given
//! ([`counts`]); before a message it sends what its own client must be told first ([`announcements`]), and says of itself what
//! its client wants to hear ([`notices`]). Leaves sockets to
//! `listen`, resources to `service`.

pub mod announcements;
pub mod batch;
pub mod block;
pub mod block_cache;
mod block_maker;
pub mod budget;
pub mod contract;
pub mod counts;
pub mod encoder;
pub mod encoding_totals;
pub mod end;
mod estimate;
pub mod fanout;
pub mod framing;
mod gap;
pub mod group;
pub mod negotiated;
pub mod notices;
pub mod progress;
pub mod rules;
pub mod session;
