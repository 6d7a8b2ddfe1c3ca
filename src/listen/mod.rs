//! Connections: accepting them, their deadlines and caps, draining them, and the WebSocket pump.
//!
//! Owns sockets and the tasks that serve them. Routes come from the faces, messages from whoever implements
//! [`feed::Feed`].

mod answers;
mod client_messages;
pub mod feed;
pub mod file_limit;
pub mod handshake;
mod inbound;
mod outbox;
mod proxy_header;
pub mod pump;
mod request_body;
mod send_queue;
pub mod server;
mod shutdown;
mod slowness;
mod timed_socket;
pub mod tls;

pub use answers::NoRoom;
pub use feed::{ClientMessage, Fed, Feed, Inbox};
pub use handshake::{HandshakeError, PendingUpgrade, is_upgrade, upgrade};
pub use pump::{EndReason, PumpEnd, PumpTimings};
pub use request_body::BodyError;
pub use send_queue::SendQueue;
pub use server::{Connection, PeerAddr, Server, ServerLimits};
pub use tls::{PeerCertificate, Tls, TlsError};
