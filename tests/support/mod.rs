//! What the suites share: a throw-away PostgreSQL, the real server, a subscriber, loud skips.
//!
//! Owns the machinery only; what is expected of the program stands in the suites.

#![allow(dead_code, unused_imports, reason = "each suite uses a part of it")]

pub mod browser;
pub mod by_value;
pub mod clients;
pub mod earlier_position;
pub mod extract;
pub mod gapped_trail;
pub mod http;
mod log;
pub mod lookalike;
pub mod mariadb;
pub mod openapi;
pub mod port;
pub mod postgres;
pub mod process;
pub mod program;
pub mod proxy;
pub mod server;
mod skip;
mod small_disk;
pub mod small_trail;
pub mod subscriber;
pub mod waiting;
mod workplace;

pub use postgres::Postgres;
pub use program::Program;
pub use proxy::Proxy;
pub use server::Server;
pub use skip::skip;
pub use small_disk::SmallDisk;
pub use subscriber::Subscriber;
pub use waiting::until;
pub use workplace::Folder;
