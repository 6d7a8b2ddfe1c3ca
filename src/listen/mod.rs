//! Connections: accepting them, their deadlines and caps, draining them, and the WebSocket pump.
//!
//! Owns sockets and the tasks that serve them. Routes come from the faces, messages from whoever implements
//! [`pump::Feed`].

pub mod handshake;
mod inbound;
mod outbox;
pub mod pump;
mod request_body;
pub mod server;
pub mod tls;

pub use handshake::{HandshakeError, PendingUpgrade, is_upgrade, upgrade};
pub use pump::{EndReason, Fed, Feed, PumpEnd, PumpTimings};
pub use server::{PeerAddr, Server, ServerLimits};
pub use tls::{PeerCertificate, Tls, TlsError};
