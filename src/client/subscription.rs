//! A subscription to a data stream: the upgrade, then messages until the end.

use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures_core::Stream as _;
use http_body_util::Full;
use hyper::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, UPGRADE};
use hyper::upgrade::Upgraded;
use hyper::{Method, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tungstenite::Utf8Bytes;
use tungstenite::handshake::client::generate_key;
use tungstenite::handshake::derive_accept_key;
use tungstenite::protocol::{Message, Role, WebSocketConfig};

use super::{ClientError, Refusal, ServerAddress, request};
use crate::limits;

/// A live subscription.
#[derive(Debug)]
pub struct Subscription {
    socket: WebSocketStream<TokioIo<Upgraded>>,
}

/// Why a subscription ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// The server closed it.
    Closed {
        /// The close code.
        code: u16,
        /// The server's words.
        reason: String,
    },
    /// The connection broke.
    Broken(String),
}

impl Ended {
    /// Whether connecting again with the same position cannot help: rights withdrawn, record too large, stream gone.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Closed { code: 4001 | 4013 | 4020, .. })
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Closed { code, reason } if reason.is_empty() => write!(f, "closed with {code}"),
            Self::Closed { code, reason } => write!(f, "closed with {code}: {}", reason.escape_debug()),
            Self::Broken(what) => f.write_str(what),
        }
    }
}

impl Subscription {
    /// Opens the socket of a stream. What the server says instead of an upgrade is the error.
    pub async fn open(address: &ServerAddress, stream: &str, begin: Option<&str>) -> Result<Self, ClientError> {
        let mut target = address.path(&["services", "v2", "stream", stream]);
        if let Some(begin) = begin {
            target.push_str("?begin=");
            target.extend(form_urlencoded::byte_serialize(begin.as_bytes()));
        }
        let key = generate_key();
        let request = request::start(address, Method::GET, &target)
            .header(CONNECTION, "Upgrade")
            .header(UPGRADE, "websocket")
            .header(SEC_WEBSOCKET_VERSION, "13")
            .header(SEC_WEBSOCKET_KEY, &key)
            .body(Full::new(Bytes::new()))
            .map_err(|error| ClientError::Garbled(error.to_string()))?;
        // Not the library's own handshake: of a refusal that keeps only what came with the first read.
        let answer = request::send(address, request).await?;
        let status = answer.status();
        if status.is_success() {
            return Err(ClientError::Garbled(format!("{address} does not speak WebSocket here ({status})")));
        }
        if status != StatusCode::SWITCHING_PROTOCOLS {
            let body = request::body(answer).await?;
            return Err(ClientError::Refused(Refusal::from_answer(status.as_u16(), &body)));
        }
        let accepted = answer.headers().get(SEC_WEBSOCKET_ACCEPT).map(hyper::header::HeaderValue::as_bytes);
        if accepted != Some(derive_accept_key(key.as_bytes()).as_bytes()) {
            return Err(ClientError::Garbled(format!("{address} answered another handshake than ours")));
        }
        let upgraded = hyper::upgrade::on(answer)
            .await
            .map_err(|error| ClientError::Unreachable(format!("no upgrade from {address}: {error}")))?;
        let config = WebSocketConfig::default()
            .max_message_size(Some(limits::CLIENT_STREAM_MESSAGE_BYTES_MAX))
            .max_frame_size(Some(limits::CLIENT_STREAM_MESSAGE_BYTES_MAX));
        let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Client, Some(config)).await;
        Ok(Self { socket })
    }

    /// The next message. Pings are answered meanwhile. May be dropped and called again without losing anything.
    pub async fn next(&mut self) -> Result<Utf8Bytes, Ended> {
        loop {
            match self.next_frame().await? {
                Message::Text(text) => return Ok(text),
                Message::Close(close) => {
                    let (code, reason) = close.map_or((1005, String::new()), |c| (c.code.into(), c.reason.to_string()));
                    self.finish().await;
                    return Err(Ended::Closed { code, reason });
                }
                Message::Binary(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            }
        }
    }

    async fn next_frame(&mut self) -> Result<Message, Ended> {
        let silence = Duration::from_secs(limits::CLIENT_SILENCE_SECONDS_MAX);
        match timeout(silence, poll_fn(|context| Pin::new(&mut self.socket).poll_next(context))).await {
            Ok(Some(Ok(message))) => Ok(message),
            Ok(Some(Err(error))) => Err(Ended::Broken(format!("connection lost: {error}"))),
            Ok(None) => Err(Ended::Broken("connection lost".into())),
            Err(_) => Err(Ended::Broken(format!("connection silent for {silence:?}"))),
        }
    }

    /// Says goodbye and waits a moment for the answer.
    pub async fn close(mut self) {
        if self.socket.close(None).await.is_ok() {
            self.finish().await;
        }
    }

    /// Reads until the closing handshake is done, so that the peer sees a clean end.
    async fn finish(&mut self) {
        let ending = async { while self.next_frame().await.is_ok() {} };
        let _ = timeout(Duration::from_secs(1), ending).await;
    }
}
