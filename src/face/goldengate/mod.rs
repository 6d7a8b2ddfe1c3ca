//! The native face: GoldenGate Data Streams over REST and WebSocket.

pub mod envelope;
pub mod messages;

pub use envelope::{Envelope, Link};
pub use messages::{ErrorAnswer, Fact, Message, Severity};
