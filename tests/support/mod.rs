//! What several suites share: a throw-away PostgreSQL, the real server, a subscriber, loud skips. What only one needs stands
//! there.
//!
//! Owns the machinery only; what is expected of the program stands in the suites.

pub mod authority;
pub mod clients;
pub mod extract;
pub mod http;
pub mod log;
pub mod lookalike;
pub mod moving_address;
pub mod openapi;
pub mod port;
pub mod postgres;
pub mod process;
pub mod program;
pub mod random;
pub mod server;
mod skip;
pub mod subscriber;
pub mod trail;
pub mod waiting;
mod workplace;

pub use postgres::Postgres;
pub use program::Program;
pub use server::Server;
pub use skip::skip;
pub use subscriber::Subscriber;
pub use waiting::until;
pub use workplace::Folder;
