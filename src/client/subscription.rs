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

use super::address::ServerAddress;
use super::counted_socket::CountedSocket;
use super::error::{ClientError, Refusal};
use super::request;
use crate::codec::close_code::{ClientAction, CloseCode, position_named};
use crate::codec::session_start::{BEGIN_HEADER, PING_HEADER, read_ping_seconds};
use crate::limits;

/// A live subscription.
#[derive(Debug)]
pub struct Subscription {
    socket: WebSocketStream<CountedSocket<TokioIo<Upgraded>>>,
    goes_on_from: Option<String>,
    /// Longest time without a byte on a connection that lives.
    silence: Duration,
}

/// Why a subscription ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// The server closed it.
    Closed {
        /// The close code.
        code: CloseCode,
        /// The server's words.
        reason: String,
    },
    /// The connection broke.
    Broken(String),
    /// The server sent what this client does not take, and would send it again.
    Unusable(String),
}

impl Ended {
    /// Whether connecting again with the same position cannot help: rights withdrawn, record too large, stream gone.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Closed { code, .. } => code.client_action() != ClientAction::Resume,
            Self::Unusable(_) => true,
            Self::Broken(_) => false,
        }
    }
}

impl Ended {
    /// The position after which the server says to go on, where it says one: the next record is too large, or missing.
    pub fn goes_on_after(&self) -> Option<&str> {
        let Self::Closed { code, reason } = self else { return None };
        position_named(reason).filter(|_| code.client_action() == ClientAction::ResumeAfterNamed)
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Closed { code, reason } if reason.is_empty() => write!(f, "closed with {code}"),
            Self::Closed { code, reason } => write!(f, "closed with {code}: {}", reason.escape_debug()),
            Self::Broken(what) | Self::Unusable(what) => f.write_str(what),
        }
    }
}

impl Subscription {
    /// Opens the socket of a stream. What the server says instead of an upgrade is the error.
    pub async fn open(address: &ServerAddress, stream: &str, begin: Option<&str>) -> Result<Self, ClientError> {
        Self::open_within(address, stream, begin, limits::CLIENT_STREAM_MESSAGE_BYTES_MAX).await
    }

    /// The same with another limit of a message, in bytes.
    async fn open_within(
        address: &ServerAddress,
        stream: &str,
        begin: Option<&str>,
        message_bytes_max: usize,
    ) -> Result<Self, ClientError> {
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
        let header = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok());
        let goes_on_from = header(BEGIN_HEADER).map(str::to_owned);
        let silence = silence(header(PING_HEADER));
        let upgraded = hyper::upgrade::on(answer)
            .await
            .map_err(|error| ClientError::Unreachable(format!("no upgrade from {address}: {error}")))?;
        let config = WebSocketConfig::default()
            .max_message_size(Some(message_bytes_max))
            .max_frame_size(Some(message_bytes_max));
        let stream = CountedSocket::new(TokioIo::new(upgraded));
        let socket = WebSocketStream::from_raw_socket(stream, Role::Client, Some(config)).await;
        Ok(Self { socket, goes_on_from, silence })
    }

    /// The `begin` with which to go on should the connection be lost before a record has come; not every server says it.
    pub fn goes_on_from(&self) -> Option<&str> {
        self.goes_on_from.as_deref()
    }

    /// The next message. Pings are answered meanwhile. May be dropped and called again without losing anything.
    pub async fn next(&mut self) -> Result<Utf8Bytes, Ended> {
        loop {
            match self.next_frame().await? {
                Message::Text(text) => return Ok(text),
                Message::Close(close) => {
                    self.finish().await;
                    return Err(match close {
                        None => Ended::Closed { code: CloseCode::NO_CODE, reason: String::new() },
                        Some(close) => {
                            Ended::Closed { code: u16::from(close.code).into(), reason: close.reason.to_string() }
                        }
                    });
                }
                Message::Binary(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            }
        }
    }

    async fn next_frame(&mut self) -> Result<Message, Ended> {
        let silence = self.silence;
        loop {
            let heard = self.socket.get_ref().bytes();
            match timeout(silence, poll_fn(|context| Pin::new(&mut self.socket).poll_next(context))).await {
                Ok(Some(Ok(message))) => return Ok(message),
                Ok(Some(Err(error @ (tungstenite::Error::Capacity(_) | tungstenite::Error::Utf8(_))))) => {
                    return Err(Ended::Unusable(format!("the next message cannot be taken: {error}")));
                }
                Ok(Some(Err(error))) => return Err(Ended::Broken(format!("connection lost: {error}"))),
                Ok(None) => return Err(Ended::Broken("connection lost".into())),
                Err(_) if self.socket.get_ref().bytes() > heard => {}
                Err(_) => return Err(Ended::Broken(format!("connection silent for {silence:?}"))),
            }
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

/// The silence after which a connection is taken for dead, by what the server says of its pings, if it does.
fn silence(ping_seconds: Option<&str>) -> Duration {
    let told = ping_seconds.and_then(|text| read_ping_seconds(text, limits::DEADLINE_SECONDS_CONFIGURED_MAX));
    let ping = told.unwrap_or(limits::PING_SECONDS);
    Duration::from_secs(limits::CLIENT_SILENCE_PINGS * ping + limits::CLIENT_SILENCE_GRACE_SECONDS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};
    use tungstenite::protocol::CloseFrame;

    async fn listener() -> (TcpListener, ServerAddress) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://ann:secret@{}", listener.local_addr().unwrap());
        (listener, ServerAddress::parse(&url, None, None).unwrap())
    }

    /// The head of the request that comes next.
    async fn head(stream: &mut TcpStream) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        String::from_utf8(head).unwrap()
    }

    /// Answers the handshake by hand and sends `first` in the same write.
    async fn upgraded(listener: &TcpListener, first: &[u8], heads: &Mutex<Vec<String>>) -> TcpStream {
        upgraded_with(listener, "", first, heads).await
    }

    /// The same with further headers, each with its line's end.
    async fn upgraded_with(
        listener: &TcpListener,
        headers: &str,
        first: &[u8],
        heads: &Mutex<Vec<String>>,
    ) -> TcpStream {
        let (mut stream, _) = listener.accept().await.unwrap();
        let head = head(&mut stream).await;
        let key = head.lines().find_map(|line| line.strip_prefix("sec-websocket-key: ")).unwrap();
        let accept = derive_accept_key(key.as_bytes());
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n{headers}Sec-WebSocket-Accept: {accept}\r\n\r\n"
        );
        heads.lock().unwrap().push(head);
        stream.write_all(&[answer.as_bytes(), first].concat()).await.unwrap();
        stream
    }

    #[tokio::test]
    async fn messages_come_in_order_the_first_with_the_answer_and_then_the_close() {
        let (listener, address) = listener().await;
        let heads = Arc::new(Mutex::new(Vec::new()));
        let seen = heads.clone();
        let server = tokio::spawn(async move {
            let stream = upgraded(&listener, b"\x81\x02[]", &seen).await;
            let mut socket = WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
            let close = CloseFrame { code: CloseCode::GONE.number().into(), reason: "gone".into() };
            socket.close(Some(close)).await.unwrap();
            // The client answers the close: the end is clean.
            let answer = poll_fn(|context| Pin::new(&mut socket).poll_next(context)).await;
            matches!(answer, Some(Ok(Message::Close(_))))
        });
        let mut subscription = Subscription::open(&address, "s 1", Some("2026-07-13T04:00:00+02:00")).await.unwrap();
        assert_eq!(subscription.next().await.unwrap().as_str(), "[]");
        let ended = subscription.next().await.unwrap_err();
        assert_eq!(ended, Ended::Closed { code: CloseCode::GONE, reason: "gone".into() });
        assert!(ended.is_final() && server.await.unwrap());
        let head = heads.lock().unwrap()[0].clone();
        assert!(head.starts_with("GET /services/v2/stream/s%201?begin=2026-07-13T04%3A00%3A00%2B02%3A00 HTTP/1.1"));
        assert!(head.contains("authorization: Basic YW5uOnNlY3JldA=="), "{head}");
    }

    #[tokio::test]
    async fn a_refusal_is_read_whole_even_in_pieces() {
        let (listener, address) = listener().await;
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            head(&mut stream).await;
            let body = r#"{"messages":[{"title":"There is no stream s1."}]}"#;
            let head = format!("HTTP/1.1 404 Not Found\r\nContent-Length: {}\r\n\r\n", body.len());
            stream.write_all(head.as_bytes()).await.unwrap();
            stream.set_nodelay(true).unwrap();
            for byte in body.bytes() {
                stream.write_u8(byte).await.unwrap();
            }
        });
        let error = Subscription::open(&address, "s1", None).await.unwrap_err();
        assert_eq!(error.to_string(), "refused with 404: There is no stream s1.");
        server.await.unwrap();
    }

    #[tokio::test]
    async fn what_would_come_again_is_final() {
        for sent in [b"\x81\x05[1,2]".as_slice(), b"\x81\x02\xff\xff"] {
            let (listener, address) = listener().await;
            let server = tokio::spawn(async move { upgraded(&listener, sent, &Mutex::default()).await });
            let mut subscription = Subscription::open_within(&address, "s1", None, 4).await.unwrap();
            let ended = subscription.next().await.unwrap_err();
            assert!(matches!(ended, Ended::Unusable(_)) && ended.is_final(), "{ended}");
            drop(server.await.unwrap());
        }
    }

    #[tokio::test]
    async fn a_connection_that_breaks_is_lost() {
        let (listener, address) = listener().await;
        let server = tokio::spawn(async move { drop(upgraded(&listener, b"\x81\x05[", &Mutex::default()).await) });
        let mut subscription = Subscription::open(&address, "s1", None).await.unwrap();
        assert!(matches!(subscription.next().await, Err(Ended::Broken(_))));
        server.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_connection_is_lost() {
        let (listener, address) = listener().await;
        let server = tokio::spawn(async move { upgraded(&listener, b"", &Mutex::default()).await });
        let mut subscription = Subscription::open(&address, "s1", None).await.unwrap();
        let _kept_open = server.await.unwrap();
        let Err(Ended::Broken(what)) = subscription.next().await else { panic!("still open") };
        assert!(what.contains("silent"), "{what}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_server_says_how_long_a_silence_is_and_where_to_go_on() {
        let (listener, address) = listener().await;
        let headers = "Trailcast-Ping-Seconds: 100\r\nTrailcast-Begin: AQ7\r\n";
        let server = tokio::spawn(async move { upgraded_with(&listener, headers, b"", &Mutex::default()).await });
        let mut subscription = Subscription::open(&address, "s1", Some("now")).await.unwrap();
        assert_eq!(subscription.goes_on_from(), Some("AQ7"));
        let mut stream = server.await.unwrap();
        let pings = async {
            for _ in 0..4 {
                tokio::time::sleep(Duration::from_secs(100)).await;
                stream.write_all(b"\x89\0").await.unwrap();
            }
            stream.write_all(b"\x81\x02[]").await.unwrap();
        };
        let (message, ()) = tokio::join!(subscription.next(), pings);
        assert_eq!(message.unwrap().as_str(), "[]");
    }

    #[test]
    fn what_a_server_says_of_its_pings_is_bounded() {
        let seconds = |text| silence(text).as_secs();
        assert_eq!([seconds(None), seconds(Some("soon")), seconds(Some("0")), seconds(Some("86400"))], [65; 4]);
        assert_eq!([seconds(Some("1")), seconds(Some("3600"))], [8, 10_805]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_that_takes_long_to_come_is_no_silence() {
        let (listener, address) = listener().await;
        let server = tokio::spawn(async move { upgraded(&listener, b"\x81\x05", &Mutex::default()).await });
        let mut subscription = Subscription::open(&address, "s1", None).await.unwrap();
        let mut stream = server.await.unwrap();
        let sending = async {
            for byte in *b"[1,2]" {
                tokio::time::sleep(silence(None) - Duration::from_secs(1)).await;
                stream.write_u8(byte).await.unwrap();
            }
        };
        let (message, ()) = tokio::join!(subscription.next(), sending);
        assert_eq!(message.unwrap().as_str(), "[1,2]");
    }

    #[tokio::test]
    async fn nobody_listening_is_unreachable() {
        let (listener, address) = listener().await;
        drop(listener);
        assert!(matches!(Subscription::open(&address, "s1", None).await, Err(ClientError::Unreachable(_))));
    }
}
