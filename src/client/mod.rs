//! What the command line uses to talk to a server: requests over HTTP, subscriptions over WebSocket.
//!
//! Owns addresses, connections and how a refusal is worded; leaves what is asked for to whoever asks. Knows the paths of
//! the native face only as far as the command line needs them.

pub mod address;
pub mod connection;
mod counted_socket;
pub mod error;
pub mod fetch;
pub mod record;
pub mod request;
pub mod subscription;
pub mod trust;

pub use address::{Credentials, ServerAddress};
pub use error::{ClientError, Refusal};
pub use record::{Record, RecordKind, RecordReader};
pub use request::{PutAnswer, Putter, ask, call, call_at, put, put_events};
pub use subscription::{Ended, Subscription};
pub use trust::{Trust, TrustError};
