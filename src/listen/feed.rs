//! What a socket's pump and the source of its messages say to each other.
//!
//! Owns the seam alone: the pump runs the socket, and whoever implements [`Feed`] makes the messages.

use std::future::Future;

use bytes::Bytes;
use tokio::sync::watch;

use crate::codec::close_code::CloseCode;

/// Where a socket's messages come from.
pub trait Feed: Send {
    /// The next messages; waits until there are some. It is asked only when everything before has been taken.
    ///
    /// Cancel-safe: the future may be dropped at any await and `next` called again, and nothing is lost or repeated.
    fn next(&mut self) -> impl Future<Output = Fed> + Send;

    /// The end of the feed that does not wait until the client has taken what it was given: its user may not have more of
    /// it. Never, unless the feed says so. Watched once messages have been waiting for the client for
    /// [`crate::limits::BLOCKED_SECONDS`], and cancel-safe as [`Feed::next`] is.
    fn cut_short(&mut self) -> impl Future<Output = Fed> + Send {
        std::future::pending()
    }

    /// What the client is sent last where the server stops, framed; nothing, unless the feed says so. It comes in the place of
    /// what the client has not been sent yet.
    fn farewell(&mut self) -> Option<Bytes> {
        None
    }

    /// Who takes what the client says; nobody unless the feed says so. Asked once, before the first message.
    fn inbox(&mut self) -> Option<Inbox> {
        None
    }

    /// Whether memory for messages is short, so that a client that holds some and takes too little is given up sooner;
    /// never, unless the feed says so. Asked once, before the first message.
    fn memory_short(&mut self) -> Option<watch::Receiver<bool>> {
        None
    }
}

/// Takes a client's messages.
pub struct Inbox {
    /// Largest message that the client may send, in bytes.
    pub message_bytes_max: usize,
    /// Called with each message, in order.
    pub take: Box<dyn FnMut(ClientMessage) + Send>,
}

/// A whole message of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientMessage {
    /// A text message, checked to be UTF-8.
    Text(Bytes),
    /// A binary message.
    Binary(Bytes),
}

/// What a [`Feed`] gives.
#[derive(Debug)]
pub enum Fed {
    /// Finished messages, each framed by [`finish_message`](crate::codec::ws_frame::finish_message). One element may hold several whole
    /// frames; pings go between elements, so an element should not be much above a megabyte.
    Messages(Vec<Bytes>),
    /// No more; close with this code and reason (cut at 123 bytes).
    End {
        /// The close code.
        code: CloseCode,
        /// The close reason.
        reason: String,
    },
}
